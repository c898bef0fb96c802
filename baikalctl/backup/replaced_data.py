"""Read the folders ``before-…``: the data that an upgrade, a restore, an import or a database move has replaced.

They are copies, and no archives, because they are made while clients get status 503: compressing takes 13 times as long as
copying (measured with 196 MiB: 6.8 s and 0.5 s). Also, a rollback needs a damaged database as it was, which can't be in an
archive. Here such a folder becomes the content of an archive, and is then verified and restored as one.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.backup import collect, manifest
from baikalctl.backup.catalog import StoredArchive
from baikalctl.baikal import config
from baikalctl.changes import members, staging
from baikalctl.database import interface, sqlite_file
from baikalctl.database.sqlite import Sqlite
from baikalctl.desired import state
from baikalctl.errors import HostError
from baikalctl.host import safe_copy

if TYPE_CHECKING:
    from baikalctl.backup.manifest import Manifest

_NAME = re.compile(rf"{staging.PREFIX}(?P<label>.+)-(?P<created>\d{{8}}T\d{{6}}Z)(-\d+)?")
ANOTHER = "use an archive or another folder (baikalctl backup list)"


def folders() -> list[StoredArchive]:
    """Return the folders of this host, the newest first; ``label`` is the change that has replaced the data."""
    stored = []
    with contextlib.suppress(FileNotFoundError):
        for path in Path(paths.BACKUPS).resolve().iterdir():
            match = _NAME.fullmatch(path.name)
            with contextlib.suppress(OSError, ValueError):  # such as one that was just removed
                if match and path.is_dir() and (path / staging.YAML).is_file():
                    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                    created = manifest.parse_time(match["created"])
                    label = f"{staging.PREFIX}{match['label']}"
                    stored.append(StoredArchive(path=path, created=created, label=label, size=size))
    return sorted(stored, key=lambda each: (each.created, each.path.name), reverse=True)


def is_one(path: Path) -> bool:
    """Tell whether the folder has the files of replaced data."""
    return (path / staging.YAML).is_file() or (path / staging.SQLITE).is_file()


def unpack(kept: Path, folder: Path) -> Manifest:
    """Copy the replaced data in ``kept`` to the empty ``folder`` as the content of an archive; return its manifest.

    The database is opened only as a copy, in the confined child. Raises :class:`HostError` if there is no database or no
    baikal.yaml in ``kept``, or if the database is damaged.
    """
    for name in (staging.YAML, staging.SQLITE):
        if not (kept / name).is_file():
            raise HostError(f"{kept} has no {name}, so it can't be restored; {ANOTHER}")
    try:
        (folder / members.YAML).parent.mkdir(mode=0o700)
        safe_copy.copy_out(kept / staging.YAML, folder / members.YAML, below=kept, largest=config.LARGEST)
        for part in staging.FOLDERS:
            collect.copy_plain_files(kept / part, folder / part)
        with contextlib.suppress(FileNotFoundError):
            applied = folder / members.APPLIED
            applied.parent.mkdir(mode=0o700)
            safe_copy.copy_out(kept / members.APPLIED, applied, below=kept)
        counts = _copy_database(kept, folder / members.DATABASE)
    except (OSError, interface.Error) as error:
        raise HostError(f"the data in {kept} can't be copied ({error}); {ANOTHER}") from None
    configuration = config.understood(folder / members.YAML)
    match, deployed = _NAME.fullmatch(kept.name), state.deployed_state()
    return collect.described(
        folder,
        created=manifest.parse_time(match["created"]) if match else int(kept.stat().st_mtime),
        label="",
        hostname=deployed.hostname if deployed else "this host",
        baikal=str(configuration.get("system", {}).get("configured_version", "")),
        backend=interface.backend(_section(kept, configuration)),
        counts=counts,
    )


def _section(kept: Path, configuration: config.Configuration) -> dict[str, object]:
    """Return the section that names the database; the folders of older releases have it only in baikal.yaml."""
    try:
        return staging.section_of(kept)
    except FileNotFoundError:
        return dict(configuration.get("database", {}))


def _copy_database(kept: Path, target: Path) -> dict[str, int]:
    """Copy the database, with what is only in its write-ahead log, to ``target``; return its rows by table."""
    with collect.owners_folder() as private:
        copy = private / "db.sqlite"
        for suffix in (*sqlite_file.COMPANIONS, ""):
            safe_copy.copy_in(kept / (staging.SQLITE + suffix), copy.with_name(copy.name + suffix))
        what = f"the database in {kept}"
        try:
            return collect.snapshot(Sqlite(copy), target, what, ANOTHER)
        except HostError as error:
            raise HostError(str(error).replace(f"{Sqlite(copy)}", what)) from None
