"""Upgrades of a machine under load: clients see the old, 503 or the new; whatever fails, old code and old data serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import filling
from tests.lab.crowd import FEW, Crowd
from tests.lab.engine import cache_directory
from tests.lab.future import VERSION as FUTURE
from tests.lab.future import Kind
from tests.lab.halting import Halting
from tests.lab.holding import SqliteFile
from tests.lab.release import Release, standin
from tests.lab.server import Server
from tests.lab.upgrading import amiss, as_version, rewind, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.deploying import Outcome
    from tests.lab.machine import Machine


OLDEST, OLD = "0.10.1", "0.11.1"
FAILING: Final = {
    Kind.FAILS_HALF_WAY: "upgrade from {old} to 0.13.0 failed: Uncaught exception during upgrade: Exception: step 2 of 3",
    Kind.DIES_HALF_WAY: "Baïkal's own upgrade from {old} to 0.13.0 failed: exit status 255",
    Kind.ANSWERS_500: "Baïkal 0.13.0 doesn't serve this data: PROPFIND /dav.php/principals/",
    Kind.REFUSES_WRITES: "Baïkal 0.13.0 doesn't serve this data: PUT /dav.php/calendars/",
}


@pytest.fixture(scope="module")
def oldest(boot: Callable[..., Machine]) -> Server:
    """Give a machine with the oldest release that can be deployed, and people on it."""
    server = Server(boot(), standin(cache_directory(), OLDEST))
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    filling.fill(SqliteFile(server.machine.engine, server.machine.name), FEW)
    save(server.machine)
    return server


@pytest.fixture(scope="module")
def today(oldest: Server, release: Release) -> Server:
    """Give the machine with the release under test on it."""
    server = Server(oldest.machine, release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    return server


def upgraded_under_load(server: Server) -> Outcome:
    """Deploy while people use the machine; assert that none has anything to complain of."""
    with Crowd(server) as crowd:
        outcome = server.deploy()
    print(f"{server.release.version}, {server.release.origin}: {crowd}")
    assert crowd.complaints() == []
    assert crowd.writers.acknowledged > 20
    return outcome


@pytest.mark.parametrize("old", [OLDEST, OLD])
def test_an_upgrade_is_a_moment_of_503(oldest: Server, release: Release, old: str) -> None:
    """For who writes, syncs and comes by; then the new release serves what the old one did, and the old one stays."""
    rewind(oldest.machine)
    before = as_version(oldest, old)
    assert before.deploy().status == 0
    assert amiss(before.machine, old) == []
    server = Server(oldest.machine, release)
    outcome = upgraded_under_load(server)
    assert outcome.status == 0, outcome.output
    assert amiss(server.machine, release.version) == []
    assert server.check()["healthy"], server.check()
    assert server.deploy().changes == 0
    releases = server.machine.run("ls /opt/baikal").split()
    assert sorted(releases) == sorted([old, release.version, "current"]), "one generation is kept, and no more"
    assert server.machine.run("ls /var/backups/baikal").count("before-upgrade.tar.gz") >= 1


@pytest.mark.parametrize("kind", FAILING)
def test_an_upgrade_that_fails_leaves_the_old_code_and_the_old_data_serving(today: Server, kind: Kind) -> None:
    """The deploy is red and says why; who uses the machine meanwhile has seen a moment of 503, and lost nothing."""
    version = today.release.version
    server = as_version(today, FUTURE, kind)
    columns = today.rows("PRAGMA table_info(users)")
    outcome = upgraded_under_load(server)
    assert outcome.status == 1
    assert f"the upgrade from Baïkal {version} to {FUTURE} failed, and all is as it was: " in outcome.output
    assert FAILING[kind].format(old=version) in outcome.output
    assert amiss(today.machine, version) == []
    assert today.rows("PRAGMA table_info(users)") == columns
    assert today.rows("SELECT count(*) FROM users WHERE username LIKE 'baikalctl-check-%'") == [[0]]
    found = {finding["subject"]: finding for finding in today.check()["findings"] if finding["status"] != "ok"}
    assert set(found) == {"version", "declared"}, found
    assert f"code {version}, data {version}, declared {FUTURE}" in found["version"]["message"]


def test_with_the_old_release_declared_again_all_is_well(today: Server) -> None:
    """Only what is declared has to be brought back."""
    assert as_version(today, FUTURE, Kind.FAILS_HALF_WAY).deploy().status == 1
    outcome = today.deploy()
    assert outcome.status == 0, outcome.output
    assert not [name for name in outcome.changed if "Apply" in name], outcome.changed
    assert today.check()["healthy"], today.check()
    assert today.deploy().changes == 0


TAMPERED: Final = {
    "a table is missing": (
        "ALTER TABLE calendarchanges RENAME TO hidden",
        "ALTER TABLE hidden RENAME TO calendarchanges",
    ),
    "a column is missing": (
        "ALTER TABLE calendarobjects RENAME COLUMN firstoccurence TO hidden",
        "ALTER TABLE calendarobjects RENAME COLUMN hidden TO firstoccurence",
    ),
    "the column that is to come is there": (
        "ALTER TABLE users ADD COLUMN disabled TEXT",
        "ALTER TABLE users DROP COLUMN disabled",
    ),
}


@pytest.mark.parametrize("way", TAMPERED)
def test_data_that_the_new_release_cannot_take_stays_as_it_is(today: Server, way: str) -> None:
    """Whatever of it serves goes on serving."""
    there, back = TAMPERED[way]
    holder = SqliteFile(today.machine.engine, today.machine.name)
    holder.execute((there,))
    before = holder.execute(("SELECT type, name, sql FROM sqlite_master ORDER BY name",))
    try:
        outcome = as_version(today, FUTURE, Kind.NEW_STEP).deploy()
        assert outcome.status == 1
        # Of data without a table no archive is made, so it doesn't even begin.
        archived = "has no table calendarchanges" not in outcome.output
        assert archived != (way == "a table is missing"), outcome.output
        assert not archived or f"{FUTURE} failed, and all is as it was: " in outcome.output
        assert amiss(today.machine, today.release.version) == []
        assert holder.execute(("SELECT type, name, sql FROM sqlite_master ORDER BY name",)) == before
        assert today.ask("PROPFIND", "/dav.php/addressbooks/corpus00/default/", user="corpus00").status == 207
    finally:
        holder.execute((back,))
    assert today.deploy().status == 0


def test_a_database_that_becomes_read_only_amid_it_is_not_touched(today: Server) -> None:
    """Nobody can put anything in place there, nor back, nor read: once it can be written, it is all there as it was."""
    place = "/var/lib/baikal/Specific"
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    today.machine.run(f"mount --bind {place} {place}")
    try:
        with Halting(today.machine, "changes.staging.put_in_place", server.deploy) as run:
            today.machine.run(f"mount -o remount,bind,ro {place}")
        (outcome,) = run.result
        assert outcome.status == 1
        assert f"{FUTURE} failed, and all is as it was: [Errno 30] Read-only file system" in outcome.output
        assert amiss(today.machine, today.release.version) == []
    finally:
        today.machine.run(f"umount {place}")
    assert today.ask("PROPFIND", "/dav.php/addressbooks/corpus00/default/", user="corpus00").status == 207, (
        "and nobody has to do anything"
    )
    outcome = today.deploy()
    assert outcome.status == 0, outcome.output
    assert amiss(today.machine, today.release.version) == []
    assert today.check()["healthy"]


def test_a_release_that_was_mended_is_upgraded_to(today: Server) -> None:
    """With a step of its own in its migration, without which nobody could log in."""
    version = today.release.version
    assert as_version(today, FUTURE, Kind.REFUSES_WRITES).deploy().status == 1
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    outcome = upgraded_under_load(server)
    assert outcome.status == 0, outcome.output
    assert amiss(server.machine, FUTURE) == []
    assert server.check()["healthy"], server.check()
    assert server.deploy().changes == 0
    assert sorted(server.machine.run("ls /opt/baikal").split()) == [version, FUTURE, "current"]


def test_there_is_no_way_back_to_an_older_release(today: Server) -> None:
    """It is refused before anything is touched, and says what to do; clients go on with the new one."""
    outcome = today.deploy()
    assert outcome.status == 1
    message = f"Baïkal {FUTURE} runs here, and {today.release.version} is older and can't read its data safely"
    assert (
        f"nothing was changed on any host; fix this and run again:\n    {today.machine.name}: baikal_version: {message}"
        in (outcome.output)
    )
    assert amiss(today.machine, FUTURE) == []
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    assert server.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo").status == 207
    assert server.deploy().status == 0
    assert server.check()["healthy"], server.check()
