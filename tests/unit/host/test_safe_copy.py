"""Copies to and from the data directory: atomic, without following links, and on a full disk."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.errors import HostError
from baikalctl.host import safe_copy
from baikalctl.host.boundary import confined
from tests.unit.moving import ends_in_seconds


def test_a_copy_follows_no_link(host: Path) -> None:
    """A link at the target or at the temporary name is replaced, and its own target stays."""
    (host / "source").write_text("new", encoding="utf-8")
    (host / "precious").write_text("precious", encoding="utf-8")
    target = Path(paths.BAIKAL_YAML)
    for target_path in (target, target.with_name(".baikal.yaml.new")):
        target_path.symlink_to(host / "precious")
    safe_copy.copy_in(host / "source", target)
    assert (host / "precious").read_text(encoding="utf-8") == "precious"
    assert not target.is_symlink()
    assert (target.read_text(encoding="utf-8"), stat.S_IMODE(target.stat().st_mode)) == ("new", 0o600)
    safe_copy.copy_in(host / "nowhere", target)
    assert target.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "folder"])
def test_a_path_that_is_not_a_file_does_not_block(host: Path, kind: str) -> None:
    """PHP's account may put an endless file there, or a FIFO without a writer."""
    assert host.is_dir()
    target_path = Path(paths.BAIKAL_YAML)
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "fifo":
            os.mkfifo(target_path)
        elif kind == "link":
            target_path.symlink_to("/dev/null")
        elif kind == "socket":
            listening.bind(str(target_path))
        else:
            target_path.mkdir()
    for read in (safe_copy.open_untrusted, config.understood):
        with (
            ends_in_seconds(),
            pytest.raises(HostError, match=rf"^{target_path} must be a regular file, not a link; put the file"),
        ):
            read(target_path)


def test_directories_on_the_way_to_a_file_need_not_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the directory of root's in which an import is prepared, where the data's owner opens the journal."""
    monkeypatch.setattr(paths, "USER", "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "inner"
        folder.mkdir()
        (folder / "file").write_text("x", encoding="ascii")
        (folder / "file").chmod(0o644)
        for path in (folder, folder.parent):
            path.chmod(0o311)

        def read() -> str:
            with safe_copy.open_untrusted(folder / "file", below=Path(name)) as stream:
                return stream.read().decode()

        try:
            assert confined(read) == "x"
        finally:
            for path in (folder.parent, folder):
                path.chmod(0o700)


def test_a_file_of_the_data_is_opened_as_any() -> None:
    """A missing file is reported as such."""
    with safe_copy.open_untrusted(Path(__file__)) as stream:
        assert stream.read() == Path(__file__).read_bytes()
    with pytest.raises(FileNotFoundError):
        safe_copy.open_untrusted(Path("/nonexistent/file"))


def test_what_is_the_same_already_is_not_written_again(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk has room for that; a file that others could read is written again."""
    target = Path(paths.BAIKAL_YAML)
    for target_path in (host / "source", target):
        target_path.write_text("same", encoding="utf-8")
    target.chmod(0o644)
    safe_copy.copy_in(host / "source", target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with monkeypatch.context() as patch:
        patch.setattr(safe_copy, "_written", lambda *_: pytest.fail("it was written"))
        safe_copy.copy_in(host / "source", target)
    for text in ("SAME", "same and more"):
        (host / "source").write_text(text, encoding="utf-8")
        safe_copy.copy_in(host / "source", target)
        assert target.read_text(encoding="utf-8") == text


def test_on_a_full_disk_what_goes_away_makes_room(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for one of the two."""
    target = Path(paths.BAIKAL_YAML)
    (host / "source").write_text("old", encoding="utf-8")
    target.write_text("new", encoding="utf-8")
    real = shutil.copyfileobj

    def copy(source: object, stream: object) -> None:
        if target.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    safe_copy.copy_in(host / "source", target)
    assert target.read_text(encoding="utf-8") == "old"


def test_a_copy_that_fails_leaves_nothing_of_itself(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was there is there."""
    target = Path(paths.BAIKAL_YAML)
    (host / "source").write_text("old", encoding="utf-8")
    target.write_text("new", encoding="utf-8")

    def copy(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with pytest.raises(OSError, match="Input/output"):
        safe_copy.copy_in(host / "source", target)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_text(encoding="utf-8") == "new"


def test_a_file_with_holes_does_not_fill_the_disk(host: Path) -> None:
    """PHP's account may claim any size."""
    Path(paths.SQLITE).touch()
    os.truncate(paths.SQLITE, 1 << 50)
    with pytest.raises(OSError, match=r"No space left .*db\.sqlite has 1099511627776 KiB, and \d+ are free"):
        safe_copy.copy_out(Path(paths.SQLITE), host / "copy")
    assert not (host / "copy").exists()


def test_no_directory_on_the_way_is_a_link(host: Path) -> None:
    """PHP's account may put another directory in its place."""
    (host / "secrets").mkdir()
    (host / "secrets/db.sqlite").write_text("secret", encoding="ascii")
    Path(paths.SQLITE).parent.rmdir()
    Path(paths.SQLITE).parent.symlink_to(host / "secrets")
    with (
        pytest.raises(HostError, match="must be a regular file, not a link"),
        safe_copy.open_untrusted(Path(paths.SQLITE)),
    ):
        pass


def test_a_file_with_another_name_elsewhere_is_refused(host: Path) -> None:
    """It may be any file of the host."""
    (host / "secret").write_text("secret", encoding="ascii")
    os.link(host / "secret", paths.SQLITE)
    with (
        pytest.raises(HostError, match="must be a regular file, not a link"),
        safe_copy.open_untrusted(Path(paths.SQLITE)),
    ):
        pass
