"""What is kept, put in place and put back: whole, its owner's alone, and nothing through anybody's links."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.changes import rollback, staging
from baikalctl.database import sqlite_file
from baikalctl.errors import HostError
from baikalctl.host import safe_copy
from tests.unit.moving import ends_in_seconds, leftovers, names, write_and_be_killed
from tests.unit.samples import VERSION, here

YAML = "system:\n  configured_version: 0.12.1\ndatabase:\n  backend: sqlite\n"
TLS, ACME, DKIM = "tls/own.pem", "acme/issued/cal.example.org/key.pem", "dkim/mail.example.org.pem"


@pytest.fixture
def _data(connection: sqlite_file.Connection) -> None:
    """Have data, and what is root's of it."""
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('jo', 'x')")
    connection.commit()
    connection.close()
    Path(paths.BAIKAL_YAML).write_text(YAML, encoding="utf-8")
    for name in (TLS, ACME, DKIM, "state/applied.json"):
        path = Path(paths.DATA) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
        path.chmod(0o640)


def files(folder: Path) -> dict[str, str]:
    """Return the files below a folder, each with its mode."""
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("_data")
def test_kept_data_is_complete_and_only_readable_for_root() -> None:
    """Configuration, database, certificates, keys, and what was declared last; the name tells of what and when."""
    kept = staging.keep("import", here())
    assert kept.name.startswith("before-import-20")
    assert files(kept) == {staging.SECTION: "0o600", staging.YAML: "0o600", staging.SQLITE: "0o600"} | dict.fromkeys(
        (TLS, ACME, DKIM, "state/applied.json"), "0o600"
    )
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert names(str(kept / staging.SQLITE)) == ["jo"]
    assert leftovers() == []


@pytest.mark.usefixtures("_data")
def test_a_kept_database_is_a_single_file() -> None:
    """Also where a killed server left its write-ahead log."""
    write_and_be_killed()
    kept = staging.keep("import", here())
    assert [path.name for path in (kept / "Specific/db").iterdir()] == ["db.sqlite"]
    assert names(str(kept / staging.SQLITE)) == ["jo", "late"]


@pytest.mark.usefixtures("_data")
def test_two_folders_of_one_second_have_different_names() -> None:
    """The second doesn't replace the first."""
    kept = {staging.keep("import", here()) for _ in range(3)}
    assert len(kept) == len(list(Path(paths.BACKUPS).iterdir())) == 3


@pytest.mark.usefixtures("host")
def test_a_new_host_has_no_data_to_keep() -> None:
    """And ``holds`` returns false."""
    kept = staging.keep("import", here())
    assert files(kept) == {staging.SECTION: "0o600"}
    assert not staging.holds(kept)


@pytest.mark.usefixtures("_data")
def test_the_target_of_a_link_is_not_kept(host: Path) -> None:
    """Directories of certificates contain only files."""
    (host / "secret").write_text("secret", encoding="utf-8")
    (Path(paths.DATA) / TLS).unlink()
    (Path(paths.DATA) / TLS).symlink_to(host / "secret")
    assert TLS not in files(staging.keep("import", here()))


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("name", ["BAIKAL_YAML", "SQLITE"])
@pytest.mark.parametrize("link", [False, True])
def test_a_file_without_end_is_not_kept(name: str, *, link: bool) -> None:
    """Special files that PHP's account has created don't block root, and leave no copy."""
    file = Path(getattr(paths, name))
    database = here()
    file.unlink()
    if link:
        file.symlink_to("/dev/null")
    else:
        os.mkfifo(file)
    with ends_in_seconds(), pytest.raises(HostError, match=rf"^{file} must be a regular file, not a link"):
        staging.keep("import", database)
    assert list(Path(paths.BACKUPS).iterdir()) == []


@pytest.mark.usefixtures("_data")
def test_a_failed_copy_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence tells where there should be room."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safe_copy, "copy_bytes", full)
    with pytest.raises(HostError, match=r"can't be copied to .*/var/backups/baikal \(.*No space.*\); make it writable"):
        staging.keep("import", here())
    assert list(Path(paths.BACKUPS).iterdir()) == []


