"""The database: drivers, the password's file, and a database server on the machine itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, File, Platform, Service, service
from baikalctl.rendering.subsystem import secret_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


DRIVERS = {"mysql": ("php-mysql", "python3-pymysql"), "pgsql": ("php-pgsql", "python3-psycopg2")}
"""The drivers of PHP and of baikalctl, by ``database``. SQLite's are always there, because archives are SQLite files."""
SERVERS = {"mysql": "mariadb-server", "pgsql": "postgresql"}
"""The package of a server on the machine itself, by ``database``."""
CONFLICTING = ("mysql-server-", "mysql-community-server", "percona-server-server")
"""Prefixes of the packages of servers that can't be installed together with MariaDB's."""
SERVICE = "database"


def packages(settings: Settings, *, image: bool) -> tuple[str, ...]:
    """Return the distribution's packages: drivers, and the server where it is to run on the machine itself."""
    if image:
        return tuple(package for drivers in DRIVERS.values() for package in drivers)
    name = server(settings)
    return (*DRIVERS.get(settings.database, ()), *((name,) if name else ()))


def server(settings: Settings) -> str:
    """Return the package of the machine's own database server; empty where the database is SQLite or elsewhere."""
    return SERVERS[settings.database] if settings.local_server else ""


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:
    """Return the unit of the machine's own server: of one that others use too, the unit that stands for all of it."""
    if not settings.local_server:
        return ()
    if settings.database == "mysql":
        return ("mariadb",)
    return (f"postgresql@{platform.postgresql}-main" if platform.own_database else "postgresql",)


def directories(context: Context) -> tuple[Directory, ...]:  # noqa: ARG001 - as every subsystem's
    """Return nothing: the files are in directories that exist."""
    return ()


def files(context: Context) -> Iterator[File]:
    """Yield the password's file, and the configuration of a server that this deploy has installed."""
    settings, platform = context.settings, context.platform
    yield from secret_files(context, {paths.DATABASE_PASSWORD: settings.database_password})
    if context.layout.contained or not settings.local_server or not platform.own_database:
        return
    if settings.database == "mysql":
        template = path = "/etc/mysql/mariadb.conf.d/99-baikal.cnf"
    else:
        template = "/etc/postgresql/main/conf.d/baikal.conf"
        path = f"/etc/postgresql/{platform.postgresql}/main/conf.d/baikal.conf"
    yield File(path=path, content=context.text(template[1:]), service=SERVICE)


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the service, if this deploy has configured it."""
    if not any(file.service == SERVICE for file in files):
        return
    for unit in units(context.settings, context.platform):
        # It reads where to listen only when it starts.
        yield service(SERVICE, unit, "/usr/bin/true", files, reloads=False)


def version(package_version: str) -> str:
    """Return PostgreSQL's version as in its units and paths, such as ``15`` from ``15+248``; empty if it has none."""
    match = re.match(r"(?:\d+:)?(\d+)", package_version)
    return match[1] if match else ""
