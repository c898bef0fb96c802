"""Fetch and verify what ``baikalctl restore`` and ``baikalctl backup verify`` are called with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from baikalctl.backup import archive_folder, catalog, extract, manifest, replaced_data, restic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from baikalctl.backup.manifest import Manifest
    from baikalctl.desired.state import DesiredState


def unpack(value: str, folder: Path, declared: Callable[[], DesiredState]) -> Manifest:
    """Copy the verified content of ``value`` to the empty ``folder``; raises :class:`HostError`.

    ``value`` is ``restic:ID``, ``latest``, or the path or name of an archive, of an unpacked archive, or of a folder
    ``before-…``. Only snapshots of restic need the settings, which ``declared`` returns.
    """
    if value.startswith(restic.PREFIX):
        return restic.fetch(declared(), value, folder)
    path = catalog.find(value)
    if path.is_dir() and os.path.lexists(path / manifest.NAME):
        return archive_folder.copy_folder(path, str(path), folder)
    if path.is_dir() and replaced_data.is_one(path):
        return replaced_data.unpack(path, folder)
    return extract.unpack(path, folder)
