"""The archives of this host: their names, a list of them, and how to find one."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from baikalctl import paths
from baikalctl.backup import manifest
from baikalctl.errors import HostError

SUFFIX = ".tar.gz"
AHEAD_S = 86400
"""Seconds; an archive dated further in the future than this is not taken for the newest."""
_NAME = re.compile(rf"baikal-(?P<created>\d{{8}}T\d{{6}}Z)(-(?P<label>[a-z0-9-]+))?{re.escape(SUFFIX)}")


@dataclass(frozen=True, kw_only=True)
class StoredArchive:
    """An existing archive, or folder ``before-…``, as its name and the file system describe it."""

    path: Path
    created: float
    label: str
    size: int


def all_archives() -> list[StoredArchive]:
    """Return the archives of this host, the newest first."""
    stored = []
    with contextlib.suppress(FileNotFoundError):
        for path in Path(os.path.realpath(paths.BACKUPS)).iterdir():
            if match := _NAME.fullmatch(path.name):
                with contextlib.suppress(OSError, ValueError):  # removed just now, or with a 13th month
                    created, size = manifest.parse_time(match["created"]), path.stat().st_size
                    stored.append(StoredArchive(path=path, created=created, label=match["label"] or "", size=size))
    return sorted(stored, key=lambda archive: (archive.created, archive.path.name), reverse=True)


def find(value: str) -> Path:
    """Return the path for ``value``: a path, a name in :data:`paths.BACKUPS`, or ``latest``, which is an archive."""
    if value == "latest":
        other = all_archives()
        if not other:
            message = f"there is no archive in {paths.BACKUPS}; run baikalctl backup to make one"
            raise HostError(message)
        # Not one with a future date: its name may be from another host, or from a wrong clock.
        return next((each for each in other if each.created < time.time() + AHEAD_S), other[0]).path
    path = Path(os.path.realpath(paths.BACKUPS)) / value
    return path if value and "/" not in value and path.exists() else Path(value)


def created_at(name_: str) -> float:
    """Return when an archive of that name was made, in seconds since the epoch.

    Raises ``ValueError`` unless :func:`name` returns exactly this name for a time and a label.
    """
    match = _NAME.fullmatch(name_)
    if not match:
        raise ValueError(f"{name_!r} is not the name of an archive")
    seconds = manifest.parse_time(match["created"])
    if name(seconds, manifest.label(match["label"] or "")) != name_:
        raise ValueError(f"{name_!r} is not the name of an archive")
    return seconds


def name(created: float, label: str) -> str:
    """Return the name of an archive of that time."""
    return f"baikal-{manifest.format_time(created)}{'-' if label else ''}{label}{SUFFIX}"
