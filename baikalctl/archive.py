"""Archives: one file with everything that is needed to have a server back, written whole and read with suspicion.

Each is a gzipped tar of plain files, ``manifest.json`` first, that any tar can unpack. Here it is read block by block:
what comes from elsewhere is read as root, so nothing is believed that the manifest doesn't say, no link or path is ever
followed, and no more is written than there is room for.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from baikalctl import archives, manifest, trial, volume
from baikalctl.archives import Stored
from baikalctl.copying import sync
from baikalctl.faults import HostError
from baikalctl.manifest import Manifest, Member, NewerError, NotOursError
from baikalctl.private import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20
"""Bytes that are held in memory at a time."""
BLOCK = tarfile.BLOCKSIZE
MOST_PADDING = 1 << 20
LARGEST_USTAR = 8 << 30
"""Bytes from which a size needs GNU's way to write it."""
MARGIN = 16 << 20
"""Bytes that unpacking leaves free."""
RATIO = 1100
"""Deflate makes nothing smaller than to 1/1032 (zlib's technical details): what claims to be is a bomb, or damaged."""
ANOTHER = "take another (baikalctl backup list), or copy it again from where it is whole"


def write(folder: Path, said: Manifest) -> Stored:
    """Make an archive of the ``folder`` that ``said`` is of, beside its place first; return what it is then.

    It is 0600 and on the disk when it has its name. Raises :class:`HostError` where it can't be written, and then
    nothing is left of it.
    """
    place = volume.backups()
    target = place / archives.name(said.created, said.label)
    try:
        with private_folder(place) as private:
            beside = private / target.name
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as raw:
                with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=said.created) as packed:
                    _pack(packed, folder, said)
                raw.flush()
                os.fsync(descriptor)
            beside.replace(target)
            sync(place)
    except OSError as error:
        message = (
            f"the archive can't be written ({error.strerror}); make room in {place}, "
            "or keep fewer archives (backup_keep_daily, …_weekly, …_monthly)"
        )
        raise HostError(message) from None
    return Stored(path=target, created=said.created, label=said.label, size=target.stat().st_size)


def read_manifest(path: Path) -> Manifest:
    """Return what the archive says of itself, which is quick; raises :class:`HostError` if it isn't one of ours."""
    with _opened(path) as (stream, _):
        return _read_manifest(path, stream)


def verify(path: Path) -> Manifest:
    """Restore the archive on trial and remove that again; raises :class:`HostError` with what is wrong with it.

    All of it is read, each checksum compared, and the database checked by SQLite itself.
    """
    with private_folder(volume.backups()) as folder:
        return unpack(path, folder)


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack the archive to the empty ``folder``, verified as by :func:`verify`; raises :class:`HostError`."""
    with _opened(path) as (stream, packed_size):
        said = _read_manifest(path, stream)
        _refuse_oversize(path, said, packed_size, folder)
        seen: set[str] = set()
        while (header := _header(path, stream)) is not None:
            expected = said.files.get(header.name)
            if expected is None or header.name in seen or not header.isreg():
                message = (
                    f"{path} holds {header.name!r}, which its manifest doesn't name: somebody has changed it; {ANOTHER}"
                )
                raise HostError(message)
            seen.add(header.name)
            if header.size != expected.size:
                raise _damaged(path, f"{header.name} has {header.size} bytes, not {expected.size}")
            _take_out(path, stream, folder, header.name, expected)
        if missing := sorted(set(said.files) - seen):
            raise _damaged(path, f"{missing[0]} is missing")
        _read_to_the_end(path, stream)
    (folder / manifest.NAME).write_text(said.to_json(), encoding="utf-8")
    trial.refuse_unsound(folder / manifest.DATABASE, said.counts, f"{path} is whole, but its database", ANOTHER)
    return said


def check_folder(folder: Path, what: str) -> Manifest:
    """Verify a ``folder`` that was unpacked by others, ``what`` telling from where, as :func:`unpack` verifies."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            inside = str(path.relative_to(folder))
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                message = f"{what} holds {inside!r}, which is no plain file: it is none of ours; name another snapshot"
                raise HostError(message)
            if path.is_file() and inside != manifest.NAME:
                found[inside] = path
    try:
        said = _understood(what, (folder / manifest.NAME).read_bytes())
    except FileNotFoundError:
        message = f"{what} is not an archive of ours (it has no {manifest.NAME}); name another snapshot"
        raise HostError(message) from None
    for name, path in found.items():
        if name not in said.files:
            message = f"{what} holds {name!r}, which its manifest doesn't name; name another snapshot"
            raise HostError(message)
        if describe(path) != said.files[name]:
            raise _damaged(what, f"{name} is not what it was")
    if missing := sorted(set(said.files) - set(found)):
        raise _damaged(what, f"{missing[0]} is missing")
    trial.refuse_unsound(folder / manifest.DATABASE, said.counts, f"{what} is whole, but its database", ANOTHER)
    return said


