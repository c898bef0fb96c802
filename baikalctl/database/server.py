"""The common part of MySQL and PostgreSQL: a database on a server, used through a Python driver."""

from __future__ import annotations

import contextlib
import itertools
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from baikalctl.database import interface, sync_triggers, transfer
from baikalctl.database.driver import Address, Connection, error_text
from baikalctl.errors import HostError
from baikalctl.settings import known_releases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

STATE, SESSIONS = "baikalctl_state", "baikalctl_sessions"
"""Our own tables: notes of the machines that share the database, and sessions of the admin pages."""
VERSION, MAKING = "version", "making"
"""Names in STATE: the release that the data belongs to; and a mark while the tables are being created."""

LOCK_SECONDS = 3540
"""How long to wait for another machine: less than the limit of a child process (:data:`child_limits.THOROUGH`)."""


class Server(interface.Database):
    """A database on a server."""

    prefix: ClassVar[str]
    """The prefix of its keys in baikal.yaml."""
    folder: ClassVar[str]
    """The folder of its schema in a release."""
    manner: ClassVar[transfer.SqliteValues]
    indexes: ClassVar[Mapping[str, str]]
    """Indexes that Baïkal's schema lacks, by name."""
    own_tables: ClassVar[Mapping[str, str]]

    def __init__(self, section: Mapping[str, Any]) -> None:
        """Use the database of the section ``database`` of a baikal.yaml; this doesn't connect to the server."""
        self.address = Address.of(section, self.prefix)
        self._section = dict(section)

    @property
    def shared(self) -> bool:
        """Whether it is on another machine."""
        return self.address.host != "localhost" and not self.address.host.startswith("/")

    def section(self) -> dict[str, Any]:
        """Return the section ``database`` of baikal.yaml for this database."""
        return dict(self._section)

    def __str__(self) -> str:
        """Return its name for messages."""
        where = f"at {self.address.host}" if self.shared else "on this machine"
        return f"the {interface.BACKENDS[self.backend]} database {self.address.name} {where}"

    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection; raises :class:`HostError` if the server can't be reached or refuses the login."""
        connection = self._connected()
        if read_only:
            with self._telling():
                self._begin_snapshot(connection)
        return connection

    def installed(self) -> bool:
        """Tell whether all of Baïkal's tables exist."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            self._refuse_foreign_tables(connection)
            return self._has(connection, interface.CREATED_LAST) and not self._being_made(connection)

    def create(self, version: str) -> None:
        """Create the tables; replace those of an interrupted attempt, and refuse tables that we haven't created."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            if not self._being_made(connection) and self._has(connection, interface.CREATED_LAST):
                message = f"{self} already has data, so its tables are not created again"
                raise HostError(message)
            self._make_tables(connection, version)
            self._made(connection, version)

    def load(self, source: Path, version: str, *, exactly: bool = False) -> None:
        """Create the tables again, with the rows of ``source``; until that is done, the database counts as not installed."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            self._make_tables(connection, version)
            if exactly:
                self._drop_others(connection, transfer.all_columns(source))
            transfer.copy(source, connection, self.manner)
            self._set_sequences(connection)
            connection.execute(f"DELETE FROM {STATE} WHERE name = ?", [interface.PASSWORDS])
            self._made(connection, version)
        with contextlib.closing(self.connect()) as connection, self._telling():
            self.tune(connection)

    def missing_tuning(self, connection: interface.Connection) -> list[str]:
        """Return which indexes and triggers are missing."""
        other = self._indexes(connection)
        triggers = sync_triggers.missing(connection, self.backend)
        return [f"index {name}" for name in self.indexes if name not in other] + [
            f"trigger {name}" for name in triggers
        ]

    def tune(self, connection: interface.Connection) -> None:
        """Add the missing indexes and triggers, and update the server's statistics."""
        other = self._indexes(connection)
        for name, columns in self.indexes.items():
            if name not in other:
                connection.execute(f"CREATE INDEX {name} ON {columns}")
        sync_triggers.add(connection, self.backend)
        self._analyze(connection)
        connection.commit()

    def snapshot(self, target: Path) -> None:
        """Read everything in one transaction, which sees a consistent state, and write it to an SQLite file."""
        with contextlib.closing(self.connect(read_only=True)) as connection, self._telling():
            other = self._columns(connection)
            transfer.write(target, self._everything(connection, other))

    def version(self) -> str:
        """Return the release that the data belongs to, as noted by the machine that created or upgraded it."""
        noted = self.noted(VERSION)
        if noted and not known_releases.numbers(noted):
            message = f"{self} has the version {noted[:40]!r}, which is none of Baïkal's; restore it from a backup"
            raise HostError(message)
        return noted

    def noted(self, name: str) -> str:
        """Return the note ``name`` in our own table."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            if not self._has(connection, STATE):
                return ""
            row = connection.execute(f"SELECT value FROM {STATE} WHERE name = ?", [name]).fetchone()
            return str(row[0]) if row else ""

    def note(self, name: str, text: str) -> None:
        """Replace the note ``name`` by ``text``."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            connection.execute(f"DELETE FROM {STATE} WHERE name = ?", [name])
            connection.execute(f"INSERT INTO {STATE} (name, value) VALUES (?, ?)", [name, text])
            connection.commit()

    def set_version(self, version: str) -> None:
        """Note the release that the data belongs to, for the other machines."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            self._made(connection, version)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold a lock of the server with a connection; the server releases it when the connection or this machine ends."""
        with contextlib.closing(self.connect()) as connection:
            with self._telling():
                locked = self._lock(connection, name)
            if not locked:
                message = (
                    f"{self}: another machine has held its lock for an hour ({name}); check what baikalctl does there, and "
                    "run again"
                )
                raise HostError(message)
            yield

    def abandon(self) -> None:
        """Mark the tables as not installed, if they exist."""
        with contextlib.closing(self.connect()) as connection, self._telling():
            if self._has(connection, STATE):
                self._mark(connection)
                connection.commit()

    def remedy(self, error: interface.Error, otherwise: str) -> str:
        """Return the remedy for ``error``; the server's own log has the details."""
        output = str(error).lower()
        if any(word in output for word in ("server closed", "gone away", "lost connection", "terminat", "shut")):
            return "the server closed the connection; check that it runs, and run again"
        if any(word in output for word in ("no space", "full", "disk")):
            return "free disk space on the database server"
        return otherwise

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Add the name of the database to errors."""
        try:
            yield
        except interface.ServerError as error:
            message = f"{self}: {error}; {self.remedy(error, 'fix that on the server, and run again')}"
            raise HostError(message) from None

    def _everything(
        self, connection: Connection, other: Mapping[str, list[str]]
    ) -> Iterator[tuple[str, list[str], Iterable[tuple[object, ...]]]]:
        for table, names in other.items():
            yield table, names, self._streamed(connection, f"SELECT {', '.join(names)} FROM {table} ORDER BY id")

    def _make_tables(self, connection: Connection, version: str) -> None:
        """Create Baïkal's tables of ``version``, empty, and ours; until :meth:`_made`, they count as not installed."""
        self._refuse_foreign_tables(connection)
        for statement in self.own_tables.values():
            connection.execute(statement)
        self._mark(connection)
        for table in interface.tables():
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in interface.schema(version, self.folder).split(";"):
            if statement.strip():
                connection.execute(statement)

    def _refuse_foreign_tables(self, connection: Connection) -> None:
        """Raise :class:`HostError` if tables with names of Baïkal's tables exist that we haven't created."""
        if self._has(connection, STATE) and connection.execute(f"SELECT name FROM {STATE}").fetchone():
            return
        foreign = [table for table in interface.TABLES if self._has(connection, table)]
        if foreign:
            message = (
                f"{self} has a table {foreign[0]} that baikal-deploy has not created; set another database "
                "(database_name); if this one belongs to an older Baïkal, migrate it with baikalctl import"
            )
            raise HostError(message)

    def _drop_others(self, connection: Connection, wanted: Mapping[str, list[str]]) -> None:
        """Drop tables and columns that aren't ``wanted``."""
        for table, names in self._columns(connection).items():
            if table not in wanted:
                connection.execute(f"DROP TABLE {table}")
                continue
            for name in set(names) - set(wanted[table]):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")

    @staticmethod
    def _mark(connection: Connection) -> None:
        connection.execute(f"DELETE FROM {STATE} WHERE name = ?", [MAKING])
        connection.execute(f"INSERT INTO {STATE} (name, value) VALUES (?, ?)", [MAKING, "1"])

    def _made(self, connection: Connection, version: str) -> None:
        for name in (VERSION, MAKING):
            connection.execute(f"DELETE FROM {STATE} WHERE name = ?", [name])
        connection.execute(f"INSERT INTO {STATE} (name, value) VALUES (?, ?)", [VERSION, version])
        connection.commit()

    def _being_made(self, connection: Connection) -> bool:
        if not self._has(connection, STATE):
            return False
        return bool(connection.execute(f"SELECT name FROM {STATE} WHERE name = ?", [MAKING]).fetchone())

    def _unreachable(self, error: Exception) -> HostError:
        return HostError(
            f"{self} can't be reached ({error_text(error)}); check that the server runs, that {self.address.user} may log "
            "in from this machine, and the settings database_*"
        )

    @abstractmethod
    def _connected(self) -> Connection:
        """Return a new connection."""

    @abstractmethod
    def _lock(self, connection: interface.Connection, name: str) -> bool:
        """Take the lock ``name`` until the connection ends; false if it wasn't free within :data:`LOCK_SECONDS`."""

    @abstractmethod
    def _begin_snapshot(self, connection: Connection) -> None:
        """Begin a read-only transaction that sees a consistent state."""

    @abstractmethod
    def _streamed(self, connection: Connection, query: str) -> Iterator[tuple[object, ...]]:
        """Yield the rows of ``query`` one by one, without loading all of them."""

    @abstractmethod
    def _has(self, connection: interface.Connection, table: str) -> bool:
        """Tell whether the table exists."""

    @abstractmethod
    def _columns(self, connection: interface.Connection) -> dict[str, list[str]]:
        """Return the columns of each of Baïkal's tables."""

    @abstractmethod
    def _indexes(self, connection: interface.Connection) -> set[str]:
        """Return the names of the existing indexes."""

    @abstractmethod
    def _set_sequences(self, connection: Connection) -> None:
        """Set each table's sequence so that the next row gets a free id."""

    @abstractmethod
    def _analyze(self, connection: interface.Connection) -> None:
        """Update the server's statistics."""


def grouped(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the columns of each of Baïkal's tables; ``rows`` (table, column) are sorted by table."""
    known = interface.tables()
    columns = {table: [name for _, name in each] for table, each in itertools.groupby(rows, key=lambda row: row[0])}
    odd = [name for table, names in columns.items() if table in known for name in names if not _is_plain(name)]
    if odd:
        message = f"the database has a column {odd[0][:80]!r}, which is none of Baïkal's"
        raise HostError(message)
    return {table: names for table, names in columns.items() if table in known}


def _is_plain(name: str) -> bool:
    return name.isidentifier() and name.isascii()
