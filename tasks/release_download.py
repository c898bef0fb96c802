"""Find and verify the archives of the releases on this machine, before any host is changed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gevent.lock import BoundedSemaphore

from baikalctl.baikal import release
from baikalctl.errors import Fault, SettingsError
from baikalctl.settings.known_releases import KNOWN_RELEASES

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings


@dataclass(frozen=True)
class Archive:
    """A verified zip on this machine, or its address if hosts download it themselves; and its SHA-256."""

    source: str
    sha256: str


_obtained: dict[tuple[str, str, str, str], Archive | Fault] = {}
_one_at_a_time = BoundedSemaphore()
"""Hosts are examined in parallel. An archive that several hosts need is searched once, even if it isn't found."""


def obtain(settings: Settings) -> Archive:
    """Return the archive that ``settings`` name, downloading it once for all hosts; raises SettingsError if it's wrong."""
    version, value = settings.baikal_version, settings.baikal_archive
    key = (version, value, settings.baikal_sha256, settings.baikal_download)
    with _one_at_a_time:
        if key not in _obtained:
            try:
                _obtained[key] = _obtain(settings)
            except release.ArchiveError as error:
                name = "baikal_sha256" if "SHA-256" in str(error) and settings.baikal_sha256 else "baikal_archive"
                _obtained[key] = Fault(name, str(error), f'"{value}"' if value else "")
            except OSError as error:
                reason = f"can't be read, or can't be stored in {_cache_path()} ({error})"
                remedy = "if that is the reason, set XDG_CACHE_HOME to a directory that this user can write"
                _obtained[key] = Fault("baikal_archive", f"{reason}; {remedy}", f'"{value}"' if value else "")
    archive = _obtained[key]
    if isinstance(archive, Fault):
        raise SettingsError([archive])
    return archive


def _obtain(settings: Settings) -> Archive:
    version, value = settings.baikal_version, settings.baikal_archive
    if value and "://" not in value:
        path = Path(os.path.expanduser(value)).resolve()  # noqa: PTH111 - unlike Path.expanduser, leaves an unknown ~name alone
        if not path.is_file():
            message = "is not a file on this machine; set the path of the release's zip"
            raise release.ArchiveError(message)
        return Archive(str(path), _verified(path, version, settings.baikal_sha256))
    source = value or release.address(version)
    sha256 = settings.baikal_sha256 or KNOWN_RELEASES[version]
    if settings.baikal_download == "host":
        return Archive(source, sha256)
    return Archive(str(_cached(source, version, sha256)), sha256)


def _cached(source: str, version: str, sha256: str) -> Path:
    """Return the path of the verified download, which is kept between runs under its checksum."""
    folder = _cache()
    kept = folder / f"baikal-{version}-{sha256[:16]}.zip"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            fresh = Path(temporary) / kept.name
            release.download(source, fresh)
            _verified(fresh, version, sha256)
            fresh.replace(kept)
    else:
        _verified(kept, version, sha256)
    return kept


def _verified(archive: Path, version: str, sha256: str) -> str:
    """Return the SHA-256 of ``archive`` after :func:`release.verify`, which is called only once for the same bytes."""
    digest = release.digest(archive)
    mark = _cache() / f"verified-{version}-{digest}"
    if not mark.exists() or digest != (sha256 or KNOWN_RELEASES.get(version, digest)):
        release.verify(archive, version, sha256)
        mark.touch()
    return digest


def _cache() -> Path:
    """Return the directory for files that are kept between runs; create it if it is missing."""
    folder = _cache_path()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "baikal-deploy"
