"""Archives of one release restored with another: older data is migrated, newer data or a broken release is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import corpus_rows
from tests.lab.archives import newest
from tests.lab.commands import is_cleaned_up, run_command
from tests.lab.corpus import SMALL
from tests.lab.data_snapshot import DataSnapshot
from tests.lab.engine import cache_directory
from tests.lab.future_release import Kind
from tests.lab.release import Release, standin
from tests.lab.server import Server
from tests.lab.sql import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.machine import Machine


OLD = "0.11.1"
BACKUPS = "/var/backups/baikal"


@pytest.fixture(scope="module")
def old(boot: Callable[..., Machine]) -> Server:
    """Return a server with an older release and a small corpus."""
    own = Server(boot(), standin(cache_directory(), OLD))
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    corpus_rows.fill(SqliteFile(own.machine.engine, own.machine.name), SMALL)
    return own


@pytest.fixture(scope="module")
def new(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a server with the current release and only the declared data."""
    own = Server(boot(), release)
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    return own


def copy_archive(one: Machine, other: Machine, folder: Path) -> str:
    """Make an archive on one machine, copy it to another, and return its path there."""
    one.run("baikalctl backup")
    name = newest(one)
    one.engine.docker("cp", f"{one.name}:{BACKUPS}/{name}", str(folder / name))
    one.engine.docker("cp", str(folder / name), f"{other.name}:/root/{name}")
    return f"/root/{name}"


def test_older_archive_is_migrated_and_a_newer_one_refused(old: Server, new: Server, tmp_path: Path) -> None:
    """Clients of the old server continue with the new one."""
    snapshot = DataSnapshot.take(old, SMALL)
    made = copy_archive(old.machine, new.machine, tmp_path)
    lines = run_command(new.machine, "restore", made)
    assert lines[-1] == "status 0", lines
    assert snapshot.differences(new) == []
    yaml = new.machine.read("/var/lib/baikal/config/baikal.yaml")
    assert f'configured_version: "{new.release.version}"' in yaml
    outcome = new.deploy()
    assert (outcome.status, outcome.changes) == (0, 0), outcome.output
    lines = run_command(old.machine, "restore", copy_archive(new.machine, old.machine, tmp_path))
    assert lines[-1] == "status 1", lines
    assert f"{OLD} is older" in lines[-2]
    assert is_cleaned_up(old.machine)
    assert snapshot.differences(old) == []


def test_broken_release_restores_nothing(old: Server, boot: Callable[..., Machine]) -> None:
    """It can't serve its own data either, which is unchanged."""
    broken = Server(boot(), standin(cache_directory(), "0.13.0", Kind.ANSWERS_500))
    assert broken.deploy().status == 1
    machine = broken.machine
    before = SqliteFile(machine.engine, machine.name).execute(("SELECT count(*) FROM calendarobjects",))
    old.machine.run("baikalctl backup")
    name = newest(old.machine)
    data = old.machine.engine.docker("exec", old.machine.name, "base64", f"{BACKUPS}/{name}")
    machine.engine.docker("exec", "-i", machine.name, "sh", "-c", f"base64 -d > /root/{name}", input=data)
    lines = run_command(machine, "restore", f"/root/{name}")
    assert lines[-1] == "status 1", lines
    assert "doesn't work with this data" in lines[-2], lines
    assert is_cleaned_up(machine)
    assert SqliteFile(machine.engine, machine.name).execute(("SELECT count(*) FROM calendarobjects",)) == before
