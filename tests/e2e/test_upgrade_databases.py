"""Upgrades of data in MariaDB or PostgreSQL: the same guarantees as for SQLite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import corpus_rows
from tests.lab.acme import Network
from tests.lab.active_users import FEW, ActiveUsers
from tests.lab.certificates import Signer
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.engine import Engine, wait_until
from tests.lab.future_release import VERSION as FUTURE
from tests.lab.future_release import Kind
from tests.lab.pause_at_step import PausedAtStep
from tests.lab.server import Server
from tests.lab.upgrading import as_version, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.machine import Machine
    from tests.lab.release import Release


CA: Final = "/etc/ssl/database.pem"
VERSION: Final = "SELECT value FROM baikalctl_state WHERE name = 'version'"
NEW_COLUMN: Final = "SELECT 1 FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'disabled'"
ANONYMOUS_STATUS: Final = 401
SECRET: Final = "db-pass:w;'x$1 #"


@dataclass(frozen=True)
class Pair:
    """A machine, and the database server with its data."""

    server: Server
    database: DatabaseServer

    def differences(self) -> list[str]:
        """Return the differences from the state before the upgrade."""
        version = self.server.release.version
        texts = differences(self.server.machine, version)
        if (rows := self.database.rows(VERSION)) != [[version]]:
            texts.append(f"the database says it is of {rows}")
        if self.database.rows(NEW_COLUMN):
            texts.append("a column of the new release exists")
        return texts


@pytest.fixture(scope="module", params=BACKENDS)
def pair(
    request: pytest.FixtureRequest,
    engine: Engine,
    boot: Callable[..., Machine],
    release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Yield a machine with the release under test, and data in a database server."""
    secret: Path = tmp_path_factory.mktemp("database") / "password"
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, request.param, Signer.root(), password=SECRET) as database,
    ):
        machine = boot()
        attach(engine, network, machine.name)
        machine.write(CA, database.ca)
        settings = database.settings(secret, CA)
        server = Server(machine, release, data=settings)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        corpus_rows.fill(database, FEW)
        yield Pair(server, database)


def test_an_upgrade_that_fails_leaves_every_row_as_it_was(pair: Pair) -> None:
    """The release is tested with a copy of the rows, and the original rows are not changed."""
    future = as_version(pair.server, FUTURE, Kind.FAILS_HALF_WAY)
    with ActiveUsers(future) as users:
        outcome = future.deploy()
    assert outcome.status == 1
    assert "step 2 of 3 has failed" in outcome.output
    assert users.problems() == []
    assert pair.differences() == []


def test_upgrade_of_a_read_only_database_is_rolled_back(pair: Pair) -> None:
    """There is nothing to roll back, and clients can still read."""
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    pair.database.read_only()
    try:
        outcome = future.deploy()
        assert outcome.status == 1
        assert "failed and was rolled back: " in outcome.output, outcome.output
        assert pair.differences() == []
        href = "/dav.php/addressbooks/corpus00/default/"
        assert pair.server.ask("PROPFIND", href, user="corpus00").status == 207
    finally:
        pair.database.read_only(on=False)
    assert pair.server.deploy().status == 0
    assert pair.server.check()["healthy"], pair.server.check()


@pytest.mark.parametrize("away", [False, True], ids=["", "and the database server is away when the machine boots"])
def test_power_cut_while_rows_are_loaded_is_rolled_back(pair: Pair, *, away: bool) -> None:
    """Some tables are empty or missing at that moment; after the boot, all are restored."""
    machine = pair.server.machine
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    with ActiveUsers(pair.server, writing=2, powered=False) as users:
        with PausedAtStep(machine, "database.transfer._converted", future.deploy, times=40):
            machine.kill()
            if away:
                pair.database.stop()
            machine.power_on()
        if away:
            assert pair.server.ask("PROPFIND", "/dav.php/").status == 503
            pair.database.start()
        assert wait_until(lambda: pair.server.ask("PROPFIND", "/dav.php/").status == ANONYMOUS_STATUS, 60)
    assert users.problems() == []
    assert pair.differences() == []


def test_upgrade_succeeds(pair: Pair) -> None:
    """With all rows, the new column, and the indexes."""
    future = as_version(pair.server, FUTURE, Kind.NEW_STEP)
    with ActiveUsers(future) as users:
        outcome = future.deploy()
    print(f"{pair.database.backend}: {users}")
    assert outcome.status == 0, outcome.output
    assert users.problems() == []
    assert differences(future.machine, FUTURE) == []
    assert pair.database.rows(NEW_COLUMN) != []
    assert future.check()["healthy"], future.check()
    assert future.deploy().changes == 0
