"""Baïkal's database on a server of MySQL or MariaDB."""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Any, ClassVar

from baikalctl import paths
from baikalctl.database import driver, interface, server, transfer
from baikalctl.database.driver import CONNECT_SECONDS, Connection
from baikalctl.database.server import LOCK_SECONDS, SESSIONS, STATE, Server
from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOCKET = "/run/mysqld/mysqld.sock"
"""The path on Debian and Ubuntu; PHP uses it, too, for ``localhost``."""
HELD_SECONDS = 7200
"""After so long, the server ends the session that holds a lock if it hasn't noticed that its machine is dead. By default
that is 8 hours, and a server may be configured to end idle sessions after minutes."""
INDEXES = {
    "baikalctl_calendarobjects_uid": "calendarobjects (uid)",
    "baikalctl_cards_uri": "cards (addressbookid, uri)",
    "baikalctl_schedulingobjects_uri": "schedulingobjects (principaluri, uri)",
    "baikalctl_groupmembers_member": "groupmembers (member_id)",
}
"""Indexes that Baïkal's schema for MySQL lacks. It has the other indexes that SQLite's and PostgreSQL's schemas lack, as
UNIQUE. Without these, each query for a contact or an invitation reads the whole table (a PUT of one of 10,000 contacts:
3.6 ms, now 0.02 ms). Measured on a load of contacts and writes: 1.5 times the requests (median of four alternating pairs,
1.25 to 1.9); on the mixed load, where one request in twenty is for a contact, no difference. They aren't unique, because
old data may have duplicates."""


NO_TLS = "the server offers no TLS, which the settings require (database_tls)"
IN_CLEAR_TEXT = (b"mysql_clear_password", b"dialog", b"mysql_old_password")
"""Login methods that send the password in clear text, or so that it can be computed (PyMySQL's connections.py)."""


@functools.cache
def _strict(pymysql: Any) -> Any:  # noqa: ANN401 - the driver's
    """Return a connection class of PyMySQL that sends nothing in clear text if the settings require TLS.

    PyMySQL itself continues without TLS if the server doesn't offer it, and sends the password in clear text if the
    server asks for that. An attacker between the two would get it.
    """
    parts = ("_request_authentication", "_process_auth")
    if missing := [name for name in parts if not hasattr(pymysql.connections.Connection, name)]:
        message = (
            f"this version of PyMySQL has no {missing[0]}, so it could send a password in clear text, and is not used"
        )
        raise HostError(message)

    class Strict(pymysql.connections.Connection):  # type: ignore[misc]
        def _request_authentication(self) -> None:
            if self.ssl and not self.server_capabilities & pymysql.constants.CLIENT.SSL:
                raise pymysql.OperationalError(2026, NO_TLS)
            if not self.server_capabilities & pymysql.constants.CLIENT.PLUGIN_AUTH:
                raise pymysql.OperationalError(2059, "the server is too old: it only supports the login of MySQL 4")
            super()._request_authentication()

        def _process_auth(self, plugin_name: bytes, *packets: Any) -> Any:  # noqa: ANN401 - the driver's
            if plugin_name in IN_CLEAR_TEXT:
                message = (
                    f"the server asks for the password in an unsafe way ({plugin_name.decode()}), which is refused"
                )
                raise pymysql.OperationalError(2059, message)
            return super()._process_auth(plugin_name, *packets)

    return Strict


