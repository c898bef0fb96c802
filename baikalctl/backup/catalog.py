"""The archives of this host: what they are called, which are there, and which one somebody means."""

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
"""An archive with a later date than this is not the newest, whatever its name says."""
_NAME = re.compile(rf"baikal-(?P<created>\d{{8}}T\d{{6}}Z)(-(?P<label>[a-z0-9-]+))?{re.escape(SUFFIX)}")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An archive that is there, as its name and the file system tell of it."""

    path: Path
    created: float
    label: str
    size: int


def stored() -> list[Stored]:
    """Return the archives of this host, the newest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in Path(os.path.realpath(paths.BACKUPS)).iterdir():
            if said := _NAME.fullmatch(path.name):
                with contextlib.suppress(OSError, ValueError):  # just thinned out, or of a 13th month
                    created, size = manifest.moment(said["created"]), path.stat().st_size
                    found.append(Stored(path=path, created=created, label=said["label"] or "", size=size))
    return sorted(found, key=lambda archive: (archive.created, archive.path.name), reverse=True)


def find(given: str) -> Path:
    """Return the archive that somebody means: a path, a name in :data:`paths.BACKUPS`, or ``latest``."""
    if given == "latest":
        there = stored()
        if not there:
            message = f"there is no archive in {paths.BACKUPS}; baikalctl backup makes one"
            raise HostError(message)
        # Not one whose date is to come: another host, or a wrong clock, may have named it.
        return next((each for each in there if each.created < time.time() + AHEAD_S), there[0]).path
    here = Path(os.path.realpath(paths.BACKUPS)) / given
    return here if "/" not in given and here.is_file() else Path(given)


def created(name_: str) -> float:
    """Return when an archive of that name was made, in seconds since the epoch.

    Raises ``ValueError`` where it isn't exactly what :func:`name` returns for some time and label.
    """
    said = _NAME.fullmatch(name_)
    if not said:
        raise ValueError(f"{name_!r} is no name of an archive")
    seconds = manifest.moment(said["created"])
    if name(seconds, manifest.label(said["label"] or "")) != name_:
        raise ValueError(f"{name_!r} is no name of an archive")
    return seconds


def name(created: float, label: str) -> str:
    """Return what an archive of that time is called."""
    return f"baikal-{manifest.stamp(created)}{'-' if label else ''}{label}{SUFFIX}"
