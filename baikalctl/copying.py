"""Files between root and where the data is, which is its owner's: read with suspicion, written atomically.

PHP runs as that owner, so what has a file's name there may be a link, a FIFO or nothing at all by now.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING, BinaryIO

from baikalctl.faults import HostError
from baikalctl.privilege import as_owner

if TYPE_CHECKING:
    from pathlib import Path


def opened(path: Path) -> BinaryIO:
    """Open a file of the data for reading: one without an end, or that nobody writes to, would hold its reader for ever.

    Raises :class:`HostError` for what is no file, and :class:`FileNotFoundError` where there is nothing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO}:
            raise
        raise _not_a_file(path) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file(path)
    return os.fdopen(descriptor, "rb")


def _not_a_file(path: Path) -> HostError:
    return HostError(f"{path} is not a file of its own; put the data itself there, or remove it, and run again")


def copy_in(source: Path, target: Path) -> None:
    """Copy a file of root's, if it is there, to the data, atomically, as its owner's alone.

    On a full disk, the target makes room itself: what is put back is safe in its ``source`` meanwhile. Where the target
    is the same already, nothing is written, for which there is always room.
    """
    if not source.is_file():
        return
    with source.open("rb") as whole, as_owner():
        if _same(whole, target):
            return
        try:
            _written(whole, target)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            target.unlink(missing_ok=True)
            _written(whole, target)
        sync(target.parent)


def same(source: Path, target: Path) -> bool:
    """Tell whether a file of root's and one of the data are the same, or neither is there."""
    if not source.is_file():
        with as_owner():
            return not os.path.lexists(target)
    with source.open("rb") as whole, as_owner():
        return _same(whole, target)


def _same(whole: BinaryIO, target: Path) -> bool:
    """Tell whether ``target`` is the owner's alone, and has just these bytes."""
    try:
        there = opened(target)
    except (OSError, HostError):
        return False
    with there:
        found = os.fstat(there.fileno())
        alone = stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
        if not alone or found.st_size != os.fstat(whole.fileno()).st_size:
            return False
        whole.seek(0)
        return all(piece == there.read(len(piece)) for piece in iter(lambda: whole.read(1 << 20), b""))


def _written(whole: BinaryIO, target: Path) -> None:
    beside = target.with_name(f"{target.name}.new")
    beside.unlink(missing_ok=True)
    whole.seek(0)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            shutil.copyfileobj(whole, stream)
            stream.flush()
            os.fsync(descriptor)
        beside.replace(target)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have a file or directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
