"""What the tests of migration and import share: a release whose upgrade runs, and a run that is killed anywhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from tests.lab.engine import apt_install, can_install
from tests.unit.samples import HOME, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLED = 9
TOUCHING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "open", "subprocess.Popen"}
"""What Python tells its auditors before it does it, of all that changes files."""

if os.environ.get("CI") and not shutil.which("php") and can_install():
    apt_install(("php-cli", "php-mbstring", "php-sqlite3", "php-xml"))
needs_php = pytest.mark.skipif(not shutil.which("php"), reason="there is no PHP here to run an upgrade with")


def stand_release(version: str = VERSION) -> Path:
    """Have the lab's stand-in for a release stand on the host as ``version``; return its directory."""
    place = Path(paths.CODE) / version
    shutil.copytree(HOME / "tests/lab/standin", place)
    distrib = place / "Core/Distrib.php"
    distrib.write_text(distrib.read_text(encoding="utf-8").replace("@VERSION@", version), encoding="utf-8")
    shutil.copy(HOME / "templates/usr/local/lib/baikalctl/migrate.php", paths.MIGRATE)
    return place


def dies(act: Callable[[], object], step: int) -> bool:
    """Do ``act`` in a process of its own that is gone at its ``step``-th touch of a file; tell whether it got so far.

    Nothing is cleaned up then, as after ``kill -9``.
    """
    child = os.fork()
    if child == 0:
        left = [step]

        def audit(event: str, _: tuple[object, ...]) -> None:
            if event in TOUCHING:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(KILLED)

        sys.addaudithook(audit)
        status = 1
        with contextlib.suppress(Exception):
            act()
            status = 0
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, KILLED}
    return status == KILLED


def steps(act: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """Yield each third step after ``act`` died at it, every time on what ``prepare`` makes, until ``act`` gets through."""
    step = 0
    while True:
        prepare()
        if not dies(act, step):
            return
        yield step
        step += 3


def names(path: str) -> list[str]:
    """Return the names of the accounts in a database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users ORDER BY 1")]


def empty() -> None:
    """Have a host without data again."""
    for folder in (paths.CONFIG, paths.SPECIFIC, paths.BACKUPS, paths.INCOMING, paths.READY):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (paths.CONFIG, f"{paths.SPECIFIC}/db"):
        Path(folder).mkdir(parents=True, mode=0o700)


def leftovers() -> list[str]:
    """Return what a run that is over must not leave."""
    left = [path for path in (paths.INCOMING, paths.READY) if Path(path).exists()]
    inside = [str(path) for folder in (paths.CONFIG, paths.SPECIFIC) for path in Path(folder).rglob("*.new")]
    return left + inside + [str(path) for path in Path(paths.BACKUPS).glob(".*")]
