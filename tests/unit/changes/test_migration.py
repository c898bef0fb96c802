"""Data of an older release is migrated on a copy, by the release's own upgrade, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import migration, staging, transaction
from baikalctl.commands import upgrade
from baikalctl.errors import HostError
from tests.lab.old_installation import PASSWORDS, build
from tests.unit.moving import empty, leftovers, names, needs_php, stand_release, write_and_be_killed
from tests.unit.samples import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("host")
ACCOUNTS = sorted(PASSWORDS)
HALF = """\
$file = getenv('BAIKAL_PATH_CONFIG') . 'baikal.yaml';
file_put_contents($file, str_replace('0.9.5', '0.12.1', file_get_contents($file)));
echo 'Baïkal has not been upgraded.';
"""
"""An upgrade that writes the new version, and fails."""
LOSING = (
    "$file = getenv('BAIKAL_PATH_CONFIG') . 'baikal.yaml';"
    "file_put_contents($file, str_replace('0.9.5', '0.12.1', file_get_contents($file)));"
    "(new PDO('sqlite:' . getenv('BAIKAL_PATH_SPECIFIC') . 'db/db.sqlite'))->exec('DELETE FROM calendarobjects');"
    "echo 'Baïkal has been successfully upgraded.';"
)
"""An upgrade that does all it should, and loses what people have."""


@pytest.fixture
def release(host: Path) -> Path:
    """Have a release whose upgrade runs; return its directory."""
    assert host.is_dir()
    return stand_release()


def hold(version: str = "0.9.5") -> None:
    """Have data of ``version`` on the host, as a volume of an older image holds it."""
    empty()
    directory = Path(paths.DATA) / "old"
    old = build(directory, version)
    shutil.copy(old.yaml, paths.BAIKAL_YAML)
    shutil.copy(old.database, paths.SQLITE)
    shutil.rmtree(directory)


def upgraded() -> list[str]:
    """Recover and upgrade, like the start of a container; return the messages."""
    messages: list[str] = []
    transaction.recover(messages.append)
    configuration = config.read()
    if migration.older_version(configuration, VERSION):
        upgrade.upgrade(configuration, configuration.get("database", {}), VERSION, messages.append)
    return messages


def system(version: str) -> config.Configuration:
    """Return a configuration of ``version``."""
    return {"system": {"configured_version": version}}


def backups() -> list[Path]:
    """Return what is kept of replaced data."""
    return sorted(Path(paths.BACKUPS).iterdir())


def execute(statement: str) -> None:
    """Change the database that is in place, as a client would."""
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("version", ["0.9.5", "0.10.1", "0.11.1", "0.12.0", "0.2.4"])
def test_older_data_needs_a_migration(version: str) -> None:
    """Numbers are compared as numbers: 0.9 is older than 0.12."""
    assert migration.older_version(system(version), VERSION) == version


@pytest.mark.parametrize("configuration", [{}, {"system": {}}, system(VERSION)])
def test_data_of_the_release_itself_and_no_data_need_no_migration(configuration: config.Configuration) -> None:
    """Nor does a file that says no version: a first installation sets it."""
    assert migration.older_version(configuration, VERSION) == ""


@pytest.mark.parametrize("version", ["0.12.2", "0.13.0", "1.0.0"])
def test_newer_data_is_refused_with_both_versions_and_the_remedy(version: str) -> None:
    """Baïkal itself would take it, and say nothing."""
    with pytest.raises(
        HostError, match=rf"of Baïkal {version}; 0\.12\.1 is older.*use release {version} or newer, or restore"
    ):
        migration.older_version(system(version), VERSION)


@pytest.mark.parametrize(
    ("version", "messages"), [("0.2.3", "can't migrate"), ("soon", "'soon', which is not a version")]
)
def test_data_that_baikal_cannot_migrate_is_refused(version: str, messages: str) -> None:
    """With what to do."""
    with pytest.raises(HostError, match=messages):
        migration.older_version(system(version), VERSION)


@needs_php
@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("version", ["0.9.5", "0.10.1", "0.11.1"])
def test_older_data_is_migrated_and_a_copy_of_it_is_kept(version: str) -> None:
    """With every account, every key of the yaml, a closed installer, and nothing lying about."""
    hold(version)
    before = Path(paths.BAIKAL_YAML).read_bytes()
    messages = upgraded()
    configuration = config.read()
    assert configuration["system"]["configured_version"] == VERSION
    assert configuration["database"]["backend"] == "sqlite"
    assert configuration["database"]["sqlite_file"] == paths.SQLITE
    assert configuration["database"]["encryption_key"] == "5d5b6ed8eb6ac7f5e0c0ab4b9a9c4a9b"
    assert configuration["system"]["invite_from"] == "calendar@old.example.org"
    assert configuration["system"]["timezone"] == "Europe/Berlin"
    assert names(paths.SQLITE) == ACCOUNTS
    assert Path(paths.INSTALL_DISABLED).is_file()
    (kept,) = backups()
    assert kept.name.startswith(f"before-upgrade-{version}-to-{VERSION}-")
    assert (kept / staging.YAML).read_bytes() == before
    assert names(str(kept / staging.SQLITE)) == ACCOUNTS
    assert messages == [
        "clients get status 503 (try again later) until this is done",
        f"the existing data is kept in {kept}",
        f"migrate a copy of the data from Baïkal {version} to {VERSION}, and test it",
        f"Baïkal {VERSION} is active; the old data is kept until the next upgrade",
    ]
    assert leftovers() == []
    modes = {path: stat.S_IMODE(Path(path).stat().st_mode) for path in (paths.SQLITE, paths.BAIKAL_YAML)}
    assert set(modes.values()) == {0o600}


@needs_php
@pytest.mark.usefixtures("release")
def test_a_second_migration_does_nothing() -> None:
    """The data is of the release already."""
    hold()
    upgraded()
    before = Path(paths.BAIKAL_YAML).stat()
    assert upgraded() == []
    after = Path(paths.BAIKAL_YAML).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(backups()) == 1


@needs_php
@pytest.mark.usefixtures("release")
def test_rows_in_the_write_ahead_log_are_migrated_and_kept() -> None:
    """The server was killed, and SQLite's log is still next to the database."""
    hold()
    write_and_be_killed()
    upgraded()
    assert names(paths.SQLITE) == [*ACCOUNTS, "late"]
    assert names(str(backups()[0] / staging.SQLITE)) == [*ACCOUNTS, "late"]
    assert not Path(paths.SQLITE + "-wal").exists()


