"""Upgrade the data to a newer release, and activate that; if anything fails, roll back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.changes import migration, staging, transaction
from baikalctl.changes.transaction import Change
from baikalctl.database import registry
from baikalctl.database.sqlite import Sqlite
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database

    Say = Callable[[str], None]


def upgrade(
    configuration: Configuration,
    section: Mapping[str, Any],
    version: str,
    say: Say,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Migrate the data with the baikal.yaml ``configuration`` to the installed release ``version``, and activate that.

    ``section`` is its database. To be called under the host's lock; ``finish`` is called with the new data before any client
    uses it. If anything fails, the upgrade is rolled back, and :class:`HostError` has the reason. The previous release stays
    installed; older ones are removed.
    """
    database = registry.of(section)
    old = migration.older_version(configuration, version)

    def prepare() -> Configuration:
        copy_here(database)
        say(f"migrate a copy of the data from Baïkal {old} to {version}, and test it")
        return migration.complete(configuration, version, section)[0]

    change = Change(
        what=f"the upgrade from Baïkal {old} to {version}",
        label=f"upgrade-{old}-to-{version}",
        version=version,
        target=database,
        prepare=prepare,
        finish=finish,
    )
    transaction.carry_out(change, say)
    stays = (
        f"{old} stays installed and its data is kept" if (Path(paths.CODE) / old).is_dir() else "the old data is kept"
    )
    say(f"Baïkal {version} is active; {stays} until the next upgrade")
    for path in Path(paths.CODE).glob("[0-9]*"):
        if path.is_dir() and path.name not in (old, version):
            shutil.rmtree(path, ignore_errors=True)


def copy_here(database: Database) -> None:
    """Copy the data of ``database`` to INCOMING, to be migrated there. No process may write during this."""
    path = Path(paths.INCOMING)

    def copy() -> None:
        if isinstance(database, Sqlite):
            database.snapshot(path / staging.SQLITE)
        else:
            database.snapshot(path / staging.BEFORE)
            shutil.copyfile(path / staging.BEFORE, path / staging.SQLITE)

    confined(copy, THOROUGH)
