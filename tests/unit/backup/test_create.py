"""Making an archive, on a host below a temporary directory."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import cli, paths
from baikalctl.backup import archive, catalog, collect, create, extract, manifest, status
from baikalctl.changes import members
from baikalctl.commands import apply
from baikalctl.errors import HostError
from tests.unit.archives import KEY, verified
from tests.unit.moving import ends_in_seconds
from tests.unit.samples import PASSWORD, VERSION, declared

if TYPE_CHECKING:
    from baikalctl.backup.create import Result
    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState

DAY = 86400


@pytest.fixture
def it(host: Path, release_standing: Path) -> DesiredState:
    """Return what is declared of a host that was deployed to and serves."""
    assert host.is_dir()
    assert release_standing.is_dir()
    users = [{"name": "jo", "password": "password of jo"}]
    good = declared(tls="selfsigned", users=users, timezone="Europe/Berlin")
    Path(paths.DECLARED).write_text(good.to_json(), encoding="utf-8")
    apply.apply(good, lambda _: None)
    return good


def made(it: DesiredState) -> Result:
    """Return a new archive."""
    done = create.run(it, lambda _: None)
    assert done
    return done


def unpacked(path: Path, host: Path) -> dict[str, bytes]:
    """Return the content of an archive by name."""
    folder = host / f"unpacked-{path.name}"
    folder.mkdir()
    extract.unpack(path, folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_archive_has_everything_that_a_restore_needs(it: DesiredState, host: Path) -> None:
    """Database, baikal.yaml, certificates and keys, what was declared, and nothing else."""
    for key in (f"{paths.ACME}/accounts/a/private_key.json", f"{paths.DKIM}/mail.example.org.pem"):
        Path(key).parent.mkdir(parents=True, exist_ok=True)
        Path(key).write_text(KEY, encoding="ascii")
    (Path(paths.KEPT) / "1.eml").write_text("To: bob@example.net", encoding="ascii")
    done = made(it)
    content = unpacked(done.stored.path, host)
    tls = {f"tls/{path.name}": path.read_bytes() for path in Path(paths.TLS).glob("*.pem")}
    assert len(tls) == 1, "nginx's own files are generated from the settings"
    assert set(content) == {
        manifest.NAME,
        members.DATABASE,
        members.YAML,
        members.SETTINGS,
        members.APPLIED,
        "acme/accounts/a/private_key.json",
        "dkim/mail.example.org.pem",
        *tls,
    }
    assert content[members.YAML] == Path(paths.BAIKAL_YAML).read_bytes()
    assert {name: text for name, text in content.items() if name in tls} == tls
    assert (done.description.baikal, done.description.backend, done.description.counts["users"]) == (
        VERSION,
        "sqlite",
        1,
    )
    settings = json.loads(content[members.SETTINGS])
    assert settings["hostname"] == "cal.example.org"
    assert PASSWORD.encode() not in b"".join(content.values())
    assert b"password of jo" not in b"".join(content.values())
    # The temporary files are removed.
    assert [path.name for path in Path(paths.BACKUPS).iterdir()] == [done.stored.path.name]
    assert not list(Path(paths.DATA).glob(".private-*"))


def test_links_and_temporary_files_are_not_archived(it: DesiredState, host: Path) -> None:
    """Root reads no link of anybody's; an authority's protocol and locks are of no use to a restored server."""
    secret = host / "secret"
    secret.write_text("root's own", encoding="ascii")
    for name in (".cal.pem.new", "lock", "letsencrypt.log.1", "work/x", "incoming/x"):
        (Path(paths.ACME) / name).parent.mkdir(exist_ok=True)
        (Path(paths.ACME) / name).write_text("passing", encoding="ascii")
    (Path(paths.TLS) / "link.pem").symlink_to(secret)
    (Path(paths.TLS) / "folder").symlink_to(host)
    os.mkfifo(Path(paths.TLS) / "pipe.pem")
    (Path(paths.TLS) / "a\nb.pem").write_text("a name that no archive has", encoding="ascii")
    content = unpacked(made(it).stored.path, host)
    assert not [name for name in content if name.startswith("acme/")]
    assert sorted(name for name in content if name.startswith("tls/")) == sorted(
        f"tls/{path.name}" for path in Path(paths.TLS).glob("selfsigned*.pem")
    )


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30)
number = 0
while True:
    connection.execute("INSERT INTO principals (uri) VALUES (?)", (f"principals/{number}",))
    connection.commit()
    number += 1
"""


