"""``baikalctl certificate``: update the certificate in use, and request a new one if that is due."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.desired.state import DesiredState
from baikalctl.host import atomic_write
from baikalctl.mail import dkim_key
from baikalctl.tls import renewal, selection

if TYPE_CHECKING:
    import argparse


def run(chosen: argparse.Namespace) -> int:
    """Update the certificate; with ``--sleep``, this process then waits until the next check."""
    declared = DesiredState.on_this_host()
    if chosen.prepare:
        _prepare(declared)
        return 0
    options = renewal.Options(skip_delay=chosen.now, force=chosen.renew, quiet=chosen.quiet or chosen.sleep)
    status = renewal.maintain(declared, output.say, options)
    if chosen.sleep:
        pause = str(int(renewal.next_check_s(declared)))
        os.execv("/usr/bin/sleep", ["sleep", pause])  # noqa: S606 - no shell is meant
    return status


def _prepare(declared: DesiredState) -> None:
    """Create the keys that the configuration tests of services need, and refuse unusable files; the deploy holds the lock."""
    if declared.tls == "files":
        selection.declared_pair(declared)
    hook = str(declared.settings.get("acme_dns_hook") or "")
    if hook and declared.asking:
        atomic_write.refuse_writable_by_others(hook)
    for steps in (selection.steps, dkim_key.steps):
        for _, act in steps(declared):
            act()
