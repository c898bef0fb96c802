"""Open SQLite files of other accounts; refuse those with content that runs code or deletes files.

To be called as the data's owner (:mod:`baikalctl.host.boundary`). Such content could only harm that account, but it is
refused, because Baïkal creates nothing like it.
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
"""Suffixes of the files that SQLite keeps next to a database; they must never be next to another database."""
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Ends a rollback journal that names a super-journal, which SQLite deletes when it rolls back
(https://www.sqlite.org/fileformat2.html#the_rollback_journal, https://www.sqlite.org/tempfiles.html)."""
PLAIN = ("CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ")
KINDS, KIND_WITHIN = ("view", "trigger", "virtual table"), 100
LARGEST_VALUE = 256 << 20
"""Bytes of a text or blob: more than any upload, because PHP keeps several copies of an upload in memory."""


class Connection(sqlite3.Connection):
    """A connection that returns the ids of new rows."""

    def insert(self, table: str, **columns: object) -> int:
        """Add a row to ``table`` and return its id."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
        return self.execute(statement, tuple(columns.values())).lastrowid or 0


def connect(path: Path, mode: str = "rw") -> Connection:
    """Open the file ``path``; ``mode`` is SQLite's ``ro`` or ``rw``, or ``immutable`` for a file that no process changes.

    Raises :class:`HostError` if the database has objects that may run by themselves and that Baïkal doesn't create, and
    ``sqlite3.Error`` if it can't be read.
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
    """Return ``path``, quoted for SQLite's URIs (https://www.sqlite.org/uri.html)."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def refuse_super_journal(path: Path) -> None:
    """Raise :class:`HostError` if the journal of the database ``path`` names another file for SQLite to delete."""
    journal = path.with_name(f"{path.name}-journal")
    with contextlib.suppress(FileNotFoundError), open_untrusted(journal) as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - len(SUPER_JOURNAL)))
        if stream.read() == SUPER_JOURNAL:
            message = (
                f"{journal} names another file to be deleted (a super-journal), which Baïkal never does; restore the "
                "database from a backup"
            )
            raise HostError(message)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Raise :class:`HostError` for a view, a virtual table, or a trigger that isn't ours.

    Only the statement counts: SQLite runs it, and writes it in these forms itself. The other columns may have any content.
    """
    for name, statement in connection.execute("SELECT name, sql FROM sqlite_master"):
        if statement is None or (isinstance(statement, str) and statement.startswith(PLAIN)):
            continue
        if name in sync_triggers.SQLITE and str(statement).startswith("CREATE TRIGGER "):  # replaced if it isn't ours
            continue
        kind = next((word for word in KINDS if word in str(statement)[:KIND_WITHIN].lower()), "object")
        message = (
            f"the database {path} has the {kind} {str(name)[:80]!r}, which is not Baïkal's; delete it, or restore the "
            "database from a backup"
        )
        raise HostError(message)
