"""An upgrade that is cut off at any of its steps, by the power or by a disk that is full: nothing is lost, and it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import filling
from tests.lab.contents import everything
from tests.lab.crowd import FEW, Crowd
from tests.lab.engine import wait_until
from tests.lab.future import VERSION as FUTURE
from tests.lab.future import Kind
from tests.lab.halting import Halting
from tests.lab.holding import SqliteFile
from tests.lab.server import Server
from tests.lab.upgrading import amiss, as_version, rewind, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


OLD_SERVES: Final = {
    "amid keeping it": ("changes.staging._copy_own", 1),
    "about to be migrated": ("changes.migration._upgrade", 1),
    "amid being tried out": ("baikal.smoke_test.make", 1),
    "database about to be replaced": ("changes.staging._replace", 1),
    "database replaced, its yaml not": ("changes.staging._replace", 2),
    "release switched": ("commands.apply.take_steps", 1),
    "amid being used": ("baikal.smoke_test.make", 2),
    "about to be done": ("changes.transaction._forget", 1),
}
NEW_SERVES: Final = {"about to open": ("host.maintenance.off", 1)}


@pytest.fixture(scope="module")
def upgradable(boot: Callable[..., Machine], release: Release) -> Server:
    """Give a machine with the release under test, to which a newer one is declared and installed, and people."""
    server = Server(boot(), release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    filling.fill(SqliteFile(server.machine.engine, server.machine.name), FEW)
    save(server.machine)
    outcome = as_version(server, FUTURE, Kind.NEW_STEP).deploy()
    assert outcome.status == 0, outcome.output
    return server


@pytest.fixture
def old(upgradable: Server) -> Server:
    """Give it as it is before the upgrade, which ``baikalctl apply`` makes."""
    rewind(upgradable.machine)
    return upgradable


def upgrade(server: Server) -> str:
    """Run the step of a deploy that upgrades, and return what it said."""
    return server.machine.run("baikalctl apply 2>&1", check=False)


@pytest.mark.parametrize("moment", [*OLD_SERVES, *NEW_SERVES])
def test_after_a_power_cut_the_machine_serves_by_itself(old: Server, moment: str) -> None:
    """The old data by the old release, or once all was done the new by the new; and the next run arrives."""
    step, times = (OLD_SERVES | NEW_SERVES)[moment]
    with Crowd(old, writing=2, powered=False) as crowd:
        with Halting(old.machine, step, lambda: upgrade(old), times):
            old.machine.kill()
            old.machine.power_on()
        assert wait_until(lambda: old.ask("PROPFIND", "/dav.php/").status == 401, 10)
    print(moment, crowd)
    assert crowd.complaints() == []
    assert amiss(old.machine, old.release.version if moment in OLD_SERVES else FUTURE) == []
    said = upgrade(old)
    assert amiss(old.machine, FUTURE) == [], said
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
"""The steps, the disk that becomes full, and what is said."""


@pytest.mark.parametrize("moment", FULL)
def test_a_disk_that_becomes_full_is_said_and_the_old_data_serves(old: Server, moment: str) -> None:
    """By itself, or where not one block is free for the old data, by what is said; SQLite needs some even for reading."""
    step, place, said = FULL[moment]
    machine = old.machine
    unit = "unit=$(systemctl list-unit-files --no-legend 'php*-fpm.service' | cut -d' ' -f1)"
    machine.run(
        f"{unit}; systemctl stop $unit; mkdir -p {place} /mnt/before; cp -a {place}/. /mnt/before;"
        f"mount -t tmpfs -o size=24m,mode=0755 none {place}; cp -a /mnt/before/. {place}; systemctl start $unit"
    )
    try:
        with Halting(machine, step, lambda: upgrade(old)) as run:
            machine.run(f"head -c 30m /dev/zero >{place}/filler", check=False)
        (told,) = run.result
        assert said in told
        machine.run(f"rm {place}/filler")
        if "failed and was rolled back: " not in told:
            assert "free disk space in /var/lib/baikal, and run baikalctl recover" in told
            machine.run("baikalctl recover")
        assert amiss(machine, old.release.version) == []
        assert everything(old.url, FEW.people()).objects
    finally:
        machine.run(f"{unit}; systemctl stop $unit; umount {place}; rm -rf /mnt/before; systemctl start $unit")
