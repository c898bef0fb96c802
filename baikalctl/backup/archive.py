"""Archives: one file with everything that is needed to have a server back, written whole and read with suspicion.

Each is a gzipped tar of plain files, ``manifest.json`` first, that any tar can unpack; :mod:`baikalctl.backup.extract`
reads them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from typing import TYPE_CHECKING, BinaryIO

from baikalctl.backup import catalog, manifest
from baikalctl.backup.catalog import StoredArchive
from baikalctl.backup.manifest import Manifest, Member
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.atomic_write import move
from baikalctl.host.tempdir import temporary_directory

if TYPE_CHECKING:
    from pathlib import Path

PIECE = 1 << 20
"""Bytes that are held in memory at a time."""
BLOCK = tarfile.BLOCKSIZE
LARGEST_USTAR = 8 << 30
"""Bytes from which a size needs GNU's way to write it."""


def write(folder: Path, description: Manifest) -> StoredArchive:
    """Make an archive of the ``folder``, which ``description`` describes, under a temporary name first; return it.

    It is 0600 and on the disk when it has its name. Raises :class:`HostError` where it can't be written, and then
    nothing is left of it.
    """
    place = directories.backups()
    target = place / catalog.name(description.created, description.label)
    try:
        with temporary_directory(place) as private:
            temporary = private / target.name
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with (
                os.fdopen(descriptor, "wb") as raw,
                gzip.GzipFile(
                    filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=description.created
                ) as packed,
            ):
                _pack(packed, folder, description)
            move(temporary, target)
    except OSError as error:
        message = (
            f"the archive can't be written ({error.strerror}); make room in {place}, "
            "or keep fewer archives (backup_keep_daily, …_weekly, …_monthly)"
        )
        raise HostError(message) from None
    return StoredArchive(path=target, created=description.created, label=description.label, size=target.stat().st_size)


def describe(path: Path) -> Member:
    """Return size and checksum of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return Member(size=size, sha256=digest.hexdigest())


def _pack(packed: BinaryIO | gzip.GzipFile, folder: Path, description: Manifest) -> None:
    text = description.to_json().encode()
    _pack_header(packed, manifest.NAME, len(text), description.created)
    packed.write(text + bytes(-len(text) % BLOCK))
    for name, member in description.files.items():
        _pack_header(packed, name, member.size, description.created)
        with (folder / name).open("rb") as stream:
            while piece := stream.read(PIECE):
                packed.write(piece)
        packed.write(bytes(-member.size % BLOCK))
    packed.write(bytes(2 * BLOCK))


def _pack_header(packed: BinaryIO | gzip.GzipFile, name: str, size: int, created: float) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, 0o600, int(created)
    header.uname = header.gname = "root"
    packed.write(header.tobuf(tarfile.GNU_FORMAT if size >= LARGEST_USTAR else tarfile.USTAR_FORMAT))
