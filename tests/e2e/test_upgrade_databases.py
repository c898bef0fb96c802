"""Upgrades of data that is in MariaDB or PostgreSQL: the same promises as where it is a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import filling
from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.crowd import FEW, Crowd
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.engine import Engine, wait_until
from tests.lab.future import VERSION as FUTURE
from tests.lab.future import Kind
from tests.lab.halting import Halting
from tests.lab.server import Server
from tests.lab.upgrading import amiss, as_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.machine import Machine
    from tests.lab.release import Release


CA: Final = "/etc/ssl/database.pem"
VERSION: Final = "SELECT value FROM baikalctl_state WHERE name = 'version'"
NEW_COLUMN: Final = "SELECT 1 FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'disabled'"
STRANGER: Final = 401
SECRET: Final = "db-pass:w;'x$1 #"


@dataclass(frozen=True)
class Pair:
    """A machine, and the database server that has its data."""

    server: Server
    database: DatabaseServer

    def amiss(self) -> list[str]:
        """Return what is not as before any upgrade."""
        version = self.server.release.version
        told = amiss(self.server.machine, version)
        if (found := self.database.rows(VERSION)) != [[version]]:
            told.append(f"the database says it is of {found}")
        if self.database.rows(NEW_COLUMN):
            told.append("a column of the new release is there")
        return told


@pytest.fixture(scope="module", params=BACKENDS)
def pair(
    request: pytest.FixtureRequest,
    engine: Engine,
    boot: Callable[..., Machine],
    release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Give a machine with the release under test, and people's data in a database server."""
    secret: Path = tmp_path_factory.mktemp("database") / "password"
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, request.param, Signer.root(), password=SECRET) as database,
    ):
        machine = boot()
        attach(engine, network, machine.name)
        machine.write(CA, database.ca)
        there = database.settings(secret, CA)
        server = Server(machine, release, data=there)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        filling.fill(database, FEW)
        yield Pair(server, database)


def test_an_upgrade_that_fails_leaves_every_row_as_it_was(pair: Pair) -> None:
    """The release is tried out with a copy of the rows, and none of theirs is touched."""
    future = as_version(pair.server, FUTURE, Kind.FAILS_HALF_WAY)
    with Crowd(future) as crowd:
        outcome = future.deploy()
    assert outcome.status == 1
    assert "step 2 of 3 has failed" in outcome.output
    assert crowd.complaints() == []
    assert pair.amiss() == []


def test_an_upgrade_of_a_database_that_is_read_only_is_taken_back(pair: Pair) -> None:
    """There is nothing to take back, and who reads goes on reading."""
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    pair.database.read_only()
    try:
        outcome = future.deploy()
        assert outcome.status == 1
        assert "failed and was rolled back: " in outcome.output, outcome.output
        assert pair.amiss() == []
        place = "/dav.php/addressbooks/corpus00/default/"
        assert pair.server.ask("PROPFIND", place, user="corpus00").status == 207
    finally:
        pair.database.read_only(on=False)
    assert pair.server.deploy().status == 0
    assert pair.server.check()["healthy"], pair.server.check()


@pytest.mark.parametrize("away", [False, True], ids=["", "and the database server is away when the machine boots"])
def test_a_power_cut_while_rows_are_loaded_is_taken_back(pair: Pair, *, away: bool) -> None:
    """Some tables are empty by then, and some are missing; when the machine has power again, all are there again."""
    machine = pair.server.machine
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    with Crowd(pair.server, writing=2, powered=False) as crowd:
        with Halting(machine, "database.transfer._converted", future.deploy, times=40):
            machine.kill()
            if away:
                pair.database.stop()
            machine.power_on()
        if away:
            assert pair.server.ask("PROPFIND", "/dav.php/").status == 503
            pair.database.start()
        assert wait_until(lambda: pair.server.ask("PROPFIND", "/dav.php/").status == STRANGER, 60)
    assert crowd.complaints() == []
    assert pair.amiss() == []


def test_an_upgrade_arrives(pair: Pair) -> None:
    """With the rows, the column that is new, and everything that makes the database fast."""
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    with Crowd(future) as crowd:
        outcome = future.deploy()
    print(f"{pair.database.backend}: {crowd}")
    assert outcome.status == 0, outcome.output
    assert crowd.complaints() == []
    assert amiss(future.machine, FUTURE) == []
    assert pair.database.rows(NEW_COLUMN) != []
    assert future.check()["healthy"], future.check()
    assert future.deploy().changes == 0
