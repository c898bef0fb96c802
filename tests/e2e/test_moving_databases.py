"""Data that moves from one database to another, with every object, or stays where it is; and archives, across them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from baikalctl.rendering.database import DRIVERS
from tests.lab import filling
from tests.lab.acme import Network
from tests.lab.archived import FOLDER, newest
from tests.lab.asking import PASSWORD
from tests.lab.certificates import Signer
from tests.lab.corpus import SMALL
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.dav import Dav
from tests.lab.holding import SqliteFile, Statement
from tests.lab.images import PACKAGES, machine_image
from tests.lab.life import Life, go_on, open_again, said, stand_still
from tests.lab.machine import Machine
from tests.lab.server import Server

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
"""Moments of a move: the tables are there and empty; all rows have arrived; PHP serves the new ones, behind the door."""


@dataclass
class Pair:
    """A server of ours with its data in a file, and a database server beside it."""

    server: Server
    database: DatabaseServer
    life: Life
    there: dict[str, object]
    """Settings that declare the database server."""

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.server.machine

    def find(self) -> None:
        """Have the machine know where the database is by itself: an engine's own names come and go as containers do."""
        shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = self.machine.engine.docker("inspect", "-f", shown, self.database.name).strip()
        host = self.database.host
        self.machine.run(f"sed '/ {host}$/d' /etc/hosts > /run/hosts; echo {address} {host} >> /run/hosts")
        self.machine.run("cat /run/hosts > /etc/hosts")

    def restart(self) -> None:
        """Start the database server again."""
        self.database.start()
        self.find()

    def cut_the_power(self) -> None:
        """Have the machine end at once, and boot."""
        self.machine.kill()
        self.machine.power_on()
        self.find()

    def declare(self, **settings: object) -> None:
        """Declare where the data is to be; the deploy says what to do, and changes no data."""
        outcome = self.server.deploy(**settings)
        assert outcome.status == 1, outcome.output
        assert "run baikalctl database move" in outcome.output

    def move(self) -> list[str]:
        """Move the data to what is declared."""
        return said(self.machine, "database", "move")


