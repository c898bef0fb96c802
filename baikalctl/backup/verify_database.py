"""Check that an SQLite file from an archive is a sound database of Baïkal, with the rows that the manifest says."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from baikalctl import paths
from baikalctl.database import sqlite_file
from baikalctl.database.interface import TABLES
from baikalctl.errors import HostError
from baikalctl.host.boundary import child_account, confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.privileges import privileged
from baikalctl.host.safe_copy import copy_out
from baikalctl.host.tempdir import temporary_directory
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
LONGEST_NAME = 64


def refuse_unsound(database: Path, counts: Mapping[str, int], what: str, remedy: str) -> None:
    """Raise :class:`HostError` unless the database is sound and has ``counts`` rows by table.

    The message begins with ``what``. To be called in the confined child, for a file that nothing changes.
    """
    try:
        with contextlib.closing(sqlite_file.connect(database, "immutable")) as connection:
            wrong = _wrong(connection, counts)
    except sqlite3.Error as error:
        wrong = f"can't be read ({error})"
    except HostError as error:
        wrong = f"is not a Baïkal database: {error}"
    if wrong:
        message = f"{what} {wrong}; {remedy}"
        raise HostError(message)


def checked(database: Path, look: Callable[[Path], T]) -> T:
    """Run ``look`` in the confined child on root's file ``database``, and return its result.

    The child can read the file but not change it, so the checked file is the one that is kept.
    """
    if not privileged():
        return confined(lambda: look(database), THOROUGH)
    data = Path(paths.DATA)
    with temporary_directory(data if data.is_dir() else database.parent) as folder:
        copy = folder / database.name
        copy_out(database, copy)
        group = child_account().pw_gid
        for path, mode in ((copy, 0o640), (folder, 0o710)):
            os.chown(path, 0, group)
            path.chmod(mode)
        return confined(lambda: look(copy), THOROUGH)


def count_sound(database: Path, what: str, remedy: str) -> dict[str, int]:
    """Return how many rows each table of a sound database has; raises as :func:`refuse_unsound` does."""
    refuse_unsound(database, {}, what, remedy)
    return count(database)


def count(database: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    with contextlib.closing(sqlite_file.connect(database, "immutable")) as connection:
        return {name: _rows(connection, name) for name in _tables(connection)}


def _wrong(connection: sqlite3.Connection, counts: Mapping[str, int]) -> str:
    (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        return f"is damaged ({answer})"
    other = _tables(connection)
    if odd := [name for name in other if not (name.isidentifier() and name.isascii() and len(name) < LONGEST_NAME)]:
        return f"has a table {odd[0][:LONGEST_NAME]!r}, which is not a table of Baïkal"
    missing = [name for name in (*TABLES, *counts) if name not in other]
    if missing:
        return f"has no table {missing[0]}"
    for name, expected in counts.items():
        if (rows := _rows(connection, name)) != expected:
            return f"has {counted(rows, 'row')} in {name}, not {expected} as its manifest says"
    return ""


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of its tables, without SQLite's own."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    return [name for (name,) in connection.execute(query) if not name.startswith("sqlite_")]


def _rows(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    (rows,) = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()  # noqa: S608 - a quoted name
    return int(rows)
