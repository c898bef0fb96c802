"""Archives are written completely or not at all, and each kind of damage has its own message."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import io
import itertools
import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from baikalctl import paths
from baikalctl.backup import archive, archive_folder, catalog, extract, manifest
from baikalctl.errors import HostError
from baikalctl.host.tempdir import temporary_directory
from tests.unit.archives import CREATED, DATABASE, content, described, member, repacked, unpacked, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.backup.manifest import Manifest, Member


GONE = "does not exist; run baikalctl backup list"
NOT_OURS = "is not an archive of baikalctl: "
DAMAGED = "is damaged: "


@pytest.fixture
def folder(host: Path) -> Path:
    """Return an empty folder."""
    directory = host / "content"
    directory.mkdir()
    return directory


@pytest.fixture
def description(folder: Path, empty_database: bytes) -> Manifest:
    """Have the folder be full of what belongs in an archive; return its manifest."""
    return content(folder, empty_database)


@pytest.fixture
def good(folder: Path, description: Manifest) -> Path:
    """Return a good archive."""
    return archive.write(folder, description).path


def refusal(path: Path) -> str:
    """Return why an archive isn't taken; what was unpacked of it is gone."""
    with pytest.raises(HostError) as error:
        verified(path)
    assert [each.name for each in Path(paths.BACKUPS).glob(".*")] == []
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "; " in text
    return text.removeprefix(f"{path} ")


def test_an_archive_unpacks_to_the_same_files(folder: Path, description: Manifest, good: Path, host: Path) -> None:
    """Every byte of every file, for its owner alone, and the manifest with it."""
    target = host / "target"
    target.mkdir()
    assert extract.unpack(good, target) == description == extract.read_manifest(good) == verified(good)
    for name in description.files:
        assert (target / name).read_bytes() == (folder / name).read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.name != manifest.NAME} == {
        0o600,
        0o700,
    }
    assert manifest.read((target / manifest.NAME).read_bytes()) == description


def test_an_archive_has_mode_0600_and_its_time_in_its_name(good: Path) -> None:
    """No other file is left in the directory."""
    assert good.name == "baikal-20261125T031500Z.tar.gz"
    assert stat.S_IMODE(good.stat().st_mode) == 0o600
    assert [path.name for path in Path(paths.BACKUPS).iterdir()] == [good.name]


def test_tar_can_unpack_an_archive(good: Path, description: Manifest) -> None:
    """On a day so bad that there is no baikalctl; the manifest comes first."""
    names = subprocess.run(["tar", "tzf", good], capture_output=True, text=True, check=True).stdout.splitlines()
    assert names == [manifest.NAME, *description.files]
    assert all(header.mode == 0o600 for header, _ in unpacked(good))


def test_archives_are_listed_newest_first(folder: Path, empty_database: bytes) -> None:
    """By name; other files are ignored."""
    for days, label in ((0, ""), (2, "before-upgrade"), (1, "")):
        description = dataclasses.replace(content(folder, empty_database, label=label), created=CREATED + days * 86400)
        archive.write(folder, description)
    for name in ("baikal-2026.tar.gz", "baikal-20261325T031500Z.tar.gz", "replaced-20261125T031500Z"):
        (Path(paths.BACKUPS) / name).touch()
    assert [(stored.created, stored.label) for stored in catalog.all_archives()] == [
        (CREATED + 2 * 86400, "before-upgrade"),
        (CREATED + 86400, ""),
        (CREATED, ""),
    ]
    assert catalog.find("latest") == catalog.all_archives()[0].path
    assert catalog.find("baikal-20261125T031500Z.tar.gz") == catalog.all_archives()[2].path
    assert catalog.find("/elsewhere/a.tar.gz") == Path("/elsewhere/a.tar.gz")


def test_latest_without_archives_is_an_error(host: Path) -> None:
    """It says how to make one."""
    assert catalog.all_archives() == []
    with pytest.raises(HostError, match=f"no archive in {host}.*; run baikalctl backup to make one"):
        catalog.find("latest")


