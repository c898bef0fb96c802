"""Files that are replaced atomically, and programs of root that another account can change."""

from __future__ import annotations

import errno
import grp
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import HostError
from baikalctl.host import atomic_write
from tests.unit.moving import ends_in_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def by_write(path: Path, text: str) -> None:
    """Replace a file by a text."""
    atomic_write.write(path, text)


def by_stream(path: Path, text: str) -> None:
    """Replace a file by what is written to a stream."""
    with atomic_write.replacing(path) as stream:
        stream.write(text.encode())


def by_name(path: Path, text: str) -> None:
    """Replace a file by one that a library opens by its name."""
    with atomic_write.replacing_by_name(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def by_move(path: Path, text: str) -> None:
    """Replace a file by another one."""
    source = path.parent.parent / "source"
    source.write_text(text, encoding="utf-8")
    atomic_write.move(source, path)


WAYS = (by_write, by_stream, by_name, by_move)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with old content, the only one in its directory."""
    path = tmp_path / "folder/file"
    path.parent.mkdir()
    path.write_text("old", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("replace", WAYS)
def test_content_is_synced_before_the_rename_and_the_directory_after_it(
    file: Path, replace: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second, a power cut may undo the rename."""
    synced: list[tuple[str, str]] = []

    def fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content"
        synced.append((kind, file.read_text(encoding="utf-8")))

    monkeypatch.setattr(os, "fsync", fsync)
    replace(file, "new")
    assert synced == [("content", "old"), ("directory", "new")]
    assert [path.name for path in file.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("replace", WAYS)
def test_the_old_file_stays_if_the_new_content_does_not_reach_the_disk(
    file: Path, replace: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No temporary file stays."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, HostError), match="No space left on device"):
        replace(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("replacing", [atomic_write.replacing, atomic_write.replacing_by_name])
def test_an_error_within_the_block_leaves_the_old_file(file: Path, replacing: Callable[[Path], object]) -> None:
    """No temporary file stays."""
    with pytest.raises(RuntimeError), replacing(file):  # type: ignore[attr-defined] # a context manager
        raise RuntimeError
    assert file.read_text(encoding="utf-8") == "old"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_a_directory_that_cannot_be_synced_is_no_error_if_the_file_system_has_no_such_thing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error is one."""
    number = errno.EINVAL

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    by_stream(file, "new")
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        by_stream(file, "newer")


def test_mode_and_owner_are_set(file: Path) -> None:
    """By default, only this account can read the file."""
    file.chmod(0o666)
    by_write(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with atomic_write.replacing(file, mode=0o640, owner=(os.geteuid(), os.getegid())) as stream:
        assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o640, "before there is any content"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@as_root
def test_the_owner_is_the_requested_one(file: Path) -> None:
    """Also where the old file has another one."""
    with atomic_write.replacing(file, owner=(12345, 54321)):
        pass
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize("replace", WAYS[:3])
@pytest.mark.parametrize("kind", ["file", "link", "fifo", "read_fifo"])
def test_a_leftover_under_the_temporary_name_is_replaced(
    file: Path, kind: str, replace: Callable[[Path, str], None], tmp_path: Path
) -> None:
    """A killed run left it, or PHP's account put it there; nothing is written through a link, and a FIFO doesn't block."""
    precious = tmp_path / "precious"
    precious.write_text("precious", encoding="utf-8")
    leftover = file.with_name(".file.new")
    reader = -1
    if kind == "file":
        leftover.write_text("longer than the new content", encoding="utf-8")
    elif kind == "link":
        leftover.symlink_to(precious)
    else:
        os.mkfifo(leftover)
        if kind == "read_fifo":
            reader = os.open(leftover, os.O_RDONLY | os.O_NONBLOCK)
    with ends_in_seconds():
        replace(file, "new")
    assert file.read_text(encoding="utf-8") == "new"
    assert file.is_file()
    assert not file.is_symlink()
    assert precious.read_text(encoding="utf-8") == "precious"
    assert [path.name for path in file.parent.iterdir()] == ["file"]
    if reader >= 0:
        os.close(reader)


def test_writers_at_the_same_time_do_not_mix_their_content(file: Path) -> None:
    """One of them is the last."""
    threads = [threading.Thread(target=by_write, args=(file, f"{number}" * 100_000)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = file.read_text(encoding="utf-8")
    assert (len(text), len(set(text))) == (100_000, 1)
    assert [path.name for path in file.parent.iterdir()] == ["file"]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Have a program in a folder, both of this account alone."""
    program_path = tmp_path / "sbin/hook"
    program_path.parent.mkdir(mode=0o755)
    program_path.touch(mode=0o755)
    return program_path


def refused(program: Path) -> str:
    """Return why it is refused, or nothing."""
    try:
        atomic_write.refuse_writable_by_others(str(program))
    except HostError as error:
        return str(error)
    return ""


def test_a_program_that_only_its_own_account_can_change_is_taken(program: Path) -> None:
    """By others it may be read and run."""
    assert refused(program) == ""
    program.parent.chmod(0o1777)
    assert refused(program) == "", "as in /tmp, where only a file's owner can replace it"


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o1757])
def test_a_program_that_all_accounts_can_change_is_refused(program: Path, mode: int) -> None:
    """The sticky bit means nothing on a file."""
    program.chmod(mode)
    assert f"{program} can be changed by others (" in refused(program)


def test_a_program_that_all_accounts_can_replace_is_refused(program: Path) -> None:
    """The folder counts as the file does, and so does the one above."""
    for folder in (program.parent, program.parent.parent):
        before = folder.stat().st_mode
        folder.chmod(0o757)
        assert f"{folder} can be changed by others (drwxr-xrwx" in refused(program)
        folder.chmod(before)
    assert refused(program) == ""


def test_a_link_counts_with_its_own_folder_and_with_where_it_leads(program: Path, tmp_path: Path) -> None:
    """An account that can change either decides what root runs."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    link = open_folder / "link"
    link.symlink_to(program)
    assert refused(link) == ""
    open_folder.chmod(0o777)
    assert f"{open_folder} can be changed by others" in refused(link)
    open_folder.chmod(0o755)
    program.parent.chmod(0o777)
    assert f"{program.parent} can be changed by others" in refused(link)


@as_root
def test_a_program_of_another_account_is_refused(program: Path) -> None:
    """And one in a folder of another account's."""
    os.chown(program, 12345, 0)
    assert "uid 12345" in refused(program)
    os.chown(program, 0, 0)
    os.chown(program.parent, 12345, 0)
    assert "uid 12345" in refused(program)


@as_root
def test_a_group_counts_unless_its_members_are_as_good_as_root(program: Path) -> None:
    """Debian's group staff has /usr/local."""
    program.parent.chmod(0o775)
    for group, taken in ((0, True), (grp.getgrnam("staff").gr_gid, True), (12345, False)):
        os.chown(program.parent, 0, group)
        assert (refused(program) == "") is taken


def test_a_program_that_is_gone_is_refused(program: Path) -> None:
    """In one sentence."""
    program.unlink()
    assert refused(program) == f"{program} does not exist; create it, or correct the setting that names it"