@pytest.fixture(scope="module", params=BACKENDS)
def pair(
    request: pytest.FixtureRequest, engine: Engine, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Give a server whose data is in a file, with another database declared; tests leave it so."""
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
        filling.fill(SqliteFile(engine, machine.name), SMALL)
        there = database.settings(password, CA)
        found = Pair(server, database, Life.on(server, SMALL, exact=False), there)
        found.find()
        found.declare(**there)
        yield found


def refused(pair: Pair, *words: str) -> str:
    """Have a move be refused, and return the sentence that tells why; nothing has changed."""
    lines = pair.move()
    assert lines[-1] == "status 1", lines
    for word in words:
        assert word in lines[-2], lines
    assert "Traceback" not in str(lines)
    assert pair.database.password not in str(lines)
    assert open_again(pair.machine)
    assert pair.life.wrong(pair.server) == []
    return lines[-2]


def test_a_database_that_cant_be_reached_changes_nothing(pair: Pair) -> None:
    """It is away; the password is wrong; or its certificate is one that nobody here has heard of."""
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


def test_a_database_that_goes_away_half_way_changes_nothing(pair: Pair) -> None:
    """Where nothing is there yet, and where all has arrived."""
    for moment in ("database.transfer.copy", "database.transfer.difference"):
        stand_still(pair.machine, moment, "database", "move")
        pair.database.kill()
        lines = go_on(pair.machine)
        pair.restart()
        assert lines[-1] == "status 1", lines
        assert "all is as it was" in lines[-2], lines
        assert open_again(pair.machine)
        assert pair.life.wrong(pair.server) == []
    # Nobody could take out of it what had arrived: that is for whoever owns it to say.
    refused(pair, "already contains data", "empty it")
    pair.database.empty()


def test_a_database_that_may_not_be_written_changes_nothing(pair: Pair) -> None:
    """As a replica, or one whose disk is full."""
    pair.database.read_only()
    try:
        refused(pair, "all is as it was", "read")
    finally:
        pair.database.read_only(on=False)


@pytest.mark.parametrize("moment", CUT)
def test_a_power_cut_leaves_the_data_where_it_is(pair: Pair, moment: str) -> None:
    """When the machine has booted; the next test shows that repeating it arrives."""
    stand_still(pair.machine, moment, "database", "move")
    assert pair.server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    pair.cut_the_power()
    assert open_again(pair.machine)
    assert pair.life.wrong(pair.server) == []


def test_what_the_database_cant_hold_is_named_in_one_line(pair: Pair) -> None:
    """An object, and a calendar's name that SQLite doesn't measure."""
    file = SqliteFile(pair.machine.engine, pair.machine.name)
    uri = next(SMALL.things(USER, 0)).uri
    number = file.execute((f"SELECT id FROM calendarobjects WHERE uri = '{uri}'",))[0][0]  # noqa: S608 - our own name
    wrong: list[tuple[Statement, str]] = [
        (("UPDATE calendarinstances SET displayname = %s WHERE uri = 'default'", ["x" * 120]), "default")
    ]
    mended: list[Statement] = [
        ("UPDATE calendarinstances SET displayname = 'Kalender 0 für alle' WHERE uri = 'default'",)
    ]
    if pair.database.backend == "pgsql":
        wrong.append((("UPDATE calendarobjects SET calendardata = %s WHERE id = %s", [b"\xff\xfe", number]), uri))
        text = next(SMALL.things(USER, 0)).data.encode()
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
        assert "all is as it was" in lines[-2], lines
        assert open_again(pair.machine)
    assert pair.life.wrong(pair.server) == []


def test_data_moves_there_and_back_and_archives_of_either_come_back_in_both(pair: Pair) -> None:
    """Every object as it was, by each one's own log-in; clients that were in step go on; a deploy has nothing to do."""
    machine, life = pair.machine, Life.on(pair.server, SMALL)
    of_file = archived(machine)
    lines = pair.move()
    assert lines[-1] == "status 0", lines
    assert "all rows were compared" in lines[-2]
    assert life.wrong(pair.server) == []
    assert not machine.run("ls /var/lib/baikal/Specific/db")
    assert pair.server.deploy(**pair.there).status == 0
    outcome = pair.server.deploy(**pair.there)
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    assert pair.server.check()["healthy"]
    assert said(machine, "database", "move")[-2].endswith("already")
    of_server = archived(machine)
    for each in (of_file, of_server):
        now = changed(pair)
        assert said(machine, "restore", each)[-1] == "status 0"
        assert in_step(pair, now)
        assert life.wrong(pair.server) == []
    cut_while_restoring(pair, of_file)

    pair.declare()
    lines = pair.move()
    assert lines[-1] == "status 0", lines
    assert life.wrong(pair.server) == []
    assert pair.server.deploy().status == 0  # what the one that was refused has written is read by the services
    now = changed(pair)
    assert said(machine, "restore", of_server)[-1] == "status 0"
    assert in_step(pair, now)
    assert life.wrong(pair.server) == []
    # What is in the database still is somebody's, until somebody says otherwise.
    pair.declare(**pair.there)
    refused(pair, "already contains data", "database_name")
    pair.database.empty()


def archived(machine: Machine) -> str:
    """Make an archive and return a copy that nothing thins out."""
    machine.run("baikalctl backup")
    name = newest(machine)
    machine.run(f"cp {FOLDER}/{name} /root/{name}")
    return f"/root/{name}"


def changed(pair: Pair) -> Life:
    """Have somebody delete something, and another write; return what there is then, with clients that are in step."""
    dav = Dav(pair.server.url, USER, PASSWORD)
    thing = list(SMALL.things(USER, 0))[-1]
    assert dav.send("DELETE", f"{CALENDAR}{thing.uri}").status == 204
    again = thing.data.replace(f"UID:{thing.uid}", "UID:later").encode()
    assert dav.send("PUT", f"{CALENDAR}later.ics", again, Content_Type="text/calendar").status == 201
    dav.close()
    return Life.on(pair.server, SMALL, exact=False)


def in_step(pair: Pair, life: Life) -> bool:
    """Tell whether clients that were in step before something was undone are told so."""
    for syncer in life.syncers:
        syncer.dav.close()
        syncer.sync()
        assert syncer.wrong() == []
    return pair.server.check()["healthy"] is True


def cut_while_restoring(pair: Pair, archive: str) -> None:
    """Cut the power when the rows of a server's database have been replaced; all of them are back afterwards."""
    now = changed(pair)
    stand_still(pair.machine, "changes.transaction._use", "restore", archive)
    pair.cut_the_power()
    assert open_again(pair.machine)
    assert now.wrong(pair.server) == []
    assert said(pair.machine, "restore", archive)[-1] == "status 0"
    assert pair.life.wrong(pair.server) == []
