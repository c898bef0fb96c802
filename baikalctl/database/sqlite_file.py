"""SQLite files that others may have written: opened with nothing in them that would run, delete or hold up anything.

To be called by the data's owner, which :mod:`baikalctl.host.boundary` sees to. What is refused here would harm only that
account; it is refused all the same, because Baïkal makes none of it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from baikalctl.database import sync_triggers
from baikalctl.errors import HostError
from baikalctl.host.safe_copy import open_untrusted

if TYPE_CHECKING:
    from pathlib import Path

BUSY_SECONDS = 30.0
COMPANIONS = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside a database, and that must never stand beside another one."""
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Ends a rollback journal that names a super-journal, which SQLite deletes when it rolls back
(https://www.sqlite.org/fileformat2.html#the_rollback_journal, https://www.sqlite.org/tempfiles.html)."""
PLAIN = ("CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ")
KINDS, KIND_WITHIN = ("view", "trigger", "virtual table"), 100
LARGEST_VALUE = 256 << 20
"""Bytes of a text or a blob: more than any upload, which PHP holds in memory several times."""


class Connection(sqlite3.Connection):
    """A connection that can tell the id of what it adds."""

    def insert(self, table: str, **columns: object) -> int:
        """Add a row to ``table`` and return its id."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
        return self.execute(statement, tuple(columns.values())).lastrowid or 0


def connect(path: Path, mode: str = "rw") -> Connection:
    """Open the file ``path``; ``mode`` is SQLite's ``ro`` or ``rw``, or ``immutable`` for a file that nothing changes.

    Raises :class:`HostError` where the database has something that Baïkal doesn't make and that may act by itself, and
    ``sqlite3.Error`` where it can't be read.
    """
    refuse_super_journal(path)
    options = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    connection = sqlite3.connect(f"file:{_quoted(path)}?{options}", uri=True, timeout=BUSY_SECONDS, factory=Connection)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        _refuse_foreign(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(path: Path) -> str:
    """Return ``path`` as a URI of SQLite's has it (https://www.sqlite.org/uri.html)."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def refuse_super_journal(path: Path) -> None:
    """Raise :class:`HostError` if the journal of the database ``path`` names another file for SQLite to delete."""
    journal = path.with_name(f"{path.name}-journal")
    with contextlib.suppress(FileNotFoundError), open_untrusted(journal) as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - len(SUPER_JOURNAL)))
        if stream.read() == SUPER_JOURNAL:
            message = (
                f"{journal} names another file to be deleted (a super-journal), which Baïkal's never does; restore the "
                "database from a backup"
            )
            raise HostError(message)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Raise :class:`HostError` for a view, a virtual table, or a trigger that isn't ours.

    What SQLite does is in the statement alone, which it writes in these forms itself; the other columns may say anything.
    """
    for name, statement in connection.execute("SELECT name, sql FROM sqlite_master"):
        if statement is None or (isinstance(statement, str) and statement.startswith(PLAIN)):
            continue
        if name in sync_triggers.SQLITE and str(statement).startswith(
            "CREATE TRIGGER "
        ):  # replaced where it isn't ours
            continue
        kind = next((word for word in KINDS if word in str(statement)[:KIND_WITHIN].lower()), "object")
        message = (
            f"the database {path} has the {kind} {str(name)[:80]!r}, which is not Baïkal's; delete it, or restore the "
            "database from a backup"
        )
        raise HostError(message)
