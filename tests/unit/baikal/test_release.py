"""A release's zip: verified before anything is unpacked, and put in place as a whole."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import stat
import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import release
from baikalctl.baikal.release import ArchiveError
from baikalctl.settings import known_releases
from tests.unit.samples import SCHEMA, VERSION, distrib, installed, release_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sha256(archive: Path) -> str:
    """Return what sha256sum prints."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def standing() -> list[str]:
    """Return everything in the directory of releases, hidden files too."""
    return sorted(path.name for path in Path(paths.CODE).iterdir())


def with_link(target: Path) -> Path:
    """Write a release that has a symbolic link among its members."""
    release_zip(target)
    with zipfile.ZipFile(target, "a") as bundle:
        link = zipfile.ZipInfo("baikal/html/link")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(link, "/etc/passwd")
    return target


def bomb(target: Path) -> Path:
    """Write a release whose list says that one member unpacks to 4 GB; the member itself is small."""
    release_zip(target, more={"baikal/bomb": "x" * 1000})
    content = bytearray(target.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"baikal/bomb"))
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xF0000000)
    target.write_bytes(content)
    return target


def truncated(target: Path) -> Path:
    """Write a release whose end never arrived."""
    release_zip(target)
    target.write_bytes(target.read_bytes()[:-200])
    return target


def damaged(target: Path, member: str) -> Path:
    """Write a release in which a byte of one compressed member has flipped; list and names are whole."""
    release_zip(target, more={"baikal/html/style.css": "body { color: red } " * 50}, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(target) as bundle:
        info = bundle.getinfo(member)
    content = bytearray(target.read_bytes())
    middle = info.header_offset + 30 + len(member) + info.compress_size // 2
    content[middle] ^= 0xFF
    target.write_bytes(content)
    return target


def encrypted(target: Path) -> Path:
    """Write a release whose members' flags say that a password is needed."""
    release_zip(target)
    content = bytearray(target.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags] |= 1
    target.write_bytes(content)
    return target


def strangely_compressed(target: Path) -> Path:
    """Write a release that is compressed in a way that Python doesn't know."""
    release_zip(target)
    content = bytearray(target.read_bytes())
    for mark, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + method : at + method + 2] = struct.pack("<H", 97)
    target.write_bytes(content)
    return target


def text_file(target: Path) -> Path:
    """Write what a proxy's error page would be."""
    target.write_text("<html>404 Not Found</html>", encoding="utf-8")
    return target


def empty_zip(target: Path) -> Path:
    """Write a zip without members."""
    with zipfile.ZipFile(target, "w"):
        pass
    return target


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no zip": (text_file, "is not a zip archive; use the release's zip as the project publishes it"),
    "truncated": (truncated, "is not a zip archive"),
    "empty": (empty_zip, "it lacks baikal/Core/Distrib.php"),
    "out of the directory": (
        lambda target: release_zip(target, more={"baikal/../../etc/cron.d/x": ""}),
        "the archive has 'baikal/../../etc/cron.d/x', which is outside baikal/",
    ),
    "absolute": (lambda target: release_zip(target, more={"/etc/cron.d/x": ""}), "which is outside baikal/"),
    "another top": (lambda target: release_zip(target, more={"other/x": ""}), "which is outside baikal/"),
    "backslash": (lambda target: release_zip(target, more={"baikal\\..\\x": ""}), "which is outside baikal/"),
    "backslash below": (lambda target: release_zip(target, more={"baikal/..\\..\\x": ""}), "is outside baikal/"),
    "link": (with_link, "the archive has 'baikal/html/link', which is a link"),
    "bomb": (bomb, "it unpacks to more than 400 MiB"),
    "no library": (
        lambda target: release_zip(target, without="baikal/vendor/autoload.php"),
        "lacks baikal/vendor/auto",
    ),
    "no schema": (
        lambda target: release_zip(target, without="baikal/Core/Resources/Db/SQLite/db.sql"),
        "lacks baikal/Core/Resources/Db/SQLite/db.sql",
    ),
    "another version": (
        lambda target: release_zip(target, "0.11.1"),
        "is Baïkal 0.11.1, not 0.12.1; set baikal_version to 0.11.1, or use another zip",
    ),
    "unknown version": (
        lambda target: release_zip(target, more={"baikal/Core/Distrib.php": "<?php\n"}),
        "is Baïkal of an unknown version, not 0.12.1",
    ),
    "damaged version": (lambda target: damaged(target, "baikal/Core/Distrib.php"), "baikal.zip"),
    "damaged style sheet": (lambda target: damaged(target, "baikal/html/style.css"), "baikal.zip"),
    "encrypted": (encrypted, "baikal.zip"),
    "compressed strangely": (strangely_compressed, "baikal.zip"),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_release_is_refused_and_leaves_nothing(host: Path, make: Callable[[Path], Path], words: str) -> None:
    """One sentence says why, and nothing was unpacked anywhere."""
    archive = make(host / "baikal.zip")
    with pytest.raises(ArchiveError) as caught:
        release.install(archive, VERSION, "")
    assert words in str(caught.value)
    assert standing() == []
    assert not (host / "etc/cron.d").exists()


