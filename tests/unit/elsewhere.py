"""A database that is somewhere else than baikal.yaml's own, as a server's is: what moves can be tried out with."""

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
    """Takes the place of PostgreSQL's; its rows are in a file named after the database."""

    backend: ClassVar[str] = "pgsql"

    def __init__(self, section: Mapping[str, Any]) -> None:
        """Take the database that the section names."""
        self._section = dict(section)
        self.place = Path(paths.DATA) / "elsewhere"
        self.file = Sqlite(self.place / f"{section['pgsql_dbname']}.sqlite")
        self.told = self.place / "version"

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"the database {self._section['pgsql_dbname']} elsewhere"

    def section(self) -> dict[str, Any]:
        """Return the section that names it."""
        return dict(self._section)

    def connect(self, *, read_only: bool = False) -> interface.Connection:
        """Return a connection."""
        return self.file.connect(read_only=read_only)

    def installed(self) -> bool:
        """Tell whether it has tables that weren't given up."""
        return self.file.installed() and self.version() != "given up"

    def create(self, version: str) -> None:
        """Make the tables."""
        self.place.mkdir(exist_ok=True)
        self.file.create(version)

    def missing_tuning(self, connection: interface.Connection) -> list[str]:  # noqa: ARG002 - it has all
        """Return nothing."""
        return []

    def tune(self, connection: interface.Connection) -> None:
        """Do nothing."""

    def integrity(self, connection: interface.Connection) -> str:
        """Return the first thing that is wrong."""
        return self.file.integrity(connection)

    def snapshot(self, target: Path) -> None:
        """Write a copy."""
        self.file.snapshot(target)

    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:
        """Replace everything."""
        self.place.mkdir(exist_ok=True)
        self.file.load(source, version, exactly=exactly)

    def abandon(self) -> None:
        """Have it count as nothing."""
        if self.file.installed():
            self.set_version("given up")

    def version(self) -> str:
        """Return the release that the data is of."""
        return self.told.read_text(encoding="ascii") if self.told.is_file() else ""

    def set_version(self, version: str) -> None:
        """Remember the release."""
        self.told.write_text(version, encoding="ascii")

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:  # noqa: ARG002 - nobody else is here
        """Do nothing."""
        yield

    def remedy(self, error: interface.Error, otherwise: str) -> str:
        """Return what to do."""
        return self.file.remedy(error, otherwise)
