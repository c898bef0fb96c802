"""`make demo` in a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.clients import Account
from tests.lab.demo import CONTAINER, FOLDER, NAME
from tests.lab.deploying import PYINFRA, REPOSITORY, pyinfra

if TYPE_CHECKING:
    from tests.lab.engine import Engine


def test_demo_serves_clients_and_is_removed(engine: Engine) -> None:
    """It prints addresses and accounts that clients can use, its printed commands work, and it can be removed."""
    if _standing(engine):
        pytest.skip("a demo is running, and this test would replace it")
    try:
        done = _make("demo")
        assert done.returncode == 0, done.stdout + done.stderr
        logins = re.findall(
            r"address +(https://\S+)/dav\.php/.*?account +(\S+), password (\S+)", done.stdout, re.DOTALL
        )
        assert len(logins) == 2, done.stdout
        for login, certificate in zip(logins, ("server.crt", "container.crt"), strict=True):
            address, user, password = login
            account = Account(address, FOLDER / certificate, user, password)
            assert account.round_trip_event("mine") == "mine"
        assert "release        Baïkal" in done.stdout
        assert re.search(r"image +\d\d+ MB above debian:13, .*; the first answer came after \d+\.\d s", done.stdout)
        assert f"docker exec {CONTAINER} baikalctl check" in done.stdout
        checked = engine.docker("exec", CONTAINER, "baikalctl", "check")
        assert "failed" not in checked
        assert "serving https://localhost" in engine.docker("logs", CONTAINER)
        again = pyinfra(str(FOLDER / "inventory.py"), "-y", "--json")
        assert again.status == 0, again.output
        assert again.changes == 0
        printed = re.search(r"run it again +(.*?) {3}", done.stdout)
        assert printed
        assert printed[1].split()[0] == os.path.relpath(PYINFRA, REPOSITORY)
    finally:
        gone = _make("demo-down")
    assert gone.returncode == 0, gone.stderr
    assert not _standing(engine)
    assert not FOLDER.exists()


def _standing(engine: Engine) -> list[str]:
    """Return the demo's existing machine, container and volume."""
    names = f"{NAME}|{CONTAINER}"
    containers = engine.docker("ps", "-a", "--filter", f"name=^({names})$", "--format", "{{.Names}}").split()
    return [*containers, *engine.docker("volume", "ls", "-q", "--filter", f"name=^{CONTAINER}$").split()]


def _make(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