def test_a_wrong_checksum_is_refused_and_leaves_nothing(host: Path) -> None:
    """Both checksums are named, and not a byte was unpacked."""
    archive = release_zip(host / "baikal.zip")
    with pytest.raises(ArchiveError, match=f"has the SHA-256 {sha256(archive)}, not {'0' * 64}: .*download it again"):
        release.install(archive, VERSION, "0" * 64)
    assert standing() == []


def test_a_right_archive_is_verified_by_its_checksum(host: Path) -> None:
    """Its SHA-256 is returned, given or, of a release that isn't known here, not."""
    archive = release_zip(host / "baikal.zip")
    assert release.verify(archive, VERSION, sha256(archive)) == sha256(archive)
    newer = release_zip(host / "newer.zip", "0.99.1")
    assert release.verify(newer, "0.99.1", "") == sha256(newer)


def test_zip_of_a_known_release_must_be_the_official_one(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official zip with something added is refused; the message has both checksums and the remedy."""
    archive = release_zip(host / "baikal.zip")
    official = known_releases.KNOWN_RELEASES[VERSION]
    with pytest.raises(ArchiveError) as caught:
        release.install(archive, VERSION, "")
    assert str(caught.value) == (
        f"baikal.zip is not the official zip of Baïkal {VERSION}: its SHA-256 is {sha256(archive)}, not {official}; "
        f"use the official one, or, to use this zip, set baikal_sha256 to {sha256(archive)}"
    )
    assert standing() == []
    monkeypatch.setitem(known_releases.KNOWN_RELEASES, VERSION, sha256(archive))
    assert release.verify(archive, VERSION, "") == sha256(archive)


def test_a_release_is_unpacked_with_our_modes(host: Path) -> None:
    """All users may read it, only its owner may change it, with any modes in the zip and any umask."""
    archive = release_zip(host / "baikal.zip")
    previous = os.umask(0)
    try:
        release.install(archive, VERSION, sha256(archive))
    finally:
        os.umask(previous)
    folder = Path(paths.CODE) / VERSION
    assert (folder / "html/dav.php").read_text(encoding="utf-8") == "<?php // DAV\n"
    assert (folder / "Core/Resources/Db/SQLite/db.sql").read_bytes() == SCHEMA.read_bytes()
    modes = {path.relative_to(folder): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    wrong = {path: oct(mode) for path, mode in modes.items() if mode != (0o755 if (folder / path).is_dir() else 0o644)}
    assert wrong == {}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert standing() == [VERSION]


def test_a_strict_umask_doesnt_close_the_code_to_php(host: Path) -> None:
    """With umask 077 PHP can still read what it runs."""
    previous = os.umask(0o077)
    try:
        installed(release_zip(host / "baikal.zip"))
    finally:
        os.umask(previous)
    folder = Path(paths.CODE) / VERSION
    assert stat.S_IMODE((folder / "html").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "html/dav.php").stat().st_mode) == 0o644


def test_an_installed_release_knows_its_archive(host: Path) -> None:
    """So that a run finds it installed without having the archive."""
    archive = release_zip(host / "baikal.zip")
    assert release.standing(VERSION) == ""
    installed(archive)
    assert release.standing(VERSION) == sha256(archive)


EDITS: dict[str, Callable[[Path], object]] = {
    "edited": lambda folder: (folder / "html/dav.php").write_text("<?php // other", encoding="utf-8"),
    "edited to the same length": lambda folder: (folder / "html/dav.php").write_text(
        "<?php // dav\n", encoding="utf-8"
    ),
    "removed": lambda folder: (folder / "vendor/autoload.php").unlink(),
    "added": lambda folder: (folder / "html/shell.php").touch(),
    "hidden": lambda folder: (folder / "html/.shell.php").touch(),
    "opened": lambda folder: (folder / "html/dav.php").chmod(0o666),
    "directory opened": lambda folder: (folder / "html").chmod(0o777),
    "linked": lambda folder: (folder / "html/link").symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_changed_release_no_longer_counts_as_installed(host: Path, edit: Callable[[Path], object]) -> None:
    """The next run installs it again, and then it counts."""
    archive = release_zip(host / "baikal.zip")
    installed(archive)
    folder = Path(paths.CODE) / VERSION
    for file in folder.rglob("*.php"):  # installed a while ago
        os.utime(file, (1_000_000_000, 1_000_000_000))
    (folder / release.TREE).write_text(release._tree(folder) + "\n", encoding="ascii")
    assert release.standing(VERSION) == sha256(archive)
    edit(folder)
    assert release.standing(VERSION) == ""
    installed(archive)
    assert release.standing(VERSION) == sha256(archive)


def test_copying_a_release_changes_nothing_about_it(host: Path) -> None:
    """As an image's layers are copied, with owners, modes and times."""
    archive = release_zip(host / "baikal.zip")
    installed(archive)
    folder = Path(paths.CODE) / VERSION
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    assert release.standing(VERSION) == sha256(archive)


@pytest.mark.parametrize("leftover", ["", f".{VERSION}.new", f".{VERSION}.old"])
def test_installing_again_replaces_all_of_it(host: Path, leftover: str) -> None:
    """Files that the new archive lacks are gone, and leftovers of a killed run don't get into the release."""
    installed(release_zip(host / "one.zip", more={"baikal/html/old.php": "<?php\n"}))
    if leftover:
        (Path(paths.CODE) / leftover / "html").mkdir(parents=True)
        (Path(paths.CODE) / leftover / "html/half.php").touch()
    other = release_zip(host / "two.zip", more={"baikal/html/new.php": "<?php\n"})
    installed(other)
    assert standing() == [VERSION]
    html = {path.name for path in (Path(paths.CODE) / VERSION / "html").iterdir()}
    assert html == {"dav.php", "new.php"}
    assert release.standing(VERSION) == sha256(other)


def test_what_killed_runs_left_is_cleared(host: Path) -> None:
    """Uploads, half releases and links that lead nowhere go; releases and the current link stay."""
    installed(release_zip(host / "one.zip"))
    release.activate(VERSION)
    outside = host / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    code = Path(paths.CODE)
    (code / f".{VERSION}.new/html").mkdir(parents=True)
    (code / f".baikal-{VERSION}.zip").touch()
    (code / ".link").symlink_to(outside)
    release.clear_leftovers()
    assert standing() == [VERSION, "current"]
    assert (outside / "kept").exists()


def test_a_refused_archive_leaves_what_stands(host: Path) -> None:
    """The release that serves has not noticed."""
    good = release_zip(host / "good.zip")
    installed(good)
    with pytest.raises(ArchiveError):
        installed(truncated(host / "bad.zip"))
    assert release.standing(VERSION) == sha256(good)
    assert standing() == [VERSION]


def test_a_disk_that_fills_up_leaves_what_stands(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the new release is thrown away."""
    good = release_zip(host / "good.zip")
    installed(good)
    write = Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        if path.name == "autoload.php":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        installed(release_zip(host / "new.zip", more={"baikal/x": "x"}))
    assert release.standing(VERSION) == sha256(good)
    assert standing() == [VERSION]


def test_the_current_release_is_switched_in_one_step(host: Path) -> None:
    """The link points to a version in the same directory, before and after; a leftover doesn't prevent that."""
    assert host.is_dir()
    for version in ("0.11.1", VERSION):
        (Path(paths.CODE) / version).mkdir()
        Path(paths.CURRENT + ".new").symlink_to("nowhere")
        release.activate(version)
        assert Path(paths.CURRENT).readlink() == Path(version)
        assert Path(paths.CURRENT).resolve().name == version
    assert standing() == ["0.11.1", VERSION, "current"]


@pytest.mark.parametrize(
    ("version", "php"),
    [
        ("0.12.1", (8, 2)),
        ("0.12.0", (8, 2)),
        ("0.11.1", (8, 1)),
        ("0.10.1", (8, 1)),
        ("0.13.0", (8, 2)),
        ("1.0.0", (8, 2)),
    ],
)
def test_each_release_needs_its_php(version: str, php: tuple[int, int]) -> None:
    """A newer release needs at least as much as the newest that is known."""
    assert known_releases.needed_php(version) == php


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_version_is_read_however_it_is_quoted(quote: str) -> None:
    """PHP's two kinds of quotes, and any spacing."""
    assert release.version_of(distrib("0.12.1")) == "0.12.1"
    assert release.version_of(f"define( {quote}BAIKAL_VERSION{quote} ,  {quote}0.13.0{quote});") == "0.13.0"
    assert release.version_of("<?php") == "of an unknown version"


def test_every_known_release_has_a_checksum_of_its_own() -> None:
    """As sha256sum prints it, and none twice."""
    sums = list(known_releases.KNOWN_RELEASES.values())
    assert all(len(known) == 64 and int(known, 16) for known in sums)
    assert len(set(sums)) == len(sums)
    assert release.address(VERSION) == "https://github.com/sabre-io/Baikal/releases/download/0.12.1/baikal-0.12.1.zip"


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves a whole file, half of one, and one that is too large."""

    def do_GET(self) -> None:
        """Answer by what the path says."""
        body = b"x" * 1000
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * (2 if self.path == "/half" else 1)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Return the address of a server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_download_arrives_whole(server: str, tmp_path: Path) -> None:
    """Under its name, without a temporary file."""
    release.download(f"{server}/whole", tmp_path / "baikal.zip")
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("baikal.zip", 1000)]


@pytest.mark.parametrize(
    ("path", "words"), [("/gone", "Not Found"), ("/large", "it is larger than 0 MiB")], ids=["404", "large"]
)
def test_a_download_that_fails_leaves_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    """The sentence has the address, the reason and the two remedies."""
    if path == "/large":
        monkeypatch.setattr(release, "MOST_BYTES", 999)
    with pytest.raises(ArchiveError, match="baikal_archive") as caught:
        release.download(f"{server}{path}", tmp_path / "baikal.zip")
    assert f"{server}{path} can't be downloaded ({words}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_half_a_download_is_not_taken_for_the_release(server: str, tmp_path: Path) -> None:
    """Whether the transfer or the checksum tells: what arrived in part is refused."""
    archive = tmp_path / "baikal.zip"

    def fetch() -> str:
        release.download(f"{server}/half", archive)
        return release.verify(archive, VERSION, "")

    with pytest.raises(ArchiveError):
        fetch()


def test_a_failed_download_leaves_no_file(tmp_path: Path) -> None:
    """A refused connection is reported as such."""
    with pytest.raises(ArchiveError, match=r"can't be downloaded \(.*refused\)"):
        release.download("http://127.0.0.1:9/baikal.zip", tmp_path / "baikal.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_fixtures_are_as_wrong_as_they_say(tmp_path: Path) -> None:
    """A damaged zip has a whole list, or it would be refused for another reason."""
    archive = damaged(tmp_path / "x.zip", "baikal/html/style.css")
    with zipfile.ZipFile(archive) as bundle:
        assert "baikal/html/style.css" in bundle.namelist()
        with pytest.raises((zipfile.BadZipFile, zlib.error)):
            bundle.read("baikal/html/style.css")
