"""``baikalctl restore`` on a machine in use: the archived data is restored, or nothing changes; also after power cuts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab import corpus_rows
from tests.lab.archives import DAMAGES, damage, newest, repacked
from tests.lab.clients import EVENT
from tests.lab.commands import PAUSED, is_cleaned_up, pause_command, resume_command, run_command
from tests.lab.corpus import SMALL
from tests.lab.data_snapshot import DataSnapshot
from tests.lab.dav import Dav
from tests.lab.deploying import pyinfra
from tests.lab.http_request import PASSWORD
from tests.lab.server import Server
from tests.lab.sql import SqliteFile
from tests.lab.syncing import Syncer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.machine import Machine
    from tests.lab.release import Release


USER = SMALL.names()[0]
CALENDAR = f"/dav.php/calendars/{USER}/default/"
DATA = ("/var/lib/baikal/config", "/var/lib/baikal/Specific", "/var/lib/baikal/tls", "/etc/baikal")
LATER = f"{CALENDAR}later.ics"
BEFORE = (
    "changes.staging.keep",
    "changes.migration.complete",
    "changes.transaction._switch",
    "changes.transaction._use",
)
"""Steps at which a power cut leaves the old data; at the last one, the new data is already in place."""


@pytest.fixture(scope="module")
def server(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a server with a small corpus."""
    own = Server(boot(), release)
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    corpus_rows.fill(SqliteFile(own.machine.engine, own.machine.name), SMALL)
    return own


@pytest.fixture(scope="module")
def archived(server: Server) -> tuple[str, DataSnapshot]:
    """Return an archive, and a snapshot of the data at that time."""
    snapshot = DataSnapshot.take(server, SMALL)
    server.machine.run("baikalctl backup")
    path = f"/root/{newest(server.machine)}"
    server.machine.run(f"cp /var/backups/baikal/{newest(server.machine)} {path}")
    return path, snapshot


@pytest.fixture
def newer(server: Server, archived: tuple[str, DataSnapshot]) -> DataSnapshot:
    """Return a snapshot of the present data, with changes since the archive."""
    assert archived[0]
    dav = Dav(server.url, USER, PASSWORD)
    calendar_objects = [thing.uri for thing in SMALL.calendar_objects(USER, 0)]
    body = EVENT.format(uid="later", summary="später").replace("\n", "\r\n").encode()
    dav.send("DELETE", f"{CALENDAR}{calendar_objects[-1]}")
    assert dav.send("PUT", LATER, body, Content_Type="text/calendar").status in {201, 204}
    dav.close()
    return DataSnapshot.take(server, SMALL, exact=False)


def test_archive_replaces_newer_data_which_is_kept(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot
) -> None:
    """Clients that were synchronised at that time continue; the newer data is kept, and can be restored as well."""
    path, snapshot = archived
    lines = run_command(server.machine, "restore", path)
    assert lines[-1] == "status 0", lines
    kept = lines[-2].rpartition("the previous data is in ")[2]
    assert snapshot.differences(server) == []
    assert is_cleaned_up(server.machine)
    assert server.check()["healthy"]
    outcome = server.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    count = "SELECT count(*) FROM calendarobjects WHERE uri = 'later.ics'"
    old = SqliteFile(server.machine.engine, server.machine.name, f"{kept}/Specific/db/db.sqlite")
    assert old.execute((count,)) == [[1]]
    assert newer.before.objects.keys() != snapshot.before.objects.keys()


def test_client_synchronised_after_the_archive_gets_the_differences(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot
) -> None:
    """Otherwise it would keep undone changes."""
    lines = run_command(server.machine, "restore", archived[0])
    assert lines[-1] == "status 0", lines
    for syncer in newer.syncers:
        syncer.dav.close()
        syncer.sync()
        assert syncer.errors() == []
        assert syncer.sync().listed == 0
    fresh = Syncer(Dav(server.url, USER, PASSWORD), CALENDAR)
    assert len(fresh.sync().changed) == SMALL.events


@pytest.mark.parametrize("moment", [*BEFORE, "host.maintenance.off"])
def test_power_cut_leaves_the_old_data_or_the_new(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot, moment: str
) -> None:
    """After a boot there is the old data until the very end, without help; a repeated restore succeeds."""
    machine, (path, snapshot) = server.machine, archived
    pause_command(machine, moment, "restore", path)
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    machine.kill()
    machine.power_on()
    assert is_cleaned_up(machine)
    if moment in BEFORE:
        assert newer.differences(server) == []
    lines = run_command(machine, "restore", path)
    assert lines[-1] == "status 0", lines
    assert snapshot.differences(server) == []


def test_killed_restore_is_rolled_back_by_the_next_command(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot
) -> None:
    """Without a boot, clients get 503 until the next command."""
    machine = server.machine
    pause_command(machine, "changes.transaction._switch", "restore", archived[0])
    machine.run(f"kill -9 $(cat {PAUSED})")
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    assert run_command(machine, "recover")[-1] == "status 0"
    assert is_cleaned_up(machine)
    assert newer.differences(server) == []


