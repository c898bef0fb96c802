"""``baikalctl restore``: what an archive holds is the data again, whatever the database is here, or all is as it was."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.backup import archive_folder, catalog, create, extract, manifest, restic
from baikalctl.baikal import applied_passwords, config, release
from baikalctl.changes import members, migration, staging, sync_tokens, transaction
from baikalctl.changes.transaction import Change
from baikalctl.commands import apply
from baikalctl.database.sqlite import Sqlite
from baikalctl.desired import state
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host import directories, lock, runtime, safe_copy
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import QUICK, THOROUGH
from baikalctl.host.lock import held
from baikalctl.host.tempdir import private_folder
from baikalctl.rendering.baikal import data_directories
from baikalctl.tls import certificate, nginx_reload, selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.backup.manifest import Manifest
    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database

    Say = Callable[[str], None]

MOMENT = dataclasses.replace(QUICK, seconds=5, cpu_s=4)
ARCHIVED = "Specific/db/archived.sqlite"


def restore(given: str, say: Say) -> None:
    """Have the archive ``given`` serve: a path, a name in the backups, ``latest``, ``restic:ID``, or an unpacked folder.

    It is verified first. What is here is kept, and comes back if anything fails; that raises :class:`HostError`. Data of
    an older Baïkal is migrated to the release that is installed, and brought to what is declared on this host.
    """
    version = release.current()
    if not version:
        message = "no release of Baïkal is installed here; run the deploy first, then restore"
        raise HostError(message)
    directories.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    directories.make(data_directories())
    with private_folder(directories.backups()) as folder:
        say(f"verify {given}")
        said, unpacked = _unpacked(given, folder)
        say(
            f"it is of {said.hostname}, {manifest.stamp(said.created)}: Baïkal {said.baikal}, {create.contents(said.counts)}"
        )
        declared = state.deployed_state()
        if declared and said.hostname != declared.hostname:
            say("(which is another server than this one)")
        found = config.understood(unpacked / members.YAML)
        migration.outstanding(found, version)
        with lock.volume_not_served("restore"), held(paths.LOCK, say):
            transaction.recover(say)
            change = _change(given, unpacked, said, found, version, say)
            with apply.alone(change.target):
                kept = transaction.carry_out(change, say)
    say(f"restored: {create.contents(said.counts)}" + (f"; what was here before is in {kept}" if kept.is_dir() else ""))


def _change(  # noqa: PLR0913, PLR0917 - what is known of the archive
    given: str, unpacked: Path, said: Manifest, found: Configuration, version: str, say: Say
) -> Change:
    target = transaction.declared_database()

    def prepare() -> Configuration:
        place = Path(paths.INCOMING)
        safe_copy.copy_in(unpacked / members.DATABASE, place / staging.SQLITE)
        for part in staging.FOLDERS:
            if (unpacked / part).is_dir():
                shutil.copytree(unpacked / part, place / part)
        _remove_unfit(place, say)
        applied_passwords.take(unpacked / members.APPLIED, place / members.APPLIED)
        say("try it out")
        changed = migration.complete(found, version, target.section())[0]
        sync_tokens.tell_clients(found, say)
        _make_strict(said, target, version)
        return changed

    def finish() -> None:
        apply.finish(say)
        declared = state.deployed_state()
        if declared:  # what nginx is to read of a certificate is made of it, and not restored
            for _, act in selection.steps(declared):
                act()
        if declared and not runtime.unstarted() and (refused := nginx_reload.reload_if_changed(declared, say)):
            raise HostError(refused)

    return Change(
        what=f"restoring {given}", label="restore", version=version, target=target, prepare=prepare, finish=finish
    )


def _remove_unfit(place: Path, say: Say) -> None:
    """Remove certificates that can't be read, or not in a moment: root would read them again and again."""
    for path in (*place.glob("tls/*.pem"), *place.glob("acme/issued/*.pem")):
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            confined(lambda text=text, path=path: certificate.fit(text, path.name), MOMENT)  # type: ignore[misc]
        except HostError as error:
            say(f"{path.relative_to(place)} is left out: {error}")
            path.unlink()


def _make_strict(said: Manifest, target: Database, version: str) -> None:
    """Have rows that come from a server in the tables that Baïkal makes for SQLite, where they go there."""
    if said.backend == "sqlite" or not isinstance(target, Sqlite):
        return
    place = Path(paths.INCOMING)

    def load() -> None:
        (place / staging.SQLITE).rename(place / ARCHIVED)
        Sqlite(place / staging.SQLITE).load(place / ARCHIVED, version)

    confined(load, THOROUGH)


def _unpacked(given: str, folder: Path) -> tuple[Manifest, Path]:
    """Return what the verified archive says of itself, and the folder with its files."""
    if given.startswith(restic.PREFIX):
        return restic.fetch(DesiredState.on_this_host(), given, folder), folder
    path = catalog.find(given)
    if path.is_dir() and os.path.lexists(path / manifest.NAME):
        return archive_folder.take_folder(path, str(path), folder), folder
    return extract.unpack(path, folder), folder
