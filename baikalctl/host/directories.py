"""Data directories: checks whether they are writable, and who owns them."""

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

    ``remedy`` is for a missing or read-only directory, ``own`` for one of another account that isn't a volume.
    """
    if not path.is_dir():
        message = f"{path} does not exist; {remedy}"
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
    """Return the rest of a message: who owns ``path``, and what to do if that is the wrong account."""
    owner, mode = path.stat().st_uid, path.stat().st_mode & 0o7777
    # Data that root has served belongs to two accounts; only root with its capabilities can act as both.
    way = f"with --user {owner}" if os.geteuid() else "without --cap-drop"
    return (
        f"can't be written by {this_account()}: it belongs to uid {owner}, with mode {mode:o}. Run the container {way}, "
        f"or give {os.geteuid()} all of the volume: chown -R {os.geteuid()} …"
    )


def this_account() -> str:
    """Return this process's account, for messages."""
    return f"uid {os.geteuid()}" if os.geteuid() or privileged() else "uid 0 without capabilities"


def make(directories: Iterable[Directory]) -> None:
    """Create the directories, with their owners if this process may act for other accounts."""
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
    """Return the backup directory, and create it if needed; in an image, it is a link into the volume."""
    folder = Path(os.path.realpath(paths.BACKUPS))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
