"""Files that are replaced atomically: after a crash, a power cut or on a full disk, the old or the new content is there.

The new content is written to a temporary file in the same directory (``.NAME.new``), which then gets the name. File and
directory are synced (fsync), so the new content has reached the disk when these functions return. If anything fails, the
old file stays and the temporary one is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from baikalctl import paths
from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSUPPORTED = {errno.EINVAL, errno.EBADF}
"""Errors of fsync for directories where the file system has no such thing; PostgreSQL ignores the same two
(src/common/file_utils.c)."""
REPLACEABLE = {errno.ELOOP, errno.ENXIO, errno.EACCES}
"""Errors of open(2) for a link, a FIFO and a file of another account: such a leftover is removed."""


def write(path: Path, text: str) -> None:
    """Replace the file ``path`` by ``text``, which may hold a key: mode 0600. Raises :class:`HostError`."""
    try:
        with replacing(path) as stream:
            stream.write(text.encode())
    except OSError as error:
        message = f"{path} can't be written ({error.strerror}); free disk space in {paths.DATA}, or fix that"
        raise HostError(message) from None


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> Iterator[BinaryIO]:
    """Yield a stream for the new content of the file ``path``; after the block, it replaces the old one.

    The file gets ``mode`` and ``owner`` (user id, group id; by default this process's) before its content. Processes that
    replace the same file wait for each other. Raises ``OSError``.
    """
    temporary = _temporary(path)
    descriptor = _open_locked(temporary)
    try:  # the lock lasts until a file that failed is removed
        with _removed_on_failure(temporary), os.fdopen(descriptor, "wb", closefd=False) as stream:
            if owner:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            yield stream
            stream.flush()
            os.fsync(descriptor)
            temporary.replace(path)
    finally:
        os.close(descriptor)
    sync(path.parent)


@contextlib.contextmanager
def replacing_by_name(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file, 0600, for libraries that open files by name; after the block, it replaces ``path``.

    Only one process may replace ``path`` at a time. Raises ``OSError``.
    """
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    with _removed_on_failure(temporary):
        yield temporary
        move(temporary, path)


def move(source: Path, target: Path) -> None:
    """Rename a file on the same file system, and sync both the file and the new directory. Raises ``OSError``."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Write a file's content, or a directory's list of names, to the disk (fsync). Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _open_locked(temporary: Path) -> int:
    """Open the file ``temporary``, empty and 0600, and lock it against other processes that replace the same file.

    A leftover of a killed process is used again; one that isn't a regular file of this account is removed.
    """
    while True:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            if error.errno not in REPLACEABLE or not os.path.lexists(temporary):
                raise
            temporary.unlink(missing_ok=True)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or opened.st_uid != os.geteuid():
                temporary.unlink()
            elif os.path.samestat(opened, temporary.lstat()):
                os.fchmod(descriptor, 0o600)  # a leftover may have any mode
                os.ftruncate(descriptor, 0)
                return descriptor
        os.close(descriptor)  # another process has just given this file its name


def refuse_writable_by_others(program: str) -> None:
    """Raise :class:`HostError` if an account other than root and this one can change or replace a program.

    Checks the file, each directory above it, and the same for the targets of links.
    """
    target = Path(os.path.abspath(program))  # noqa: PTH100 - without following links: their directories count as well
    resolved = target.resolve()
    for path in (resolved, *target.parents, *resolved.parents):
        try:
            status = path.stat()
        except FileNotFoundError:
            message = f"{path} does not exist; create it, or correct the setting that names it"
            raise HostError(message) from None
        # With the sticky bit on a directory, only a file's owner can replace it.
        sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
        by_group = bool(status.st_mode & stat.S_IWGRP) and status.st_gid not in _root_groups()
        if status.st_uid not in {0, os.geteuid()} or (not sticky and (by_group or status.st_mode & stat.S_IWOTH)):
            who = "root" if os.geteuid() == 0 else "this account"
            rights = f"{stat.filemode(status.st_mode)}, uid {status.st_uid}, gid {status.st_gid}"
            message = (
                f"{program} runs as {who}, and {path} can be changed by others ({rights}); put it where only root can "
                "write, such as /usr/local/sbin, with mode 0755"
            )
            raise HostError(message)


def _root_groups() -> set[int]:
    """Return the groups whose members can act as root: root and, below /usr/local, staff (Debian Policy 9.1.2)."""
    try:
        return {0, grp.getgrnam("staff").gr_gid}
    except KeyError:
        return {0}
