"""Ten machines in batches of three: a bad one stops the roll-out, and when it is fixed the rest follows."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.deploying import REPOSITORY, Outcome, command_line, pyinfra
from tests.lab.engine import wait_until
from tests.lab.server import Server
from tests.lab.wrong_packages import INDEX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine import Entry, Machine
    from tests.lab.release import Release


BATCHES = ("--data", "batches=3")
TOUCHABLE = ("/etc", "/opt", "/usr/local", "/var/lib/baikal")
OLD_PHP = 7
"""Which of the ten has no packages yet, and an apt that offers PHP 8.1."""
FULL, DYING, SILENT = 5, 4, 8
"""Which has a full disk, which loses its power, and whose sshd is down, each in a batch that isn't the first."""


class Fleet:
    """Ten servers, and ways to run the deploy on all of them."""

    def __init__(self, servers: list[Server]) -> None:
        """Begin with bare machines."""
        self.servers = servers

    def hosts(self, **changes: object) -> list[tuple[str, dict[str, object]]]:
        """Return the inventory, in which each has a readable name."""
        return [(f"cal-{number}", server.host(users=[], **changes)[1]) for number, server in enumerate(self.servers)]

    def deploy(self, *arguments: str, **changes: object) -> Outcome:
        """Roll out to all."""
        return pyinfra(self.hosts(**changes), "-y", "--json", *BATCHES, *arguments)

    def snapshots(self, *numbers: int) -> list[dict[str, Entry]]:
        """Return what stands on these machines."""
        return [self.servers[number].machine.snapshot(TOUCHABLE) for number in numbers]


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Machine], release: Release) -> Iterator[Fleet]:
    """Give ten machines, nine of which have the packages already."""
    servers = [Server(boot(warm=number != OLD_PHP), release) for number in range(10)]
    yield Fleet(servers)
    for server in servers:
        server.machine.remove()


def summary(output: str) -> str:
    """Return the summary at a run's end, without indentation."""
    return "\n".join(line.strip() for line in output.partition("--> Summary ")[2].splitlines())


def test_a_host_that_cannot_be_deployed_to_is_found_before_any_is_touched(fleet: Fleet) -> None:
    """PHP 8.1 on one of ten: the host and the remedy are named, and all ten are as they were."""
    machine = fleet.servers[OLD_PHP].machine
    machine.run("mkdir -p /srv/old")
    machine.write("/srv/old/Packages", INDEX)
    machine.write("/etc/apt/sources.list.d/old.list", "deb [trusted=yes] file:/srv/old ./\n")
    machine.write("/etc/apt/preferences.d/old", "Package: php-fpm\nPin: version 2:8.1*\nPin-Priority: 1001\n")
    machine.run("apt-get update 2>&1")
    before = fleet.snapshots(0, OLD_PHP, 9)
    outcome = fleet.deploy()
    assert outcome.status == 1
    faults = [line for line in outcome.output.splitlines() if line.strip().startswith("cal-")]
    assert len(faults) == 1
    assert f"cal-{OLD_PHP}: Debian" in faults[0]
    assert "has PHP 8.1, and Baïkal" in faults[0]
    assert fleet.snapshots(0, OLD_PHP, 9) == before
    machine.run("rm -r /srv/old /etc/apt/sources.list.d/old.list /etc/apt/preferences.d/old")


