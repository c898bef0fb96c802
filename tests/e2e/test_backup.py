"""Archives on a machine: by command, by timer, during writes, with power cuts and full disks, and downloads."""

from __future__ import annotations

import json
import shutil
import stat
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.deploying import REPOSITORY, pyinfra
from tests.lab.engine import wait_until
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine import Machine
    from tests.lab.release import Release


BACKUPS = "/var/backups/baikal"
NEWEST = f"ls -d {BACKUPS}/baikal-*.tar.gz | sort | tail -n 1"
EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//lab//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n"
    "DTSTART:20260601T100000Z\r\nDTEND:20260601T110000Z\r\nSUMMARY:Übung {uid}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
LIMIT_S = 30


@pytest.fixture(scope="module")
def server(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a deployed server."""
    own = Server(boot(), release)
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    return own


@pytest.fixture
def writers(server: Server) -> Iterator[set[str]]:
    """Let four clients store events during the test; yield the set of acknowledged ones."""
    acknowledged: set[str] = set()
    stop = threading.Event()

    def write(number: int) -> None:
        count = 0
        while not stop.is_set():
            name = f"w{number}-{count}"
            text = EVENT.format(uid=name)
            headers = {"Content-Type": "text/calendar"}
            path = f"/dav.php/calendars/jo/default/{name}.ics"
            answer = server.ask("PUT", path, user="jo", headers=headers, body=text)
            if answer.status == 201:
                acknowledged.add(f"{name}.ics")
            count += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    yield acknowledged
    stop.set()
    for thread in threads:
        thread.join()


def finding(server: Server, words: str = "") -> dict[str, Any]:
    """Return the finding of check on backups; if there are several, the one with ``words``."""
    findings = [each for each in server.check()["findings"] if each["subject"] == "backup" and words in each["message"]]
    assert len(findings) == 1, findings
    return dict(findings[0])


def unfinished(machine: Machine) -> list[str]:
    """Return leftovers of unfinished archives."""
    command = f"find {BACKUPS} /var/lib/baikal -name '.?*'"
    return machine.run(command).split()


def archived_objects(machine: Machine, archive: str) -> set[str]:
    """Return the names of the events in an archive, read with tar and SQLite."""
    machine.run(f"rm -rf /run/seen && mkdir /run/seen && tar -xzf {archive} -C /run/seen")
    program = (
        "import json, sqlite3\n"
        "rows = sqlite3.connect('/run/seen/database.sqlite').execute('SELECT uri FROM calendarobjects')\n"
        "print(json.dumps([uri for (uri,) in rows]))\n"
    )
    return set(json.loads(machine.engine.docker("exec", "-i", machine.name, "python3", "-", input=program)))


def test_new_machine_reports_when_its_first_archive_is_due(server: Server) -> None:
    """The timer runs, starts at boot, and has the right time."""
    machine = server.machine
    assert machine.run("systemctl is-active baikal-backup.timer; systemctl is-enabled baikal-backup.timer").split() == [
        "active",
        "enabled",
    ]
    served_certificate = machine.run("systemctl show -p NextElapseUSecRealtime --value baikal-backup.timer")
    assert " 03:15:00 " in served_certificate
    message = finding(server)
    assert message["status"] == "ok"
    assert message["message"].startswith("no archive has been made yet; the next is due in ")


def test_archive_has_everything_acknowledged_before_its_start(server: Server, writers: set[str]) -> None:
    """Four clients write during the backup; each archive is complete, and no client gets an error."""
    assert wait_until(lambda: len(writers) > 20, LIMIT_S)
    for _ in range(3):
        before = set(writers)
        made = server.machine.run("baikalctl backup").splitlines()[-1].split(",")[0]
        assert made.startswith(f"{BACKUPS}/baikal-")
        assert server.machine.run(f"stat -c '%a %U' {made}").split() == ["600", "root"]
        assert before <= archived_objects(server.machine, made)
        assert "is undamaged: made on " in server.machine.run(f"baikalctl backup verify {made}")
    seen = len(writers)
    assert wait_until(lambda: len(writers) > seen, LIMIT_S)
    assert unfinished(server.machine) == []
    assert finding(server)["status"] == "ok"


def test_timer_makes_an_archive_and_logs_it(server: Server) -> None:
    """The service that the timer starts logs the result, without progress."""
    machine = server.machine
    before = machine.run(NEWEST)
    machine.run("systemctl start baikal-backup.service")
    made = machine.run(NEWEST)
    assert made != before
    journal = machine.run("journalctl -u baikal-backup.service -o cat")
    assert made.strip() in journal
    assert "compress the archive" not in journal
    # Check is satisfied, and a deploy has nothing to do.
    outcome = server.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output


def test_missed_archive_is_made_after_boot(server: Server) -> None:
    """The timer's stamp is two days old, as if the machine had been off since."""
    machine = server.machine
    before = machine.run(NEWEST)
    machine.run("systemctl stop baikal-backup.timer")
    machine.run("touch -d '2 days ago' /var/lib/systemd/timers/stamp-baikal-backup.timer")
    machine.kill()
    machine.power_on()
    assert wait_until(lambda: machine.run(NEWEST) != before, LIMIT_S)


@pytest.mark.parametrize("moment", ["snapshot", "pack"])
def test_power_cut_keeps_old_archives_and_the_next_run_cleans_up(server: Server, moment: str) -> None:
    """The backup stops at a certain step, then all processes of the machine are killed at once."""
    machine = server.machine
    before = machine.run(f"ls {BACKUPS}").split()
    program = {
        "snapshot": "from baikalctl.backup import collect as m; name = 'described'",
        "pack": "from baikalctl.backup import archive as m; name = '_pack'",
    }[moment]
    stuck = (
        "import sys, time; sys.path.insert(0, '/usr/local/lib/baikalctl')\n"
        f"{program}\n"
        "setattr(m, name, lambda *_, **__: (open('/run/stuck', 'w'), time.sleep(600)))\n"
        "from baikalctl.cli import main; main(['backup'])\n"
    )
    machine.run(f'rm -f /run/stuck; nohup python3 -c "{stuck}" > /dev/null 2>&1 &')
    assert wait_until(lambda: bool(machine.run("ls /run/stuck 2>/dev/null || true")), LIMIT_S)
    assert unfinished(machine)
    machine.kill()
    machine.power_on()
    assert [name for name in machine.run(f"ls {BACKUPS}").split() if name in before] == before
    assert "is undamaged" in machine.run("baikalctl backup verify")
    machine.run("baikalctl backup")
    assert unfinished(machine) == []
    assert finding(server)["status"] == "ok"


def test_full_disk_is_one_line_and_leaves_no_files(server: Server) -> None:
    """Check warns, and earlier archives stay; with free space it works again, and check is satisfied."""
    machine = server.machine
    machine.run(f"mkdir -p /mnt/small && mount -t tmpfs -o size=200k tmpfs {BACKUPS}")
    try:
        lines = machine.run("baikalctl backup 2>&1; echo status $?").splitlines()
        assert lines[-1] == "status 1"
        assert len([line for line in lines if "No space left" in line or "can't be" in line]) == 1, lines
        assert "free disk space in " in lines[-2]
        assert machine.run(f"ls -A {BACKUPS}") == ""
        warned = finding(server)
        assert warned["status"] == "warning"
        assert "the last attempt failed: " in warned["message"]
        assert server.check()["healthy"]
    finally:
        machine.run(f"umount {BACKUPS}")
    machine.run("baikalctl backup")
    assert finding(server)["status"] == "ok"


def test_backup_waits_for_a_run_that_changes_data(server: Server) -> None:
    """Its process is named, and the wait has a limit."""
    machine = server.machine
    machine.run("rm -f /run/held; flock /var/lib/baikal/state/lock sh -c 'touch /run/held; sleep 3' > /dev/null 2>&1 &")
    assert wait_until(lambda: bool(machine.run("ls /run/held 2>/dev/null || true")), LIMIT_S)
    assert "wait for flock (process " in machine.run("baikalctl backup")


def test_archives_of_a_fleet_are_downloaded(server: Server) -> None:
    """As root and with sudo, private and complete; an unreachable host fails, and the other continues."""
    home = REPOSITORY / "backups"
    name, data = server.host()
    sudo = Server(server.machine, server.release, user="deployer").host()[1]
    hosts = [(f"{name}-root", data), (f"{name}-sudo", sudo), (f"{name}-gone", data | {"ssh_port": 1})]
    folders = [home / each for each, _ in hosts]
    there_before = home.exists()
    try:
        outcome = pyinfra(hosts[:2], "-y", deploy="backup.py")
        assert outcome.status == 0, outcome.output
        for folder in folders[:2]:
            (archive,) = folder.iterdir()
            assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(archive.stat().st_mode)) == (0o700, 0o600)
            with tarfile.open(archive) as tar:
                assert tar.getnames()[0] == "manifest.json"
            assert str(archive.relative_to(REPOSITORY)) in outcome.output
        outcome = pyinfra([hosts[2], hosts[0]], "-y", "--fail-percent", "60", deploy="backup.py")
        assert len(list(folders[0].iterdir())) == 2
        assert "unreachable" in outcome.output
        server.machine.run(f"mount -t tmpfs -o size=100k tmpfs {BACKUPS}")
        outcome = pyinfra(hosts[:1], "-y", deploy="backup.py")
        assert outcome.status == 1
        assert "free disk space in " in outcome.output
        assert len(list(folders[0].iterdir())) == 2
    finally:
        server.machine.run(f"umount {BACKUPS}", check=False)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not there_before:
            shutil.rmtree(home, ignore_errors=True)
