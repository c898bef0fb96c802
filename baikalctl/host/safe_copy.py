"""Copy files between root and the data directory, which belongs to PHP's account.

That account may put a link or a FIFO in the place of a file, or remove it. So root opens such files without following
links and copies their bytes; files are written there by a process of their owner (:mod:`boundary`), atomically.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import replacing
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    import pwd

WAY = getattr(os, "O_PATH", os.O_RDONLY)
"""How to open the directories above a file: the right to search them is enough, they needn't be readable."""


MARGIN = 1 << 20
"""Bytes that stay free after a copy."""


def open_untrusted(path: Path, *, below: Path | None = None, largest: int | None = None) -> BinaryIO:
    """Open a file of another account for reading, without following links.

    No directory below ``below`` may be a link; the default is the data directory, or the file's own directory. The file
    must be a regular file with one name and at most ``largest`` bytes. Raises :class:`HostError` for anything else and
    ``FileNotFoundError`` if it doesn't exist. A FIFO or a device can't block this.
    """
    folder, names = _split(path, below)
    try:
        directory = os.open(folder, WAY | os.O_DIRECTORY)
        try:
            for name in names[:-1]:
                inner = os.open(name, WAY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                os.close(directory)
                directory = inner
            descriptor = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            raise _not_a_file(path) from None
        error.filename = str(path)
        raise
    status = os.fstat(descriptor)
    regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if regular and (largest is None or status.st_size <= largest):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if regular:
        message = f"{path} has {status.st_size} bytes, and {largest} are allowed; restore it from a backup"
        raise HostError(message)
    raise _not_a_file(path)


def _split(path: Path, below: Path | None) -> tuple[Path, tuple[str, ...]]:
    """Return the trusted directory above ``path``, and the names of the directories and the file below it."""
    start = below or Path(paths.DATA)
    if path.is_relative_to(start) and ".." not in path.parts:
        return start, path.relative_to(start).parts
    if below:
        message = f"{path} is not below {below}"
        raise HostError(message)
    return path.parent, (path.name,)


def _not_a_file(path: Path) -> HostError:
    return HostError(
        f"{path} must be a regular file, not a link; put the file itself there, or remove it, and run again"
    )


def has_owner(path: Path, account: pwd.struct_passwd) -> bool:
    """Tell whether the account owns the file and only it can read it; true if the file is missing."""
    try:
        with open_untrusted(path) as stream:
            status = os.fstat(stream.fileno())
    except FileNotFoundError:
        return True
    return (status.st_uid, stat.S_IMODE(status.st_mode)) == (account.pw_uid, 0o600)


def change_owner(path: Path, account: pwd.struct_passwd) -> None:
    """Make the account the owner of the file, mode 0600; raises :class:`HostError` if that would follow a link."""
    with open_untrusted(path) as stream:
        os.fchown(stream.fileno(), account.pw_uid, account.pw_gid)
        os.fchmod(stream.fileno(), 0o600)


def copy_out(path: Path, target: Path, *, below: Path | None = None, largest: int | None = None) -> None:
    """Copy the bytes of another account's file to root's file ``target``; raises as :func:`open_untrusted` does."""
    with open_untrusted(path, below=below, largest=largest) as source:
        refuse_without_room(os.fstat(source.fileno()).st_size, target.parent, str(path))
        with replacing(target) as stream:
            copy_bytes(source, stream, str(path), target.parent, largest=largest)


def copy_bytes(source: BinaryIO, target: BinaryIO, what: str, folder: Path, *, largest: int | None = None) -> None:
    """Copy a file to a file in ``folder``, up to the size that it has now.

    Raises ``OSError`` if that would fill the disk; ``what`` names the source in messages.
    """
    left = os.fstat(source.fileno()).st_size
    if largest is not None and left > largest:
        message = f"{what} grows while it is copied; run again"
        raise HostError(message)
    refuse_without_room(left, folder, what)
    while left and (piece := source.read(min(left, 1 << 20))):
        target.write(piece)
        left -= len(piece)


def refuse_without_room(size: int, folder: Path, what: str) -> None:
    """Raise ``OSError`` if a copy of ``what`` would fill the disk: a sparse file may have any size."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if size + MARGIN > free:
        reason = f"{os.strerror(errno.ENOSPC)} ({what} has {size >> 10} KiB, and {free >> 10} are free)"
        raise OSError(errno.ENOSPC, reason, str(folder))


def copy_in(source: Path, target: Path) -> None:
    """Copy root's file ``source``, if it exists, to the data: atomically, with the data's owner, mode 0600.

    If the disk is full, the target is removed first: the content is safe in ``source``. If the target already has the same
    content, nothing is written.
    """
    if not source.is_file():
        return
    with source.open("rb") as whole:
        confined(lambda: _copied(whole, target), THOROUGH, keep=(whole.fileno(),))


def same_content(source: Path, target: Path) -> bool:
    """Tell whether root's file and the data's file have the same content, or both are missing."""
    if not source.is_file():
        return not confined(lambda: os.path.lexists(target))
    with source.open("rb") as whole:
        return confined(lambda: _same(whole, target), THOROUGH, keep=(whole.fileno(),))


def _copied(whole: BinaryIO, target: Path) -> None:
    if _same(whole, target):
        return
    try:
        _written(whole, target)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        target.unlink(missing_ok=True)
        _written(whole, target)


def _same(whole: BinaryIO, target: Path) -> bool:
    """Tell whether only its owner can read ``target``, and it has exactly these bytes."""
    try:
        other = open_untrusted(target)
    except (OSError, HostError):
        return False
    with other:
        status = os.fstat(other.fileno())
        private = stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid()
        if not private or status.st_size != os.fstat(whole.fileno()).st_size:
            return False
        whole.seek(0)
        return all(piece == other.read(len(piece)) for piece in iter(lambda: whole.read(1 << 20), b""))


def _written(whole: BinaryIO, target: Path) -> None:
    whole.seek(0)
    with replacing(target) as stream:
        shutil.copyfileobj(whole, stream)