def test_a_full_disk_stops_the_roll_out_after_its_batch(fleet: Fleet) -> None:
    """Its batch is finished, the next isn't begun; mended and run again, only what was left is changed."""
    full = fleet.servers[FULL].machine
    full.run("mount -t tmpfs -o size=1m none /opt")
    before = fleet.snapshots(6, 9)
    outcome = fleet.deploy()
    assert outcome.status == 1
    assert fleet.snapshots(6, 9) == before
    told = summary(outcome.output)
    assert told.startswith("of 10 hosts: 1 failed, 4 not begun, 5 changed\n"), outcome.output
    assert f"failed       cal-{FULL}\nInstall Baïkal" in told
    assert "o space left on device" in told
    assert "not begun    cal-6, cal-7, cal-8, cal-9\n" in told
    assert f"the run stops, because cal-{FULL} failed" in outcome.output
    assert all(fleet.servers[number].check()["healthy"] for number in (0, 4))
    full.run("umount /opt")
    outcome = fleet.deploy()
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 5 changed, 5 unchanged\n")
    assert "unchanged    cal-0, cal-1, cal-2, cal-3, cal-4" in summary(outcome.output)
    assert all(server.check()["healthy"] for server in fleet.servers)
    assert fleet.deploy().changes == 0


def test_a_host_that_cannot_be_reached_is_no_part_of_a_roll_out(fleet: Fleet) -> None:
    """None begins without it, unless somebody says that some may be missing; and then the status still tells."""
    machine = fleet.servers[SILENT].machine
    machine.run("systemctl stop ssh")
    before = fleet.snapshots(0, 9)
    outcome = fleet.deploy(request_timeout_s=301)
    assert outcome.status == 1
    assert f"cal-{SILENT}: is unreachable, for the reason above; fix that, exclude the host (--exclude)" in outcome.output
    assert fleet.snapshots(0, 9) == before
    outcome = fleet.deploy("--fail-percent", "10", request_timeout_s=301)
    assert outcome.status == 1
    assert summary(outcome.output).startswith("of 10 hosts: 1 unreachable, 9 changed\n")
    machine.run("systemctl start ssh")
    outcome = fleet.deploy(request_timeout_s=301)
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 1 changed, 9 unchanged\n")


def test_a_machine_that_dies_in_the_middle_stops_the_roll_out(fleet: Fleet) -> None:
    """Its power is cut while its batch is at work: the others of the batch are finished, the next is not begun."""
    before = fleet.snapshots(6, 9)
    status, output = _disturbed(
        fleet,
        "Batch 2 of 4 | Upload configuration",
        lambda _: fleet.servers[DYING].machine.kill(),
        request_timeout_s=302,
    )
    assert status == 1
    told = summary(output)
    assert told.startswith("of 10 hosts: 1 failed, 4 not begun, 5 changed\n"), output
    assert f"failed       cal-{DYING}\n" in told
    assert "Traceback" not in output
    assert fleet.snapshots(6, 9) == before
    fleet.servers[DYING].machine.power_on()
    outcome = fleet.deploy(request_timeout_s=302)
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 5 changed, 5 unchanged\n")


def test_ctrl_c_is_no_success(fleet: Fleet) -> None:
    """The status is the shell's for it, the summary says how far it came, and the next run completes it."""
    status, output = _disturbed(
        fleet, "Batch 2 of 4", lambda run: run.send_signal(signal.SIGINT), request_timeout_s=303
    )
    assert status == 128 + signal.SIGINT
    assert "Stopped by SIGINT; run again to continue" in output
    assert "not begun    " in summary(output)
    outcome = fleet.deploy(request_timeout_s=303)
    assert outcome.status == 0, outcome.output
    assert all(server.check()["healthy"] for server in fleet.servers)
    assert fleet.deploy(request_timeout_s=303).changes == 0


def _disturbed(
    fleet: Fleet, moment: str, disturb: Callable[[subprocess.Popen[str]], Any], **changes: object
) -> tuple[int, str]:
    """Return status and output of a run that was disturbed as soon as it had said ``moment``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*command_line(fleet.hosts(**changes), Path(folder), "-y", *BATCHES), "deploy.py"]
        run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(run.stdout or ()), daemon=True)
        reader.start()
        try:
            assert wait_until(lambda: moment in "".join(lines), 120, 0.01), "".join(lines)
            disturb(run)
            status = run.wait(120)
        finally:
            run.kill()
            run.wait()
        reader.join()
    return status, "".join(lines)
