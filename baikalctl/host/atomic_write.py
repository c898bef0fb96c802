"""Files that are whole or not there, and nobody else's business."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import stat
from pathlib import Path

from baikalctl import paths
from baikalctl.errors import HostError


def write(path: Path, text: str) -> None:
    """Put ``text``, which may hold a key, in its place at once or not at all; only its owner may read it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(_open_locked(temporary), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = f"{path} can't be written ({error.strerror}); make room in {paths.DATA}, or mend it"
        raise HostError(message) from None


def _open_locked(temporary: Path) -> int:
    """Open the file ``temporary``, empty and for its owner alone, and hold it against other processes that write the same."""
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), temporary.lstat()):
                os.fchmod(descriptor, 0o600)
                os.ftruncate(descriptor, 0)
                return descriptor
        os.close(descriptor)  # another process has just put it in its place


def refuse_writable_by_others(program: str) -> None:
    """Raise :class:`HostError` if another account than root and this one can change a program, or put another in its place.

    Looks at the file, at each folder above it, and at the same of what links lead to.
    """
    target = Path(os.path.abspath(program))  # noqa: PTH100 - without following links, whose folders count as well
    other = target.resolve()
    for path in (other, *target.parents, *other.parents):
        try:
            found = path.stat()
        except FileNotFoundError:
            raise HostError(f"{path} is not there; put what the settings name there") from None
        shared = stat.S_ISDIR(found.st_mode) and bool(
            found.st_mode & stat.S_ISVTX
        )  # only a file's owner can replace it there
        by_group = bool(found.st_mode & stat.S_IWGRP) and found.st_gid not in _root_groups()
        if found.st_uid not in {0, os.geteuid()} or (not shared and (by_group or found.st_mode & stat.S_IWOTH)):
            who = "root" if os.geteuid() == 0 else "this account"
            rights = f"{stat.filemode(found.st_mode)}, uid {found.st_uid}, gid {found.st_gid}"
            message = (
                f"{program} runs as {who}, and {path} can be changed by others ({rights}); put it where only root can "
                "write, such as /usr/local/sbin, with mode 0755"
            )
            raise HostError(message)


def _root_groups() -> set[int]:
    """Return the groups whose members are as good as root: its own and, below /usr/local, staff (Debian Policy 9.1.2)."""
    try:
        return {0, grp.getgrnam("staff").gr_gid}
    except KeyError:
        return {0}
