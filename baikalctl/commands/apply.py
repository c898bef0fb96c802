"""``baikalctl apply``: Baïkal itself as declared, without its web installer.

Certificate, configuration, database and accounts, each looked at first and changed only where it differs. Every step
is atomic or can be repeated, so an interrupted run is fixed by the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.baikal import config, current_database, release
from baikalctl.changes import data_steps, migration, steps, transaction
from baikalctl.database import interface
from baikalctl.desired import state
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host import runtime
from baikalctl.host.boundary import confined
from baikalctl.host.lock import hold_lock

if TYPE_CHECKING:
    import argparse
    import contextlib
    from collections.abc import Callable

    from baikalctl.database.interface import Database


def run(chosen: argparse.Namespace) -> int:
    """Apply, or print what would be done (``--plan``)."""
    declared = DesiredState.on_this_host()
    if chosen.plan:
        output.lines(steps.pending(declared) or ["nothing to do"])
    else:
        apply(declared)
    return 0


def apply(declared: DesiredState, say: Callable[[str], None] = output.line) -> None:
    """Bring this host's Baïkal to what is ``declared``, saying each step; raises :class:`HostError` if it can't be."""
    with hold_lock(paths.LOCK, say):
        transaction.recover(say)
        for sentence, act in steps.ownership_steps():  # before any of it is read
            say(sentence)
            act()
        data_steps.refuse_other_database(config.read(), current_database.section(declared))
        with exclusive_on_database(current_database.of(declared)):
            _upgrade(declared, say)
            take_steps(declared, say)


def finish(say: Callable[[str], None] = output.line) -> None:
    """Bring data that was just put in place to what is declared on this host, within a run that holds the lock.

    In a container that isn't started yet, the start does that.
    """
    declared = state.deployed_state()
    # With an older release than the declared one, an upgrade is the next thing to do, and not by this.
    if declared and not runtime.in_one_off_container() and declared.version == release.current():
        take_steps(declared, say)


def take_steps(declared: DesiredState, say: Callable[[str], None]) -> None:
    """Take every step."""
    try:
        for sentence, act in steps.steps(declared, lambda: _back_up(declared)):
            say(sentence)
            act()
    except interface.Error as error:
        database = current_database.of(declared)
        remedy = database.remedy(error, "run again, or restore a backup")
        message = f"{database} can't be brought up to date ({error}); {remedy}"
        raise HostError(message) from None


def exclusive_on_database(database: Database) -> contextlib.AbstractContextManager[None]:
    """Hold the lock for updating or replacing a database that several machines share."""
    return current_database.exclusive(database, "apply")


def _upgrade(declared: DesiredState, say: Callable[[str], None]) -> None:
    """Have the declared release be the one that serves: with its data, where that is of an older one."""
    section = current_database.section(declared)
    found = confined(lambda: data_steps.with_known_version(config.read(), declared, section))
    if migration.older_version(found, declared.version):
        from baikalctl.backup import create
        from baikalctl.commands import upgrade

        create.create_archive(declared, "before-upgrade", say)
        upgrade.upgrade(found, section, declared.version, say, lambda: take_steps(declared, say))


def _back_up(declared: DesiredState) -> None:
    """Make an archive before accounts are removed."""
    from baikalctl.backup import create

    create.create_archive(declared, "before-removal", output.line)
