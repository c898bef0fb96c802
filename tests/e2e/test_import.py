"""Import on a machine: real clients log in with their old passwords, and no data of either side is ever lost."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.engine import wait_until
from tests.lab.old_installation import CARDS, COUNTS, EVENTS, PASSWORDS, build
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.machine import Machine
    from tests.lab.release import Release


OLD, MINE = "/srv/old", "/srv/mine"
LISTING = f"find {OLD} -printf '%p %m %U:%G %s %T@ %C@\\n' | sort; find {OLD} -type f | sort | xargs sha256sum"
MOMENTS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7)


@pytest.fixture(scope="module")
def server(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a deployed server for this file only, because its data changes."""
    server = Server(boot(), release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    server.machine.run(f"systemctl stop 'php*-fpm'; cp -a /var/lib/baikal {MINE}")
    reset(server)
    return server


@pytest.fixture
def old(server: Server, tmp_path: Path) -> str:
    """Put an old installation on the machine, owned by an unknown account; return its listing."""
    build(tmp_path / "old")
    server.machine.run(f"rm -rf {OLD} && mkdir -p {OLD}")
    server.machine.engine.docker("cp", f"{tmp_path}/old/.", f"{server.machine.name}:{OLD}")
    server.machine.run(f"chown -R 33333:44444 {OLD}")
    return server.machine.run(LISTING)


def reset(server: Server) -> None:
    """Restore the data from after the first deploy."""
    server.machine.run(
        f"systemctl stop 'php*-fpm'; rm -rf /var/lib/baikal /var/backups/baikal; cp -a {MINE} /var/lib/baikal"
    )
    unit = "$(systemctl list-unit-files --no-legend 'php*-fpm.service' | cut -d' ' -f1)"
    server.machine.run(f"systemctl reset-failed {unit}; systemctl start {unit}")
    assert wait_until(lambda: bool(server.check()["healthy"]), 30), server.check()


def column(server: Server, database: str, name: str, table: str) -> list[str]:
    """Return one column of a database file on the machine."""
    query = f"SELECT {name} FROM {table}"  # noqa: S608 - fixed names
    program = (
        f"import sqlite3; print(*(row[0] for row in sqlite3.connect('{database}').execute('{query}')), sep=chr(10))"
    )
    return server.machine.run(f'python3 -c "{program}"').splitlines()


def assert_imported(server: Server) -> None:
    """Assert that each user finds the old data, with the old password, in a real client."""
    for name, password in PASSWORDS.items():
        account = server.account(name, password)
        titles = {str(event.icalendar_component["SUMMARY"]) for event in account.calendar().events()}
        assert titles == set(EVENTS[name])
        assert server.ask("PROPFIND", f"/dav.php/calendars/{name}/", user=name, password="wrong").status == 401
        book = f"/dav.php/addressbooks/{name}/default/"
        cards = [
            server.ask("GET", f"{book}{n}.vcf", user=name, password=password).body for n in range(len(CARDS[name]))
        ]
        assert all(f"FN:{card}" in text for card, text in zip(CARDS[name], cards, strict=True))
        assert account.round_trip_event("Neu hier") == "Neu hier"


def test_old_installation_is_imported_without_a_change_for_users(server: Server, old: str) -> None:
    """Old passwords, old events, on a machine with data; healthy immediately, and a deploy changes nothing."""
    assert "this host already has data" in server.machine.run(f"baikalctl import {OLD} 2>&1 || true")
    output = server.machine.run(f"baikalctl import {OLD} --replace")
    assert f"imported: Baïkal 0.9.5 → {server.release.version}, {COUNTS}" in output
    assert server.machine.run(LISTING) == old
    assert_imported(server)
    assert server.check()["healthy"], server.check()
    assert server.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo").status == 207, "and the declared calendars exist"
    (kept,) = server.machine.run("ls -d /var/backups/baikal/before-import-*").split()
    assert "Corey" in column(server, f"{kept}/Specific/db/db.sqlite", "username", "users")
    assert server.machine.run("stat -c '%U %a' /var/lib/baikal/Specific/db/db.sqlite").split() == ["baikal", "600"]
    outcome = server.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output


def test_the_administrators_password_is_the_declared_one(server: Server, old: str) -> None:
    """As on every machine, and not the old one."""
    assert old
    server.machine.run(f"baikalctl import {OLD} --replace")
    yaml = server.machine.read("/var/lib/baikal/config/baikal.yaml")
    declared = server.machine.read("/etc/baikal/declared.json")
    (line,) = [line for line in yaml.splitlines() if "admin_passwordhash" in line]
    assert line.split('"')[1] in declared


def test_digest_works_with_old_passwords_too(server: Server, old: str) -> None:
    """The stored hash is the same for Basic and Digest."""
    assert old
    assert server.deploy(dav_auth="digest").status == 0
    server.machine.run(f"baikalctl import {OLD} --replace")
    for name, password in PASSWORDS.items():
        address = f"{server.url}/dav.php/calendars/{name}/default/"
        command = ["curl", "-sk", "--digest", "-u", f"{name}:{password}", "-X", "PROPFIND", "-o", "/dev/null"]
        done = subprocess.run([*command, "-w", "%{http_code}", address], capture_output=True, text=True, check=True)
        assert done.stdout == "207"
    assert server.deploy().status == 0


def test_read_only_source_is_imported(server: Server, old: str) -> None:
    """As old volumes are mounted in a container."""
    server.machine.run(f"mount --bind {OLD} {OLD} && mount -o remount,ro,bind {OLD}")
    try:
        assert "imported: " in server.machine.run(f"baikalctl import {OLD} --replace")
        assert server.machine.run(LISTING) == old
    finally:
        server.machine.run(f"umount {OLD}")


def test_failed_import_leaves_the_server_unchanged(server: Server, old: str) -> None:
    """A damaged database is reported in one line, without an effect on clients."""
    assert old
    server.machine.run(
        f"dd if=/dev/urandom of={OLD}/Specific/db/db.sqlite bs=1k seek=4 count=12 conv=notrunc 2>/dev/null"
    )
    before = server.rows("SELECT username, digesta1 FROM users")
    output = server.machine.run(f"baikalctl import {OLD} --replace 2>&1; echo status $?")
    assert "is damaged" in output
    assert output.splitlines()[-1] == "status 1"
    assert server.rows("SELECT username, digesta1 FROM users") == before
    assert server.check()["healthy"]


def test_import_loses_no_acknowledged_write_of_active_clients(server: Server, old: str) -> None:
    """Writes acknowledged before are in the kept data; clients get 502 during the import, and are served right after."""
    assert old
    reset(server)
    importing = subprocess.Popen(
        [*server.machine.ssh_command(), f"baikalctl import {OLD} --replace"], stdout=subprocess.PIPE, text=True
    )
    acknowledged, statuses = [], set()
    number = 0
    while importing.poll() is None:
        number += 1
        uid = f"during-{number}"
        event = (
            f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n"
        )
        event += "DTSTART:20260601T090000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        status = server.ask("PUT", f"/dav.php/calendars/jo/default/{uid}.ics", user="jo", body=event).status
        statuses.add(status)
        acknowledged += [uid] if status == 201 else []
    assert importing.wait() == 0
    assert acknowledged
    assert statuses <= {201, 401, 404, 503}
    (kept,) = server.machine.run("ls -d /var/backups/baikal/before-import-*").split()
    databases = ("/var/lib/baikal/Specific/db/db.sqlite", f"{kept}/Specific/db/db.sqlite")
    stored = {uid for database in databases for uid in column(server, database, "uid", "calendarobjects")}
    assert set(acknowledged) <= stored


@pytest.mark.parametrize("moment", MOMENTS_S)
def test_an_import_that_is_killed_is_completed_by_the_same_command(server: Server, old: str, moment: float) -> None:
    """After a SIGKILL, the same command completes it: all data is there, PHP runs, the server is healthy."""
    reset(server)
    begin = f"setsid baikalctl import {OLD} --replace >/tmp/import.log 2>&1 & echo $!"
    pid = server.machine.run(begin).strip()
    time.sleep(moment)  # the moment of the kill, not a wait for a condition
    server.machine.run(f"kill -9 -- -{pid}", check=False)
    assert wait_until(lambda: not server.machine.run(f"ps -o pid= -g {pid}", check=False).strip(), 10)
    output = server.machine.run(f"baikalctl import {OLD} --replace")
    assert "imported: " in output
    assert server.machine.run(LISTING) == old
    assert_imported(server)
    assert server.check()["healthy"], server.check()
    assert server.machine.run("ls -A /var/lib/baikal | grep '^[.]' || true") == ""
    assert server.deploy().changes == 0
