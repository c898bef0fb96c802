"""``baikalctl import``: import the data of another installation of Baïkal, which is only read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.baikal import release
from baikalctl.changes import migration, staging, sync_tokens, transaction
from baikalctl.changes.transaction import Change
from baikalctl.commands import apply
from baikalctl.commands import import_source as sources
from baikalctl.database import interface
from baikalctl.desired import state
from baikalctl.desired.state import REALM
from baikalctl.errors import HostError
from baikalctl.host import directories, lock
from baikalctl.host.atomic_write import move
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.lock import hold_lock
from baikalctl.host.privileges import data_owner, privileged
from baikalctl.host.tempdir import remove_tree
from baikalctl.rendering.baikal import data_directories

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from baikalctl.baikal.config import Configuration
    from baikalctl.commands.import_source import Installation


def run(chosen: argparse.Namespace) -> int:
    """Import the installation."""
    current = release.current()
    if not current:
        message = "no release of Baïkal is installed here; run the deploy first, then import"
        raise HostError(message)
    import_(Path(chosen.source), current, replace=chosen.replace, say=output.line)
    return 0


def import_(source: Path, version: str, *, replace: bool, say: Callable[[str], None]) -> None:
    """Import the installation in ``source`` as data of the installed release ``version``.

    ``source`` contains ``config`` and ``Specific``, or a ``baikal`` directory with them; nothing in it is changed. Existing
    data is replaced only with ``replace``, and a copy of it is kept. The settings of this host are applied to the new data
    before clients use it. If anything fails, the import is rolled back and raises :class:`HostError`.
    """
    old = sources.find(source)
    if not (Path(paths.CODE) / version / "html").is_dir():
        message = f"Baïkal {version} is not installed here; run the deploy first, then import"
        raise HostError(message)
    migration.older_version(old.configuration, version)
    directories.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    directories.make(data_directories())
    with lock.volume_not_served("import"), hold_lock(paths.LOCK, say):
        transaction.recover(say)
        _refuse_data(replace=replace)
        _take_over(old, version, say)


def _take_over(old: Installation, version: str, say: Callable[[str], None]) -> None:
    say(f"import Baïkal {old.version}" + (f", migrated to {version}" if old.version != version else ""))
    target = transaction.declared_database()
    if not isinstance(old.database, Path) and str(old.database) == str(target):
        message = (
            f"{old.folder} uses {target}, which is this host's own database; name an installation with its own data"
        )
        raise HostError(message)
    counts: dict[str, int] = {}

    def prepare() -> Configuration:
        _copy(old)
        configured = _with_declared_administrator(old.configuration, say)
        changed, imported = migration.complete(configured, version, target.section())
        counts.update(imported)
        sync_tokens.notify_clients(old.configuration, say, others=False)
        return changed

    change = Change(
        what=f"the import of {old.folder}",
        label="import",
        version=version,
        target=target,
        prepare=prepare,
        finish=lambda: apply.finish(say),
    )
    with apply.exclusive_on_database(target):
        transaction.carry_out(change, say)
    say(f"imported: Baïkal {old.version} → {version}, {interface.counts_in_words(counts)}")


def _copy(old: Installation) -> None:
    """Copy the old data to INCOMING. Root copies files, because only root may read them, and then changes their owner."""
    copy, stored = Path(paths.INCOMING) / staging.SQLITE, old.database
    if not isinstance(stored, Path):
        confined(lambda: stored.snapshot(copy), THOROUGH)
        return
    folder = Path(paths.INCOMING) / "source"
    folder.mkdir(mode=0o700)
    fresh = sources.copy_files(old, stored, folder)
    if privileged():
        for path in (*folder.iterdir(), folder):
            os.chown(path, data_owner().pw_uid, data_owner().pw_gid)

    def recover() -> None:
        sources.recover(fresh, stored)
        move(fresh, copy)

    confined(recover, THOROUGH)
    remove_tree(folder)


def _refuse_data(*, replace: bool) -> None:
    if replace:
        return
    target = transaction.declared_database()
    other = [path for path in (paths.BAIKAL_YAML, paths.SQLITE) if Path(path).exists()]
    if not other and target.shared:
        other = [str(target)] if confined(target.installed) else []
    if other:
        message = (
            f"this host already has data ({other[0]}); use --replace to replace it (a copy is kept in {paths.BACKUPS})"
        )
        raise HostError(message)


def _with_declared_administrator(configuration: Configuration, say: Callable[[str], None]) -> Configuration:
    """Return ``configuration`` with the administrator's password from the settings of this host, if they have one."""
    system = dict(configuration["system"])
    if system.get("auth_realm", REALM) != REALM:
        say(
            f"its auth_realm is {system['auth_realm']!r}: the imported passwords of accounts and administrator still work, "
            f"but passwords from this host's settings are for {REALM!r} and don't"
        )
    elif (declared := state.deployed_state()) and declared.admin_hash:
        system["admin_passwordhash"] = declared.admin_hash
    return {**configuration, "system": system}
