"""Files between root and the data, which belongs to another account: read with care, and written atomically.

PHP runs as that account, so a link, a FIFO or nothing may stand where a file was. Root opens such files by their
descriptors and copies their bytes; what is written there is written by a process of their owner (:mod:`boundary`).
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
"""How a directory on the way to a file is opened, for which the right to search it is enough."""


MARGIN = 1 << 20
"""Bytes that a copy leaves free."""


def open_untrusted(path: Path, *, below: Path | None = None, largest: int | None = None) -> BinaryIO:
    """Open for reading a file that others may have put there, without following a link on the way to it.

    The way begins at ``below``, by default at the data's directory, or the file's own. It must be a regular file with one
    name, of at most ``largest`` bytes. Raises :class:`HostError` for anything else, and ``FileNotFoundError`` where there
    is nothing. A FIFO or a device can't block this.
    """
    folder, names = _way(path, below)
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
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and (largest is None or found.st_size <= largest):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        message = (
            f"{path} has {found.st_size} bytes, more than the {largest} that are allowed; restore it from a backup"
        )
        raise HostError(message)
    raise _not_a_file(path)


def _way(path: Path, below: Path | None) -> tuple[Path, tuple[str, ...]]:
    """Return the directory at which the way to ``path`` begins, and the names from there on."""
    start = below or Path(paths.DATA)
    if path.is_relative_to(start) and ".." not in path.parts:
        return start, path.relative_to(start).parts
    if below:
        message = f"{path} is not below {below}"
        raise HostError(message)
    return path.parent, (path.name,)


def _not_a_file(path: Path) -> HostError:
    return HostError(f"{path} is not a file of its own; put the data itself there, or remove it, and run again")


def has_owner(path: Path, account: pwd.struct_passwd) -> bool:
    """Tell whether the file is the account's alone; a missing file is, too."""
    try:
        with open_untrusted(path) as stream:
            found = os.fstat(stream.fileno())
    except FileNotFoundError:
        return True
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (account.pw_uid, 0o600)


def change_owner(path: Path, account: pwd.struct_passwd) -> None:
    """Make the file the account's alone; raises :class:`HostError` if that would follow a link."""
    with open_untrusted(path) as stream:
        os.fchown(stream.fileno(), account.pw_uid, account.pw_gid)
        os.fchmod(stream.fileno(), 0o600)


def copy_out(path: Path, target: Path, *, below: Path | None = None, largest: int | None = None) -> None:
    """Copy the bytes of a file that others may have put there to root's file ``target``; raises as :func:`opened` does."""
    with open_untrusted(path, below=below, largest=largest) as source:
        refuse_without_room(os.fstat(source.fileno()).st_size, target.parent, str(path))
        with replacing(target) as stream:
            copy_bytes(source, stream, str(path), target.parent, largest=largest)


def copy_bytes(source: BinaryIO, target: BinaryIO, what: str, folder: Path, *, largest: int | None = None) -> None:
    """Copy a file of the size that it has now, and no more, to a file in ``folder``.

    Raises ``OSError`` where that would fill the disk; ``what`` names the source.
    """
    left = os.fstat(source.fileno()).st_size
    if largest is not None and left > largest:
        message = f"{what} grows while it is read; run again"
        raise HostError(message)
    refuse_without_room(left, folder, what)
    while left and (piece := source.read(min(left, 1 << 20))):
        target.write(piece)
        left -= len(piece)


def refuse_without_room(size: int, folder: Path, what: str) -> None:
    """Raise ``OSError`` if a copy of ``what`` would fill the disk: a file with holes may have any size."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if size + MARGIN > free:
        reason = f"{os.strerror(errno.ENOSPC)} ({what} has {size >> 10} KiB, and {free >> 10} are free)"
        raise OSError(errno.ENOSPC, reason, str(folder))


def copy_in(source: Path, target: Path) -> None:
    """Copy a file of root's, if it is there, to the data, atomically, as its owner's alone.

    On a full disk, the target makes room itself: what is put back is safe in its ``source`` until then. Where the target
    is the same already, nothing is written, for which there is always room.
    """
    if not source.is_file():
        return
    with source.open("rb") as whole:
        confined(lambda: _copied(whole, target), THOROUGH, keep=(whole.fileno(),))


def same_content(source: Path, target: Path) -> bool:
    """Tell whether a file of root's and one of the data are the same, or neither is there."""
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
    """Tell whether ``target`` is the owner's alone, and has just these bytes."""
    try:
        other = open_untrusted(target)
    except (OSError, HostError):
        return False
    with other:
        found = os.fstat(other.fileno())
        alone = stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
        if not alone or found.st_size != os.fstat(whole.fileno()).st_size:
            return False
        whole.seek(0)
        return all(piece == other.read(len(piece)) for piece in iter(lambda: whole.read(1 << 20), b""))


def _written(whole: BinaryIO, target: Path) -> None:
    whole.seek(0)
    with replacing(target) as stream:
        shutil.copyfileobj(whole, stream)
