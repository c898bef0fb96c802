"""The database: where calendars, address books and accounts are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

PORTS = {"mysql": 3306, "pgsql": 5432}
"""Where a database server listens that doesn't say otherwise."""
LOCAL = "local"
"""The host of a server that the same deploy installs, and that is reached through its Unix socket alone."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Which database has the data, and how it is reached."""

    database: str = define(
        Choice("sqlite", *PORTS),
        "sqlite",
        area="database",
        meaning="What keeps the data: sqlite (a file on the host), mysql (MariaDB or MySQL), pgsql (PostgreSQL).",
    )
    database_host: str = define(
        Text("a host name", validators.database_host, empty=True),
        "",
        area="database",
        meaning=(
            "The database server; mysql and pgsql need one. local: installed on this machine by the same deploy, without "
            "network and password (machines only)."
        ),
    )
    database_port: int = define(
        Number(0, 65535),
        0,
        area="database",
        meaning="Port of the database server; 0 for what goes with it: 3306 with mysql, 5432 with pgsql.",
    )
    database_name: str = define(
        Text("a database's name", validators.database_name),
        "baikal",
        area="database",
        meaning="Name of the database there.",
    )
    database_user: str = define(
        Text("a login name", validators.database_user),
        "baikal",
        area="database",
        meaning="Account that the database is used as; it needs to own its tables, and nothing else.",
    )
    database_password: Secret | None = define(
        SecretValue(validators.database_password, optional=True),
        None,
        area="database",
        meaning="Password of database_user.",
    )
    database_tls: str = define(
        Choice("verify", "off"),
        "verify",
        area="database",
        meaning="Whether the server must prove who it is, by TLS, or is spoken to in the clear.",
    )
    database_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="database",
        meaning="Path on the host of the CA that the server's certificate is checked with, PEM. Empty: the system's.",
    )

    @property
    def sql_port(self) -> int:
        """The port at which the database server is spoken to; 0 where there is none."""
        return self.database_port or PORTS.get(self.database, 0)

    @property
    def local_server(self) -> bool:
        """Whether the database server is this machine's own."""
        return self.database != "sqlite" and self.database_host == LOCAL