def describe(path: Path) -> Member:
    """Return size and checksum of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return Member(size=size, sha256=digest.hexdigest())


def _pack(packed: BinaryIO | gzip.GzipFile, folder: Path, said: Manifest) -> None:
    text = said.to_json().encode()
    _pack_header(packed, manifest.NAME, len(text), said.created)
    packed.write(text + bytes(-len(text) % BLOCK))
    for name, member in said.files.items():
        _pack_header(packed, name, member.size, said.created)
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


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[gzip.GzipFile, int]]:
    """Open an archive for reading, with its size; what is wrong with its compression is said whenever it shows."""
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        message = f"{path} is not there; baikalctl backup list shows the archives that are"
        raise HostError(message) from None
    except IsADirectoryError:
        message = f"{path} is a directory; name an archive (baikalctl backup list)"
        raise HostError(message) from None
    with raw:
        size = os.fstat(raw.fileno()).st_size
        begin = raw.read(4)
        raw.seek(0)
        if not begin:
            raise _truncated(path)
        if begin[:2] != b"\x1f\x8b":
            raise _not_ours(path, "it is a zip" if begin == b"PK\x03\x04" else "it is not compressed with gzip")
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                yield stream, size
        except EOFError:
            raise _truncated(path) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, str(error)) from None


def _read_manifest(path: Path, stream: gzip.GzipFile) -> Manifest:
    try:
        header = tarfile.TarInfo.frombuf(_exactly(stream, BLOCK), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise _not_ours(path, "there is no tar in it") from None
    if header.name != manifest.NAME or not header.isreg() or header.size > manifest.LARGEST:
        raise _not_ours(path, f"it begins with {header.name!r}")
    text = _exactly(stream, header.size)
    _exactly(stream, -header.size % BLOCK)
    return _understood(path, text)


def _understood(what: Path | str, text: bytes) -> Manifest:
    try:
        return manifest.read(text)
    except NotOursError as error:
        raise _not_ours(what, str(error)) from None
    except NewerError as error:
        message = (
            f"{what} is of format {error}, and this baikalctl understands {manifest.FORMAT} at most; "
            "run a newer deploy, and use its baikalctl"
        )
        raise HostError(message) from None
    except ValueError as error:
        raise _damaged(what, str(error)) from None


def _header(path: Path, stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    """Return the next member's header, or nothing at the end."""
    block = _exactly(stream, BLOCK)
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _damaged(path, str(error)) from None


def _take_out(path: Path, stream: gzip.GzipFile, folder: Path, name: str, expected: Member) -> None:
    """Write the next bytes of ``stream`` to ``folder``, which is nobody else's; compare their checksum."""
    target = folder / name
    for parent in reversed(target.relative_to(folder).parents):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    digest, left = hashlib.sha256(), expected.size
    try:
        with os.fdopen(descriptor, "wb") as file:
            while left:
                piece = _exactly(stream, min(left, PIECE))
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise
        message = f"{path} can't be unpacked to {target.parent} ({error.strerror}); make room there"
        raise HostError(message) from None
    _exactly(stream, -expected.size % BLOCK)
    if digest.hexdigest() != expected.sha256:
        raise _damaged(path, f"the checksum of {name} is wrong")


def _read_to_the_end(path: Path, stream: gzip.GzipFile) -> None:
    """Read what fills up a tar, after which gzip compares its own checksum of everything."""
    rest = stream.read(MOST_PADDING)
    if any(rest) or stream.read(1):
        raise _damaged(path, "something follows its end")


def _exactly(stream: gzip.GzipFile, size: int) -> bytes:
    """Return so many bytes; raises ``EOFError`` where there are fewer."""
    pieces = []
    while size:
        piece = stream.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _refuse_oversize(path: Path, said: Manifest, packed_size: int, folder: Path) -> None:
    if said.size > packed_size * RATIO:
        raise _damaged(path, f"it claims to unpack to {said.size} bytes, which {packed_size} can't hold")
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if said.size + MARGIN > free:
        message = f"{path} unpacks to {said.size >> 20} MiB, and {folder} has {free >> 20} free; make room there"
        raise HostError(message)


def _truncated(path: Path) -> HostError:
    return HostError(f"{path} is truncated: its end is missing; {ANOTHER}")


def _damaged(what: Path | str, why: str) -> HostError:
    return HostError(f"{what} is damaged: {why}; {ANOTHER}")


def _not_ours(what: Path | str, why: str) -> HostError:
    return HostError(f"{what} is not an archive of baikalctl: {why}; name one that baikalctl backup has made")