def test_clients_can_write_during_a_backup(it: DesiredState, host: Path) -> None:
    """What was acknowledged before it began is in it, and each archive is sound."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, paths.SQLITE], stderr=subprocess.PIPE)
    try:
        for _ in range(3):
            with contextlib.closing(sqlite3.connect(paths.SQLITE, timeout=30)) as connection:
                (before,) = connection.execute("SELECT count(*) FROM principals").fetchone()
            output = verified(made(it).stored.path)
            assert output.counts["principals"] >= before
        assert writer.poll() is None, "it failed to write"
    finally:
        writer.kill()
        writer.communicate()
    assert host.is_dir()


def test_a_backup_reports_its_steps_and_its_result(it: DesiredState, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line, with the path, the size and what people have in it."""
    assert it.backup.on
    assert cli.main(["backup"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "baikalctl: copy the database, the configuration and the keys",
        "baikalctl: compress the archive",
    ]
    (stored,) = catalog.all_archives()
    assert lines[2:] == [
        f"{stored.path}, {stored.size / 1024:.1f} KiB: 1 account, 1 calendar, 0 events, 1 address book, 0 cards"
    ]
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600


def test_the_json_output_has_the_checksum(it: DesiredState, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else on standard output."""
    assert it.backup.on
    assert cli.main(["backup", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["path"] == str(catalog.all_archives()[0].path)
    assert output["sha256"] == archive.describe(Path(output["path"])).sha256
    assert output["counts"]["users"] == 1


def test_two_archives_of_one_second_have_different_names(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """None takes another's place."""
    monkeypatch.setattr(time, "time", lambda: 1795576500.5)
    assert len({made(it).stored.path for _ in range(3)}) == 3


def test_the_result_of_a_backup_is_stored(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A success with its size; a failure with its reason, without forgetting the success before."""
    done = made(it)
    result = status.read()
    assert (result.success, result.size, result.error) == (done.description.created, done.stored.size, "")

    def full(*_: object) -> None:
        raise HostError("the archive can't be written (No space left on device); free disk space")

    monkeypatch.setattr(archive, "write", full)
    with pytest.raises(HostError):
        create.run(it, lambda _: None)
    after = status.read()
    assert (after.success, after.size) == (result.success, result.size)
    assert after.error.startswith("the archive can't be written (No space left on device)")
    monkeypatch.undo()


def test_a_killed_backup_is_stored_as_interrupted(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one clears up after it."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(collect, "collect_files", killed)
        with pytest.raises(KeyboardInterrupt):
            create.run(it, lambda _: None)
    assert status.read().error == status.UNDER_WAY
    (Path(paths.BACKUPS) / ".private-x").mkdir()
    done = made(it)
    assert [path.name for path in Path(paths.BACKUPS).iterdir()] == [done.stored.path.name]


def test_a_full_disk_is_reported_and_leaves_nothing_behind(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is copied, or files, or while it is packed."""
    first = made(it)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module, name in ((collect, "snapshot"), (collect, "copy_plain_files"), (archive, "_pack")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(HostError, match=r"No space left on device.*free disk space in "):
                create.run(it, lambda _: None)
        assert [path.name for path in Path(paths.BACKUPS).iterdir()] == [first.stored.path.name]


def test_a_damaged_database_is_reported(it: DesiredState) -> None:
    """With its remedy; no archive is made of it."""
    Path(paths.SQLITE).write_bytes(b"this is no database" * 1000)
    with pytest.raises(HostError, match=r"^the database .* can't be "):
        create.run(it, lambda _: None)
    assert catalog.all_archives() == []
    assert "the database" in status.read().error


def test_a_fifo_in_place_of_the_configuration_does_not_block_a_backup(it: DesiredState) -> None:
    """PHP's account may put a FIFO in its place, also while the database is being copied."""
    real = collect.snapshot

    def snapshot(database: Database, target: Path, *texts: str) -> dict[str, int]:
        counts = real(database, target, *texts)
        Path(paths.BAIKAL_YAML).unlink()
        os.mkfifo(paths.BAIKAL_YAML)
        return counts

    message = "baikal.yaml must be a regular file, not a link; put the file itself there"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "snapshot", snapshot)
        for _ in range(2):
            with ends_in_seconds(), pytest.raises(HostError, match=message):
                made(it)


def test_a_host_without_data_has_nothing_to_archive(it: DesiredState) -> None:
    """It says so."""
    Path(paths.BAIKAL_YAML).unlink()
    with pytest.raises(HostError, match=r"this host has no data yet; run the deploy first$"):
        create.run(it, lambda _: None)


def test_old_archives_are_removed(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is declared, in the server's days; what was made by others for a reason stays."""
    few = dataclasses.replace(it, backup=dataclasses.replace(it.backup, daily=2, weekly=0, monthly=0))
    output: list[str] = []
    begin = time.time()
    for day in range(4):
        now = begin + day * DAY
        monkeypatch.setattr(time, "time", lambda now=now: now)
        create.run(few, output.append)
    create.create_archive(few, "before-upgrade", output.append)
    assert [each.label for each in catalog.all_archives()] == ["before-upgrade", "", ""] or [
        each.label for each in catalog.all_archives()
    ] == ["", "before-upgrade", ""]
    assert "1 older archive removed, 2 kept" in output


def test_a_new_archive_stays_even_with_a_wrong_clock(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 1970, every other one seems to be of the future."""
    made(it)
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    done = made(it)
    assert done.stored.path.exists()
    assert len(catalog.all_archives()) == 2


def test_a_backup_waits_for_another_run(it: DesiredState) -> None:
    """A process that changes the data holds the lock."""
    output: list[str] = []
    with Path(paths.LOCK).open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def hear(sentence: str) -> None:
            output.append(sentence)
            fcntl.flock(lock, fcntl.LOCK_UN)

        assert create.run(it, hear)
    assert output[0].startswith("wait for ")


def test_a_backup_is_due_once_a_day(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container: not at once when it is new, at its time, at once when that was missed, and again after a failure."""
    noon = 1795604400.0  # 2026-11-25 12:00 in Berlin
    now = noon

    monkeypatch.setattr(time, "time", lambda: now)
    assert not create.due(it)
    now = noon + 15 * 3600
    assert not create.due(it)
    assert create.next_check_s(it) == 900
    now = noon + 15.25 * 3600
    assert create.due(it)
    made(it)
    assert not create.due(it)
    assert create.next_check_s(it) == 3600
    now += 2.5 * DAY
    assert create.due(it)
    status.remember(attempt=now, error="it rains")
    assert not create.due(it)
    now += create.RETRY_S
    assert create.due(it)


def test_a_scheduled_backup_prints_only_its_result(it: DesiredState, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal is no place for progress."""
    assert it.backup.on
    assert cli.main(["backup", "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_list_shows_all_archives(it: DesiredState, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs; one that can't be read is shown with why."""
    assert cli.main(["backup", "list"]) == 0
    assert capsys.readouterr().out == "there are no archives yet; run baikalctl backup to make one\n"
    done = made(it)
    broken = Path(paths.BACKUPS) / "baikal-20010101T000000Z-before-move.tar.gz"
    broken.write_bytes(b"noise")
    assert cli.main(["backup", "list"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["TIME", "SIZE", "BAÏKAL", "LABEL", "CONTENTS", "ARCHIVE"]
    assert "1 account, 1 calendar, 0 events, 1 address book, 0 cards" in first
    assert first.endswith(done.stored.path.name)
    assert "2001-01-01 00:00 UTC  5 bytes" in second
    assert "before-move" in second
    assert "is not an archive of baikalctl" in second
    assert cli.main(["backup", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [line["archive"] for line in listed] == [done.stored.path.name, broken.name]
    assert listed[0]["counts"]["users"] == 1
    assert listed[0]["size"] == done.stored.size


@pytest.mark.parametrize("named", ["", "latest", "by name", "by path"])
def test_an_archive_is_verified(it: DesiredState, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest, or whichever is named; also where nothing was deployed yet."""
    path = made(it).stored.path
    Path(paths.DECLARED).unlink()
    word = {"by name": path.name, "by path": str(path), "": ""}.get(named, named)
    assert cli.main(["backup", "verify", *([word] if word else [])]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{path} is undamaged: made on ")
    assert output.endswith("all checksums match, and the database passed its integrity check\n")
    path.write_bytes(path.read_bytes()[:-100])
    assert cli.main(["backup", "verify", str(path)]) == 1
    assert "is truncated" in capsys.readouterr().err


def test_the_manifest_names_the_kind_of_database(it: DesiredState) -> None:
    """What the manifest says of it is what was declared."""
    assert made(it).description.backend == it.database.backend