def test_a_full_disk_leaves_nothing_behind(
    folder: Path, description: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line, and the folder is unchanged."""
    older = archive.write(folder, description).path
    before = older.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"can't be written \(No space left on device\); free disk space in "):
        archive.write(folder, description)
    assert [path.name for path in Path(paths.BACKUPS).iterdir()] == [older.name]
    assert older.read_bytes() == before


def test_a_database_larger_than_memory_is_packed_and_read(folder: Path, description: Manifest) -> None:
    """Packing and reading need a few MiB of memory: here, 200 MiB are packed by a process that is limited to 150 MiB."""
    with (folder / DATABASE).open("r+b") as file:
        file.truncate(200 << 20)
    large = described(folder, counts=description.counts)
    (folder / manifest.NAME).write_text(large.to_json(), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from baikalctl import paths\n"
        "from baikalctl.backup import archive, extract, manifest\n"
        "from tests.unit.archives import verified\n"
        f"paths.BACKUPS, paths.DATA, paths.USER = {paths.BACKUPS!r}, {paths.DATA!r}, {paths.USER!r}\n"
        f"folder = Path({str(folder)!r})\n"
        "description = manifest.read((folder / manifest.NAME).read_bytes())\n"
        "stored = archive.write(folder, description)\n"
        "try: verified(stored.path)\n"
        "except extract.HostError as error: print(error)\n"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, preexec_fn=limited
    )
    # SQLite takes no notice of zeros behind its last page.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_archive_is_refused(host: Path) -> None:
    """It says how to find others."""
    (host / "var/backups/baikal").mkdir(parents=True)
    assert refusal(host / "none.tar.gz").startswith(GONE)
    assert refusal(host / "var").startswith("is not a file; name an archive")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.5, 0.99])
def test_a_truncated_archive_is_refused(good: Path, part: float) -> None:
    """Wherever it ends."""
    good.write_bytes(good.read_bytes()[: int(good.stat().st_size * part)])
    assert refusal(good).startswith(
        "is truncated: its end is missing; use another archive (baikalctl backup list), or copy"
    )


def test_an_archive_without_its_last_bytes_is_refused(good: Path) -> None:
    """Gzip's own checksum is in them."""
    good.write_bytes(good.read_bytes()[:-3])
    assert refusal(good).startswith("is truncated")


@pytest.mark.parametrize("position", [0.05, 0.3, 0.7, 0.95, 0.999])
def test_an_archive_with_a_wrong_byte_is_refused(good: Path, position: float) -> None:
    """Wherever it is."""
    broken = bytearray(good.read_bytes())
    broken[int(len(broken) * position)] ^= 0x55
    good.write_bytes(broken)
    assert refusal(good).startswith((DAMAGED, "is truncated"))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"), "it is a zip"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" * 99), "it is not compressed with gzip"),
        (lambda path: path.write_bytes(gzip.compress(os.urandom(9999))), "it contains no tar archive"),
        (lambda path: path.write_bytes(gzip.compress(bytes(10240))), "it contains no tar archive"),
        (lambda path: repacked(path, [member("html/index.php", b"x")]), "it begins with 'html/index.php'"),
        (lambda path: repacked(path, [member("manifest.json", b"hello")]), "its manifest is not JSON"),
        (lambda path: repacked(path, [member("manifest.json", b"[" * 99999)]), "its manifest is not JSON"),
        (
            lambda path: repacked(path, [member("manifest.json", b'{"name": "app"}')]),
            "its manifest is from another program",
        ),
        (
            lambda path: repacked(path, [member("manifest.json", kind=tarfile.SYMTYPE, link="/etc/shadow")]),
            "it begins with 'manifest.json'",
        ),
        (lambda path: repacked(path, [member("manifest.json", bytes(5 << 20))]), "it begins with 'manifest.json'"),
    ],
)
def test_a_file_of_another_program_is_refused(host: Path, make: Callable[[Path], object], why: str) -> None:
    """A zip, another program's tar, or noise."""
    path = host / "other.tar.gz"
    (host / "var/backups/baikal").mkdir(parents=True)
    make(path)
    assert refusal(path) == f"{NOT_OURS}{why}; use an archive made by baikalctl backup"


def with_manifest(good: Path, **changed: object) -> Path:
    """Return the archive with other words in its manifest."""
    (header, text), *rest = unpacked(good)
    return repacked(good, [member(header.name, json.dumps(json.loads(text) | changed).encode()), *rest])


def test_an_archive_of_a_newer_format_is_refused(good: Path) -> None:
    """It isn't guessed at."""
    text = refusal(with_manifest(good, format=2))
    assert text == "has format 2, but this baikalctl supports 1 at most; deploy a newer version, and use its baikalctl"


