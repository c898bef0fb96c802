"""Archives are read with care, as they may come from anybody: within the boundary, block by block.

Nothing is believed that the manifest doesn't say, and no more is written than there is room for. Root makes the files that
are to be unpacked, and hands them over open (:mod:`baikalctl.host.boundary`): no name in an archive becomes a path.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import stat
import tarfile
import zlib
from typing import TYPE_CHECKING, BinaryIO

from baikalctl import paths
from baikalctl.backup import manifest, verify_database
from baikalctl.backup.archive import BLOCK, PIECE
from baikalctl.backup.manifest import Manifest, Member, NewerError, NotOursError
from baikalctl.changes import members
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.tempdir import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MOST_PADDING = 1 << 20  # bytes
MARGIN = 16 << 20
"""Bytes that unpacking leaves free."""
RATIO = 1100
"""Deflate makes nothing smaller than to 1/1032 (zlib's technical details): what claims to be is a bomb, or damaged."""
ANOTHER = "use another archive (baikalctl backup list), or copy this one again from an undamaged original"


def read_manifest(path: Path) -> Manifest:
    """Return what the archive says of itself, which is quick; raises :class:`HostError` if it isn't one of ours."""
    with _opened(path) as raw:
        return _manifest_of(path, raw)


def verify(path: Path) -> Manifest:
    """Restore the archive on trial and remove that again; raises :class:`HostError` with what is wrong with it.

    All of it is read, each checksum compared, and the database checked by SQLite itself.
    """
    with temporary_directory(directories.backups()) as folder:
        return unpack(path, folder)


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack the archive to the empty ``folder``, verified as by :func:`verify`; raises :class:`HostError`."""
    with _opened(path) as raw, contextlib.ExitStack() as stack:
        description = _manifest_of(path, raw)
        _refuse_oversize(path, description, os.fstat(raw.fileno()).st_size, folder)
        files = {
            name: stack.enter_context(made(folder, name)).fileno()
            for name in description.files
            if members.restored(name)
        }
        confined(lambda: _take_out_all(path, raw, description, files), THOROUGH, keep=(raw.fileno(), *files.values()))
    finish(folder, description, str(path))
    return description


def made(folder: Path, name: str) -> BinaryIO:
    """Make and open the file ``name`` in root's own ``folder``."""
    target = folder / name
    for parent in reversed(target.relative_to(folder).parents):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def finish(folder: Path, description: Manifest, what: str) -> None:
    """Have the manifest in the ``folder``, and check the database that was unpacked to it."""
    (folder / manifest.NAME).write_text(description.to_json(), encoding="utf-8")
    verify_database.checked(
        folder / members.DATABASE,
        lambda copy: verify_database.refuse_unsound(
            copy, description.counts, f"{what} is undamaged, but its database", ANOTHER
        ),
    )


def _opened(path: Path) -> BinaryIO:
    """Open an archive; raises :class:`HostError` for what is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise HostError(f"{path} does not exist; run baikalctl backup list to see all archives") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HostError(f"{path} is not a file; name an archive (baikalctl backup list)")
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def _unpacking(path: Path, raw: BinaryIO) -> Iterator[gzip.GzipFile]:
    """Read an archive from its beginning; what is wrong with its compression is said whenever it shows."""
    raw.seek(0)
    begin = raw.read(4)
    raw.seek(0)
    if not begin:
        raise _truncated(path)
    if begin[:2] != b"\x1f\x8b":
        raise _not_ours(path, "it is a zip" if begin == b"PK\x03\x04" else "it is not compressed with gzip")
    try:
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield stream
    except EOFError:
        raise _truncated(path) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, str(error)) from None


def _manifest_of(path: Path, raw: BinaryIO) -> Manifest:
    def text() -> bytes:
        with _unpacking(path, raw) as stream:
            return _manifest_text(path, stream)

    return manifest_from(path, text, raw.fileno())


def manifest_from(what: Path | str, text: Callable[[], bytes], descriptor: int) -> Manifest:
    """Read a manifest within the boundary, and once more the plain data that it passes."""
    fields = confined(lambda: json.loads(_understood(what, text()).to_json()), keep=(descriptor,))
    try:
        return manifest.of(fields)
    except ValueError as error:
        raise damaged(what, str(error)) from None


def _manifest_text(path: Path, stream: gzip.GzipFile) -> bytes:
    try:
        header = tarfile.TarInfo.frombuf(_exactly(stream, BLOCK), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise _not_ours(path, "it contains no tar archive") from None
    if header.name != manifest.NAME or not header.isreg() or not 0 <= header.size <= manifest.LARGEST:
        raise _not_ours(path, f"it begins with {header.name[:100]!r}")
    text = _exactly(stream, header.size)
    _exactly(stream, -header.size % BLOCK)
    return text


def _take_out_all(path: Path, raw: BinaryIO, description: Manifest, files: Mapping[str, int]) -> None:
    """Write every member to its open file of ``files``, if it has one; compare sizes and checksums of all."""
    with _unpacking(path, raw) as stream:
        _manifest_text(path, stream)
        seen: set[str] = set()
        while (header := _header(path, stream)) is not None:
            expected = description.files.get(header.name)
            if expected is None or header.name in seen or not header.isreg():
                message = f"{path} contains {header.name[:100]!r}, which is not in its manifest: the archive was modified; {ANOTHER}"
                raise HostError(message)
            seen.add(header.name)
            if header.size != expected.size:
                raise damaged(path, f"{header.name} has {header.size} bytes, not {expected.size}")
            _take_out(path, stream, header.name, expected, files.get(header.name))
        if missing := sorted(set(description.files) - seen):
            raise damaged(path, f"{missing[0]} is missing")
        _read_to_the_end(path, stream)


def _understood(what: Path | str, text: bytes) -> Manifest:
    try:
        return manifest.read(text)
    except NotOursError as error:
        raise _not_ours(what, str(error)) from None
    except NewerError as error:
        message = (
            f"{what} has format {error}, but this baikalctl supports {manifest.FORMAT} at most; "
            "deploy a newer version, and use its baikalctl"
        )
        raise HostError(message) from None
    except ValueError as error:
        raise damaged(what, str(error)) from None


def _header(path: Path, stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    """Return the next member's header, or nothing at the end."""
    block = _exactly(stream, BLOCK)
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise damaged(path, str(error)) from None


def _take_out(path: Path, stream: gzip.GzipFile, name: str, expected: Member, descriptor: int | None) -> None:
    """Write the next bytes of ``stream`` to the open file, if there is one; compare their checksum."""
    digest, left = hashlib.sha256(), expected.size
    while left:
        piece = _exactly(stream, min(left, PIECE))
        digest.update(piece)
        left -= len(piece)
        rest = memoryview(piece if descriptor is not None else b"")
        while rest and descriptor is not None:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except OSError as error:
                message = f"{path} can't be unpacked ({error.strerror}); free disk space in {paths.BACKUPS}"
                raise HostError(message) from None
    _exactly(stream, -expected.size % BLOCK)
    if digest.hexdigest() != expected.sha256:
        raise damaged(path, f"the checksum of {name} is wrong")


def _read_to_the_end(path: Path, stream: gzip.GzipFile) -> None:
    """Read what fills up a tar, after which gzip compares its own checksum of everything."""
    rest = stream.read(MOST_PADDING)
    if any(rest) or stream.read(1):
        raise damaged(path, "there is data after its end")


def _exactly(stream: gzip.GzipFile, size: int) -> bytes:
    """Return so many bytes; raises ``EOFError`` where there are fewer."""
    if size < 0:
        raise EOFError
    pieces = []
    while size:
        piece = stream.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _refuse_oversize(path: Path, description: Manifest, packed_size: int, folder: Path) -> None:
    if description.size > packed_size * RATIO:
        raise damaged(
            path,
            f"it claims to unpack to {description.size} bytes, which is impossible for a file of {packed_size} bytes",
        )
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if description.size + MARGIN > free:
        message = f"{path} unpacks to {description.size >> 20} MiB, but {folder} has only {free >> 20} MiB free; free disk space there"
        raise HostError(message)


def _truncated(path: Path) -> HostError:
    return HostError(f"{path} is truncated: its end is missing; {ANOTHER}")


def damaged(what: Path | str, why: str) -> HostError:
    """Return the error that tells why an archive can't be used."""
    return HostError(f"{what} is damaged: {why}; {ANOTHER}")


def _not_ours(what: Path | str, why: str) -> HostError:
    return HostError(f"{what} is not an archive of baikalctl: {why}; use an archive made by baikalctl backup")
