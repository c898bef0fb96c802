"""Whether another account than root can change a program that root is to run."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import HostError
from baikalctl.host import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Have a program in a folder, both of this account alone."""
    place = tmp_path / "sbin/hook"
    place.parent.mkdir(mode=0o755)
    place.touch(mode=0o755)
    return place


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
    assert refused(program) == f"{program} is not there; put what the settings name there"