MEMBER = {"size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "can't be part of an archive"),
        ("tls/../../etc/passwd", "can't be part of an archive"),
        ("tls/..", "can't be part of an archive"),
        ("tls//a", "can't be part of an archive"),
        ("../manifest.json", "can't be part of an archive"),
        ("tls/a\nb", "can't be part of an archive"),
        ("config/other.yaml", "can't be part of an archive"),
        ("manifest.json", "can't be part of an archive"),
        ("tls/selfsigned-cal.example.org.pem/a", "as a file and as a folder"),
    ],
)
def test_a_manifest_with_a_forbidden_name_is_refused(good: Path, name: str, why: str) -> None:
    """Nothing is written anywhere for it."""
    files = json.loads(unpacked(good)[0][1])["files"]
    text = refusal(with_manifest(good, files=files | {name: MEMBER}))
    assert text.startswith(DAMAGED)
    assert why in text


@pytest.mark.parametrize(
    "changed",
    [
        {"format": None},
        {"format": 0},
        {"files": None},
        {"files": {}},
        {"counts": ["a"]},
        {"created": "yesterday"},
        {"label": "../x"},
        {"files": {DATABASE: {"size": -1, "sha256": "0" * 64}}},
        {"files": {DATABASE: {"size": 1, "sha256": "no"}}},
    ],
)
def test_an_incomplete_manifest_is_refused(good: Path, changed: dict[str, object]) -> None:
    """It is ours, and damaged."""
    assert refusal(with_manifest(good, **changed)).startswith(DAMAGED)


@pytest.mark.parametrize(
    "foreign",
    [
        member("etc/passwd", b"x"),
        member("../outside", b"x"),
        member("/outside", b"x"),
        member("tls/link", kind=tarfile.SYMTYPE, link="/etc/shadow"),
        member("tls/link", kind=tarfile.LNKTYPE, link="/etc/shadow"),
        member("settings.json", kind=tarfile.SYMTYPE, link="/etc/shadow"),
        member("tls", kind=tarfile.DIRTYPE),
        member("tls/device", kind=tarfile.CHRTYPE),
        member("settings.json", b"{}\n"),
    ],
    ids=lambda item: f"{item[0].type.decode()} {item[0].name}",
)
def test_a_member_without_an_entry_in_the_manifest_is_refused(
    good: Path, host: Path, foreign: tuple[tarfile.TarInfo, bytes]
) -> None:
    """Links, devices, paths to elsewhere, or a file for the second time: nothing of it arrives anywhere."""
    repacked(good, [*unpacked(good), foreign])
    assert "which is not in its manifest: the archive was modified" in refusal(good)
    assert not (host / "outside").exists()


def without_end(path: Path) -> bytes:
    """Return the tar in an archive without the zeros at its end."""
    tar = gzip.decompress(path.read_bytes()).rstrip(b"\0")
    return tar + bytes(-len(tar) % tarfile.BLOCKSIZE)


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE]
)
def test_an_extended_header_is_refused_before_its_content_is_read(good: Path, kind: bytes) -> None:
    """GNU long names, pax headers and sparse maps could claim any size."""
    header = tarfile.TarInfo("extended")
    header.type, header.size = kind, 1 << 40
    good.write_bytes(gzip.compress(without_end(good) + header.tobuf(tarfile.GNU_FORMAT)))
    assert "contains 'extended', which is not in its manifest" in refusal(good)


def test_a_damaged_header_is_not_taken_for_the_end(good: Path) -> None:
    """As tarfile does by default."""
    good.write_bytes(gzip.compress(without_end(good) + b"x" * tarfile.BLOCKSIZE + bytes(10240)))
    assert refusal(good).startswith(("is damaged: bad checksum", "is damaged: invalid header"))


@pytest.mark.parametrize(("blocks", "whole"), [(0, False), (2, True), (20, True)])
def test_a_tar_ends_with_zeros(good: Path, description: Manifest, blocks: int, whole: bool) -> None:  # noqa: FBT001 - a case
    """Older archives have two blocks of zeros at the end, newer ones as many as tar itself writes."""
    good.write_bytes(gzip.compress(without_end(good) + bytes(blocks * tarfile.BLOCKSIZE)))
    if whole:
        assert verified(good) == description
    else:
        assert refusal(good).startswith("is truncated")


def test_a_missing_member_is_reported(good: Path) -> None:
    """The first of them is named."""
    repacked(good, [each for each in unpacked(good) if each[0].name != "settings.json"])
    assert refusal(good).startswith("is damaged: settings.json is missing")


