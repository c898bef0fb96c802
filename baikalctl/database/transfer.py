"""Copy rows between databases through an SQLite file, which is also the format of backups of all databases.

Ids, ETags and sync tokens stay the same, so clients don't have to start over. Only the storage differs: SQLite accepts text
and bytes in any column, MySQL needs bytes in some, and PostgreSQL text in all.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from typing import TYPE_CHECKING

from baikalctl.database import interface, sqlite_file
from baikalctl.errors import HostError
from baikalctl.host import safe_copy
from baikalctl.host.atomic_write import replacing_by_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

AT_ONCE = 200
"""Rows per read and write: an event with an attachment may have megabytes."""
POSITIVE = {"firstoccurence", "lastoccurence", "lastmodified"}
"""Seconds since 1970 that are only used in comparisons: PostgreSQL's tables accept only positive ones, MySQL's also 0."""
DEFAULTS = {"access": 1, "calendarorder": 0, "share_invitestatus": 2, "transparent": 0}
"""Defaults of servers' tables for columns that may be NULL on SQLite, as in calendars of clients (Core/Resources/Db)."""
RAW = ("value",)
"""Columns that Baïkal declares as "string"; SQLite would store "007" as a number there."""
NAMED = ("uri", "username", "path", "principaluri", "name")
"""Columns that identify a row in messages; the first existing one is used."""


class SqliteValues:
    """Values for SQLite, unchanged."""

    least_second: int | None = None

    def value(self, column: str, value: object) -> object:  # noqa: ARG002 - used by the other databases
        """Return ``value`` as the database stores it; raises ValueError if it can't store it."""
        return value


class MysqlValues(SqliteValues):
    """Values for MySQL: bytes or text, and seconds from 1970 on."""

    least_second = 0

    def value(self, column: str, value: object) -> object:
        """Return ``value`` or its default; earlier seconds become the least allowed one."""
        if value is None:
            return DEFAULTS.get(column)
        if column in POSITIVE and isinstance(value, int) and self.least_second is not None:
            return max(value, self.least_second)
        return value


class PostgresqlValues(MysqlValues):
    """Values for PostgreSQL: text in UTF-8 without zero bytes, and positive seconds."""

    least_second = 1

    def value(self, column: str, value: object) -> object:
        """Return ``value`` as text; raises ValueError if it isn't text."""
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if isinstance(value, str) and "\0" in value:
            message = "it has a zero byte"
            raise ValueError(message)
        return super().value(column, value)


def decoded(value: object) -> object:
    """Decode bytes that are text: a server may return either type."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        content = bytes(value)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return content
    return value


def copy(source: Path, target: interface.Connection, manner: SqliteValues) -> None:
    """Add all rows of the SQLite file ``source`` to the empty tables of ``target``; ``manner`` converts the values.

    Raises :class:`HostError` for a row that can't be stored there, and for a column that doesn't exist there.
    """
    with contextlib.closing(sqlite_file.connect(source, "ro")) as origin:
        for table in tables(origin):
            names = columns(origin, table)
            _refuse_unknown(target, table, names)
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for rows in _batches(origin.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY id")):
                values = [_converted(table, names, row, manner) for row in rows]
                target.execute("SAVEPOINT batch")
                try:
                    target.executemany(statement, values)
                except interface.Error:
                    target.execute("ROLLBACK TO SAVEPOINT batch")
                    _raise_for_row(target, table, names, statement, values)
                target.execute("RELEASE SAVEPOINT batch")


def write(target: Path, source: Iterable[tuple[str, list[str], Iterable[tuple[object, ...]]]]) -> None:
    """Write ``source`` (table, columns, rows) to the SQLite file ``target``, in the current release's tables.

    Tables and columns that the source lacks are left out: in an image, the release may be newer than the data, and its
    own migration adds them. The file's tables allow NULL in all columns, because the source's tables may.
    """
    with replacing_by_name(target) as temporary, contextlib.closing(sqlite3.connect(temporary)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.executescript(interface.schema("current", "SQLite").replace(" NOT NULL", ""))
        absent = set(tables(connection))
        for table, names, rows in source:
            absent.discard(table)
            known = columns(connection, table)
            if not known:
                connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
                known = ["id"]
            for name in names:
                if name not in known:
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {name}")
            for name in set(known) - set(names):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for batch in _batches(rows):
                connection.executemany(statement, (_stored(names, row) for row in batch))
                safe_copy.refuse_without_room(0, target.parent, "the database")  # its size is unknown
        for table in absent:
            connection.execute(f"DROP TABLE {table}")
        connection.commit()


def difference(one: Path, other: Path) -> str:
    """Return the first difference between two such files, for messages; nothing if all rows are the same.

    Text and its bytes count as the same, and so do NULL and the default, and seconds before 1970, which servers can't store.
    """
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(contextlib.closing(sqlite_file.connect(path, "ro"))) for path in (one, other)
        )
        for table in tables(first):
            names = columns(first, table)
            query = f"SELECT {', '.join(names)} FROM {table} ORDER BY id"
            try:
                pairs = itertools.zip_longest(first.execute(query), second.execute(query))
                for left, right in pairs:
                    if left is None or right is None:
                        return f"{_which(table, names, left or right)} is in only one of them"
                    for name, database, existing in zip(names, left, right, strict=True):
                        if _compared(name, database) != _compared(name, existing):
                            return f"{_which(table, names, left)} has another {name}"
            except sqlite3.OperationalError as error:
                return f"{table}: {error}"
    return ""


def schema_statements(path: Path) -> list[tuple[str, str | None]]:
    """Return the statements that created a file's tables, indexes and triggers, by name."""
    with contextlib.closing(sqlite_file.connect(path, "ro")) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name, type").fetchall()


