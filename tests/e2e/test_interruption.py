"""A first run that is killed at any step and repeated has the result of an undisturbed one."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.deploying import REPOSITORY, command_line
from tests.lab.engine import wait_until
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Entry, Machine
    from tests.lab.release import Release


TREE = (
    "/etc/baikal",
    "/etc/nginx/conf.d",
    "/etc/nginx/sites-enabled",
    "/etc/php",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/opt",
    "/var/lib/baikal",
)
RANDOM = (
    "/baikal.yaml",
    "/db.sqlite",
    "/db.sqlite-wal",
    "/db.sqlite-shm",
    ".pem",
    "/nginx",
)
"""Ends of paths with random content: keys, the database, and the stamp with the certificate."""

PACKAGES, FILES, RELEASE = "Install packages", "Upload configuration", "Install Baïkal"
APPLY, SERVE, CHECK = "Apply settings", "Start PHP", "Check health"
MOMENTS = [
    pytest.param(PACKAGES, 5.0, "machine", id="dpkg at work, power cut"),
    pytest.param(PACKAGES, 5.0, "pyinfra", id="dpkg at work, pyinfra killed"),
    pytest.param(FILES, 0.0, "pyinfra", id="before the upload of files"),
    pytest.param(FILES, 0.25, "machine", id="files being uploaded, power cut"),
    pytest.param(RELEASE, 0.1, "pyinfra", id="release being sent"),
    pytest.param(RELEASE, 0.4, "machine", id="release being unpacked, power cut"),
    pytest.param(APPLY, 0.15, "machine", id="database being created, power cut"),
    pytest.param(APPLY, 0.3, "pyinfra", id="accounts being made"),
    pytest.param(SERVE, 0.1, "machine", id="services being reloaded, power cut"),
    pytest.param(CHECK, 0.0, "pyinfra", id="before the final check"),
]


@pytest.fixture(scope="module")
def undisturbed(boot: Callable[..., Machine], release: Release) -> dict[str, tuple[str, ...]]:
    """Return the managed files of a machine after an undisturbed first run."""
    server = Server(boot(), release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    return _tree(server.machine)


@pytest.mark.parametrize(("operation", "delay", "victim"), MOMENTS)
def test_an_interrupted_first_run_is_completed_by_the_next(  # noqa: PLR0913, PLR0917 - three of them say when
    boot: Callable[..., Machine],
    release: Release,
    undisturbed: dict[str, tuple[str, ...]],
    operation: str,
    delay: float,
    victim: str,
) -> None:
    """After a SIGKILL, the next run gives the same files and a healthy server, and a third changes nothing."""
    server = Server(boot(warm=operation != PACKAGES), release)
    with tempfile.TemporaryDirectory() as folder:
        command = [*command_line([server.host()], Path(folder), "-y"), "deploy.py"]
        run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(run, lines), daemon=True)
        reader.start()
        try:
            assert wait_until(lambda: operation in "".join(lines), 120, 0.01), "".join(lines)
            time.sleep(delay)  # the moment of the kill, not a wait for a condition
            if victim == "machine":
                server.machine.kill()
        finally:
            os.kill(run.pid, 9)
            run.wait()
    if victim == "machine":
        server.machine.power_on()
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    assert server.check()["healthy"]
    assert _tree(server.machine) == undisturbed
    assert server.ask("PROPFIND", "/dav.php/calendars/jo/work/", user="jo").status == 207
    assert server.deploy().changes == 0
    server.machine.remove()


def _read(run: subprocess.Popen[str], lines: list[str]) -> None:
    for line in run.stdout or ():
        lines.append(line)  # noqa: PERF402 - read while another thread looks


def _tree(machine: Machine) -> dict[str, tuple[str, ...]]:
    """Return the managed files, without random content and by-products."""

    def served_certificate(path: str, entry: Entry) -> tuple[str, ...]:
        return (*entry[:-1], "random" if path.endswith(RANDOM) and entry.kind == "f" else entry.content)

    entries = machine.snapshot(TREE)
    by_products = ("__pycache__", "/sess_", "-wal", "-shm")
    return {
        path: served_certificate(path, entry)
        for path, entry in entries.items()
        if not any(part in path for part in by_products)
    }