@needs_php
def test_a_failed_upgrade_changes_nothing(release: Path) -> None:
    """And Baïkal's own words are in the sentence."""
    hold()
    page = release / "html/admin/install/index.php"
    page.write_text("<h3>Errors</h3>no such column: <b>colour</b>\nStack trace:\n#0 {main}", encoding="utf-8")
    before = {path: Path(path).read_bytes() for path in (paths.BAIKAL_YAML, paths.SQLITE)}
    with pytest.raises(
        HostError,
        match=r"^the upgrade from .* and was rolled back: .* 0\.9\.5 to 0\.12\.1 failed: no such column: colour$",
    ):
        upgraded()
    assert {path: Path(path).read_bytes() for path in before} == before
    assert leftovers() == []
    assert backups() == []


@needs_php
@pytest.mark.parametrize(
    ("program", "messages"),
    [
        ("throw new Error('out of luck');", "failed and .*out of luck"),
        ("exit(7);", "failed and .*exit status 7"),
        ("echo 'Baïkal has been successfully upgraded.';", "failed and "),
        (HALF, "failed and .*not been upgraded"),
        (
            LOSING,
            "was rolled back: .* lost 3 events",
        ),
    ],
    ids=["dies", "ends early", "only says so", "only writes so", "loses events"],
)
def test_the_result_of_an_upgrade_is_checked(release: Path, program: str, messages: str) -> None:
    """The data itself is checked, not only the page."""
    hold()
    (release / "html/admin/install/index.php").write_text(f"<?php {program}", encoding="utf-8")
    before = Path(paths.SQLITE).read_bytes()
    with pytest.raises(HostError, match=messages):
        upgraded()
    assert Path(paths.SQLITE).read_bytes() == before
    assert leftovers() == []


