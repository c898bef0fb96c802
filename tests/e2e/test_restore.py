"""``baikalctl restore`` on a machine in use: what was archived is back, or all is as it was; through power cuts too."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab import filling
from tests.lab.archived import DAMAGES, damage, newest, repacked
from tests.lab.asking import PASSWORD
from tests.lab.clients import EVENT
from tests.lab.corpus import SMALL
from tests.lab.dav import Dav
from tests.lab.deploying import pyinfra
from tests.lab.holding import SqliteFile
from tests.lab.life import STANDS, Life, go_on, open_again, said, stand_still
from tests.lab.server import Server
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
"""Moments at which a power cut leaves the old data; the last is when the new has been in its place for a while."""


@pytest.fixture(scope="module")
def server(boot: Callable[..., Machine], release: Release) -> Server:
    """Give a server with a small corpus."""
    own = Server(boot(), release)
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    filling.fill(SqliteFile(own.machine.engine, own.machine.name), SMALL)
    return own


@pytest.fixture(scope="module")
def archived(server: Server) -> tuple[str, Life]:
    """Give an archive, and what people had when it was made."""
    life = Life.on(server, SMALL)
    server.machine.run("baikalctl backup")
    path = f"/root/{newest(server.machine)}"
    server.machine.run(f"cp /var/backups/baikal/{newest(server.machine)} {path}")
    return path, life


@pytest.fixture
def newer(server: Server, archived: tuple[str, Life]) -> Life:
    """Give what people have now: something was changed and added since the archive was made."""
    assert archived[0]
    dav = Dav(server.url, USER, PASSWORD)
    things = [thing.uri for thing in SMALL.things(USER, 0)]
    body = EVENT.format(uid="later", summary="später").replace("\n", "\r\n").encode()
    dav.send("DELETE", f"{CALENDAR}{things[-1]}")
    assert dav.send("PUT", LATER, body, Content_Type="text/calendar").status in {201, 204}
    dav.close()
    return Life.on(server, SMALL, exact=False)


def test_what_was_archived_takes_the_place_of_newer_data_which_is_kept(
    server: Server, archived: tuple[str, Life], newer: Life
) -> None:
    """Clients that were in step when it was archived go on; what was there since is kept, and comes back as easily."""
    path, life = archived
    lines = said(server.machine, "restore", path)
    assert lines[-1] == "status 0", lines
    kept = lines[-2].rpartition("the previous data is in ")[2]
    assert life.wrong(server) == []
    assert open_again(server.machine)
    assert server.check()["healthy"]
    outcome = server.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    count = "SELECT count(*) FROM calendarobjects WHERE uri = 'later.ics'"
    old = SqliteFile(server.machine.engine, server.machine.name, f"{kept}/Specific/db/db.sqlite")
    assert old.execute((count,)) == [[1]]
    assert newer.before.objects.keys() != life.before.objects.keys()


def test_a_client_that_was_in_step_after_the_archive_was_made_is_told_what_is_different(
    server: Server, archived: tuple[str, Life], newer: Life
) -> None:
    """Or it would believe for ever in what was undone."""
    lines = said(server.machine, "restore", archived[0])
    assert lines[-1] == "status 0", lines
    for syncer in newer.syncers:
        syncer.dav.close()
        syncer.sync()
        assert syncer.wrong() == []
        assert syncer.sync().told == 0
    fresh = Syncer(Dav(server.url, USER, PASSWORD), CALENDAR)
    assert len(fresh.sync().changed) == SMALL.events


@pytest.mark.parametrize("moment", [*BEFORE, "host.maintenance.off"])
def test_a_power_cut_leaves_the_old_data_or_the_new(
    server: Server, archived: tuple[str, Life], newer: Life, moment: str
) -> None:
    """The old until the very end, without anybody's help, when the machine has booted; repeating it arrives."""
    machine, (path, life) = server.machine, archived
    stand_still(machine, moment, "restore", path)
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    machine.kill()
    machine.power_on()
    assert open_again(machine)
    if moment in BEFORE:
        assert newer.wrong(server) == []
    lines = said(machine, "restore", path)
    assert lines[-1] == "status 0", lines
    assert life.wrong(server) == []


