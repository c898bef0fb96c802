"""Ten machines in batches of three: a failing one stops the roll-out, and after a fix the rest follows."""

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
from tests.lab.old_php import old_php
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine import Entry, Machine
    from tests.lab.release import Release


BATCHES = ("--data", "batches=3")
TOUCHABLE = ("/etc", "/opt", "/usr/local", "/var/lib/baikal")
OLD_PHP = 7
"""The machine without packages, where apt offers PHP 8.1."""
FULL, DYING, SILENT = 5, 4, 8
"""The machines with a full disk, a power cut, and a stopped sshd, none in the first batch."""


class Fleet:
    """Ten servers, and the deploy on all of them."""

    def __init__(self, servers: list[Server]) -> None:
        """Start with bare machines."""
        self.servers = servers

    def hosts(self, **changes: object) -> list[tuple[str, dict[str, object]]]:
        """Return the inventory, with readable names."""
        return [(f"cal-{number}", server.host(users=[], **changes)[1]) for number, server in enumerate(self.servers)]

    def deploy(self, *arguments: str, **changes: object) -> Outcome:
        """Deploy to all."""
        return pyinfra(self.hosts(**changes), "-y", "--json", *BATCHES, *arguments)

    def snapshots(self, *numbers: int) -> list[dict[str, Entry]]:
        """Return snapshots of these machines."""
        return [self.servers[number].machine.snapshot(TOUCHABLE) for number in numbers]


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Machine], release: Release) -> Iterator[Fleet]:
    """Return ten machines; nine have the packages preinstalled."""
    servers = [Server(boot(warm=number != OLD_PHP), release) for number in range(10)]
    yield Fleet(servers)
    for server in servers:
        server.machine.remove()


def summary(output: str) -> str:
    """Return the summary at the end of a run, without indentation."""
    return "\n".join(line.strip() for line in output.partition("--> Summary ")[2].splitlines())


def test_unsupported_host_is_found_before_any_change(fleet: Fleet) -> None:
    """PHP 8.1 on one of ten: the host and the remedy are named, and all ten are unchanged."""
    with old_php(fleet.servers[OLD_PHP].machine):
        before = fleet.snapshots(0, OLD_PHP, 9)
        outcome = fleet.deploy()
        assert fleet.snapshots(0, OLD_PHP, 9) == before
    assert outcome.status == 1
    faults = [line for line in outcome.output.splitlines() if line.strip().startswith("cal-")]
    assert len(faults) == 1
    assert f"cal-{OLD_PHP}: Debian" in faults[0]
    assert "has PHP 8.1, and Baïkal" in faults[0]


def test_full_disk_stops_the_roll_out_after_its_batch(fleet: Fleet) -> None:
    """Its batch is completed, the next isn't started; after a fix, a run changes only the remaining hosts."""
    full = fleet.servers[FULL].machine
    full.run("mount -t tmpfs -o size=1m none /opt")
    before = fleet.snapshots(6, 9)
    outcome = fleet.deploy()
    assert outcome.status == 1
    assert fleet.snapshots(6, 9) == before
    final_summary = summary(outcome.output)
    assert final_summary.startswith("of 10 hosts: 1 failed, 4 not begun, 5 changed\n"), outcome.output
    assert f"failed       cal-{FULL}\nInstall Baïkal" in final_summary
    assert "o space left on device" in final_summary
    assert "not begun    cal-6, cal-7, cal-8, cal-9\n" in final_summary
    assert f"the run stops, because cal-{FULL} failed" in outcome.output
    assert all(fleet.servers[number].check()["healthy"] for number in (0, 4))
    full.run("umount /opt")
    outcome = fleet.deploy()
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 5 changed, 5 unchanged\n")
    assert "unchanged    cal-0, cal-1, cal-2, cal-3, cal-4" in summary(outcome.output)
    assert all(server.check()["healthy"] for server in fleet.servers)
    assert fleet.deploy().changes == 0


def test_unreachable_host_stops_a_roll_out_unless_allowed(fleet: Fleet) -> None:
    """No host is changed, unless missing hosts are allowed; and then the status still shows it."""
    machine = fleet.servers[SILENT].machine
    machine.run("systemctl stop ssh")
    before = fleet.snapshots(0, 9)
    outcome = fleet.deploy(request_timeout_s=301)
    assert outcome.status == 1
    assert (
        f"cal-{SILENT}: is unreachable, for the reason above; fix that, exclude the host (--exclude)" in outcome.output
    )
    assert fleet.snapshots(0, 9) == before
    outcome = fleet.deploy("--fail-percent", "10", request_timeout_s=301)
    assert outcome.status == 1
    assert summary(outcome.output).startswith("of 10 hosts: 1 unreachable, 9 changed\n")
    machine.run("systemctl start ssh")
    outcome = fleet.deploy(request_timeout_s=301)
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 1 changed, 9 unchanged\n")


def test_power_cut_of_a_machine_stops_the_roll_out(fleet: Fleet) -> None:
    """A power cut during its batch: the others of the batch are completed, the next is not started."""
    before = fleet.snapshots(6, 9)
    status, output = _disturbed(
        fleet,
        "Batch 2 of 4 | Upload configuration",
        lambda _: fleet.servers[DYING].machine.kill(),
        request_timeout_s=302,
    )
    assert status == 1
    rows = summary(output)
    assert rows.startswith("of 10 hosts: 1 failed, 4 not begun, 5 changed\n"), output
    assert f"failed       cal-{DYING}\n" in rows
    assert "Traceback" not in output
    assert fleet.snapshots(6, 9) == before
    fleet.servers[DYING].machine.power_on()
    outcome = fleet.deploy(request_timeout_s=302)
    assert outcome.status == 0, outcome.output
    assert summary(outcome.output).startswith("of 10 hosts: 5 changed, 5 unchanged\n")


def test_ctrl_c_fails_the_run(fleet: Fleet) -> None:
    """The status is the shell's for SIGINT, the summary shows the progress, and the next run completes it."""
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
    """Return status and output of a run that is disturbed when it prints ``moment``."""
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
