"""Database settings: where calendars, address books and accounts are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

PORTS = {"mysql": 3306, "pgsql": 5432}
"""The default port of each kind of database server."""
LOCAL = "local"
"""``database_host`` of a server that the same deploy installs. It is reached through its Unix socket only."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Which database stores the data, and how to connect to it."""

    AREA: ClassVar[str] = "database"

    database: str = define(
        Choice("sqlite", *PORTS),
        "sqlite",
        "Database for all data: sqlite (a file on the host), mysql (MariaDB or MySQL) or pgsql (PostgreSQL).",
    )
    database_host: str = define(
        Text("a host name", validators.database_host, empty=True),
        "",
        "Host name of the database server; required with mysql and pgsql. local: this deploy installs the server on the "
        "same machine, without network access and password (machines only).",
    )
    database_port: int = define(
        Number(0, 65535), 0, "Port of the database server. 0: the default port, 3306 with mysql and 5432 with pgsql."
    )
    database_name: str = define(
        Text("a database's name", validators.database_name), "baikal", "Name of the database on the server."
    )
    database_user: str = define(
        Text("a login name", validators.database_user),
        "baikal",
        "Account on the database server. It must own the tables of Baïkal and needs no other privilege.",
    )
    database_password: Secret | None = define(
        SecretValue(validators.database_password, optional=True), None, "Password of database_user."
    )
    database_tls: str = define(
        Choice("verify", "off"),
        "verify",
        "Connection to the database server: verify (TLS, and the certificate is checked) or off (not encrypted).",
    )
    database_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        "Path on the host of the CA certificate (PEM) that signed the database server's certificate. Empty: the "
        "system's CAs.",
    )

    @property
    def sql_port(self) -> int:
        """The port of the database server; 0 with SQLite."""
        return self.database_port or PORTS.get(self.database, 0)

    @property
    def local_server(self) -> bool:
        """Whether the deploy installs the database server on this machine."""
        return self.database != "sqlite" and self.database_host == LOCAL