def test_a_member_with_other_content_is_refused(good: Path) -> None:
    """Of the same size, and in a tar and a gzip that are right."""
    members = [(header, text.replace(b"PRIVATE", b"PUBLIC!")) for header, text in unpacked(good)]
    repacked(good, members)
    assert refusal(good).startswith("is damaged: the checksum of ")


def test_a_member_of_another_size_is_refused(good: Path) -> None:
    """It isn't even read."""
    members = [
        each if each[0].name != "settings.json" else member("settings.json", b"{ }\n") for each in unpacked(good)
    ]
    repacked(good, members)
    assert refusal(good).startswith("is damaged: settings.json has 4 bytes, not 3")


def test_data_after_the_end_is_refused(good: Path) -> None:
    """An archive of baikalctl ends with zeros."""
    repacked(good, unpacked(good), more=b"hello")
    assert refusal(good).startswith("is damaged: there is data after its end")


def test_a_decompression_bomb_is_refused(good: Path) -> None:
    """What claims to be far larger than its bytes can hold, or than there is room for, is not unpacked."""
    files = json.loads(unpacked(good)[0][1])["files"]
    with_manifest(good, files=files | {"tls/zeros": {"size": 1 << 50, "sha256": "0" * 64}})
    assert "claims to unpack to 1125899906" in refusal(good)


def test_an_archive_larger_than_the_free_space_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much is needed."""
    monkeypatch.setattr(extract, "MARGIN", 1 << 60)
    assert " MiB, but " in (text := refusal(good))
    assert text.endswith(" MiB free; free disk space there")


def rewritten(
    folder: Path, change: Callable[[sqlite3.Connection], object], counts: dict[str, int] | None = None
) -> Path:
    """Change the database and pack it again, with a manifest that is right but for the counts."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        change(connection)
        connection.commit()
    (folder / manifest.NAME).unlink(missing_ok=True)
    return archive.write(folder, described(folder, counts=counts)).path


def test_a_database_with_missing_rows_is_refused(folder: Path, description: Manifest) -> None:
    """Everything fits, but for what was counted when it was made."""
    path = rewritten(
        folder, lambda it: it.execute("DELETE FROM calendarobjects WHERE id = 1"), dict(description.counts)
    )
    assert refusal(path).startswith(
        "is undamaged, but its database has 2 rows in calendarobjects, not 3 as its manifest says"
    )


def test_a_database_of_another_program_is_refused(folder: Path, description: Manifest) -> None:
    """A database without Baïkal's tables is refused, also one with a view in place of a table."""
    assert description.counts["users"] == 1
    path = rewritten(folder, lambda it: it.execute("DROP TABLE users"))
    assert refusal(path).startswith("is undamaged, but its database has no table users")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW more AS SELECT 1", "the view 'more'"),
        ("CREATE TRIGGER more AFTER INSERT ON users BEGIN DELETE FROM users; END", "the trigger 'more'"),
        ("CREATE VIRTUAL TABLE more USING fts5(text)", "the virtual table 'more'"),
    ],
)
def test_a_database_with_views_or_triggers_is_refused(
    folder: Path, empty_database: bytes, statement: str, what: str
) -> None:
    """Baïkal makes none of it, so it is refused by its name."""
    description = content(folder, empty_database)
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute(statement)
        if "VIRTUAL" in statement:  # a form that a search for "CREATE VIRTUAL" would miss
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'CREATE VIRTUAL', 'CREATE/**/VIRTUAL')")
        connection.commit()
    path = archive.write(folder, described(folder, counts=description.counts)).path
    assert refusal(path).startswith("is undamaged, but its database is not a Baïkal database: the database ")
    assert what in refusal(path)


def test_a_damaged_database(folder: Path, description: Manifest) -> None:
    """One that was damaged when the archive was made."""
    with (folder / DATABASE).open("r+b") as file:
        for page in range(4096, file.seek(0, io.SEEK_END), 4096):
            file.seek(page + 2)
            file.write(b"\xff" * 40)
    path = archive.write(folder, described(folder, counts=description.counts)).path
    assert refusal(path).startswith("is undamaged, but its database ")


