"""Choose the class for a database: SQLite, MySQL (or MariaDB) or PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.database.interface import Database, backend

if TYPE_CHECKING:
    from collections.abc import Mapping


def of(section: Mapping[str, Any]) -> Database:
    """Return the database of the section ``database`` of a baikal.yaml."""
    kind = backend(section)
    if kind == "mysql":
        from baikalctl.database.mysql import Mysql

        return Mysql(section)
    if kind == "pgsql":
        from baikalctl.database.postgresql import Postgresql

        return Postgresql(section)
    from baikalctl.database.sqlite import Sqlite

    return Sqlite(Path(paths.SQLITE))
