"""A database server on the machine itself: accounts as data, archives, and privileges."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl.rendering.database import DRIVERS, SERVERS
from tests.lab.archives import newest
from tests.lab.clients import EVENT
from tests.lab.commands import is_cleaned_up, pause_command, run_command
from tests.lab.databases import BACKENDS
from tests.lab.dav import Dav
from tests.lab.http_request import PASSWORD
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.server import USERS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


ASK = {
    "mysql": "mariadb --skip-column-names --batch {} -e",
    "pgsql": "runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --dbname={} -c",
}
RIGHTS = {
    "mysql": [
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, TRIGGER ON `baikal`.* TO `baikal`@`localhost`",
        "GRANT USAGE ON *.* TO `baikal`@`localhost` IDENTIFIED VIA unix_socket",
    ],
    "pgsql": ["f|f|f|f|f|t"],
}
"""The account's privileges: on its own database only, from this machine only, and without a password."""
ASKED = {
    "mysql": "SHOW GRANTS FOR baikal@localhost",
    "pgsql": "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword IS NULL"
    " FROM pg_authid WHERE rolname = 'baikal'",
}
CALENDAR = "/dav.php/calendars/jo/work/"


@pytest.fixture(scope="module", params=BACKENDS)
def local(request: pytest.FixtureRequest, engine: Engine, release: Release) -> Iterator[Server]:
    """Yield a machine with its own database server."""
    backend: str = request.param
    packages = (*PACKAGES, *DRIVERS[backend], SERVERS[backend])
    with Machine.start(engine, machine_image(engine, "debian:12", packages)) as machine:
        server = Server(machine, release, data={"database": backend, "database_host": "local"})
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        yield server


def asked(server: Server, query: str, database: str = "baikal") -> list[str]:
    """Run a query as the database server's administrator, and return the lines of the result."""
    command = ASK[str(server.data["database"])].format(database)
    return server.machine.run(f'cd /; {command} "{query}"').splitlines()


def put(server: Server, name: str, user: str = "jo", path: str = CALENDAR) -> int:
    """Store an event."""
    body = EVENT.format(uid=name, summary="Größe 🎂").replace("\n", "\r\n")
    return server.ask("PUT", f"{path}{name}.ics", user=user, body=body).status


def shares() -> list[dict[str, Any]]:
    """Return a copy of the declared accounts, for changes."""
    users: list[dict[str, Any]] = json.loads(json.dumps(USERS))
    return users


def test_local_database_serves_and_a_second_deploy_changes_nothing(local: Server) -> None:
    """Also after a boot; no data is in a file."""
    assert put(local, "first") == 201
    assert local.check()["healthy"]
    outcome = local.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    assert local.machine.run("ls /var/lib/baikal/Specific/db") == ""
    local.machine.kill()
    local.machine.power_on()
    assert local.ask("GET", f"{CALENDAR}first.ics", user="jo").status == 200


def test_account_has_only_the_needed_privileges(local: Server) -> None:
    """It can log in from this machine only."""
    backend = str(local.data["database"])
    privileges = asked(local, ASKED[backend], "" if backend == "mysql" else "postgres")
    assert sorted(privileges) == RIGHTS[backend]
    listening = local.machine.run("ss -ltnH | awk '{print $4}'").split()
    ports = [each for each in listening if each.endswith((":3306", ":5432"))]
    assert all(each.startswith(("127.0.0.1:", "[::1]:")) for each in ports), listening


def test_declared_accounts_and_shares_are_stored_in_the_local_database(local: Server) -> None:
    """Shared calendars are visible, a changed share takes effect, and a second deploy changes nothing."""
    dav = Dav(local.url, "Corey", PASSWORD)
    (shared,) = [href for href in dav.collections() if "/calendars/" in href and "/default/" not in href]
    assert put(local, "seen") == 201
    assert [href.removeprefix(shared) for href in dav.listing(shared)].count("seen.ics") == 1
    assert put(local, "theirs", "Corey", shared) == 403
    declared = shares()
    declared[0]["calendars"][0]["share"] = [{"with": "Corey", "access": "write"}]
    declared.append(
        {"name": "neu", "email": "neu@example.org", "password": USERS[0]["password"], "display_name": "Zoë Çelik"}
    )
    outcome = local.deploy(users=declared)
    assert outcome.status == 0, outcome.output
    assert local.ask("PROPFIND", "/dav.php/calendars/neu/default/", user="neu").status == 207
    assert put(local, "theirs", "Corey", shared) == 201
    assert local.ask("GET", f"{CALENDAR}theirs.ics", user="jo").status == 200
    assert local.deploy(users=declared).changes == 0


def test_removed_account_is_archived_first(local: Server) -> None:
    """The archive has all of the account's data, and restores it."""
    declared = [*shares(), {"name": "neu", "email": "neu@example.org", "password": USERS[0]["password"]}]
    outcome = local.deploy(users=declared)
    assert outcome.status == 0, outcome.output
    assert put(local, "mine", "neu", "/dav.php/calendars/neu/default/") == 201
    declared[-1] = {"name": "neu", "state": "absent"}
    outcome = local.deploy(users=declared)
    assert outcome.status == 0, outcome.output
    assert local.ask("PROPFIND", "/dav.php/calendars/jo/", user="neu").status == 401
    before = local.machine.run("ls /var/backups/baikal/*-before-removal.tar.gz | tail -1").strip()
    assert local.deploy().status == 0  # where the account isn't mentioned
    assert run_command(local.machine, "restore", before)[-1] == "status 0"
    assert local.ask("GET", "/dav.php/calendars/neu/default/mine.ics", user="neu").status == 200


def test_archive_is_restored_despite_a_power_cut(local: Server) -> None:
    """The database server is killed with the machine, and rolls the change back at boot."""
    machine = local.machine
    machine.run("baikalctl backup")
    made = newest(machine)
    assert put(local, "later") == 201
    pause_command(machine, "database.transfer.copy", "restore", made)
    machine.kill()
    machine.power_on()
    assert is_cleaned_up(machine)
    assert local.ask("GET", f"{CALENDAR}later.ics", user="jo").status == 200
    assert run_command(machine, "restore", made)[-1] == "status 0"
    assert local.ask("GET", f"{CALENDAR}later.ics", user="jo").status == 404
    assert local.ask("GET", f"{CALENDAR}first.ics", user="jo").status == 200
    assert local.check()["healthy"]
