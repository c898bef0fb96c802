"""Upgrades of a machine under load: clients see the old data, 503 or the new; after any failure, the old release serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import corpus_rows
from tests.lab.active_users import FEW, ActiveUsers
from tests.lab.engine import cache_directory
from tests.lab.future_release import VERSION as FUTURE
from tests.lab.future_release import Kind
from tests.lab.pause_at_step import PausedAtStep
from tests.lab.release import Release, standin
from tests.lab.server import Server
from tests.lab.sql import SqliteFile
from tests.lab.upgrading import as_version, differences, restore_saved, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.deploying import Outcome
    from tests.lab.machine import Machine


OLDEST, OLD = "0.10.1", "0.11.1"
FAILING: Final = {
    Kind.FAILS_HALF_WAY: "upgrade from {old} to 0.13.0 failed: Uncaught exception during upgrade: Exception: step 2 of 3",
    Kind.DIES_HALF_WAY: "Baïkal's own upgrade from {old} to 0.13.0 failed: exit status 255",
    Kind.ANSWERS_500: "Baïkal 0.13.0 doesn't work with this data: PROPFIND /dav.php/principals/",
    Kind.REFUSES_WRITES: "Baïkal 0.13.0 doesn't work with this data: PUT /dav.php/calendars/",
}


@pytest.fixture(scope="module")
def oldest(boot: Callable[..., Machine]) -> Server:
    """Yield a machine with the oldest supported release, and users."""
    server = Server(boot(), standin(cache_directory(), OLDEST))
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    corpus_rows.fill(SqliteFile(server.machine.engine, server.machine.name), FEW)
    save(server.machine)
    return server


@pytest.fixture(scope="module")
def today(oldest: Server, release: Release) -> Server:
    """Return the machine with the release under test."""
    server = Server(oldest.machine, release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    return server


def upgraded_under_load(server: Server) -> Outcome:
    """Deploy while clients use the machine; assert that none has a problem."""
    with ActiveUsers(server) as users:
        outcome = server.deploy()
    print(f"{server.release.version}, {server.release.origin}: {users}")
    assert users.problems() == []
    assert users.writers.acknowledged > 20
    return outcome


@pytest.mark.parametrize("old", [OLDEST, OLD])
def test_upgrade_is_a_moment_of_503(oldest: Server, release: Release, old: str) -> None:
    """For writing, syncing and anonymous clients; then the new release serves the same data, and the old release is kept."""
    restore_saved(oldest.machine)
    before = as_version(oldest, old)
    assert before.deploy().status == 0
    assert differences(before.machine, old) == []
    server = Server(oldest.machine, release)
    outcome = upgraded_under_load(server)
    assert outcome.status == 0, outcome.output
    assert differences(server.machine, release.version) == []
    assert server.check()["healthy"], server.check()
    assert server.deploy().changes == 0
    releases = server.machine.run("ls /opt/baikal").split()
    assert sorted(releases) == sorted([old, release.version, "current"]), "one older release is kept, and no more"
    assert server.machine.run("ls /var/backups/baikal").count("before-upgrade.tar.gz") >= 1


@pytest.mark.parametrize("kind", FAILING)
def test_old_release_and_data_serve_after_a_failed_upgrade(today: Server, kind: Kind) -> None:
    """The deploy fails with the reason; clients get 503 for a moment, and lose nothing."""
    version = today.release.version
    server = as_version(today, FUTURE, kind)
    columns = today.rows("PRAGMA table_info(users)")
    outcome = upgraded_under_load(server)
    assert outcome.status == 1
    assert f"the upgrade from Baïkal {version} to {FUTURE} failed and was rolled back: " in outcome.output
    assert FAILING[kind].format(old=version) in outcome.output
    assert differences(today.machine, version) == []
    assert today.rows("PRAGMA table_info(users)") == columns
    assert today.rows("SELECT count(*) FROM users WHERE username LIKE 'baikalctl-check-%'") == [[0]]
    findings = {finding["subject"]: finding for finding in today.check()["findings"] if finding["status"] != "ok"}
    assert set(findings) == {"version", "declared"}, findings
    assert f"code {version}, data {version}, declared {FUTURE}" in findings["version"]["message"]


def test_server_is_healthy_when_the_old_release_is_declared_again(today: Server) -> None:
    """Only the declaration has to be reverted."""
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
    "the new column already exists": (
        "ALTER TABLE users ADD COLUMN disabled TEXT",
        "ALTER TABLE users DROP COLUMN disabled",
    ),
}


@pytest.mark.parametrize("way", TAMPERED)
def test_data_that_the_new_release_cannot_serve_is_unchanged(today: Server, way: str) -> None:
    """The part of it that works is still served."""
    change, undo = TAMPERED[way]
    holder = SqliteFile(today.machine.engine, today.machine.name)
    holder.execute((change,))
    before = holder.execute(("SELECT type, name, sql FROM sqlite_master ORDER BY name",))
    try:
        outcome = as_version(today, FUTURE, Kind.NEW_STEP).deploy()
        assert outcome.status == 1
        # Data without a table can't be archived, so the upgrade doesn't start.
        archived = "has no table calendarchanges" not in outcome.output
        assert archived != (way == "a table is missing"), outcome.output
        assert not archived or f"{FUTURE} failed and was rolled back: " in outcome.output
        assert differences(today.machine, today.release.version) == []
        assert holder.execute(("SELECT type, name, sql FROM sqlite_master ORDER BY name",)) == before
        assert today.ask("PROPFIND", "/dav.php/addressbooks/corpus00/default/", user="corpus00").status == 207
    finally:
        holder.execute((undo,))
    assert today.deploy().status == 0


def test_database_that_becomes_read_only_during_an_upgrade_is_unchanged(today: Server) -> None:
    """Then no file can be replaced, restored or read; once it is writable again, all data is unchanged."""
    folder = "/var/lib/baikal/Specific"
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    today.machine.run(f"mount --bind {folder} {folder}")
    try:
        with PausedAtStep(today.machine, "changes.staging.put_in_place", server.deploy) as run:
            today.machine.run(f"mount -o remount,bind,ro {folder}")
        (outcome,) = run.result
        assert outcome.status == 1
        assert f"{FUTURE} failed and was rolled back: [Errno 30] Read-only file system" in outcome.output
        assert differences(today.machine, today.release.version) == []
    finally:
        today.machine.run(f"umount {folder}")
    assert today.ask("PROPFIND", "/dav.php/addressbooks/corpus00/default/", user="corpus00").status == 207, (
        "and recovery is automatic"
    )
    outcome = today.deploy()
    assert outcome.status == 0, outcome.output
    assert differences(today.machine, today.release.version) == []
    assert today.check()["healthy"]


def test_fixed_release_is_upgraded_to(today: Server) -> None:
    """Its migration has a step that logins need."""
    version = today.release.version
    assert as_version(today, FUTURE, Kind.REFUSES_WRITES).deploy().status == 1
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    outcome = upgraded_under_load(server)
    assert outcome.status == 0, outcome.output
    assert differences(server.machine, FUTURE) == []
    assert server.check()["healthy"], server.check()
    assert server.deploy().changes == 0
    assert sorted(server.machine.run("ls /opt/baikal").split()) == [version, FUTURE, "current"]


def test_downgrade_is_refused(today: Server) -> None:
    """It is refused before any change, with the remedy; the new release still serves."""
    outcome = today.deploy()
    assert outcome.status == 1
    message = f"Baïkal {FUTURE} runs here, and {today.release.version} is older and can't read its data safely"
    assert (
        f"nothing was changed on any host; fix this and run again:\n    {today.machine.name}: baikal_version: {message}"
        in (outcome.output)
    )
    assert differences(today.machine, FUTURE) == []
    server = as_version(today, FUTURE, Kind.NEW_STEP)
    assert server.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo").status == 207
    assert server.deploy().status == 0
    assert server.check()["healthy"], server.check()