def test_what_is_killed_is_taken_back_by_the_next_run(server: Server, archived: tuple[str, Life], newer: Life) -> None:
    """Without a boot: clients are told to come again until somebody runs anything."""
    machine = server.machine
    stand_still(machine, "changes.transaction._switch", "restore", archived[0])
    machine.run(f"kill -9 $(cat {STANDS})")
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 503
    assert said(machine, "recover")[-1] == "status 0"
    assert open_again(machine)
    assert newer.wrong(server) == []


@pytest.mark.parametrize("kind", [*DAMAGES])
def test_what_is_no_whole_archive_of_ours_is_refused_in_one_line(
    server: Server, archived: tuple[str, Life], kind: str
) -> None:
    """And nothing is touched for it."""
    machine = server.machine
    made = damage(machine, archived[0], kind)
    before = machine.snapshot(DATA)
    lines = [line for line in said(machine, "restore", made) if not line.startswith("baikalctl: verify ")]
    assert lines[-1] == "status 1"
    assert len(lines) == 2, lines
    assert lines[0].startswith("baikalctl: ")
    assert made in lines[0]
    assert machine.snapshot(DATA) == before
    assert server.ask("PROPFIND", CALENDAR, user=USER).status == 207


@pytest.mark.parametrize("kind", ["garbage", "byte"])
def test_pyinfra_refuses_the_same(server: Server, archived: tuple[str, Life], tmp_path: Path, kind: str) -> None:
    """What can be seen here before anything runs, and the rest on the host; the run has failed then."""
    machine = server.machine
    place = tmp_path / "baikal-20260101T000000Z.tar.gz"
    machine.engine.docker("cp", f"{machine.name}:{damage(machine, archived[0], kind)}", str(place))
    before = machine.snapshot(DATA)
    outcome = pyinfra([server.host(restore_from=str(place))], "-y", deploy="restore.py")
    assert outcome.status == 1, outcome.output
    assert place.name in outcome.output
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
def test_data_that_this_release_cant_serve_changes_nothing(
    server: Server, archived: tuple[str, Life], newer: Life, how: str
) -> None:
    """Though every checksum is right: newer data, tables that aren't Baïkal's, a yaml that is none."""
    command, reason = TAMPERED[how]
    made = repacked(server.machine, archived[0], command)
    lines = said(server.machine, "restore", made)
    assert lines[-1] == "status 1", lines
    assert reason in lines[-2], lines
    assert open_again(server.machine)
    assert newer.wrong(server) == []


def test_a_server_that_doesnt_answer_in_the_end_has_its_old_data_back(
    server: Server, archived: tuple[str, Life], newer: Life
) -> None:
    """The data is well, and in its place; the web server is away."""
    machine = server.machine
    stand_still(machine, "changes.transaction._use", "restore", archived[0])
    machine.run("systemctl stop nginx")
    lines = go_on(machine)
    machine.run("systemctl start nginx")
    assert lines[-1] == "status 1", lines
    assert "all is as it was" in lines[-2], lines
    assert open_again(machine)
    assert newer.wrong(server) == []


def test_a_full_disk_is_said_and_loses_nothing(server: Server, archived: tuple[str, Life], newer: Life) -> None:
    """With nothing free, with a little, and with more, until there is enough: old data or new, and nothing between."""
    machine, (path, life) = server.machine, archived
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
            lines = said(machine, "restore", path)
            machine.run("rm -f /mnt/small/filler")
            seen.append(lines[-1])
            assert "Traceback" not in str(lines)
            if lines[-1] == "status 0":
                break
            assert lines[-1] == "status 1", lines
            assert "room" in lines[-2] or "No space" in lines[-2] or "full" in lines[-2], lines
            assert open_again(machine), (free, lines)
            assert newer.wrong(server) == [], (free, lines)
        assert seen[-1] == "status 0"
        assert len(seen) > 3
        assert life.wrong(server) == []
    finally:
        machine.run("systemctl stop nginx 'php*-fpm'; umount /var/lib/baikal; umount /mnt/small", check=False)
        machine.run("systemctl start 'php8.2-fpm' nginx")
