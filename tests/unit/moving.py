"""What the tests of migration and import share: a release whose upgrade runs, and a run that is killed anywhere."""

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
TOUCHING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "open", "shutil.rmtree"}
TOUCHING |= {"sqlite3.connect", "subprocess.Popen", "socket.connect"}
"""What Python tells its auditors before it does it, of all that changes files."""
FILLING = {"open", "os.mkdir", "os.symlink"}
"""Those of them that need room."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CONFINED_EACH = 24
"""How many steps lie between two of :func:`steps` after which the boundary's child processes are real."""

if os.environ.get("CI") and not shutil.which("php") and can_install():
    apt_install(("php-cli", "php-mbstring", "php-sqlite3", "php-xml"))
needs_php = pytest.mark.skipif(not shutil.which("php"), reason="there is no PHP here to run an upgrade with")


def stand_release(version: str = VERSION) -> Path:
    """Have the lab's stand-in for a release stand on the host as ``version``, with a DAV of few words; return its place."""
    directory = Path(paths.CODE) / version
    shutil.copytree(HOME / "tests/lab/standin", directory)
    shutil.copy(HOME / "tests/unit/dav.php", directory / "html/dav.php")
    distrib = directory / "Core/Distrib.php"
    distrib.write_text(distrib.read_text(encoding="utf-8").replace("@VERSION@", version), encoding="utf-8")
    for script in (paths.MIGRATE, paths.REHEARSE):
        shutil.copy(HOME / f"templates/usr/local/lib/baikalctl/{Path(script).name}", script)
    return directory


def dies(act: Callable[[], object], step: int) -> bool:
    """Do ``act`` in a process of its own that is gone at its ``step``-th touch of a file; tell whether it got so far.

    Nothing is cleaned up then, as after ``kill -9``.
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
    """Do ``act`` in a process of its own whose disk is full at its ``step``-th touch; tell whether it got so far.

    It stays full where that is ``lasting``. Nothing but what tells a person of it may come of it.
    """
    full = [False]

    def refuse(event: str) -> None:
        if event in FILLING and (lasting or not full[0]):
            full[0] = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def attempt() -> None:
        with contextlib.suppress(HostError, OSError):
            act()
        if full[0]:
            os._exit(KILLED)

    return _apart(attempt, step, refuse) == KILLED


def _apart(act: Callable[[], object], step: int, meet: Callable[[str], object]) -> int:
    """Do ``act`` in a process of its own, with ``meet`` called from its ``step``-th touch on; return its status."""
    child = os.fork()
    if child == 0:
        # All in one process, which is what is killed: what its children read, other tests show.
        boundary_child.inside = True
        left = [step]

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            if event in TOUCHING and not (
                event == "open" and isinstance(arguments[2], int) and not arguments[2] & WRITING
            ):
                left[0] -= 1
                if left[0] < 0:
                    meet(event)

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
    """Yield each third step after ``act`` died at it, every time on what ``prepare`` makes, until ``act`` gets through.

    After each eighth of them, the caller's run reads data in real child processes. After the others it calls
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
    """Have a host without data again."""
    for folder in (paths.CONFIG, paths.SPECIFIC, paths.BACKUPS, paths.INCOMING, paths.MAINTENANCE):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (paths.JOURNAL, paths.APPLIED):
        Path(file).unlink(missing_ok=True)
    for folder in (paths.CONFIG, f"{paths.SPECIFIC}/db"):
        Path(folder).mkdir(parents=True, mode=0o700)


def leftovers() -> list[str]:
    """Return what a run that is over must not leave."""
    left = [path for path in (paths.INCOMING, paths.JOURNAL, paths.CLOSED) if Path(path).exists()]
    inside = [
        str(path) for folder in (paths.CONFIG, paths.SPECIFIC, paths.STATE) for path in Path(folder).rglob("*.new")
    ]
    return left + inside + [str(path) for path in Path(paths.BACKUPS).glob(".*")]


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """Have what is in the block end within seconds, or fail."""

    def late(*_: object) -> None:
        message = "it is held up"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