def all_columns(path: Path) -> dict[str, list[str]]:
    """Return the columns of each table of a file."""
    with contextlib.closing(sqlite_file.connect(path, "ro")) as connection:
        return {table: columns(connection, table) for table in tables(connection)}


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables of a file: Baïkal's, including those of newer releases, without our own."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if name.isidentifier() and not name.startswith(("sqlite_", "baikalctl_"))]


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of a table, none if it doesn't exist; raises :class:`HostError` for an unusual name."""
    names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
    odd = [name for name in names if not name.isidentifier()]
    if odd:
        message = f"the table {table} has a column {odd[0]!r}, which is none of Baïkal's"
        raise HostError(message)
    return names


def _batches(rows: Iterable[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, AT_ONCE)):
        yield batch


def _stored(names: list[str], row: tuple[object, ...]) -> tuple[object, ...]:
    values = (decoded(value) for value in row)
    return tuple(
        value.encode() if name in RAW and isinstance(value, str) else value
        for name, value in zip(names, values, strict=True)
    )


def _converted(table: str, names: list[str], row: tuple[object, ...], manner: SqliteValues) -> tuple[object, ...]:
    try:
        return tuple(manner.value(name, value) for name, value in zip(names, row, strict=True))
    except ValueError as error:
        message = f"{_which(table, names, row)} can't be stored in that database: {error}; fix or delete it first"
        raise HostError(message) from None


def _refuse_unknown(target: interface.Connection, table: str, names: list[str]) -> None:
    try:
        target.execute(f"SELECT {', '.join(names)} FROM {table} WHERE id = 0").fetchall()
    except interface.Error as error:
        message = (
            f"the tables of this release lack columns of the data ({error}); use the release that the data belongs to"
        )
        raise HostError(message) from None


def _raise_for_row(
    target: interface.Connection, table: str, names: list[str], statement: str, rows: list[tuple[object, ...]]
) -> None:
    """Raise :class:`HostError` for the first of ``rows`` that can't be stored."""
    for row in rows:
        try:
            target.execute(statement, row)
        except interface.Error as error:
            message = f"{_which(table, names, row)} can't be stored in that database: {error}; fix or delete it first"
            raise HostError(message) from None
    message = f"rows of {table} can't be stored in that database; run again, and check the server's log"
    raise HostError(message)


def _which(table: str, names: list[str], row: tuple[object, ...]) -> str:
    values = dict(zip(names, row, strict=True))
    name = next((values[column] for column in NAMED if values.get(column)), None)
    return f"{table}, id {values.get('id')}" + (f" ({decoded(name)})" if name else "")


def _compared(name: str, value: object) -> object:
    if value is None:
        return DEFAULTS.get(name)
    if name in RAW:
        return value if isinstance(value, bytes) else str(value).encode()
    if isinstance(value, str):
        return value.encode()
    if name in POSITIVE and isinstance(value, int):
        return max(value, 1)
    return value
