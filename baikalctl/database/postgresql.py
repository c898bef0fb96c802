"""Baïkal's database on a server of PostgreSQL."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, ClassVar

from baikalctl.database import driver, interface, server, transfer
from baikalctl.database.driver import CONNECT_SECONDS
from baikalctl.database.server import LOCK_SECONDS, SESSIONS, STATE, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SOCKET = "/var/run/postgresql"
"""The directory of the server's socket, Debian's and Ubuntu's."""
NOWHERE = "/nonexistent"
FIXED = {
    "client_encoding": "UTF8",
    "sslcert": NOWHERE,
    "sslkey": NOWHERE,
    "passfile": NOWHERE,
    "gssencmode": "disable",
}
"""Files that libpq would otherwise search in the account's home or load."""
WHILE_LOCKED = {
    "lock_timeout": LOCK_SECONDS * 1000,
    "idle_in_transaction_session_timeout": 0,
    "tcp_keepalives_idle": 60,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 6,
}
"""Settings of the transaction that holds a lock: how long to wait for it (ms), and that the server ends it only if the
machine is dead, which it notices after two minutes."""
LOCK_NOT_AVAILABLE = "55P03"
"""The code for a lock that wasn't free within ``lock_timeout`` (PostgreSQL, appendix A)."""
INDEXES = {
    "baikalctl_calendarobjects_uri": "calendarobjects (calendarid, uri)",
    "baikalctl_calendarobjects_uid": "calendarobjects (uid)",
    "baikalctl_calendarinstances_principal": "calendarinstances (principaluri, uri)",
    "baikalctl_calendarinstances_calendar": "calendarinstances (calendarid, share_href)",
    "baikalctl_calendarsubscriptions_principal": "calendarsubscriptions (principaluri, uri)",
    "baikalctl_schedulingobjects_uri": "schedulingobjects (principaluri, uri)",
    "baikalctl_addressbooks_uri": "addressbooks (principaluri, uri)",
    "baikalctl_cards_uri": "cards (addressbookid, uri)",
    "baikalctl_groupmembers_group": "groupmembers (principal_id)",
    "baikalctl_groupmembers_member": "groupmembers (member_id)",
    "baikalctl_principals_uri": "principals (uri)",
    "baikalctl_principals_email": "principals (lower(email))",
    "baikalctl_propertystorage_path": "propertystorage (path text_pattern_ops)",
    "baikalctl_users_username": "users (username)",
}
"""Indexes that Baïkal's schema for PostgreSQL lacks; besides the keys, it has two, and one for properties. Without these,
each query for an object, an account or a principal reads the whole table (a GET of one of 50,000 events: 17 ms, now
0.004 ms). Measured on a mixed load with 50 users, 50,000 events and 10,000 contacts: 5.3 times the requests (median of six
alternating pairs, 3.7 to 7.2). They aren't unique, because old data may have duplicates."""


class Connection(driver.Connection):
    """A connection of psycopg2."""

    def _many(self, cursor: Any, query: str, values: list[Sequence[Any]]) -> None:  # noqa: ANN401 - the driver's
        """Send many rows in one statement; psycopg2's own executemany sends one statement per row."""
        from psycopg2.extras import execute_values

        head, _, marks = query.rpartition(" VALUES ")
        execute_values(cursor, f"{head} VALUES %s", values, template=marks, page_size=len(values) or 1)

    def _inserted(self, cursor: Any, statement: str, values: tuple[object, ...]) -> int:  # noqa: ANN401 - the driver's
        cursor.execute(f"{statement} RETURNING id", values)
        return int(cursor.fetchone()[0])


class Postgresql(Server):
    """A database of PostgreSQL."""

    backend: ClassVar[str] = "pgsql"
    prefix: ClassVar[str] = "pgsql"
    folder: ClassVar[str] = "PgSQL"
    manner: ClassVar[transfer.SqliteValues] = transfer.PostgresqlValues()
    indexes: ClassVar[Mapping[str, str]] = INDEXES
    own_tables: ClassVar[Mapping[str, str]] = {
        STATE: f"CREATE TABLE IF NOT EXISTS {STATE} (name VARCHAR(190) PRIMARY KEY, value TEXT)",
        SESSIONS: f"CREATE TABLE IF NOT EXISTS {SESSIONS} (id VARCHAR(128) PRIMARY KEY, data BYTEA NOT NULL,"
        " expires BIGINT NOT NULL)",
    }

    def integrity(self, connection: interface.Connection) -> str:
        """Read every row; damaged pages are found if the server was set up with checksums."""
        for table in self._columns(connection):
            try:
                connection.execute(f"SELECT count(*) FROM {table} WHERE {table}::text IS NULL").fetchone()
            except interface.Error as error:
                return f"{table}: {error}"
        return ""

    def _lock(self, connection: interface.Connection, name: str) -> bool:
        """Take an advisory lock; the server releases it when the connection, and so the transaction, ends.

        A lock of the transaction, not of the session, also works through a pooler that shares sessions (PgBouncer's
        transaction mode). Each database has locks of its own.
        """
        for setting, value in WHILE_LOCKED.items():
            connection.execute(f"SET LOCAL {setting} = {value}")
        try:
            connection.execute("SELECT pg_advisory_xact_lock(?)", [zlib.crc32(f"baikalctl {name}".encode())]).fetchone()
        except interface.ServerError as error:
            if getattr(error.__context__, "pgcode", "") != LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def _connected(self) -> Connection:
        psycopg2 = driver.load_driver("psycopg2", "python3-psycopg2")
        address = self.address
        try:
            opened = psycopg2.connect(
                **dict(address.options)
                | {"host": address.host, "dbname": address.name, "user": address.user, "password": address.password}
                | FIXED,
                connect_timeout=CONNECT_SECONDS,
            )
        except (psycopg2.Error, OSError) as error:
            raise self._unreachable(error) from None
        return Connection(opened, psycopg2.Error)

    def _begin_snapshot(self, connection: driver.Connection) -> None:
        connection.opened.set_session(isolation_level="REPEATABLE READ", readonly=True)

    def _streamed(self, connection: driver.Connection, query: str) -> Iterator[tuple[object, ...]]:
        with connection.errors(), connection.opened.cursor(name="baikalctl") as cursor:
            cursor.itersize = transfer.AT_ONCE
            cursor.execute(query)
            yield from cursor

    def _has(self, connection: interface.Connection, table: str) -> bool:
        query = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = ?"
        return connection.execute(query, [table]).fetchone() is not None

    def _columns(self, connection: interface.Connection) -> dict[str, list[str]]:
        query = (
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
        )
        return server.grouped(connection.execute(query))

    def _indexes(self, connection: interface.Connection) -> set[str]:
        query = "SELECT indexname FROM pg_catalog.pg_indexes WHERE schemaname = current_schema()"
        return {name for (name,) in connection.execute(query)}

    def _set_sequences(self, connection: driver.Connection) -> None:
        for table, names in self._columns(connection).items():
            if "id" in names:
                connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), COALESCE(max(id), 0) + 1, false)"
                    f" FROM {table}"
                )

    def _analyze(self, connection: interface.Connection) -> None:
        for table in self._columns(connection):
            connection.execute(f"ANALYZE {table}")
