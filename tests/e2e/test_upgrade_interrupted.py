"""Upgrades interrupted at any step, by a power cut or a full disk: nothing is lost, and the machine serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import corpus_rows
from tests.lab.active_users import FEW, ActiveUsers
from tests.lab.contents import fetch_all
from tests.lab.engine import wait_until
from tests.lab.future_release import VERSION as FUTURE
from tests.lab.future_release import Kind
from tests.lab.pause_at_step import PausedAtStep
from tests.lab.server import Server
from tests.lab.sql import SqliteFile
from tests.lab.upgrading import as_version, differences, restore_saved, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


OLD_SERVES: Final = {
    "amid keeping it": ("changes.staging._copy_own", 1),
    "about to be migrated": ("changes.migration._upgrade", 1),
    "during the trial run": ("baikal.smoke_test.make", 1),
    "database about to be replaced": ("changes.staging._replace", 1),
    "database replaced, its yaml not": ("changes.staging._replace", 2),
    "release switched": ("commands.apply.take_steps", 1),
    "amid being used": ("baikal.smoke_test.make", 2),
    "about to complete": ("changes.transaction._forget", 1),
}
NEW_SERVES: Final = {"about to open": ("host.maintenance.off", 1)}


@pytest.fixture(scope="module")
def upgradable(boot: Callable[..., Machine], release: Release) -> Server:
    """Yield a machine with the release under test, users, and a newer release, declared and installed."""
    server = Server(boot(), release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    corpus_rows.fill(SqliteFile(server.machine.engine, server.machine.name), FEW)
    save(server.machine)
    outcome = as_version(server, FUTURE, Kind.NEW_STEP).deploy()
    assert outcome.status == 0, outcome.output
    return server


@pytest.fixture
def old(upgradable: Server) -> Server:
    """Return it in the state before the upgrade, which ``baikalctl apply`` runs."""
    restore_saved(upgradable.machine)
    return upgradable


def upgrade(server: Server) -> str:
    """Run the upgrade step of a deploy, and return its output."""
    return server.machine.run("baikalctl apply 2>&1", check=False)


@pytest.mark.parametrize("moment", [*OLD_SERVES, *NEW_SERVES])
def test_machine_serves_after_a_power_cut(old: Server, moment: str) -> None:
    """The old release with the old data, or after the last step the new ones; and the next run succeeds."""
    step, times = (OLD_SERVES | NEW_SERVES)[moment]
    with ActiveUsers(old, writing=2, powered=False) as users:
        with PausedAtStep(old.machine, step, lambda: upgrade(old), times):
            old.machine.kill()
            old.machine.power_on()
        assert wait_until(lambda: old.ask("PROPFIND", "/dav.php/").status == 401, 10)
    print(moment, users)
    assert users.problems() == []
    assert differences(old.machine, old.release.version if moment in OLD_SERVES else FUTURE) == []
    output = upgrade(old)
    assert differences(old.machine, FUTURE) == [], output
    assert old.check()["healthy"], old.check()


FULL: Final = {
    "about to keep the old data": (
        "changes.staging.keep",
        "/var/backups/baikal",
        "make it writable, and free disk space there",
    ),
    "about to be copied": ("commands.upgrade.copy_here", "/var/lib/baikal", "free disk space in /var/lib/baikal"),
    "about to be migrated": ("changes.migration._upgrade", "/var/lib/baikal", "database or disk is full"),
    "about to be tried out": ("changes.trial_run.try_out", "/var/lib/baikal", "free disk space in /var/lib/baikal"),
    "about to be used": ("changes.transaction._use", "/var/lib/baikal", "free disk space in /var/lib/baikal"),
}
"""The steps, the path of the full disk, and the message."""


@pytest.mark.parametrize("moment", FULL)
def test_full_disk_is_reported_and_the_old_data_serves(old: Server, moment: str) -> None:
    """Automatically, or after the printed remedy if not one block is free: SQLite needs some even for reading."""
    step, path, message = FULL[moment]
    machine = old.machine
    unit = "unit=$(systemctl list-unit-files --no-legend 'php*-fpm.service' | cut -d' ' -f1)"
    machine.run(
        f"{unit}; systemctl stop $unit; mkdir -p {path} /mnt/before; cp -a {path}/. /mnt/before;"
        f"mount -t tmpfs -o size=24m,mode=0755 none {path}; cp -a /mnt/before/. {path}; systemctl start $unit"
    )
    try:
        with PausedAtStep(machine, step, lambda: upgrade(old)) as run:
            machine.run(f"head -c 30m /dev/zero >{path}/filler", check=False)
        (line,) = run.result
        assert message in line
        machine.run(f"rm {path}/filler")
        if "failed and was rolled back: " not in line:
            assert "free disk space in /var/lib/baikal, and run baikalctl recover" in line
            machine.run("baikalctl recover")
        assert differences(machine, old.release.version) == []
        assert fetch_all(old.url, FEW.people()).objects
    finally:
        machine.run(f"{unit}; systemctl stop $unit; umount {path}; rm -rf /mnt/before; systemctl start $unit")
