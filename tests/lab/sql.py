"""One interface for SQL statements on Baïkal's database in tests: SQLite, MariaDB or PostgreSQL."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.engine import Engine


# JSON has no bytes: they are lists of one string, in base64.
EXECUTE: Final = """\
import base64, json, sys
name, statements = json.load(sys.stdin)
{connect}
def from_json(value):
    return base64.b64decode(value[0]) if isinstance(value, list) else value
def to_json(value):
    if isinstance(value, (bytes, memoryview)):
        value = bytes(value).decode("utf-8", "surrogateescape")
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
cursor = connection.cursor()
for sql, *rows in statements:
    if rows:
        values = [[from_json(value) for value in row] for row in rows]
        {many}
    else:
        cursor.execute(sql)
result = [[to_json(value) for value in row] for row in cursor.fetchall()] if cursor.description else []
connection.commit()
json.dump(result, sys.stdout)
"""
"""Runs statements in the server's container, as the database's administrator; prints the rows of the last one."""

SQLITE_CONNECT: Final = """\
import os, sqlite3
status = os.stat(name)
os.setgid(status.st_gid)
os.setuid(status.st_uid)
connection = sqlite3.connect(name, timeout=30)
"""

Statement = tuple[Any, ...]
"""SQL, and rows of values; it is executed once per row, or once if there are none."""


class SqlDatabase(Protocol):
    """Baïkal's database: on a database server, or the SQLite file of a machine."""

    @property
    def backend(self) -> str:
        """Its name in baikal.yaml."""

    def execute(self, *statements: Statement) -> list[list[Any]]:
        """Run all statements in one transaction, and return the rows of the last one; the placeholder is ``%s``."""


@dataclass
class SqliteFile:
    """The database of a deployed machine or container, used as its owner."""

    engine: Engine
    name: str
    """Name of the machine or container."""
    path: str = "/var/lib/baikal/Specific/db/db.sqlite"

    @property
    def backend(self) -> str:
        """Its name in baikal.yaml."""
        return "sqlite"

    def execute(self, *statements: Statement) -> list[list[Any]]:
        """Run all statements in one transaction, and return the rows of the last one; the placeholder is ``%s``."""
        program = EXECUTE.format(connect=SQLITE_CONNECT, many='cursor.executemany(sql.replace("%s", "?"), values)')
        command = ("exec", "-i", "-u", "root", self.name, "python3", "-c", program)
        rows: list[list[Any]] = json.loads(self.engine.docker(*command, input=to_json(self.path, statements)))
        return rows


def to_json(database: str, statements: Sequence[Statement]) -> str:
    """Encode statements as JSON, bytes as lists of one string."""

    def row(values: Sequence[object]) -> list[object]:
        return [[base64.b64encode(value).decode()] if isinstance(value, bytes) else value for value in values]

    return json.dumps([database, [[sql, *map(row, rows)] for sql, *rows in statements]])
