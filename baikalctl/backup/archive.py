"""Write archives: one file with everything that is needed to restore a server.

An archive is a gzipped tar of regular files that any tar can unpack. ``manifest.json`` is the first member.
:mod:`baikalctl.backup.extract` reads archives.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

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
"""How many bytes are in memory at a time."""
LARGEST_USTAR = 8 << 30
"""Files of at least so many bytes need the GNU format; the others are in the older ustar format."""


def write(folder: Path, description: Manifest) -> StoredArchive:
    """Make an archive of the ``folder`` that ``description`` describes, and return it.

    It has mode 0600, and gets its name only after it was written to the disk. Raises :class:`HostError` if it can't be
    written; then no part of it is left.
    """
    backups = directories.backups()
    target = backups / catalog.name(description.created, description.label)
    try:
        with temporary_directory(backups) as private:
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
            f"the archive can't be written ({error.strerror}); free disk space in {backups}, "
            "or keep fewer archives (backup_keep_daily, …_weekly, …_monthly)"
        )
        raise HostError(message) from None
    return StoredArchive(path=target, created=description.created, label=description.label, size=target.stat().st_size)


def describe(path: Path) -> Member:
    """Return the size and the checksum of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return Member(size=size, sha256=digest.hexdigest())


def _pack(packed: gzip.GzipFile, folder: Path, description: Manifest) -> None:
    text = description.to_json().encode()
    with tarfile.open(fileobj=packed, mode="w|", bufsize=PIECE, format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_header(manifest.NAME, len(text), description.created), io.BytesIO(text))
        for name, member in description.files.items():
            tar.format = tarfile.GNU_FORMAT if member.size >= LARGEST_USTAR else tarfile.USTAR_FORMAT
            with (folder / name).open("rb") as stream:
                tar.addfile(_header(name, member.size, description.created), stream)


def _header(name: str, size: int, created: float) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, 0o600, int(created)
    header.uname = header.gname = "root"
    return header
