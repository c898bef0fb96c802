"""Directories of the data: whether they can be written, and who owns them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host import install
from baikalctl.host.privileges import privileged

if TYPE_CHECKING:
    from collections.abc import Iterable


class Directory(Protocol):
    """A directory with its owner, group and mode."""

    @property
    def path(self) -> str:
        """Return its absolute path."""

    @property
    def mode(self) -> int:
        """Return its permissions."""

    @property
    def owner(self) -> str:
        """Return the name of its owner."""

    @property
    def group(self) -> str:
        """Return the name of its group."""


def refuse_unwritable(path: Path, remedy: str, *, own: str = "") -> None:
    """Raise :class:`HostError` unless this account may write in ``path``.

    ``remedy`` is for one that is missing or read-only, ``own`` for one of another account that is no volume.
    """
    if not path.is_dir():
        message = f"{path} is not there; {remedy}"
        raise HostError(message)
    if os.access(path, os.W_OK | os.X_OK):
        return
    read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    if read_only:
        message = f"{path} is read-only; {remedy}"
    else:
        message = f"{path} can't be written by {this_account()}; {own}" if own else f"{path} {_belonging(path)}"
    raise HostError(message)


def _belonging(path: Path) -> str:
    """Return in words whose ``path`` is, and what to do if that is the wrong one."""
    owner, mode = path.stat().st_uid, path.stat().st_mode & 0o7777
    # What root has served belongs to two accounts, of which only a root with its capabilities can be both.
    way = f"with --user {owner}" if os.geteuid() else "without --cap-drop"
    return (
        f"can't be written by {this_account()}: it belongs to uid {owner}, with mode {mode:o}. Run the container {way}, "
        f"or give {os.geteuid()} all of the volume: chown -R {os.geteuid()} …"
    )


def this_account() -> str:
    """Return in words who this process is."""
    return f"uid {os.geteuid()}" if os.geteuid() or privileged() else "uid 0 without capabilities"


def make(directories: Iterable[Directory]) -> None:
    """Make the directories, each with its owner where this process may act for others, else its own."""
    for directory in directories:
        path = Path(directory.path)
        if privileged():
            owner, group, mode = directory.owner, directory.group, directory.mode
            install.make_directory({"path": directory.path, "owner": owner, "group": group, "mode": mode})
        elif not path.exists():
            path.mkdir(mode=directory.mode)
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            message = f"{path} {_belonging(path)}"
            raise HostError(message)


def backups() -> Path:
    """Return the directory for what must not get lost, made if need be; an image's link leads into the volume."""
    folder = Path(os.path.realpath(paths.BACKUPS))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