class Mysql(Server):
    """A database of MySQL or MariaDB."""

    backend: ClassVar[str] = "mysql"
    text_type: ClassVar[str] = "CHAR"
    prefix: ClassVar[str] = "mysql"
    folder: ClassVar[str] = "MySQL"
    manner: ClassVar[transfer.SqliteValues] = transfer.MysqlValues()
    indexes: ClassVar[Mapping[str, str]] = INDEXES
    own_tables: ClassVar[Mapping[str, str]] = {
        STATE: f"CREATE TABLE IF NOT EXISTS {STATE} (name VARCHAR(190) PRIMARY KEY, value MEDIUMTEXT)"
        " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        SESSIONS: f"CREATE TABLE IF NOT EXISTS {SESSIONS} (id VARCHAR(128) PRIMARY KEY, data MEDIUMBLOB NOT NULL,"
        " expires BIGINT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    }

    def integrity(self, connection: interface.Connection) -> str:
        """Return the first error that ``CHECK TABLE`` finds."""
        for table in self._columns(connection):
            for name, _, kind, text in connection.execute(f"CHECK TABLE {table}"):
                if kind == "error" or (kind == "status" and text not in ("OK", "Table is already up to date")):
                    return f"{name}: {text}"
        return ""

    def _lock(self, connection: interface.Connection, name: str) -> bool:
        """Take the lock with ``GET_LOCK``; the server releases it when the connection ends.

        In a Galera cluster, each node has locks of its own: all machines must use the same node.
        """
        connection.execute(f"SET SESSION wait_timeout = {HELD_SECONDS}")
        # All databases of a server share the names of locks, which have 64 characters at most.
        lock = f"baikalctl-{hashlib.sha256(f'{self.address.name}.{name}'.encode()).hexdigest()[:32]}"
        (got,) = connection.execute("SELECT GET_LOCK(?, ?)", [lock, LOCK_SECONDS]).fetchone()
        if got is None:
            raise interface.ServerError(f"the server gives no lock ({name})")
        return bool(got)

    def _connected(self) -> Connection:
        # PyMySQL asks for the user's name on import, and Python 3.13 raises an error for a user id without a name.
        os.environ.setdefault("LOGNAME", paths.USER)
        pymysql = driver.load_driver("pymysql", "python3-pymysql")
        address = self.address
        where: dict[str, Any] = {"host": address.host, "port": int(address.options.get("port", 3306))}
        if address.host == "localhost":
            where = {"unix_socket": SOCKET}
        if address.ca:
            where["ssl"] = {"ca": address.ca, "check_hostname": True}
        else:
            where["ssl_disabled"] = (
                True  # newer PyMySQL would use TLS if the server offers it, without verifying the server
            )
        try:
            opened = _strict(pymysql)(
                **where,
                database=address.name,
                user=address.user,
                password=address.password.encode(),  # as PHP does; PyMySQL itself would take Latin-1
                charset="utf8mb4",
                connect_timeout=CONNECT_SECONDS,
            )
        except (pymysql.Error, OSError, ValueError, struct.error, LookupError) as error:
            raise self._unreachable(error) from None
        if address.ca and not opened._secure:  # noqa: SLF001 - there is no public attribute
            opened.close()
            raise self._unreachable(pymysql.OperationalError(2026, NO_TLS))
        connection = Connection(opened, pymysql.Error)
        try:
            # Some servers are configured in another way, and would truncate texts without an error.
            connection.execute("SET sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO'")
        except interface.Error as error:
            raise self._unreachable(error) from None
        return connection

    def _begin_snapshot(self, connection: Connection) -> None:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def _streamed(self, connection: Connection, query: str) -> Iterator[tuple[object, ...]]:
        import pymysql.cursors

        with connection.errors(), connection.opened.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(query)
            while (row := cursor.fetchone()) is not None:
                yield row

    def _has(self, connection: interface.Connection, table: str) -> bool:
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema = database() AND table_name = ?"
        return connection.execute(query, [table]).fetchone() is not None

    def _columns(self, connection: interface.Connection) -> dict[str, list[str]]:
        query = (
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = database() ORDER BY table_name, ordinal_position"
        )
        return server.grouped(connection.execute(query))

    def _indexes(self, connection: interface.Connection) -> set[str]:
        query = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = database()"
        return {name for (name,) in connection.execute(query)}

    def _set_sequences(self, connection: Connection) -> None:
        """Do nothing: the server continues after the greatest id."""

    def _analyze(self, connection: interface.Connection) -> None:
        connection.execute(f"ANALYZE TABLE {', '.join(self._columns(connection))}").fetchall()
