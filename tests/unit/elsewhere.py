"""A database outside of Baïkal's data directory, like that of a server. Tests of moves use it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baikalctl import paths
from baikalctl.database import interface
from baikalctl.database.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Elsewhere(interface.Database):
    """Replaces the PostgreSQL class. The rows are in a file with the name of the database."""

    backend: ClassVar[str] = "pgsql"

    def __init__(self, section: Mapping[str, Any]) -> None:
        """Use the database that the section names."""
        self._section = dict(section)
        self.folder = Path(paths.DATA) / "elsewhere"
        self.file = Sqlite(self.folder / f"{section['pgsql_dbname']}.sqlite")
        self.version_file = self.folder / "version"

    def __str__(self) -> str:
        """Return its name in messages."""
        return f"the database {self._section['pgsql_dbname']} elsewhere"

    def section(self) -> dict[str, Any]:
        """Return the section that names it."""
        return dict(self._section)

    def connect(self, *, read_only: bool = False) -> interface.Connection:
        """Return a connection."""
        return self.file.connect(read_only=read_only)

    def installed(self) -> bool:
        """Return whether it has tables that were not abandoned."""
        return self.file.installed() and self.version() != "abandoned"

    def create(self, version: str) -> None:
        """Make the tables."""
        self.folder.mkdir(exist_ok=True)
        self.file.create(version)

    def missing_tuning(self, connection: interface.Connection) -> list[str]:  # noqa: ARG002 - none is missing
        """Return nothing."""
        return []

    def tune(self, connection: interface.Connection) -> None:
        """Do nothing."""

    def integrity(self, connection: interface.Connection) -> str:
        """Return the first fault."""
        return self.file.integrity(connection)

    def snapshot(self, target: Path) -> None:
        """Write a copy."""
        self.file.snapshot(target)

    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:
        """Replace all data."""
        self.folder.mkdir(exist_ok=True)
        self.file.load(source, version, exactly=exactly)

    def abandon(self) -> None:
        """Mark the data as abandoned, so that it counts as not installed."""
        if self.file.installed():
            self.set_version("abandoned")

    def version(self) -> str:
        """Return the release that the data belongs to."""
        return self.version_file.read_text(encoding="ascii") if self.version_file.is_file() else ""

    def set_version(self, version: str) -> None:
        """Write down the release that the data belongs to."""
        self.version_file.write_text(version, encoding="ascii")

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:  # noqa: ARG002 - no other process uses it
        """Do nothing."""
        yield

    def remedy(self, error: interface.Error, otherwise: str) -> str:
        """Return the remedy for the error."""
        return self.file.remedy(error, otherwise)