@pytest.mark.parametrize("kind", [*DAMAGES])
def test_invalid_archive_is_refused_in_one_line(server: Server, archived: tuple[str, DataSnapshot], kind: str) -> None:
    """Without any change."""
    machine = server.machine
    made = damage(machine, archived[0], kind)
    before = machine.snapshot(DATA)
    lines = [line for line in run_command(machine, "restore", made) if not line.startswith("baikalctl: verify ")]
    assert lines[-1] == "status 1"
    assert len(lines) == 2, lines
    assert lines[0].startswith("baikalctl: ")
    assert made in lines[0]
    assert machine.snapshot(DATA) == before
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 207


@pytest.mark.parametrize("kind", ["garbage", "byte"])
def test_pyinfra_refuses_an_invalid_archive(
    server: Server, archived: tuple[str, DataSnapshot], tmp_path: Path, kind: str
) -> None:
    """Some damage is found before the deploy, the rest on the host; then the run fails."""
    machine = server.machine
    path = tmp_path / "baikal-20260101T000000Z.tar.gz"
    machine.engine.docker("cp", f"{machine.name}:{damage(machine, archived[0], kind)}", str(path))
    before = machine.snapshot(DATA)
    outcome = pyinfra([server.host(restore_from=str(path))], "-y", deploy="restore.py")
    assert outcome.status == 1, outcome.output
    assert path.name in outcome.output
    assert ("is not an archive of baikalctl" if kind == "garbage" else "is damaged") in outcome.output
    assert machine.snapshot(DATA) == before
    shutil.rmtree(tmp_path)


RENAME = """python3 -c '
import sqlite3
sqlite3.connect("database.sqlite").execute("ALTER TABLE calendarobjects RENAME COLUMN calendardata TO lost")
'"""
TAMPERED = {
    "newer": ("sed -i 's/configured_version: .*/configured_version: 0.99.0/' config/baikal.yaml", "is older"),
    "no table": (RENAME, "doesn't work with this data"),
    "nonsense": ("printf '[]' > config/baikal.yaml", "baikal.yaml"),
}


@pytest.mark.parametrize("how", [*TAMPERED])
def test_archive_that_this_release_cannot_serve_changes_nothing(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot, how: str
) -> None:
    """With valid checksums: newer data, tables that aren't Baïkal's, invalid yaml."""
    command, reason = TAMPERED[how]
    made = repacked(server.machine, archived[0], command)
    lines = run_command(server.machine, "restore", made)
    assert lines[-1] == "status 1", lines
    assert reason in lines[-2], lines
    assert is_cleaned_up(server.machine)
    assert newer.differences(server) == []


def test_old_data_is_restored_if_the_server_does_not_answer(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot
) -> None:
    """The data is valid and in place, but the web server is down."""
    machine = server.machine
    pause_command(machine, "changes.transaction._use", "restore", archived[0])
    machine.run("systemctl stop nginx")
    lines = resume_command(machine)
    machine.run("systemctl start nginx")
    assert lines[-1] == "status 1", lines
    assert "failed and was rolled back" in lines[-2], lines
    assert is_cleaned_up(machine)
    assert newer.differences(server) == []


def test_full_disk_is_reported_and_loses_nothing(
    server: Server, archived: tuple[str, DataSnapshot], newer: DataSnapshot
) -> None:
    """With no free space, a little, and more, until it is enough: there is either the old data or the new."""
    machine, (path, snapshot) = server.machine, archived
    machine.run(
        "mkdir -p /mnt/small && mount -t tmpfs -o size=24m,mode=755 tmpfs /mnt/small && cp -a /var/lib/baikal/. /mnt/small"
        " && mount --bind /mnt/small /var/lib/baikal && systemctl restart 'php*-fpm' nginx"
    )
    seen = []
    try:
        for free in (0, 16, 200, 700, 1200, 2000, 3000, 6000, 12000):
            machine.run(
                "rm -f /mnt/small/filler; left=$(df --output=avail -k /mnt/small | tail -1);"
                f" head -c $(( (left - {free}) * 1024 )) /dev/zero > /mnt/small/filler"
            )
            lines = run_command(machine, "restore", path)
            machine.run("rm -f /mnt/small/filler")
            seen.append(lines[-1])
            assert "Traceback" not in str(lines)
            if lines[-1] == "status 0":
                break
            assert lines[-1] == "status 1", lines
            assert "room" in lines[-2] or "No space" in lines[-2] or "full" in lines[-2], lines
            assert is_cleaned_up(machine), (free, lines)
            assert newer.differences(server) == [], (free, lines)
        assert seen[-1] == "status 0"
        assert len(seen) > 3
        assert snapshot.differences(server) == []
    finally:
        machine.run("systemctl stop nginx 'php*-fpm'; umount /var/lib/baikal; umount /mnt/small", check=False)
        machine.run("systemctl start 'php8.2-fpm' nginx")
