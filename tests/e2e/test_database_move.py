"""Moves of data between databases, complete or rolled back; and archives restored into another database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from baikalctl.rendering.database import DRIVERS
from tests.lab import corpus_rows
from tests.lab.acme import Network
from tests.lab.archives import FOLDER, newest
from tests.lab.certificates import Signer
from tests.lab.commands import is_cleaned_up, pause_command, resume_command, run_command
from tests.lab.corpus import SMALL
from tests.lab.data_snapshot import DataSnapshot
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.dav import Dav
from tests.lab.http_request import PASSWORD
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.server import Server
from tests.lab.sql import SqliteFile, Statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.database_image import Backend
    from tests.lab.engine import Engine
    from tests.lab.release import Release


CA = "/etc/ssl/lab-database.pem"
STANDS_AT = "/etc/baikal/database-password"
SECRET = """pass word: "it's" #1 \\ 100% $HOME;"""
USER = SMALL.names()[0]
CALENDAR = f"/dav.php/calendars/{USER}/default/"
CUT = ("database.transfer.copy", "database.transfer.difference", "changes.transaction._use")
"""Steps of a move: the tables exist and are empty; all rows are copied; PHP serves the new ones in maintenance mode."""


@dataclass
class Pair:
    """A deployed server with its data in a file, and a database server."""

    server: Server
    database: DatabaseServer
    snapshot: DataSnapshot
    server_settings: dict[str, object]
    """Settings that declare the database server."""

    @property
    def machine(self) -> Machine:
        """The server's machine."""
        return self.server.machine

    def register_address(self) -> None:
        """Write the database server's address to /etc/hosts: the engine's DNS forgets stopped containers."""
        served_certificate = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = self.machine.engine.docker("inspect", "-f", served_certificate, self.database.name).strip()
        host = self.database.host
        self.machine.run(f"sed '/ {host}$/d' /etc/hosts > /run/hosts; echo {address} {host} >> /run/hosts")
        self.machine.run("cat /run/hosts > /etc/hosts")

    def restart(self) -> None:
        """Start the database server again."""
        self.database.start()
        self.register_address()

    def cut_the_power(self) -> None:
        """Kill the machine, and boot it."""
        self.machine.kill()
        self.machine.power_on()
        self.register_address()

    def declare(self, **settings: object) -> None:
        """Declare another database; the deploy reports the remedy, and changes no data."""
        outcome = self.server.deploy(**settings)
        assert outcome.status == 1, outcome.output
        assert "run baikalctl database move" in outcome.output

    def move(self) -> list[str]:
        """Move the data to the declared database."""
        return run_command(self.machine, "database", "move")


