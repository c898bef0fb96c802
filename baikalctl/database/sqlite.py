"""Baïkal's database as one file: SQLite, with the indexes and the journal mode that make it fast."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, ClassVar

from baikalctl import paths
from baikalctl.database import interface, sqlite_file, sync_triggers
from baikalctl.database.sqlite_file import BUSY_SECONDS, COMPANIONS, Connection
from baikalctl.errors import HostError
from baikalctl.host import atomic_write, safe_copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAST_FREE = 1 << 20
"""With fewer free bytes, errors of SQLite that don't name their cause are attributed to a full disk."""
INDEXES = {
    "baikalctl_calendarobjects_uri": "calendarobjects (calendarid, uri)",
    "baikalctl_calendarobjects_uid": "calendarobjects (uid)",
    "baikalctl_cards_uri": "cards (addressbookid, uri)",
    "baikalctl_schedulingobjects_uri": "schedulingobjects (principaluri, uri)",
    "baikalctl_addressbooks_uri": "addressbooks (principaluri, uri)",
    "baikalctl_groupmembers_member": "groupmembers (member_id)",
}
"""Indexes that Baïkal's schema lacks. Measured on a mixed load: 1.8 times the requests with 1,000 events per calendar, 6.6
times with 50,000. They aren't unique, because old data may have duplicates."""


class Sqlite(interface.Database):
    """A database in the file ``path``."""

    backend: ClassVar[str] = "sqlite"

    def __init__(self, path: Path) -> None:
        """Use this file, which needn't exist."""
        self.path = path

    def __str__(self) -> str:
        """Return its name for messages."""
        return f"the database {self.path}"

    def section(self) -> dict[str, Any]:
        """Return the section ``database`` of baikal.yaml for this database."""
        return {"backend": "sqlite", "mysql": False, "sqlite_file": str(self.path)}

    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection; raises :class:`HostError` if the file doesn't exist or can't be opened."""
        if not self.path.is_file():
            message = f"{self} does not exist"
            raise HostError(message)
        try:
            return sqlite_file.connect(self.path, "ro" if read_only else "rw")
        except sqlite3.Error as error:
            raise self.unreadable(error) from None

    def installed(self) -> bool:
        """Tell whether the file exists: it gets its name when it has all tables."""
        return self.path.is_file()

    def create(self, version: str) -> None:
        """Create the database under a temporary name first, so that it is complete or missing."""
        with self._replacing() as connection:
            connection.executescript(interface.schema(version, "SQLite"))

    def missing_tuning(self, connection: interface.Connection) -> list[str]:
        """Return which indexes and triggers are missing, and whether the write-ahead log is."""
        other = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        missing = [f"index {name}" for name in INDEXES if name not in other]
        missing += [f"trigger {name}" for name in sync_triggers.missing(connection, self.backend)]
        if _journal_mode(connection) != "wal":
            missing.append("write-ahead log")
        return missing

    def tune(self, connection: interface.Connection) -> None:
        """Add the missing indexes and triggers, and turn on the write-ahead log.

        With the write-ahead log, reads aren't blocked by a write: 2.5 times the requests with 8 writers. It keeps
        ``synchronous=FULL``, so that no acknowledged change is lost in a power cut.
        """
        for name, columns in INDEXES.items():
            connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
        sync_triggers.add(connection, self.backend)
        if _journal_mode(connection) != "wal":
            _set_wal(connection)
        connection.execute("ANALYZE")
        connection.commit()

    def integrity(self, connection: interface.Connection) -> str:
        """Return the first thing that SQLite's own integrity check finds wrong, or nothing; reads the whole database."""
        return integrity(connection)

    def snapshot(self, target: Path) -> None:
        """Copy the database with SQLite's own backup function, mode 0600."""
        with contextlib.closing(self.connect(read_only=True)) as connection:
            save_copy(connection, target)

    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:  # noqa: ARG002 - not used for files
        """Replace the file by a new one with the release's tables and the rows of ``source``."""
        from baikalctl.database import transfer

        with self._replacing() as connection:
            connection.executescript(interface.schema(version, "SQLite"))
            transfer.copy(source, connection, transfer.SqliteValues())

    def abandon(self) -> None:
        """Remove the file."""
        for suffix in (*COMPANIONS, ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:  # noqa: ARG002 - a file belongs to one machine
        """Do nothing: the host's own lock is enough."""
        yield

    def remedy(self, error: interface.Error, otherwise: str) -> str:
        """Return the remedy: free disk space if the disk is full (SQLite also needs space for reading), or ``otherwise``."""
        room = os.statvfs(paths.DATA)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        ambiguous = (
            code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} and room.f_bavail * room.f_frsize < LEAST_FREE
        )
        return (
            f"free disk space in {paths.DATA}, which is full" if code == sqlite3.SQLITE_FULL or ambiguous else otherwise
        )

    @contextlib.contextmanager
    def _replacing(self) -> Iterator[Connection]:
        """Yield an empty database under a temporary name; after the block, it is synced and replaces the file."""
        with atomic_write.replacing_by_name(self.path) as temporary:
            with contextlib.closing(sqlite3.connect(temporary, factory=Connection)) as connection:
                # It is synced once, as a whole, before it gets its name.
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("PRAGMA journal_mode = MEMORY")
                yield connection
                connection.commit()
            atomic_write.sync(temporary)  # before the old database loses its log
            for suffix in COMPANIONS:
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def integrity(connection: interface.Connection) -> str:
    """Return the first thing that SQLite's own integrity check finds wrong, or nothing; reads the whole database."""
    (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if answer == "ok" else str(answer)


def save_copy(connection: sqlite3.Connection, target: Path) -> None:
    """Write a consistent copy of the database to ``target``, mode 0600, while clients continue to work."""
    ((pages,), (size,)) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    safe_copy.refuse_without_room(pages * size, target.parent, "the database")
    with atomic_write.replacing_by_name(target) as temporary, contextlib.closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)
        # The copy is one file, in any journal mode of the original.
        copy.execute("PRAGMA journal_mode = DELETE")


def _journal_mode(connection: interface.Connection) -> str:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)


def _set_wal(connection: interface.Connection) -> None:
    """Turn the write-ahead log on; SQLite ignores the busy timeout here and fails if another connection is open."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            mode = str(error)
        if mode == "wal":
            return
        if time.monotonic() > deadline:
            message = f"the write-ahead log of the database can't be turned on ({mode}); run again when it is less busy"
            raise HostError(message)
        time.sleep(0.05)
