"""The common interface of Baïkal's databases.

Its implementations are SQLite (:mod:`baikalctl.database.sqlite`), MySQL or MariaDB (:mod:`baikalctl.database.mysql`) and
PostgreSQL (:mod:`baikalctl.database.postgresql`). Callers use SQL that all of them understand, with ``?`` for values. They
run as the data's owner: files are opened, and local servers logged in to, as that account.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from baikalctl import paths
from baikalctl.errors import HostError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BACKENDS = {"sqlite": "SQLite", "mysql": "MySQL", "pgsql": "PostgreSQL"}
"""Baïkal's names of the databases (``backend`` in baikal.yaml), and their usual names."""
CREATED_LAST = "users"
"""The table that Baïkal's schemas create last: if it exists, all do."""
TABLES = (
    "addressbookchanges",
    "addressbooks",
    "calendarchanges",
    "calendarinstances",
    "calendarobjects",
    "calendars",
    "calendarsubscriptions",
    "cards",
    "groupmembers",
    "locks",
    "principals",
    "propertystorage",
    "schedulingobjects",
    "users",
)
"""Baïkal's tables (Core/Resources/Db, the same from 0.9.5 to 0.12.1); each has a number called ``id`` as its key."""
COUNTED = {
    "account": "users",
    "calendar": "calendars",
    "event": "calendarobjects",
    "address book": "addressbooks",
    "card": "cards",
}
"""What users have, and the table with a row for each."""

PASSWORDS = "applied"
"""The note of the passwords that were last declared (:mod:`baikalctl.baikal.applied_passwords`); it belongs to the
present rows."""

Error = sqlite3.Error
"""The base class of the errors that our connections raise, for each of the databases."""


class ServerError(sqlite3.DatabaseError):
    """An error of a server, with its own message."""


class Rows(Protocol):
    """The result of a query."""

    @property
    def rowcount(self) -> int:
        """Return the number of rows in the result, or of changed rows."""

    def fetchone(self) -> Any:  # noqa: ANN401 - a row, with columns of any type
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all remaining rows."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""


class Connection(Protocol):
    """A connection; it begins transactions automatically, and :meth:`commit` ends them."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run ``query`` with ``values`` for its question marks; raises :data:`Error`."""

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run ``query`` for each of ``values``."""

    def insert(self, table: str, **columns: object) -> int:
        """Add a row to ``table`` and return its id."""

    def commit(self) -> None:
        """Commit the transaction."""

    def rollback(self) -> None:
        """Roll the transaction back."""

    def close(self) -> None:
        """Close the connection; changes that weren't committed are lost."""


class Database(ABC):
    """The database of one Baïkal; ``str()`` returns its name for messages."""

    backend: ClassVar[str]
    text_type: ClassVar[str] = "TEXT"
    """The type to cast bytes to, to search for letters in them."""

    @property
    def shared(self) -> bool:
        """Whether other machines may use it, too, and write to it at any time."""
        return False

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """Return the section ``database`` of baikal.yaml for this database."""

    @abstractmethod
    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection; raises :class:`HostError` if the database doesn't exist or can't be opened."""

    @abstractmethod
    def installed(self) -> bool:
        """Tell whether Baïkal's tables exist; raises :class:`HostError` if that can't be determined."""

    @abstractmethod
    def create(self, version: str) -> None:
        """Create the tables of the installed release ``version``; if this is interrupted, the next call completes them."""

    @abstractmethod
    def missing_tuning(self, connection: Connection) -> list[str]:
        """Return short names of missing indexes, triggers and settings that make this database faster or safer."""

    @abstractmethod
    def tune(self, connection: Connection) -> None:
        """Add the missing indexes, triggers and settings; afterwards, databases of any origin are alike."""

    @abstractmethod
    def integrity(self, connection: Connection) -> str:
        """Return the first error that the database's own integrity check finds, or nothing; reads all data."""

    @abstractmethod
    def snapshot(self, target: Path) -> None:
        """Write a consistent copy of all data to the SQLite file ``target``, while clients continue to work.

        For every kind of database, the file has Baïkal's tables for SQLite, with all ids, ETags and sync tokens.
        """

    @abstractmethod
    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:
        """Replace all data by the file ``source`` of :meth:`snapshot`, in the tables of the release ``version``.

        With ``exactly``, tables and columns that the release has and the source lacks are dropped.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Treat this database as empty: a move to it was rolled back, and the next move creates its tables again."""

    def version(self) -> str:
        """Return the release that the data belongs to, as noted in the database; for a file, only baikal.yaml has it."""
        return ""

    def set_version(self, version: str) -> None:  # noqa: B027 - a file belongs to one machine
        """Note the release that the data belongs to, if several machines use the database."""

    def noted(self, name: str) -> str:  # noqa: ARG002 - a file belongs to one machine, which has its own notes
        """Return the note ``name`` of the machines that share the database, or nothing."""
        return ""

    def note(self, name: str, text: str) -> None:  # noqa: B027 - as above
        """Store the note ``name`` for all machines that share the database."""

    @abstractmethod
    def exclusive(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold the lock ``name`` of the database; wait if another machine that shares the database holds it."""

    @abstractmethod
    def remedy(self, error: Error, otherwise: str) -> str:
        """Return the remedy for ``error``; ``otherwise`` if its cause is unknown."""

    def unreadable(self, error: Error) -> HostError:
        """Return the exception for an ``error`` while the database was read."""
        return HostError(f"{self} can't be read ({error}); {self.remedy(error, 'restore it from a backup')}")


def backend(section: Mapping[str, Any]) -> str:
    """Return a section's kind of database, as Baïkal reads it: ``mysql`` (true or false, before 0.10) still counts."""
    kind = "mysql" if section.get("mysql") else str(section.get("backend") or "sqlite")
    if kind not in BACKENDS:
        message = f"baikal.yaml has the database {kind[:40]!r}; it must be one of {', '.join(BACKENDS)}; fix it there"
        raise HostError(message)
    return kind


def schema(version: str, folder: str) -> str:
    """Return the statements with which the installed release ``version`` creates its tables.

    ``folder`` is ``SQLite``, ``MySQL`` or ``PgSQL``. Raises :class:`HostError` if the release has none.
    """
    path = Path(paths.CODE) / version / "Core/Resources/Db" / folder / "db.sql"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"Baïkal {version} has no schema for this database ({path} does not exist); choose another release"
        raise HostError(message) from None


def tables() -> set[str]:
    """Return the names of the tables of all installed releases of Baïkal."""
    names = set(TABLES)
    for path in Path(paths.CODE).glob("[0-9]*/Core/Resources/Db/SQLite/db.sql"):
        names.update(re.findall(r"(?im)^\s*CREATE TABLE\s+(\w+)", path.read_text(encoding="utf-8")))
    return names


def first_number(connection: Connection, query: str, values: Sequence[Any] = ()) -> int | None:
    """Return the first column of the first row of ``query``, which is an id, or None if there is no row."""
    row = connection.execute(query, tuple(values)).fetchone()
    return None if row is None else int(row[0])


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows for each of :data:`COUNTED`."""
    return {word: first_number(connection, f"SELECT count(*) FROM {table}") or 0 for word, table in COUNTED.items()}  # noqa: S608 - our own names


def counts_in_words(numbers: Mapping[str, int]) -> str:
    """Return the counts as text, such as “2 accounts, 1 calendar”."""
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for word, number in numbers.items())
