"""Helpers for tests of migration and import: a release that can be upgraded, and a run that is killed at any step."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host import boundary_child
from tests.lab.engine import apt_install, can_install
from tests.unit.samples import HOME, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLED = 9
CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "open", "shutil.rmtree"}
CHANGING |= {"sqlite3.connect", "subprocess.Popen", "socket.connect"}
"""The audit events of Python for calls that change files. Python raises them before the call."""
ALLOCATING = {"open", "os.mkdir", "os.symlink"}
"""The events of calls that need disk space."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CONFINED_EACH = 24
"""Each time after so many steps, :func:`steps` uses real child processes of the boundary."""

if os.environ.get("CI") and not shutil.which("php") and can_install():
    apt_install(("php-cli", "php-mbstring", "php-sqlite3", "php-xml"))
needs_php = pytest.mark.skipif(not shutil.which("php"), reason="needs PHP for the upgrade")


def stand_release(version: str = VERSION) -> Path:
    """Install the lab's stand-in for a release as ``version``, with a minimal dav.php; return its directory."""
    directory = Path(paths.CODE) / version
    shutil.copytree(HOME / "tests/lab/standin", directory)
    shutil.copy(HOME / "tests/unit/dav.php", directory / "html/dav.php")
    distrib = directory / "Core/Distrib.php"
    distrib.write_text(distrib.read_text(encoding="utf-8").replace("@VERSION@", version), encoding="utf-8")
    for script in (paths.MIGRATE, paths.REHEARSE):
        shutil.copy(HOME / f"templates/usr/local/lib/baikalctl/{Path(script).name}", script)
    return directory


def dies(act: Callable[[], object], step: int) -> bool:
    """Call ``act`` in a child process that is killed at its ``step``-th change of a file; return whether it was killed.

    It cleans up nothing, as after ``kill -9``.
    """
    return _apart(act, step, lambda _: os._exit(KILLED)) == KILLED


def write_and_be_killed() -> None:
    """Create an account that is only in the write-ahead log of the database; no process has it open."""

    def write() -> None:
        connection = sqlite3.connect(paths.SQLITE)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO users (username, digesta1) VALUES ('late', 'x')")
        connection.commit()
        os._exit(0)

    assert not dies(write, 10**6)
    assert Path(paths.SQLITE + "-wal").stat().st_size


def fails(act: Callable[[], object], step: int, *, lasting: bool = False) -> bool:
    """Call ``act`` in a child process whose disk is full at its ``step``-th change; return whether it got that far.

    If ``lasting``, the disk stays full. ``act`` may raise only errors that have a message for the operator.
    """
    full = [False]

    def refuse(event: str) -> None:
        if event in ALLOCATING and (lasting or not full[0]):
            full[0] = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def attempt() -> None:
        with contextlib.suppress(HostError, OSError):
            act()
        if full[0]:
            os._exit(KILLED)

    return _apart(attempt, step, refuse) == KILLED


def _apart(act: Callable[[], object], step: int, react: Callable[[str], object]) -> int:
    """Call ``act`` in a child process, and ``react`` at its ``step``-th change and all later ones; return the status."""
    child = os.fork()
    if child == 0:
        # All in the process that is killed. Other tests use real child processes of the boundary.
        boundary_child.inside = True
        left = [step]

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGING and not (
                event == "open" and isinstance(arguments[2], int) and not arguments[2] & WRITING
            ):
                left[0] -= 1
                if left[0] < 0:
                    react(event)

        sys.addaudithook(audit)
        try:
            act()
        except BaseException:  # noqa: BLE001 - the child ends here after any error
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, KILLED}
    return status


def steps(
    act: Callable[[], object], prepare: Callable[[], object], ends: Callable[[Callable[[], object], int], bool] = dies
) -> Iterator[int]:
    """Yield every third step, after ``prepare`` and a call of ``act`` that ended there, until ``act`` is completed.

    After every eighth of them, the caller reads data in real child processes. After the others it calls
    confined functions directly, because several forks for each step would take most of the time of all tests.
    The ``_own`` fixture resets this at the end of the test.
    """
    step = 0
    while True:
        boundary_child.inside = False
        prepare()
        if not ends(act, step):
            return
        boundary_child.inside = step % CONFINED_EACH != 0
        yield step
        step += 3


def names(path: str) -> list[str]:
    """Return the names of the accounts in a database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users ORDER BY 1")]


def empty() -> None:
    """Remove all data from the host."""
    for folder in (paths.CONFIG, paths.SPECIFIC, paths.BACKUPS, paths.INCOMING, paths.MAINTENANCE):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (paths.JOURNAL, paths.APPLIED):
        Path(file).unlink(missing_ok=True)
    for folder in (paths.CONFIG, f"{paths.SPECIFIC}/db"):
        Path(folder).mkdir(parents=True, mode=0o700)


def leftovers() -> list[str]:
    """Return the files that must not exist after a run."""
    left = [path for path in (paths.INCOMING, paths.JOURNAL, paths.CLOSED) if Path(path).exists()]
    inside = [
        str(path) for folder in (paths.CONFIG, paths.SPECIFIC, paths.STATE) for path in Path(folder).rglob("*.new")
    ]
    return left + inside + [str(path) for path in Path(paths.BACKUPS).glob(".*")]


@contextlib.contextmanager
def ends_in_seconds() -> Iterator[None]:
    """Fail if the block takes 5 seconds or more."""

    def late(*_: object) -> None:
        message = "the block took more than 5 seconds"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