@pytest.mark.usefixtures("release")
def test_a_damaged_database_is_not_migrated() -> None:
    """SQLite's own words, and what to do."""
    hold()
    with Path(paths.SQLITE).open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 8192)
    with pytest.raises(HostError, match=r"the database is damaged, or isn't Baïkal's \(.+\); use an undamaged backup"):
        upgraded()
    assert config.read()["system"]["configured_version"] == "0.9.5"
    assert leftovers() == []


@needs_php
@pytest.mark.usefixtures("release")
def test_no_sender_of_invitations_is_set_by_a_migration() -> None:
    """Baïkal would make one of a host name that isn't this host's."""
    hold()
    configuration = config.read()
    del configuration["system"]["invite_from"]
    config.write(configuration)
    upgraded()
    assert "invite_from" not in config.read()["system"]


@needs_php
@pytest.mark.usefixtures("release")
def test_data_without_an_administrator_is_migrated() -> None:
    """Baïkal would start its wizard; the next step of a start or deploy sets the declared password."""
    hold()
    configuration = config.read()
    del configuration["system"]["admin_passwordhash"]
    config.write(configuration)
    upgraded()
    assert config.read()["system"]["configured_version"] == VERSION


@needs_php
@pytest.mark.usefixtures("release")
def test_data_that_cannot_be_copied_is_not_replaced() -> None:
    """The sentence says where it should have been kept."""
    hold()
    Path(paths.BACKUPS).parent.mkdir(parents=True, exist_ok=True)
    Path(paths.BACKUPS).write_text("a file in its place", encoding="utf-8")
    with pytest.raises(HostError, match=r"can't be copied to .*/var/backups/baikal \(.*; make it writable"):
        upgraded()
    assert config.read()["system"]["configured_version"] == "0.9.5"
    Path(paths.BACKUPS).unlink()
    assert leftovers() == []


@pytest.fixture
def other_place(host: Path) -> Iterator[Path]:
    """Return a directory on another file system, if there is one."""
    other = Path(os.environ.get("XDG_CACHE_HOME", "/var/tmp"))  # noqa: S108 - a directory of its own is made in it
    directory = other / f"baikal-unit-{os.getpid()}"
    directory.mkdir(mode=0o700)
    if directory.stat().st_dev == host.stat().st_dev:
        directory.rmdir()
        pytest.skip("there is one file system here")
    yield directory
    shutil.rmtree(directory)


@needs_php
@pytest.mark.usefixtures("release")
def test_a_database_on_another_file_system_is_replaced_there(
    other_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator has mounted the old volumes in the data directory."""
    hold()
    monkeypatch.setattr(paths, "SPECIFIC", str(other_place))
    (other_place / "db").mkdir()
    shutil.copy(paths.SQLITE, other_place / "db/db.sqlite")
    monkeypatch.setattr(paths, "SQLITE", f"{other_place}/db/db.sqlite")
    monkeypatch.setattr(paths, "INSTALL_DISABLED", f"{other_place}/INSTALL_DISABLED")
    upgraded()
    assert names(paths.SQLITE) == ACCOUNTS
    assert sorted(path.name for path in (other_place / "db").iterdir()) == ["db.sqlite"]
    assert leftovers() == []


def test_yaml_values_that_look_like_numbers_stay_text(host: Path) -> None:
    """A key such as 12e5 is one, and must not become a number to Baïkal."""
    file = host / "baikal.yaml"
    config.write({"database": {"encryption_key": "12e5", "mysql": False}}, file)
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["database"] == {"encryption_key": "12e5", "mysql": False}
    assert 'encryption_key: "12e5"' in file.read_text(encoding="utf-8")
