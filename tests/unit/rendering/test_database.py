"""A database server on the machine: who installed it, its configuration, and when it isn't changed."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.rendering import database
from baikalctl.rendering.database import DRIVERS, SERVERS
from baikalctl.rendering.machine import packages as machine_packages
from baikalctl.rendering.machine import render
from tasks.database import refuse_other_server, server_recorded
from tasks.machine import Machine, MachineFact
from tests.unit.fake import OFFERED, SETTLED, platform
from tests.unit.samples import PLATFORM, settings

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

BACKENDS = tuple(SERVERS)
DROP_INS = {"mysql": "/etc/mysql/mariadb.conf.d/99-baikal.cnf", "pgsql": "/etc/postgresql/15/main/conf.d/baikal.conf"}
UNITS = {"mysql": "mariadb", "pgsql": "postgresql@15-main"}


def local(backend: str) -> Settings:
    """Return settings with a database server on the machine, which containers can't have."""
    return dataclasses.replace(settings(), database=backend, database_host="local")


def machine(*installed: str, ours: str = "") -> Machine:
    """Return a machine with these additional packages, and the record of servers that the deploy installed."""
    return MachineFact().process([*SETTLED, *(f"installed={name} 15+248" for name in installed), f"database={ours}"])


def chosen(server: str, host: Machine) -> list[str]:
    """Return the commands before packages change."""
    return [str(command) for command in server_recorded._inner(server=server, machine=host)]


@pytest.mark.usefixtures("host")
def test_server_is_recorded_before_it_is_installed() -> None:
    """So the run after an interrupted one knows that the deploy installed it; earlier records are kept."""
    (command,) = chosen("postgresql", machine(ours="mariadb-server"))
    subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
    record = Path(paths.DATABASE_SERVERS).read_text(encoding="ascii").strip()
    assert machine(ours=record).database_servers == ("mariadb-server", "postgresql")
    assert chosen("postgresql", machine(ours=record)) == []
    assert chosen("postgresql", machine("postgresql", ours=record)) == []


@pytest.mark.parametrize("server", SERVERS.values())
def test_server_that_existed_before_is_not_recorded(server: str) -> None:
    """Other programs may use it, so it isn't configured."""
    assert chosen(server, machine(server)) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_installed_server_listens_on_its_unix_socket_only(backend: str) -> None:
    """It starts at boot before PHP, is checked, and is restarted when its configuration changes."""
    server = SERVERS[backend]
    for host in (machine(), machine(server, ours=server)):
        versions = OFFERED | host.installed | {"postgresql": "15+248"}
        rendered = render(local(backend), platform(local(backend), host, versions))
        (file,) = [file for file in rendered.files if file.path == DROP_INS[backend]]
        assert {"mysql": "\nskip-networking\n", "pgsql": "\nlisten_addresses = ''\n"}[backend] in file.content.decode()
        service = rendered.services[0]
        assert (service.unit, service.reads, service.reloads) == (UNITS[backend], (file.path,), False)
        (declared,) = [file for file in rendered.files if file.path == paths.DECLARED]
        assert f'"services": [\n  "{UNITS[backend]}",\n  "php8.2-fpm"' in declared.content.decode()


@pytest.mark.parametrize(("backend", "unit"), [("mysql", "mariadb"), ("pgsql", "postgresql")])
def test_server_that_existed_before_is_checked_and_not_configured(backend: str, unit: str) -> None:
    """It isn't restarted either; the deploy only makes a database and an account."""
    host = machine(SERVERS[backend])
    rendered = render(local(backend), platform(local(backend), host, OFFERED | host.installed))
    assert not [file.path for file in rendered.files if file.path.startswith(("/etc/mysql", "/etc/postgresql"))]
    assert unit not in {service.unit for service in rendered.services}
    (declared,) = [file for file in rendered.files if file.path == paths.DECLARED]
    assert f'"services": [\n  "{unit}",\n' in declared.content.decode()


def test_other_postgresql_version_is_not_replaced() -> None:
    """Its package has a number in its name, and the distribution's default package isn't installed."""
    host = machine("postgresql-9", "postgresql-16", "postgresql-16-cron")
    assert host.missing(("postgresql",)) == ()
    assert host.installed["postgresql"] == "16"
    assert machine("postgresql-16", "postgresql").installed["postgresql"] == "15+248"
    assert machine("postgresql-16-cron").missing(("postgresql",)) == ("postgresql",)


@pytest.mark.parametrize(("package", "version"), [("15+248", "15"), ("17+278", "17"), ("16", "16"), ("", "")])
def test_postgresql_version_is_read_from_its_package(package: str, version: str) -> None:
    """As Debian and Ubuntu number it."""
    assert database.version(package) == version


@pytest.mark.parametrize("package", ["mysql-server-8.0", "mysql-community-server", "percona-server-server"])
def test_mysql_that_mariadb_would_replace_is_refused(package: str) -> None:
    """The error with its remedy comes before any change. PostgreSQL doesn't conflict."""
    host = machine(package)
    with pytest.raises(
        HostError, match=rf'^{package} is this machine.*database_host = "127.0.0.1", database_tls = "off"'
    ):
        refuse_other_server(host, local("mysql"))
    refuse_other_server(host, local("pgsql"))
    refuse_other_server(host, settings())


@pytest.mark.parametrize("backend", BACKENDS)
def test_machine_gets_the_packages_of_its_database(backend: str) -> None:
    """The drivers, and a server only if it is on the machine. An image has all drivers and no server."""
    remote = dataclasses.replace(local(backend), database_host="db.example.org")
    usual = set(machine_packages(settings(), image=False))
    assert set(machine_packages(remote, image=False)) - usual == set(DRIVERS[backend])
    assert set(machine_packages(local(backend), image=False)) - usual == {*DRIVERS[backend], SERVERS[backend]}
    for wanted in (settings(), remote):
        image = set(machine_packages(wanted, image=True))
        assert set().union(*DRIVERS.values()) <= image
        assert not image & set(SERVERS.values())


@pytest.mark.parametrize(
    ("repository", "packages"),
    [
        ("/srv/restic", {"restic"}),
        ("s3:s3.example.org/b", {"restic"}),
        ("sftp:jo@nas:/srv", {"restic", "openssh-client"}),
        ("rclone:remote:baikal", {"restic", "rclone"}),
    ],
)
def test_restic_is_installed_if_there_is_a_repository(repository: str, packages: set[str]) -> None:
    """With the program that it needs for the repository. An image has it only if it is built with one."""
    wanted = settings(restic_repository=repository, restic_password="secret")
    assert set(machine_packages(wanted, image=False)) - set(machine_packages(settings(), image=False)) == packages
    assert set(machine_packages(wanted, image=True)) - set(machine_packages(settings(), image=True)) == {"restic"}


def test_platform_has_no_postgresql_version_without_a_local_server() -> None:
    """Otherwise files would change when an operator installs a server."""
    host = machine("postgresql", "mariadb-server")
    assert platform(settings(), host, OFFERED) == dataclasses.replace(PLATFORM, cores=host.cores)
