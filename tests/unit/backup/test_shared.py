"""Scheduled backups of machines that share a database."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.backup import create, shared, status
from baikalctl.baikal import current_database
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from tests.unit.samples import declared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState

PERIOD, NEXT = "20261125T021500Z", "20261126T021500Z"


class Shared(Sqlite):
    """A file in the place of a server's database."""

    @property
    def shared(self) -> bool:
        """Whether other machines use it, too."""
        return True

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold a lock that its process loses when it ends, as a server's."""
        with Path(f"{self.path}.{name}").open("w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def noted(self, name: str) -> str:
        """Return the note."""
        with contextlib.closing(self.connect()) as connection:
            row = connection.execute("SELECT value FROM baikalctl_state WHERE name = ?", [name]).fetchone()
            return str(row[0]) if row else ""

    def note(self, name: str, text: str) -> None:
        """Replace the note."""
        with contextlib.closing(self.connect()) as connection:
            connection.execute("INSERT OR REPLACE INTO baikalctl_state VALUES (?, ?)", [name, text])
            connection.commit()


@pytest.fixture
def database(host: Path, empty_database: bytes) -> Shared:
    """Return a database that other machines use, too."""
    assert host.is_dir()
    path = Path(paths.SQLITE)
    path.write_bytes(empty_database)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE baikalctl_state (name VARCHAR(190) PRIMARY KEY, value TEXT)")
        connection.commit()
    return Shared(path)


def test_a_noted_backup_is_of_one_period(database: Shared) -> None:
    """The next period needs another one."""
    assert shared.made_by(database, PERIOD) == ""
    shared.note_made(database, PERIOD)
    assert shared.made_by(database, PERIOD) == socket.gethostname()
    assert shared.made_by(database, NEXT) == ""
    shared.note_made(database, NEXT)
    assert shared.made_by(database, NEXT) == socket.gethostname()


@pytest.mark.parametrize("done", ["true", "false"])
def test_rows_of_older_versions_do_not_prevent_a_backup(database: Shared, done: str) -> None:
    """Neither that of a backup which was made, nor that of a machine which died while it made one."""
    database.note(f"job:backup:{PERIOD}", f'{{"by": "old", "at": 1e12, "done": {done}}}')
    assert shared.made_by(database, PERIOD) == ""


@pytest.mark.parametrize(
    ("note", "by"),
    [
        (f'{{"period": "{PERIOD}", "by": "one.example.org"}}', "one.example.org"),
        (f'{{"period": "{PERIOD}", "by": "\\u001b[2J"}}', "another machine"),
        (f'{{"period": "{PERIOD}"}}', "another machine"),
        ('{"period": 1e300}', ""),
        ("[]", ""),
        ("[" * 10_000, ""),
        ("", ""),
    ],
)
def test_a_note_of_a_hostile_server_is_checked(database: Shared, note: str, by: str) -> None:
    """A note that can't be understood prevents no backup."""
    database.note(shared.NAME, note)
    assert shared.made_by(database, PERIOD) == by


def scheduled(state: DesiredState, number: int, *, fails: bool = False) -> int:
    """Make a scheduled backup in a process of its own, as another machine would; return the process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:

        def archived(*_: object) -> object:
            with Path(f"{paths.DATA}/made").open("a", encoding="ascii") as stream:
                stream.write(f"{number}\n")
            if fails:
                os._exit(9)  # the machine dies
            return object()

        create._archived = archived  # type: ignore[assignment]
        made = create._once(state, Path(paths.DATA), lambda _: None)
        status = 0 if made else 2
    finally:
        os._exit(status)


def test_one_of_several_machines_makes_the_backup(database: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait until it is made. If that machine dies, the lock is free and the next one makes it."""
    monkeypatch.setattr(current_database, "of", lambda _: database)
    dead = scheduled(declared(), 0, fails=True)
    assert os.waitstatus_to_exitcode(os.waitpid(dead, 0)[1]) == 9
    machines = [scheduled(declared(), number) for number in range(1, 6)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(machine, 0)[1]) for machine in machines]
    assert sorted(statuses) == [0, 2, 2, 2, 2]
    assert len(Path(f"{paths.DATA}/made").read_text(encoding="ascii").split()) == 2


def test_a_backup_that_failed_is_not_noted(database: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next machine makes it."""
    monkeypatch.setattr(current_database, "of", lambda _: database)

    def full(*_: object) -> None:
        raise HostError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(create, "_archived", full)
        with pytest.raises(HostError, match="the disk is full"):
            create._once(declared(), Path(paths.DATA), lambda _: None)
    assert database.noted(shared.NAME) == ""
    monkeypatch.setattr(create, "_archived", lambda *_: "made")
    made: object = create._once(declared(), Path(paths.DATA), lambda _: None)
    assert made == "made"
    lines: list[str] = []
    assert create._once(declared(), Path(paths.DATA), lines.append) is None
    status.remember(upload_error="the repository can't be reached")
    uploaded: object = create._once(declared(), Path(paths.DATA), lines.append)
    assert uploaded == "made", "the next attempt uploads it"
    assert lines == [f"{socket.gethostname()}, which uses the same database, has made the backup"]
