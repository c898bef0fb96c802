"""``baikalctl database move``: move the data to the database in the settings, and compare every row."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.baikal import config, current_database
from baikalctl.changes import data_steps, migration, staging, transaction
from baikalctl.changes.transaction import Change
from baikalctl.commands import apply
from baikalctl.database import interface, registry, transfer
from baikalctl.database.sqlite import Sqlite
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host import lock
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database

    Say = Callable[[str], None]


def run(_: argparse.Namespace) -> int:
    """Move the data, and apply all settings to it."""
    move_here(DesiredState.on_this_host(), output.say)
    return 0


def move_here(declared: DesiredState, say: Say) -> None:
    """Move the data to the ``declared`` database, and apply all settings to it; raises :class:`HostError`."""
    with lock.volume_not_served("move"), lock.hold_lock(paths.LOCK, say):
        transaction.recover(say)
        for sentence, act in data_steps.of_server(declared, current_database.of(declared)):
            say(sentence)
            act()
        with apply.exclusive_on_database(current_database.of(declared)):
            move(declared, say, lambda: apply.take_steps(declared, say))


def move(declared: DesiredState, say: Say, finish: Callable[[], None] = lambda: None) -> None:
    """Move the data to the ``declared`` database; if that fails, roll back and raise :class:`HostError`.

    To be called under the host's lock. ``finish`` is called with the moved data before any client uses it.
    """
    configuration = config.read()
    if not configuration:
        message = f"{paths.BAIKAL_YAML} does not exist: this host has no data yet, so there is nothing to move"
        raise HostError(message)
    section = config.database_section(declared.database, declared.database.reveal())
    version = str(configuration["system"]["configured_version"])
    source, target = registry.of(configuration.get("database", {})), registry.of(section)
    if not config.differs(configuration.get("database", {}), section) and (str(source) == str(target) or _has(target)):
        say(f"the data is already in {target}")
        return
    _refuse_full(target)
    counts: dict[str, int] = {}

    def prepare() -> Configuration:
        confined(lambda: source.snapshot(Path(paths.INCOMING) / staging.SQLITE), THOROUGH)
        changed, moved = migration.complete(configuration, version, section)
        counts.update(moved)
        return changed

    def verify() -> None:
        say("compare every row")
        _compare(source, target)
        finish()

    change = Change(
        what=f"the move from {source} to {target}",
        label="move",
        version=version,
        target=target,
        source=source,
        prepare=prepare,
        finish=verify,
        moves=True,
    )
    kept = transaction.carry_out(change, say)
    if isinstance(source, Sqlite):  # only this host uses it, and a leftover file would prevent a move back
        confined(source.abandon)
    say(
        f"moved to {target}: {interface.counts_in_words(counts)}; all rows were compared; the old data is kept in {kept}"
    )


def _has(target: Database) -> bool:
    """Tell whether ``target`` has Baïkal's tables: then the database server itself was moved, with its data."""
    return confined(target.installed)


def _refuse_full(target: Database) -> None:
    def count() -> dict[str, int]:
        if not target.installed():
            return {}
        with contextlib.closing(target.connect()) as connection:
            return interface.counts(connection)

    counts = confined(count)
    if any(counts.values()):
        remedy = "move it away" if isinstance(target, Sqlite) else "empty it, or set another database_name"
        message = f"{target} already contains data ({interface.counts_in_words(counts)}); {remedy}"
        raise HostError(message)


def _compare(database: Database, target: Database) -> None:
    """Raise :class:`HostError` if a row differs between ``database`` and ``target``; no process may write during this."""
    with staging.incoming() as path:

        def compare() -> str:
            copies = []
            for name, each in (("here", database), ("there", target)):
                copies.append(path / "Specific/db" / name)
                each.snapshot(copies[-1])
            return transfer.difference(*copies)

        wrong = confined(compare, THOROUGH)
    if wrong:
        message = f"the copy differs from the original: {wrong}"
        raise HostError(message)
