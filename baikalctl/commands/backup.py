"""``baikalctl backup``: make an archive, list the archives, or verify one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.backup import create, listing
from baikalctl.desired.state import DesiredState

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def run(chosen: argparse.Namespace) -> int:
    """Make, list or verify archives; with ``--sleep``, this process then waits until the next archive is due."""
    if chosen.backup == "verify":  # also where nothing was deployed yet
        output.line(listing.verify(chosen.archive, DesiredState.on_this_host))
        return 0
    declared = DesiredState.on_this_host()
    if chosen.backup == "list":
        archives = listing.lines(declared, output.print_error)
        output.page(listing.as_json(archives) if chosen.json else listing.table(archives))
        return 0
    if not chosen.sleep or create.due(declared):
        _make(declared, chosen)
    if chosen.sleep:
        pause = str(int(create.next_check_s(declared)) + 1)
        os.execv("/usr/bin/sleep", ["sleep", pause])  # noqa: S606 - no shell is meant
    return 0


def _make(declared: DesiredState, chosen: argparse.Namespace) -> None:
    by_clock = chosen.quiet or chosen.sleep
    say: Callable[[str], None] = _nothing if by_clock else output.say
    made = create.run(declared, output.print_error if chosen.json else say, by_clock=by_clock)
    if made:
        output.line(create.as_json(made) if chosen.json else create.describe(made))


def _nothing(_: str) -> None:
    pass
