"""A database server on the machine itself: whose it is, before packages change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.errors import HostError
from tasks.distribution import MYSQL_ITSELF, database_server

if TYPE_CHECKING:
    from collections.abc import Generator

    from baikalctl.settings.model import Settings
    from tasks.facts import Machine
    from tasks.survey import Target


@deploy("Database")
def prepare(target: Target) -> None:
    """Remember that a server which is about to be installed is ours; the rest is done when Baïkal is (local_server.py)."""
    server = database_server(target.settings)
    if target.machine.booted and server:
        database_server_chosen(name="Remember whose the database server is", server=server, machine=target.machine)


@operation()
def database_server_chosen(server: str, machine: Machine) -> Generator[StringCommand, None, None]:
    """Have the host know that the package ``server`` is ours, unless it was there before."""
    if server not in machine.installed and server not in machine.database_servers:
        path, servers = paths.DATABASE_SERVERS, " ".join(sorted({*machine.database_servers, server}))
        yield StringCommand(f"mkdir -p {paths.DATA} && echo {servers} > {path}.new && mv {path}.new {path}")


def refuse_other_database_server(machine: Machine, settings: Settings) -> None:
    """Raise :class:`HostError` if the host has a server in whose place apt would put ours."""
    theirs = [name for name in machine.installed if name.startswith(MYSQL_ITSELF)]
    if settings.local_server and settings.database == "mysql" and theirs:
        message = (
            f"{theirs[0]} is this machine's database server, and MariaDB would take its place; make a database and an "
            'account there, and declare them with database_host = "127.0.0.1", database_tls = "off" and the password'
        )
        raise HostError(message)
