"""The database: drivers, and a server on the machine itself where one is to run there.

Packages, the password's file and the server's configuration are described in ``baikalctl/rendering/database.py``. The
database and its account are made when settings are applied (``baikalctl/baikal/local_database.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.rendering.database import CONFLICTING, SERVICE, server
from tasks.operations import files, services

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api.operation import OperationMeta

    from baikalctl.settings.model import Settings
    from tasks.machine import Machine
    from tasks.target import Target


def prepare(target: Target) -> None:
    """Before packages change, record that a server which is about to be installed is the deploy's."""
    package = server(target.settings)
    if target.booted and package:
        server_recorded(name="Record database server", server=package, machine=target.machine)


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if the server refused its configuration in the ``upload``."""
    if target.booted and target.own_database_server:
        files.accepted(name="Check database configuration", upload=upload, services=(SERVICE,))


def activate(target: Target) -> None:
    """Have the server running on its present configuration, if it is the deploy's."""
    if target.booted and target.own_database_server:
        running = (SERVICE,)
        services.running(name="Start database server", services=target.services, names=running, facts=target.facts)


@operation()
def server_recorded(server: str, machine: Machine) -> Generator[StringCommand, None, None]:
    """Have the host record that the package ``server`` is the deploy's, unless it was there before."""
    if server not in machine.installed and server not in machine.database_servers:
        path, servers = paths.DATABASE_SERVERS, " ".join(sorted({*machine.database_servers, server}))
        yield StringCommand(f"mkdir -p {paths.DATA} && echo {servers} > {path}.new && mv {path}.new {path}")


def refuse_other_server(machine: Machine, settings: Settings) -> None:
    """Raise :class:`HostError` if the host has a server that apt would remove to install ours."""
    others = [name for name in machine.installed if name.startswith(CONFLICTING)]
    if settings.local_server and settings.database == "mysql" and others:
        message = (
            f"{others[0]} is this machine's database server, and MariaDB would take its place; make a database and an "
            'account there, and declare them with database_host = "127.0.0.1", database_tls = "off" and the password'
        )
        raise HostError(message)
