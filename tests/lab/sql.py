"""Whatever holds Baïkal's rows in a test, and how it is told to do something with them, whichever of the three it is."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.engine import Engine


# Values that JSON has no notation for are lists of one: the base64 of bytes.
EXECUTE: Final = """\
import base64, json, sys
name, statements = json.load(sys.stdin)
{connect}
def given(value):
    return base64.b64decode(value[0]) if isinstance(value, list) else value
def told(value):
    if isinstance(value, (bytes, memoryview)):
        value = bytes(value).decode("utf-8", "surrogateescape")
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
cursor = connection.cursor()
for sql, *rows in statements:
    if rows:
        values = [[given(value) for value in row] for row in rows]
        {many}
    else:
        cursor.execute(sql)
found = [[told(value) for value in row] for row in cursor.fetchall()] if cursor.description else []
connection.commit()
json.dump(found, sys.stdout)
"""
"""Runs statements in the server's own container, as the database's administrator; prints what the last one found."""

SQLITE_CONNECT: Final = """\
import os, sqlite3
found = os.stat(name)
os.setgid(found.st_gid)
os.setuid(found.st_uid)
connection = sqlite3.connect(name, timeout=30)
"""

Statement = tuple[Any, ...]
"""SQL, and the rows of values that it is to be executed with, one after the other; without rows, once as it is."""


class SqlDatabase(Protocol):
    """Whatever holds Baïkal's rows: a database server, or the SQLite file of a machine."""

    @property
    def backend(self) -> str:
        """As Baïkal's yaml calls it."""

    def execute(self, *statements: Statement) -> list[list[Any]]:
        """Do all of this in one transaction, and return what the last statement found; values stand for ``%s``."""


@dataclass
class SqliteFile:
    """The database of a machine or container of ours, written as its owner."""

    engine: Engine
    name: str
    """The machine's, or the container's."""
    path: str = "/var/lib/baikal/Specific/db/db.sqlite"

    @property
    def backend(self) -> str:
        """As Baïkal's yaml calls it."""
        return "sqlite"

    def execute(self, *statements: Statement) -> list[list[Any]]:
        """Do all of this in one transaction, and return what the last statement found; values stand for ``%s``."""
        program = EXECUTE.format(connect=SQLITE_CONNECT, many='cursor.executemany(sql.replace("%s", "?"), values)')
        command = ("exec", "-i", "-u", "root", self.name, "python3", "-c", program)
        rows: list[list[Any]] = json.loads(self.engine.docker(*command, input=to_json(self.path, statements)))
        return rows


def to_json(database: str, statements: Sequence[Statement]) -> str:
    """Write statements in JSON's notation, bytes as a list of one."""

    def row(values: Sequence[object]) -> list[object]:
        return [[base64.b64encode(value).decode()] if isinstance(value, bytes) else value for value in values]

    return json.dumps([database, [[sql, *map(row, rows)] for sql, *rows in statements]])
