"""``baikalctl apply``: install and configure Baïkal as in the settings, without its web installer.

Certificate, configuration, database and accounts are compared first, and changed only if they differ. Every step is atomic
or can be repeated, so the next run fixes an interrupted one.
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
    """Apply the settings, or print the steps (``--plan``)."""
    declared = DesiredState.on_this_host()
    if chosen.plan:
        output.lines(steps.pending(declared) or ["nothing to do"])
    else:
        apply(declared)
    return 0


def apply(declared: DesiredState, say: Callable[[str], None] = output.line) -> None:
    """Apply the settings in ``declared`` to this host, and report each step; raises :class:`HostError` if one fails."""
    with hold_lock(paths.LOCK, say):
        transaction.recover(say)
        for sentence, act in steps.ownership_steps():  # before these files are read
            say(sentence)
            act()
        data_steps.refuse_other_database(config.read(), current_database.section(declared))
        with exclusive_on_database(current_database.of(declared)):
            _upgrade(declared, say)
            take_steps(declared, say)


def finish(say: Callable[[str], None] = output.line) -> None:
    """Apply the settings of this host to data that was just put in place, within a run that holds the lock.

    In a one-off container, the next start does that.
    """
    declared = state.deployed_state()
    # If the active release is older than the declared one, the next run upgrades it first.
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
        remedy = database.remedy(error, "run this again, or restore a backup")
        message = f"{database} can't be updated ({error}); {remedy}"
        raise HostError(message) from None


def exclusive_on_database(database: Database) -> contextlib.AbstractContextManager[None]:
    """Hold the lock for updating or replacing a database that several machines share."""
    return current_database.exclusive(database, "apply")


def _upgrade(declared: DesiredState, say: Callable[[str], None]) -> None:
    """Upgrade the data to the declared release, if it is of an older one."""
    section = current_database.section(declared)
    configuration = confined(lambda: data_steps.with_known_version(config.read(), declared, section))
    if migration.older_version(configuration, declared.version):
        from baikalctl.backup import create
        from baikalctl.commands import upgrade

        create.create_archive(declared, "before-upgrade", say)
        upgrade.upgrade(configuration, section, declared.version, say, lambda: take_steps(declared, say))


def _back_up(declared: DesiredState) -> None:
    """Make an archive before accounts are removed."""
    from baikalctl.backup import create

    create.create_archive(declared, "before-removal", output.line)