@pytest.fixture(scope="module", params=BACKENDS)
def pair(
    request: pytest.FixtureRequest, engine: Engine, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Yield a server with its data in a file, and another database declared; tests leave it so."""
    backend: Backend = request.param
    signer, password = Signer.root(), tmp_path_factory.mktemp("database") / "password"
    image = machine_image(engine, "debian:12", (*PACKAGES, *DRIVERS["mysql"], *DRIVERS["pgsql"]))
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, backend, signer, password=SECRET, tls_only=True) as database,
        Machine.start(engine, image) as machine,
    ):
        attach(engine, network, machine.name)
        machine.write(CA, signer.pem)
        server = Server(machine, release)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        corpus_rows.fill(SqliteFile(engine, machine.name), SMALL)
        server_settings = database.settings(password, CA)
        made = Pair(server, database, DataSnapshot.take(server, SMALL, exact=False), server_settings)
        made.register_address()
        made.declare(**server_settings)
        yield made


def refused(pair: Pair, *words: str) -> str:
    """Run a move that is refused, assert that nothing has changed, and return the reason."""
    lines = pair.move()
    assert lines[-1] == "status 1", lines
    for word in words:
        assert word in lines[-2], lines
    assert "Traceback" not in str(lines)
    assert pair.database.password not in str(lines)
    assert is_cleaned_up(pair.machine)
    assert pair.snapshot.differences(pair.server) == []
    return lines[-2]


def test_unreachable_database_changes_nothing(pair: Pair) -> None:
    """It is down, the password is wrong, or its certificate has an unknown CA."""
    pair.database.stop()
    refused(pair, "can't be reached", pair.database.host)
    pair.restart()
    pair.machine.write(STANDS_AT, "wrong", "0600")
    refused(
        pair, "can't be reached", "denied" if pair.database.backend == "mysql" else "password authentication failed"
    )
    pair.machine.write(STANDS_AT, pair.database.password, "0600")
    pair.machine.write(CA, Signer.root().pem)
    refused(pair, "certificate verify failed")
    pair.machine.write(CA, pair.database.ca)


def test_database_outage_during_a_move_changes_nothing(pair: Pair) -> None:
    """Before any row is copied, and after all are."""
    for moment in ("database.transfer.copy", "database.transfer.difference"):
        pause_command(pair.machine, moment, "database", "move")
        pair.database.kill()
        lines = resume_command(pair.machine)
        pair.restart()
        assert lines[-1] == "status 1", lines
        assert "failed and was rolled back" in lines[-2], lines
        assert is_cleaned_up(pair.machine)
        assert pair.snapshot.differences(pair.server) == []
    # The copied rows couldn't be removed; the operator has to do so.
    refused(pair, "already contains data", "empty it")
    pair.database.empty()


def test_read_only_database_changes_nothing(pair: Pair) -> None:
    """As on a replica, or on a full disk."""
    pair.database.read_only()
    try:
        refused(pair, "failed and was rolled back", "read")
    finally:
        pair.database.read_only(on=False)


@pytest.mark.parametrize("moment", CUT)
def test_power_cut_during_a_move_changes_nothing(pair: Pair, moment: str) -> None:
    """After a boot, the data is where it was; the next test shows that a repeated move succeeds."""
    pause_command(pair.machine, moment, "database", "move")
    assert pair.server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    pair.cut_the_power()
    assert is_cleaned_up(pair.machine)
    assert pair.snapshot.differences(pair.server) == []


def test_data_too_large_for_the_database_is_named_in_one_line(pair: Pair) -> None:
    """An object, and the name of a calendar, which has no length limit in SQLite."""
    file = SqliteFile(pair.machine.engine, pair.machine.name)
    uri = next(SMALL.calendar_objects(USER, 0)).uri
    number = file.execute((f"SELECT id FROM calendarobjects WHERE uri = '{uri}'",))[0][0]  # noqa: S608 - our own name
    wrong: list[tuple[Statement, str]] = [
        (("UPDATE calendarinstances SET displayname = %s WHERE uri = 'default'", ["x" * 120]), "default")
    ]
    mended: list[Statement] = [
        ("UPDATE calendarinstances SET displayname = 'Kalender 0 für alle' WHERE uri = 'default'",)
    ]
    if pair.database.backend == "pgsql":
        wrong.append((("UPDATE calendarobjects SET calendardata = %s WHERE id = %s", [b"\xff\xfe", number]), uri))
        text = next(SMALL.calendar_objects(USER, 0)).data.encode()
        mended.append(("UPDATE calendarobjects SET calendardata = %s WHERE id = %s", [text, number]))
    else:
        wrong.pop()
        wrong.append((("UPDATE calendarobjects SET uid = %s WHERE id = %s", ["u" * 300, number]), uri))
        mended.append(("UPDATE calendarobjects SET uid = %s WHERE id = %s", [uri.removesuffix(".ics"), number]))
    for statement, named in wrong:
        file.execute(statement)
        lines = pair.move()
        for each in mended:
            file.execute(each)
        assert lines[-1] == "status 1", lines
        assert f"({named})" in lines[-2], lines
        assert "failed and was rolled back" in lines[-2], lines
        assert is_cleaned_up(pair.machine)
    assert pair.snapshot.differences(pair.server) == []


def test_data_moves_there_and_back_and_archives_are_restored_in_both(pair: Pair) -> None:
    """All objects are unchanged for each user; synchronised clients continue; a deploy changes nothing."""
    machine, snapshot = pair.machine, DataSnapshot.take(pair.server, SMALL)
    of_file = archived(machine)
    lines = pair.move()
    assert lines[-1] == "status 0", lines
    assert "all rows were compared" in lines[-2]
    assert snapshot.differences(pair.server) == []
    assert not machine.run("ls /var/lib/baikal/Specific/db")
    assert pair.server.deploy(**pair.server_settings).status == 0
    outcome = pair.server.deploy(**pair.server_settings)
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    assert pair.server.check()["healthy"]
    assert "the data is already in " in run_command(machine, "database", "move")[-2]
    of_server = archived(machine)
    for each in (of_file, of_server):
        now = changed(pair)
        assert run_command(machine, "restore", each)[-1] == "status 0"
        assert is_synchronised(pair, now)
        assert snapshot.differences(pair.server) == []
    cut_while_restoring(pair, of_file)

    pair.declare()
    lines = pair.move()
    assert lines[-1] == "status 0", lines
    assert snapshot.differences(pair.server) == []
    assert pair.server.deploy().status == 0  # services now use the files that the refused deploy has written
    now = changed(pair)
    assert run_command(machine, "restore", of_server)[-1] == "status 0"
    assert is_synchronised(pair, now)
    assert snapshot.differences(pair.server) == []
    # Existing data in the database is kept until the operator removes it.
    pair.declare(**pair.server_settings)
    refused(pair, "already contains data", "database_name")
    pair.database.empty()


def archived(machine: Machine) -> str:
    """Make an archive and return a copy that retention doesn't remove."""
    machine.run("baikalctl backup")
    name = newest(machine)
    machine.run(f"cp {FOLDER}/{name} /root/{name}")
    return f"/root/{name}"


def changed(pair: Pair) -> DataSnapshot:
    """Delete an object, write another, and return a snapshot with synchronised clients."""
    dav = Dav(pair.server.url, USER, PASSWORD)
    thing = list(SMALL.calendar_objects(USER, 0))[-1]
    assert dav.send("DELETE", f"{CALENDAR}{thing.uri}").status == 204
    again = thing.data.replace(f"UID:{thing.uid}", "UID:later").encode()
    assert dav.send("PUT", f"{CALENDAR}later.ics", again, Content_Type="text/calendar").status == 201
    dav.close()
    return DataSnapshot.take(pair.server, SMALL, exact=False)


def is_synchronised(pair: Pair, snapshot: DataSnapshot) -> bool:
    """Whether clients that were synchronised before a rollback detect it."""
    for syncer in snapshot.syncers:
        syncer.dav.close()
        syncer.sync()
        assert syncer.errors() == []
    return pair.server.check()["healthy"] is True


def cut_while_restoring(pair: Pair, archive: str) -> None:
    """Cut the power after the rows of a server's database were replaced; assert that all old rows are back."""
    now = changed(pair)
    pause_command(pair.machine, "changes.transaction._use", "restore", archive)
    pair.cut_the_power()
    assert is_cleaned_up(pair.machine)
    assert now.differences(pair.server) == []
    assert run_command(pair.machine, "restore", archive)[-1] == "status 0"
    assert pair.snapshot.differences(pair.server) == []
