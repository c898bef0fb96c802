"""Put the previous data back in place when a change is rolled back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.changes import staging
from baikalctl.database import registry, sqlite, sqlite_file, transfer
from baikalctl.errors import HostError
from baikalctl.host import safe_copy
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from baikalctl.database.interface import Database


def put_back(kept: Path, version: str, *, of: str = "", loaded: bool) -> None:
    """Put the data in ``kept`` back in place; can be repeated until it succeeds.

    ``loaded`` tells whether a server's database was changed. If so, its tables are created by the release ``version``; in
    an image, the data may be ``of`` another release, and the tables then have only that release's columns. Unchanged files
    aren't written: on a full or read-only disk, there may be nothing else to do.
    """
    if not (kept / staging.YAML).is_file():
        confined(lambda: Path(paths.BAIKAL_YAML).unlink(missing_ok=True))
    database = registry.of(staging.section_of(kept))
    of = of or version
    if isinstance(database, sqlite.Sqlite):
        _put_file_back(kept)
    elif (kept / staging.SQLITE).is_file():
        if loaded:
            with staging.incoming() as path:
                safe_copy.copy_in(kept / staging.SQLITE, path / staging.SQLITE)
                confined(lambda: _load(database, path, version, of), THOROUGH)
        confined(lambda: _set_version(database, of))
    safe_copy.copy_in(kept / staging.YAML, Path(paths.BAIKAL_YAML))
    if not (kept / "state/applied.json").is_file():
        Path(paths.APPLIED).unlink(missing_ok=True)
    _remove_added(kept)
    staging.place_own(kept)


def _remove_added(kept: Path) -> None:
    """Remove keys and certificates that were added by the change that is rolled back."""
    from baikalctl.changes import members  # checks import this module, and need none of it

    data = Path(paths.DATA)
    for part in staging.FOLDERS:
        for path in list((data / part).rglob("*")):
            name = str(path.relative_to(data))
            if path.is_file() and members.restored(name) and not (kept / name).is_file():
                path.unlink()


def _put_file_back(kept: Path) -> None:
    pairs = [
        (kept / (staging.SQLITE + suffix), Path(paths.SQLITE + suffix)) for suffix in (*sqlite_file.COMPANIONS, "")
    ]
    # Reading a database leaves an empty write-ahead log and its index.
    if all(
        safe_copy.same_content(*pair) or _is_empty_log(*pair) for pair in pairs if not pair[0].name.endswith("-shm")
    ):
        return
    *companions, database_file = [target for _, target in pairs]
    going = companions if (kept / staging.SQLITE).is_file() else [database_file, *companions]
    confined(lambda: _remove(going))
    for source, target in pairs:
        safe_copy.copy_in(source, target)


def _is_empty_log(source: Path, target: Path) -> bool:
    """Tell whether the file is a write-ahead log that is empty, both in the kept data and in place."""
    if not target.name.endswith("-wal") or (source.is_file() and source.stat().st_size):
        return False
    return confined(lambda: target.is_file() and not target.stat().st_size)


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def _load(database: Database, path: Path, version: str, of: str) -> None:
    if not _untouched(database, path, of):
        database.load(path / staging.SQLITE, version, exactly=of != version)


def _set_version(database: Database, of: str) -> None:
    if database.version() != of:
        database.set_version(of)


def _untouched(database: Database, path: Path, version: str) -> bool:
    """Tell whether a server's database has exactly the rows in ``path``, and is of the release ``version``."""
    with contextlib.suppress(HostError):
        if database.version() == version and database.installed():
            was, now = path / staging.SQLITE, path / staging.BEFORE
            database.snapshot(now)
            return transfer.all_columns(was) == transfer.all_columns(now) and not transfer.difference(was, now)
    return False
