"""Archives of one release restored with another: older data is migrated, newer is refused, and a release may be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import filling
from tests.lab.archived import newest
from tests.lab.corpus import SMALL
from tests.lab.engine import cache_directory
from tests.lab.future import Kind
from tests.lab.holding import SqliteFile
from tests.lab.life import Life, open_again, said
from tests.lab.release import Release, standin
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.machine import Machine


OLD = "0.11.1"
BACKUPS = "/var/backups/baikal"


@pytest.fixture(scope="module")
def old(boot: Callable[..., Machine]) -> Server:
    """Give a server of an older release, with a small corpus."""
    own = Server(boot(), standin(cache_directory(), OLD))
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    filling.fill(SqliteFile(own.machine.engine, own.machine.name), SMALL)
    return own


@pytest.fixture(scope="module")
def new(boot: Callable[..., Machine], release: Release) -> Server:
    """Give a server of the current release, with nobody's data but what is declared."""
    own = Server(boot(), release)
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    return own


def carried(one: Machine, other: Machine, folder: Path) -> str:
    """Make an archive on one machine, bring it to another, and return its path there."""
    one.run("baikalctl backup")
    name = newest(one)
    one.engine.docker("cp", f"{one.name}:{BACKUPS}/{name}", str(folder / name))
    one.engine.docker("cp", str(folder / name), f"{other.name}:/root/{name}")
    return f"/root/{name}"


def test_an_older_archive_is_migrated_and_a_newer_one_refused(old: Server, new: Server, tmp_path: Path) -> None:
    """Clients of the old server go on with the new one."""
    life = Life.on(old, SMALL)
    made = carried(old.machine, new.machine, tmp_path)
    lines = said(new.machine, "restore", made)
    assert lines[-1] == "status 0", lines
    assert life.wrong(new) == []
    yaml = new.machine.read("/var/lib/baikal/config/baikal.yaml")
    assert f'configured_version: "{new.release.version}"' in yaml
    outcome = new.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    lines = said(old.machine, "restore", carried(new.machine, old.machine, tmp_path))
    assert lines[-1] == "status 1", lines
    assert f"{OLD} is older" in lines[-2]
    assert open_again(old.machine)
    assert life.wrong(old) == []


def test_a_release_that_serves_nothing_takes_no_data_over(old: Server, boot: Callable[..., Machine]) -> None:
    """It can't serve what it has either; its data is what it was."""
    broken = Server(boot(), standin(cache_directory(), "0.13.0", Kind.ANSWERS_500))
    assert broken.deploy().status == 1
    machine = broken.machine
    before = SqliteFile(machine.engine, machine.name).execute(("SELECT count(*) FROM calendarobjects",))
    old.machine.run("baikalctl backup")
    name = newest(old.machine)
    data = old.machine.engine.docker("exec", old.machine.name, "base64", f"{BACKUPS}/{name}")
    machine.engine.docker("exec", "-i", machine.name, "sh", "-c", f"base64 -d > /root/{name}", input=data)
    lines = said(machine, "restore", f"/root/{name}")
    assert lines[-1] == "status 1", lines
    assert "doesn't work with this data" in lines[-2], lines
    assert open_again(machine)
    assert SqliteFile(machine.engine, machine.name).execute(("SELECT count(*) FROM calendarobjects",)) == before
