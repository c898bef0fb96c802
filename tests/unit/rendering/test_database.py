"""A machine's own database server: whose it is, what it gets, and when nothing of it is touched."""

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
    """Return settings with a server of the machine's own, which no container's settings can have."""
    return dataclasses.replace(settings(), database=backend, database_host="local")


def machine(*installed: str, ours: str = "") -> Machine:
    """Return a machine with these packages besides the usual ones, and what was written down as ours."""
    return MachineFact().process([*SETTLED, *(f"installed={name} 15+248" for name in installed), f"database={ours}"])


def chosen(server: str, found: Machine) -> list[str]:
    """Return the commands before packages change."""
    return [str(command) for command in server_recorded._inner(server=server, machine=found)]


@pytest.mark.usefixtures("host")
def test_a_server_of_ours_is_written_down_before_it_is_installed() -> None:
    """So that a run that breaks off in between knows it again; another one that was ours stays so."""
    (command,) = chosen("postgresql", machine(ours="mariadb-server"))
    subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
    said = Path(paths.DATABASE_SERVERS).read_text(encoding="ascii").strip()
    assert machine(ours=said).database_servers == ("mariadb-server", "postgresql")
    assert chosen("postgresql", machine(ours=said)) == []
    assert chosen("postgresql", machine("postgresql", ours=said)) == []


@pytest.mark.parametrize("server", SERVERS.values())
def test_a_server_that_was_there_before_is_never_ours(server: str) -> None:
    """Somebody else uses it, perhaps over the network: it is told nothing."""
    assert chosen(server, machine(server)) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_of_ours_listens_to_this_machine_alone(backend: str) -> None:
    """It starts at boot before PHP does, is watched by the doctor, and is restarted where it is told otherwise."""
    server = SERVERS[backend]
    for found in (machine(), machine(server, ours=server)):
        versions = OFFERED | found.installed | {"postgresql": "15+248"}
        rendered = render(local(backend), platform(local(backend), found, versions))
        (file,) = [file for file in rendered.files if file.path == DROP_INS[backend]]
        assert {"mysql": "\nskip-networking\n", "pgsql": "\nlisten_addresses = ''\n"}[backend] in file.content.decode()
        service = rendered.services[0]
        assert (service.unit, service.reads, service.reloads) == (UNITS[backend], (file.path,), False)
        (declared,) = [file for file in rendered.files if file.path == paths.DECLARED]
        assert f'"services": [\n  "{UNITS[backend]}",\n  "php8.2-fpm"' in declared.content.decode()


@pytest.mark.parametrize(("backend", "unit"), [("mysql", "mariadb"), ("pgsql", "postgresql")])
def test_somebody_elses_server_is_watched_and_told_nothing(backend: str, unit: str) -> None:
    """Neither configured nor restarted; what we have on it is a database and an account."""
    found = machine(SERVERS[backend])
    rendered = render(local(backend), platform(local(backend), found, OFFERED | found.installed))
    assert not [file.path for file in rendered.files if file.path.startswith(("/etc/mysql", "/etc/postgresql"))]
    assert unit not in {service.unit for service in rendered.services}
    (declared,) = [file for file in rendered.files if file.path == paths.DECLARED]
    assert f'"services": [\n  "{unit}",\n' in declared.content.decode()


def test_a_postgresql_that_somebody_chose_is_not_joined_by_another() -> None:
    """Its package has a number in its name, and without the one for the distribution's own nothing else is wanted."""
    found = machine("postgresql-9", "postgresql-16", "postgresql-16-cron")
    assert found.missing(("postgresql",)) == ()
    assert found.installed["postgresql"] == "16"
    assert machine("postgresql-16", "postgresql").installed["postgresql"] == "15+248"
    assert machine("postgresql-16-cron").missing(("postgresql",)) == ("postgresql",)


@pytest.mark.parametrize(("package", "version"), [("15+248", "15"), ("17+278", "17"), ("16", "16"), ("", "")])
def test_postgresqls_version_is_read_from_its_package(package: str, version: str) -> None:
    """As Debian and Ubuntu number it."""
    assert database.version(package) == version


@pytest.mark.parametrize("package", ["mysql-server-8.0", "mysql-community-server", "percona-server-server"])
def test_a_mysql_that_mariadb_would_take_the_place_of_is_left_alone(package: str) -> None:
    """What to do instead is said before anything is touched; PostgreSQL is no trouble to it."""
    found = machine(package)
    with pytest.raises(
        HostError, match=rf'^{package} is this machine.*database_host = "127.0.0.1", database_tls = "off"'
    ):
        refuse_other_server(found, local("mysql"))
    refuse_other_server(found, local("pgsql"))
    refuse_other_server(found, settings())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_machine_gets_what_its_database_needs(backend: str) -> None:
    """The drivers of that one, and a server only where it is the machine's own; an image has all drivers and no server."""
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
def test_restic_is_installed_where_there_is_a_repository(repository: str, packages: set[str]) -> None:
    """With what it calls to get there; an image has it only if it is baked with one."""
    wanted = settings(restic_repository=repository, restic_password="secret")
    assert set(machine_packages(wanted, image=False)) - set(machine_packages(settings(), image=False)) == packages
    assert set(machine_packages(wanted, image=True)) - set(machine_packages(settings(), image=True)) == {"restic"}


def test_a_platform_without_a_server_of_its_own_knows_nothing_of_one() -> None:
    """Or its files would change when somebody installs one."""
    found = machine("postgresql", "mariadb-server")
    assert platform(settings(), found, OFFERED) == dataclasses.replace(PLATFORM, cores=found.cores)
