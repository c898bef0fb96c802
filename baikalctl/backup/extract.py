"""Read archives, which may come from anyone: in the confined child process, as a stream.

Only regular files that the manifest names are read, and no more is written than there is disk space for. Root creates the
files to be unpacked and passes them open to the child (:mod:`baikalctl.host.boundary`): no name in an archive is used as a
path.
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
from typing import TYPE_CHECKING, BinaryIO, cast

from baikalctl import paths
from baikalctl.backup import manifest, verify_database
from baikalctl.backup.archive import PIECE
from baikalctl.backup.manifest import Manifest, Member, NewerError, NotOursError
from baikalctl.changes import members
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

MOST_PADDING = 1 << 20  # bytes
MARGIN = 16 << 20
"""Bytes that stay free on the disk after unpacking."""
RATIO = 1100
"""Deflate compresses to 1/1032 at most (zlib's technical details): an archive that claims more is a bomb, or damaged."""
ANOTHER = "use another archive (baikalctl backup list), or copy this one again from an undamaged original"


def read_manifest(path: Path) -> Manifest:
    """Return the manifest, which is quick; raises :class:`HostError` if the file isn't an archive of baikalctl."""
    with _opened(path) as raw:
        return _manifest_of(path, raw)


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack the archive to the empty ``folder``, and verify it; raises :class:`HostError` with the reason if it is damaged.

    All checksums are compared, and SQLite checks the integrity of the database.
    """
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
    """Create and open the file ``name`` in ``folder``, which only root can write to."""
    target = folder / name
    for parent in reversed(target.relative_to(folder).parents):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def finish(folder: Path, description: Manifest, what: str) -> None:
    """Write the manifest to ``folder``, and check the database that was unpacked there."""
    (folder / manifest.NAME).write_text(description.to_json(), encoding="utf-8")
    verify_database.checked(
        folder / members.DATABASE,
        lambda copy: verify_database.refuse_unsound(
            copy, description.counts, f"{what} is undamaged, but its database", ANOTHER
        ),
    )


def _opened(path: Path) -> BinaryIO:
    """Open an archive; raises :class:`HostError` if it is not a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise HostError(f"{path} does not exist; run baikalctl backup list to see all archives") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HostError(f"{path} is not a file; name an archive (baikalctl backup list)")
    return os.fdopen(descriptor, "rb")


class _PlainFile(tarfile.TarInfo):
    """A tar header that is accepted only if it describes a regular file.

    ``tarfile`` calls :meth:`frombuf` for each header before it reads anything else of that member. So the contents of
    pax headers, GNU long names and sparse maps, which may claim any size, are never read.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainFile:
        """Return the header in the block ``buf``; raises :class:`_UnfitError`, ``ReadError`` or ``EOFError``."""
        if len(buf) < tarfile.BLOCKSIZE:  # a tar ends with blocks of zeros, but tarfile doesn't insist on them
            raise EOFError
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(str(error)) from None
            raise
        if header.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or header.size < 0:
            raise _UnfitError(header.name)
        return header


class _UnfitError(tarfile.TarError):
    """The member with this name isn't a regular file."""


@contextlib.contextmanager
def _unpacking(path: Path, raw: BinaryIO) -> Iterator[tarfile.TarFile]:
    """Open an archive at its first member; errors in its compression or its tar become :class:`HostError`."""
    raw.seek(0)
    begin = raw.read(4)
    raw.seek(0)
    if not begin:
        raise _truncated(path)
    if begin[:2] != b"\x1f\x8b":
        raise _not_ours(path, "it is a zip" if begin == b"PK\x03\x04" else "it is not compressed with gzip")
    try:
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream, _tar(path, stream) as tar:
            yield tar
    except EOFError:
        raise _truncated(path) from None
    except _UnfitError as error:
        raise _modified(path, str(error)) from None
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise damaged(path, str(error)) from None


def _tar(path: Path, stream: gzip.GzipFile) -> tarfile.TarFile:
    try:  # reads the first header
        return tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE, tarinfo=_PlainFile, encoding="utf-8")
    except _UnfitError as error:
        raise _not_ours(path, f"it begins with {str(error)[:100]!r}") from None
    except tarfile.ReadError:
        raise _not_ours(path, "it contains no tar archive") from None


