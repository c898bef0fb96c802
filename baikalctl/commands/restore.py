"""``baikalctl restore``: replace the data with an archive's, for any kind of database; if anything fails, roll back."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.backup import create, manifest, source
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
from baikalctl.host.lock import hold_lock
from baikalctl.host.tempdir import temporary_directory
from baikalctl.rendering.baikal import data_directories
from baikalctl.tls import certificate, nginx_reload, selection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from baikalctl.backup.manifest import Manifest
    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database

    Say = Callable[[str], None]

MOMENT = dataclasses.replace(QUICK, seconds=5, cpu_s=4)
ARCHIVED = "Specific/db/archived.sqlite"


def run(chosen: argparse.Namespace) -> int:
    """Restore the archive."""
    restore(chosen.archive, output.say)
    return 0


def restore(value: str, say: Say) -> None:
    """Replace the data with the archive or folder ``value``, which :func:`baikalctl.backup.source.unpack` describes.

    It is verified first. The existing data is kept, and is put back if anything fails; that raises :class:`HostError`. Data
    of an older Baïkal is migrated to the installed release, and the settings of this host are applied to it.
    """
    version = release.current()
    if not version:
        message = "no release of Baïkal is installed here; run the deploy first, then restore"
        raise HostError(message)
    directories.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    directories.make(data_directories())
    with temporary_directory(directories.backups()) as folder:
        say(f"verify {value}")
        description = source.unpack(value, folder, DesiredState.on_this_host)
        made = f"{description.hostname}, {manifest.format_time(description.created)}"
        say(f"it was made on {made}: Baïkal {description.baikal}, {create.contents(description.counts)}")
        declared = state.deployed_state()
        if declared and description.hostname != declared.hostname:
            say("(a different server than this one)")
        configuration = config.understood(folder / members.YAML)
        migration.older_version(configuration, version)
        with lock.volume_not_served("restore"), hold_lock(paths.LOCK, say):
            transaction.recover(say)
            change = _change(value, folder, description, configuration, version, say)
            with apply.exclusive_on_database(change.target):
                kept = transaction.carry_out(change, say)
    say(
        f"restored: {create.contents(description.counts)}"
        + (f"; the previous data is in {kept}" if kept.is_dir() else "")
    )


def _change(  # noqa: PLR0913, PLR0917 - all about the archive
    value: str, unpacked: Path, description: Manifest, configuration: Configuration, version: str, say: Say
) -> Change:
    target = transaction.declared_database()

    def prepare() -> Configuration:
        path = Path(paths.INCOMING)
        safe_copy.copy_in(unpacked / members.DATABASE, path / staging.SQLITE)
        for part in staging.FOLDERS:
            if (unpacked / part).is_dir():
                shutil.copytree(unpacked / part, path / part)
        _remove_unfit(path, say)
        applied_passwords.take_over(unpacked / members.APPLIED, path / members.APPLIED)
        say("test the data with the installed release")
        changed = migration.complete(configuration, version, target.section())[0]
        sync_tokens.notify_clients(configuration, say)
        _make_strict(description, target, version)
        return changed

    def finish() -> None:
        apply.finish(say)
        declared = state.deployed_state()
        if declared:  # nginx's files are generated from the certificate, and not restored
            for _, act in selection.steps(declared):
                act()
        if (
            declared
            and not runtime.in_one_off_container()
            and (refused := nginx_reload.reload_if_changed(declared, say))
        ):
            raise HostError(refused)

    return Change(
        what=f"the restore of {value}", label="restore", version=version, target=target, prepare=prepare, finish=finish
    )


def _remove_unfit(target: Path, say: Say) -> None:
    """Remove certificates that can't be parsed within seconds: root would parse them again and again."""
    for path in (*target.glob("tls/*.pem"), *target.glob("acme/issued/*.pem")):
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            confined(lambda text=text, path=path: certificate.fit(text, path.name), MOMENT)  # type: ignore[misc]
        except HostError as error:
            say(f"{path.relative_to(target)} is skipped: {error}")
            path.unlink()


def _make_strict(description: Manifest, target: Database, version: str) -> None:
    """Load rows from a server's database into the tables that Baïkal creates for SQLite, if the target is SQLite."""
    if description.backend == "sqlite" or not isinstance(target, Sqlite):
        return
    path = Path(paths.INCOMING)

    def load() -> None:
        (path / staging.SQLITE).rename(path / ARCHIVED)
        Sqlite(path / staging.SQLITE).load(path / ARCHIVED, version)

    confined(load, THOROUGH)
