"""Backups: archives made by a timer, and stored in a restic repository as well where one is set.

The packages, secrets and the timer are described in ``baikalctl/rendering/backup.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.rendering import timers
from tasks.operations import files, services

if TYPE_CHECKING:
    from pyinfra.api.operation import OperationMeta

    from tasks.target import Target


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if systemd refused the timer in the ``upload``."""
    if target.booted and target.settings.backup:
        files.accepted(name="Check backup configuration", upload=upload, services=(timers.BACKUP,))


def activate(target: Target) -> None:
    """Have the timer running."""
    if target.booted and target.settings.backup:
        timer = (timers.BACKUP,)
        services.running(name="Start backup timer", services=target.services, names=timer, facts=target.facts)