def test_an_unpacked_archive_is_verified_as_a_copy(folder: Path, description: Manifest, host: Path) -> None:
    """What was verified is a copy, without what older archives have besides; links are refused."""
    numbers = itertools.count()

    def taken() -> Path:
        target = host / f"taken-{next(numbers)}"
        target.mkdir()
        assert archive_folder.copy_folder(folder, "it", target) == description
        return target

    with pytest.raises(
        HostError, match=r"^it is not an archive of baikalctl \(it has no manifest\.json\); choose another"
    ):
        taken()
    (folder / manifest.NAME).write_text(description.to_json(), encoding="utf-8")
    target = taken()
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == {
        manifest.NAME,
        *description.files,
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*.pem")} == {0o600}
    (folder / "tls/more.pem").write_text("x", encoding="utf-8")
    with pytest.raises(HostError, match=r"^it contains 'tls/more\.pem', which is not in its manifest"):
        taken()
    (folder / "tls/more.pem").unlink()
    (folder / "settings.json").write_text("[]\n", encoding="utf-8")
    with pytest.raises(HostError, match=r"^it is damaged: the content of settings\.json is not what the manifest says"):
        taken()
    (folder / "settings.json").unlink()
    with pytest.raises(HostError, match=r"^it is damaged: settings\.json is missing"):
        taken()
    (folder / "settings.json").symlink_to("/etc/shadow")
    with pytest.raises(HostError, match=r"settings\.json must be a regular file, not a link"):
        taken()


def test_the_next_run_removes_folders_of_killed_runs(good: Path) -> None:
    """And what one that is at work holds stays."""
    backups = Path(paths.BACKUPS)
    (backups / ".private-killed").mkdir()
    (backups / ".private-killed/baikal-20261125T031500Z.tar.gz").touch()
    with temporary_directory(backups) as held:
        verified(good)
        assert [path for path in backups.iterdir() if path.is_dir()] == [held]
    assert list(backups.iterdir()) == [good]


def test_a_negative_size_is_refused(good: Path) -> None:
    """A tar can have such a number (base-256), and to read -1 bytes of a stream is to read all of it."""
    fields = bytearray(member(manifest.NAME)[0].tobuf(tarfile.USTAR_FORMAT))
    fields[124:136] = b"\xff" * 12
    fields[148:156] = b"%06o\0 " % (sum(fields[:148]) + sum(b" " * 8) + sum(fields[156:]))
    good.write_bytes(gzip.compress(bytes(fields) + bytes(64 << 20)))
    assert refusal(good).startswith(f"{NOT_OURS}it begins with 'manifest.json'")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", '{"users": 1e999}'),
        ("counts", '{"users": -1}'),
        ("counts", '{"users": 1.5}'),
        ("counts", f'{{"users": {1 << 63}}}'),
        ("hostname", '"\\u001b[2J\\u001b]52;c;eA==\\u0007"'),
        ("hostname", f'"{"x" * 256}"'),
        ("baikal", "1"),
    ],
)
def test_a_manifest_with_an_invalid_value_is_refused(good: Path, name: str, value: str) -> None:
    """Numbers that are none, and texts that a terminal would obey."""
    (header, text), *rest = unpacked(good)
    fields = json.loads(text) | {name: "the value"}
    repacked(good, [member(header.name, json.dumps(fields).replace('"the value"', value).encode()), *rest])
    text_of_refusal = refusal(good)
    assert text_of_refusal.startswith(f"{DAMAGED}its {name} ")
    assert text_of_refusal.isprintable()


@pytest.mark.parametrize("change", ["other bytes", "longer", "link", "more"])
def test_a_folder_that_changes_during_the_copy_is_refused(
    folder: Path, description: Manifest, host: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Its owner may write to it at any moment: what counts is the copy, and what is in the copy is what was verified."""
    (folder / manifest.NAME).write_text(description.to_json(), encoding="utf-8")
    (host / "secret").write_text("secret", encoding="ascii")
    last = list(description.files)[-1]
    victim, content = folder / last, (folder / last).read_bytes()
    copy = archive_folder._copy

    def changed(what: str, name: str, stream: BinaryIO, target: BinaryIO | None, expected: Member) -> None:
        copy(what, name, stream, target, expected)
        if change == "link" and not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(host / "secret")
        elif change == "more":
            (folder / "tls/late.conf").write_text("late", encoding="ascii")
        elif change != "link":
            victim.write_bytes(bytes(len(content)) if change == "other bytes" else content + b"more")

    monkeypatch.setattr(archive_folder, "_copy", changed)
    target = host / "taken"
    target.mkdir()
    if change == "more":
        assert archive_folder.copy_folder(folder, "it", target) == description
        assert not (target / "tls/late.conf").exists()
        return
    with pytest.raises(HostError, match=last.replace(".", r"\.")):
        archive_folder.copy_folder(folder, "it", target)
    assert b"secret" not in b"".join(path.read_bytes() for path in target.rglob("*") if path.is_file())