@pytest.mark.usefixtures("_data")
def test_a_rollback_restores_the_kept_data() -> None:
    """Files that exist by then are replaced; new certificates stay."""
    before = {path: (Path(paths.DATA) / path).read_bytes() for path in (*files(Path(paths.DATA)),)}
    kept = staging.keep("import", here())
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute("DELETE FROM users")
        connection.commit()
    for suffix in sqlite_file.COMPANIONS:
        Path(paths.SQLITE + suffix).write_text("another database's", encoding="utf-8")
    Path(paths.BAIKAL_YAML).write_text("system: {}\n", encoding="utf-8")
    (Path(paths.DATA) / TLS).write_text("another", encoding="utf-8")
    Path(paths.APPLIED).unlink()
    rollback.put_back(kept, VERSION, loaded=True)
    assert {path: (Path(paths.DATA) / path).read_bytes() for path in files(Path(paths.DATA))} == before
    assert files(Path(paths.DATA))["Specific/db/db.sqlite"] == "0o600"


@pytest.mark.usefixtures("_data")
def test_unchanged_data_is_not_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a disk that has become read-only, or is full, is no reason to stay closed."""
    kept = staging.keep("import", here())
    for suffix in ("-wal", "-shm"):
        Path(paths.SQLITE + suffix).touch()
    Path(paths.BAIKAL_YAML).chmod(0o600)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for module, name in ((shutil, "copyfileobj"), (shutil, "copy2"), (Path, "unlink")):
        monkeypatch.setattr(module, name, full)
    rollback.put_back(kept, VERSION, loaded=True)


@pytest.mark.usefixtures("_data")
def test_a_rollback_on_a_new_host_leaves_no_data(host: Path) -> None:
    """Neither an incomplete installation, nor fingerprints of passwords that no account has."""
    kept = host / "kept"
    kept.mkdir()
    (kept / staging.SECTION).write_text("{}", encoding="utf-8")
    Path(paths.SQLITE + "-wal").touch()
    rollback.put_back(kept, VERSION, loaded=False)
    remaining = set(files(Path(paths.DATA)))
    assert remaining == {TLS, ACME}, "a key that came with the data is gone with it"


def test_a_rollback_restores_an_incomplete_installation(connection: sqlite_file.Connection, host: Path) -> None:
    """A database without its yaml stays that."""
    connection.close()
    kept = staging.keep("import", here())
    Path(paths.BAIKAL_YAML).write_text(YAML, encoding="utf-8")
    Path(paths.SQLITE).unlink()
    rollback.put_back(kept, VERSION, loaded=False)
    assert not Path(paths.BAIKAL_YAML).exists()
    assert names(paths.SQLITE) == []
    assert host.is_dir()


@pytest.mark.usefixtures("host")
def test_incoming_is_removed_after_success_and_failure() -> None:
    """Also what an earlier run has left; only the owner sees what is in it."""
    Path(paths.INCOMING).mkdir()
    (Path(paths.INCOMING) / "left").touch()
    with contextlib.suppress(ZeroDivisionError), staging.incoming() as folder:
        assert [path.name for path in sorted(folder.iterdir())] == ["Specific", "config"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} == {0o700}
        raise ZeroDivisionError
    assert not Path(paths.INCOMING).exists()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (None, False),
        ("VACUUM", False),
        ("INSERT INTO users (username, digesta1) VALUES ('x', 'x')", True),
        ("ALTER TABLE users ADD COLUMN disabled SMALLINT NOT NULL DEFAULT 0", True),
        ("CREATE TABLE rooms (id INTEGER PRIMARY KEY)", True),
    ],
)
def test_rows_that_a_server_already_has_are_not_loaded_again(
    connection: sqlite_file.Connection, change: str | None, *, differs: bool
) -> None:
    """What differs is what is in the rows and what they are made of, not how a file has them; without a copy, all does."""
    connection.close()
    with staging.incoming() as folder:
        shutil.copy(paths.SQLITE, folder / staging.SQLITE)
        assert staging.differs()
        shutil.copy(paths.SQLITE, folder / staging.BEFORE)
        if change:
            with contextlib.closing(sqlite3.connect(folder / staging.SQLITE)) as changed:
                changed.execute(change)
                changed.commit()
        assert staging.differs() is differs


@pytest.mark.usefixtures("_data")
def test_the_newest_folders_stay() -> None:
    """Three with files, and always the last one; empty ones of new hosts are removed."""
    folders = [staging.keep(f"change{number}", here()) for number in range(5)]
    os.utime(folders[0])  # the time of a change of its own, so that it counts as the newest
    folders[0].chmod(0o700)
    empty = Path(paths.BACKUPS) / "before-import-20200101T000000Z"
    empty.mkdir()
    archive = Path(paths.BACKUPS) / "baikal-20200101T000000Z.tar.gz"
    archive.touch()
    staging.thin_out(folders[1])
    assert set(Path(paths.BACKUPS).iterdir()) == {folders[1], folders[0], folders[4], archive}