def _manifest_of(path: Path, raw: BinaryIO) -> Manifest:
    def text() -> bytes:
        with _unpacking(path, raw) as tar:
            return _manifest_text(path, tar)

    return manifest_from(path, text, raw.fileno())


def manifest_from(what: Path | str, text: Callable[[], bytes], descriptor: int) -> Manifest:
    """Parse a manifest in the confined child, and validate the plain data that the child returns."""
    fields = confined(lambda: json.loads(_understood(what, text()).to_json()), keep=(descriptor,))
    try:
        return manifest.of(fields)
    except ValueError as error:
        raise damaged(what, str(error)) from None


def _manifest_text(path: Path, tar: tarfile.TarFile) -> bytes:
    header = tar.next()
    if header is None:
        raise _not_ours(path, "it contains no tar archive")
    if header.name != manifest.NAME or header.size > manifest.LARGEST:
        raise _not_ours(path, f"it begins with {header.name[:100]!r}")
    return b"".join(_pieces(tar, header))


def _take_out_all(path: Path, raw: BinaryIO, description: Manifest, files: Mapping[str, int]) -> None:
    """Write each member to its open file in ``files``, if it has one; compare sizes and checksums of all members."""
    with _unpacking(path, raw) as tar:
        _manifest_text(path, tar)
        seen: set[str] = set()
        while (header := tar.next()) is not None:
            expected = description.files.get(header.name)
            if expected is None or header.name in seen:
                raise _modified(path, header.name)
            seen.add(header.name)
            if header.size != expected.size:
                raise damaged(path, f"{header.name} has {header.size} bytes, not {expected.size}")
            _take_out(path, _pieces(tar, header), header.name, expected, files.get(header.name))
        if missing := sorted(set(description.files) - seen):
            raise damaged(path, f"{missing[0]} is missing")
        _read_to_the_end(path, tar)


def _pieces(tar: tarfile.TarFile, header: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield the content of a member; raises ``EOFError`` or ``ReadError`` if a part of it is missing."""
    stream = cast("BinaryIO", tar.extractfile(header))  # only of other types than _PlainFile accepts there is none
    while piece := stream.read(PIECE):
        yield piece


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


def _take_out(path: Path, pieces: Iterable[bytes], name: str, expected: Member, descriptor: int | None) -> None:
    """Write the content of the member ``name`` to the open file, if there is one; compare its checksum."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        rest = memoryview(piece if descriptor is not None else b"")
        while rest and descriptor is not None:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except OSError as error:
                message = f"{path} can't be unpacked ({error.strerror}); free disk space in {paths.BACKUPS}"
                raise HostError(message) from None
    if digest.hexdigest() != expected.sha256:
        raise damaged(path, f"the checksum of {name} is wrong")


def _read_to_the_end(path: Path, tar: tarfile.TarFile) -> None:
    """Read the zeros at the end of the tar; then gzip compares its own checksum of the whole."""
    rest = cast("BinaryIO", tar.fileobj).read(MOST_PADDING + 1)
    if any(rest) or len(rest) > MOST_PADDING:
        raise damaged(path, "there is data after its end")


def _refuse_oversize(path: Path, description: Manifest, packed_size: int, folder: Path) -> None:
    if description.size > packed_size * RATIO:
        raise damaged(
            path,
            f"it claims to unpack to {description.size} bytes, which is impossible for a file of {packed_size} bytes",
        )
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if description.size + MARGIN > free:
        size = description.size >> 20
        message = f"{path} unpacks to {size} MiB, but {folder} has only {free >> 20} MiB free; free disk space there"
        raise HostError(message)


def _modified(path: Path, name: str) -> HostError:
    what = f"{path} contains {name[:100]!r}, which is not in its manifest"
    return HostError(f"{what}: the archive was modified; {ANOTHER}")


def _truncated(path: Path) -> HostError:
    return HostError(f"{path} is truncated: its end is missing; {ANOTHER}")


def damaged(what: Path | str, why: str) -> HostError:
    """Return the error for an archive that is damaged, with the reason ``why``."""
    return HostError(f"{what} is damaged: {why}; {ANOTHER}")


def _not_ours(what: Path | str, why: str) -> HostError:
    return HostError(f"{what} is not an archive of baikalctl: {why}; use an archive made by baikalctl backup")
