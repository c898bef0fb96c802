"""Read archives that another program has unpacked, such as restic: a copy is made, and that copy is verified."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from baikalctl.backup import manifest
from baikalctl.backup.archive import PIECE
from baikalctl.backup.extract import damaged, finish, made, manifest_from
from baikalctl.backup.manifest import Manifest, Member
from baikalctl.changes import members
from baikalctl.errors import HostError
from baikalctl.host.safe_copy import open_untrusted, refuse_without_room

if TYPE_CHECKING:
    from collections.abc import Iterator


def copy_folder(source: Path, what: str, folder: Path) -> Manifest:
    """Copy the content of an archive from ``source`` to the empty ``folder``, and verify the copy.

    ``what`` is its name in messages. Raises :class:`HostError` as :func:`baikalctl.backup.extract.unpack` does.
    """
    try:
        with open_untrusted(source / manifest.NAME, below=source, largest=manifest.LARGEST) as stream:
            description = manifest_from(what, lambda: stream.read(manifest.LARGEST + 1), stream.fileno())
    except FileNotFoundError:
        raise HostError(
            f"{what} is not an archive of baikalctl (it has no {manifest.NAME}); choose another snapshot"
        ) from None
    refuse_without_room(description.size, folder, what)
    try:
        more = next((name for name in _names(source) if name not in (manifest.NAME, *description.files)), "")
    except RecursionError:
        more = "endlessly nested folders"
    if more:
        raise HostError(f"{what} contains {more!r}, which is not in its manifest; choose another snapshot")
    for name, expected in description.files.items():
        try:
            with contextlib.ExitStack() as stack:
                stream = stack.enter_context(open_untrusted(source / name, below=source, largest=expected.size))
                target = stack.enter_context(made(folder, name)) if members.restored(name) else None
                _copy(what, name, stream, target, expected)
        except FileNotFoundError:
            raise damaged(what, f"{name} is missing") from None
    finish(folder, description, what)
    return description


def _names(source: Path) -> Iterator[str]:
    """Yield the relative paths of all files in a folder."""
    for path, _, files in os.walk(source):
        yield from (str((Path(path) / name).relative_to(source)) for name in files)


def _copy(what: str, name: str, stream: BinaryIO, target: BinaryIO | None, expected: Member) -> None:
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(min(PIECE, expected.size + 1 - size)):
        digest.update(piece)
        size += len(piece)
        if target:
            target.write(piece)
    if Member(size=size, sha256=digest.hexdigest()) != expected:
        raise damaged(what, f"the content of {name} is not what the manifest says")
