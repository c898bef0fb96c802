"""``baikalctl recover``: roll back an interrupted upgrade, restore, import or move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.changes import transaction
from baikalctl.host.install import locked
from baikalctl.host.lock import hold_lock

if TYPE_CHECKING:
    import argparse


def run(chosen: argparse.Namespace) -> int:
    """Roll back; at boot, this runs before PHP starts, and doesn't wait for another process."""
    if not chosen.booting:
        with hold_lock(paths.LOCK, output.say):
            transaction.recover(output.say)
        return 0
    with locked(paths.LOCK, patience_s=0) as ours:
        if ours:  # else the process that holds it is starting PHP
            transaction.recover(output.say, booting=chosen.booting)
    return 0
