"""Baïkal's database, whichever of the three it is: what everything else knows of it.

What is here speaks for SQLite (:mod:`baikalctl.database.sqlite`), MySQL or MariaDB (:mod:`baikalctl.database.mysql`)
and PostgreSQL (:mod:`baikalctl.database.postgresql`). Everything above speaks SQL that all of them know, with ``?`` for
values, and is to be called as the data's owner: a file is opened, and a local server logged in to, as that account.
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
"""What Baïkal calls its databases (``backend`` in baikal.yaml), and what everybody else does."""
CREATED_LAST = "users"
"""The table that Baïkal's schemas make last: where it is, all are."""
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
"""What people have, and the table with a row for each."""

PASSWORDS = "applied"
"""The note of which passwords were declared last (:mod:`baikalctl.baikal.applied_passwords`); it is of the rows that
are there."""

Error = sqlite3.Error
"""What each of the databases raises through our connections."""


class ServerError(sqlite3.DatabaseError):
    """A server's own error, in its words."""


class Rows(Protocol):
    """What a query has found."""

    @property
    def rowcount(self) -> int:
        """Return how many rows were found or changed."""

    def fetchone(self) -> Any:  # noqa: ANN401 - a row, of whatever its columns are
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""


class Connection(Protocol):
    """A connection; it begins a transaction by itself, which :meth:`commit` ends."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run ``query`` with ``values`` for its question marks; raises :data:`Error`."""

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run ``query`` for each of ``values``."""

    def insert(self, table: str, **columns: object) -> int:
        """Add a row to ``table`` and return its id."""

    def commit(self) -> None:
        """Keep what was done since the last time."""

    def rollback(self) -> None:
        """Forget what was done since the last time."""

    def close(self) -> None:
        """End the connection, and what was not committed."""


class Database(ABC):
    """Where one Baïkal has its data; as text, what messages call it."""

    backend: ClassVar[str]
    text_type: ClassVar[str] = "TEXT"
    """What to cast bytes to, to look for letters in them."""

    @property
    def shared(self) -> bool:
        """Whether other machines may serve it too, and write to it whatever this one does."""
        return False

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """Return the section ``database`` of a baikal.yaml that names it."""

    @abstractmethod
    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection; raises :class:`HostError` if the database isn't there, or can't be opened."""

    @abstractmethod
    def installed(self) -> bool:
        """Tell whether Baïkal's tables are there; raises :class:`HostError` where that can't be seen."""

    @abstractmethod
    def create(self, version: str) -> None:
        """Make the tables of the installed release ``version``: all of them, or what the next call makes whole."""

    @abstractmethod
    def missing_tuning(self, connection: Connection) -> list[str]:
        """Return, as short phrases, what would make this database faster and isn't there yet."""

    @abstractmethod
    def tune(self, connection: Connection) -> None:
        """Do what is missing; a database of any origin ends up the same."""

    @abstractmethod
    def integrity(self, connection: Connection) -> str:
        """Return the first thing that the database's own examination finds wrong, or nothing; reads all of it."""

    @abstractmethod
    def snapshot(self, target: Path) -> None:
        """Write all that is in the database at one moment to the SQLite file ``target``, while clients go on.

        Whatever the database is, the file has Baïkal's tables as SQLite has them, with every id, ETag and sync token.
        """

    @abstractmethod
    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:
        """Replace everything by what :meth:`snapshot` wrote to ``source``, in the tables of the release ``version``.

        With ``exactly``, the tables are without what the release has, and the source hasn't.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Have what is here count as nothing: a move to it was taken back, and the next one makes it anew."""

    def version(self) -> str:
        """Return the release that the data is of, where the database tells: a file's is in baikal.yaml alone."""
        return ""

    def set_version(self, version: str) -> None:  # noqa: B027 - a file has nothing to agree on
        """Remember the release that the data is of, where several machines must agree on it."""

    def noted(self, name: str) -> str:  # noqa: ARG002 - a file is one machine's, which has notes of its own
        """Return what machines that share the database have noted under ``name``, or nothing."""
        return ""

    def note(self, name: str, text: str) -> None:  # noqa: B027 - as above
        """Note ``text`` under ``name``, for all machines that share the database."""

    @abstractmethod
    def exclusive(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold ``name`` against all other machines that share the database, waiting for one that holds it."""

    @abstractmethod
    def remedy(self, error: Error, otherwise: str) -> str:
        """Return what to do about ``error``: what it tells of itself, or ``otherwise``."""

    def unreadable(self, error: Error) -> HostError:
        """Return what to say where reading the database has ended with ``error``."""
        return HostError(f"{self} can't be read ({error}); {self.remedy(error, 'restore it from a backup')}")


def backend(section: Mapping[str, Any]) -> str:
    """Return what Baïkal takes a section for: before 0.10 it said ``mysql``, true or false, and still may."""
    kind = "mysql" if section.get("mysql") else str(section.get("backend") or "sqlite")
    if kind not in BACKENDS:
        message = f"baikal.yaml has the database {kind[:40]!r}, which is none of {', '.join(BACKENDS)}; fix it there"
        raise HostError(message)
    return kind


def schema(version: str, folder: str) -> str:
    """Return the statements with which the installed release ``version`` makes its tables.

    ``folder`` is ``SQLite``, ``MySQL`` or ``PgSQL``. Raises :class:`HostError` where the release has none.
    """
    path = Path(paths.CODE) / version / "Core/Resources/Db" / folder / "db.sql"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"Baïkal {version} has no schema for this database ({path} is not there); choose another release"
        raise HostError(message) from None


def tables() -> set[str]:
    """Return the names of Baïkal's tables: of all releases that are installed here."""
    found = set(TABLES)
    for path in Path(paths.CODE).glob("[0-9]*/Core/Resources/Db/SQLite/db.sql"):
        found.update(re.findall(r"(?im)^\s*CREATE TABLE\s+(\w+)", path.read_text(encoding="utf-8")))
    return found


def first_number(connection: Connection, query: str, values: Sequence[Any] = ()) -> int | None:
    """Return the first column of the first row of ``query``, which is an id, or None if there is no row."""
    row = connection.execute(query, tuple(values)).fetchone()
    return None if row is None else int(row[0])


def counts(connection: Connection) -> dict[str, int]:
    """Return how many there are of each of :data:`COUNTED`."""
    return {word: first_number(connection, f"SELECT count(*) FROM {table}") or 0 for word, table in COUNTED.items()}  # noqa: S608 - our own names


def counts_in_words(numbers: Mapping[str, int]) -> str:
    """Return in words how many there are of what."""
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for word, number in numbers.items())
