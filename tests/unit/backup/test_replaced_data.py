"""Folders ``before-…``: the data that a change has replaced is verified and restored like an archive."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.backup import create, extract, listing, replaced_data, source
from baikalctl.baikal import config
from baikalctl.changes import members, staging
from baikalctl.commands import apply, restore
from baikalctl.database.sqlite import Sqlite
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from tests.unit.moving import dies, names
from tests.unit.samples import VERSION, declared

LABEL = "upgrade-0.11.1-to-0.12.1"


@pytest.fixture
def kept(host: Path, release_standing: Path) -> Path:
    """Return a folder with the data of a deployed host, as an upgrade makes it."""
    assert host.is_dir()
    assert release_standing.is_dir()
    settings = declared(tls="selfsigned", users=[{"name": "jo", "password": "password of jo"}])
    Path(paths.DECLARED).write_text(settings.to_json(), encoding="utf-8")
    apply.apply(settings, lambda _: None)
    return staging.keep(LABEL, Sqlite(Path(paths.SQLITE)))


def insert(name: str) -> None:
    """Add an account to the database that is in use."""
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute("INSERT INTO users (username, digesta1) VALUES (?, 'x')", (name,))
        connection.commit()


def unpacked(value: str | Path) -> Path:
    """Return a folder with the verified content."""
    folder = Path(paths.DATA).parent / "unpacked"
    folder.mkdir(parents=True)
    source.unpack(str(value), folder, DesiredState.on_this_host)
    return folder


@pytest.mark.usefixtures("untried")
def test_a_folder_is_restored_by_its_name(kept: Path) -> None:
    """The database, baikal.yaml and keys are those of the folder, and the data from before the restore is kept."""
    insert("late")
    (key,) = Path(paths.TLS).glob("selfsigned-*.pem")
    before = key.read_bytes()
    key.write_bytes(b"another")
    output: list[str] = []
    restore.restore(kept.name, output.append)
    assert names(paths.SQLITE) == ["jo"]
    assert config.read()["system"]["configured_version"] == VERSION
    assert key.read_bytes() == before
    (newer,) = Path(paths.BACKUPS).glob("before-restore-*")
    assert names(str(newer / staging.SQLITE)) == ["jo", "late"]
    assert output[-1].startswith("restored: 1 account, ")
    assert output[-1].endswith(f"the previous data is in {newer}")


def test_a_folder_becomes_the_content_of_an_archive(kept: Path) -> None:
    """With the same members, but for the settings, which it doesn't have."""
    done = create.run(DesiredState.on_this_host(), lambda _: None)
    assert done
    archived = extract.read_manifest(done.stored.path)
    folder = unpacked(kept)
    result = replaced_data.unpack(kept, _empty(folder.parent / "again"))
    assert set(result.files) == set(archived.files) - {members.SETTINGS}
    assert (result.counts, result.baikal, result.backend) == (archived.counts, VERSION, "sqlite")
    assert result.hostname == archived.hostname


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_rows_that_are_only_in_the_write_ahead_log_are_restored(kept: Path) -> None:
    """A killed server leaves such a log, and a damaged database is kept with it."""

    def write() -> None:
        connection = sqlite3.connect(kept / staging.SQLITE)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO users (username, digesta1) VALUES ('late', 'x')")
        connection.commit()
        os._exit(0)

    assert not dies(write, 10**6)
    assert (kept / f"{staging.SQLITE}-wal").stat().st_size
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    assert names(str(unpacked(kept) / members.DATABASE)) == ["jo", "late"]
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def test_the_folder_of_an_older_release_names_its_database_only_in_its_yaml(kept: Path) -> None:
    """It has no database.json; of a server's database it has the rows."""
    (kept / staging.SECTION).unlink()
    assert replaced_data.unpack(kept, _empty(kept.parent / "one")).backend == "sqlite"
    result = config.understood(kept / staging.YAML)
    result["database"] = {"backend": "mysql", "mysql_host": "nowhere.invalid"}
    config.write(result, kept / staging.YAML)
    assert replaced_data.unpack(kept, _empty(kept.parent / "two")).backend == "mysql"


@pytest.mark.parametrize("name", [staging.YAML, staging.SQLITE])
def test_a_folder_without_data_is_refused(kept: Path, name: str) -> None:
    """A new host has no data that a restore could replace."""
    (kept / name).unlink()
    with pytest.raises(HostError, match=rf"{kept} has no {name}, so it can't be restored; use an archive"):
        unpacked(kept)


def test_a_damaged_database_is_refused(kept: Path) -> None:
    """It is kept as it was, and is not put in place of a good one."""
    content = bytearray((kept / staging.SQLITE).read_bytes())
    for page in range(4096, len(content), 4096):
        content[page + 2 : page + 42] = b"\xff" * 40
    (kept / staging.SQLITE).write_bytes(content)
    with pytest.raises(HostError, match=rf"^the database in {kept} .*malformed.*; "):
        unpacked(kept)


def test_a_link_in_a_folder_is_not_followed(kept: Path, host: Path) -> None:
    """A folder that was copied here from elsewhere may have one."""
    (host / "secret").write_text("secret", encoding="ascii")
    (kept / staging.YAML).unlink()
    (kept / staging.YAML).symlink_to(host / "secret")
    with pytest.raises(HostError, match="must be a regular file, not a link"):
        unpacked(kept)


def test_folders_are_listed_and_verified(kept: Path) -> None:
    """With the change that has replaced the data, and the name that restore takes."""
    it = DesiredState.on_this_host()
    (line,) = listing.lines(it, lambda _: None)
    assert (line.archive, line.label) == (kept.name, f"before-{LABEL}")
    assert line.size >= (kept / staging.SQLITE).stat().st_size
    assert kept.name in listing.table([line])
    assert json.loads(listing.as_json([line]))[0]["archive"] == kept.name
    assert listing.verify(kept.name, DesiredState.on_this_host).startswith(
        f"{kept} is undamaged: made on cal.example.org"
    )
