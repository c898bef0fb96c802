"""Findings about backups: from the results that were stored, without reading an archive, because every run checks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.backup import status
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState


OVERDUE, LOST = 1.5, 3
"""In periods: after so many without an archive something is wrong, and after so many it is as if there were no backup."""
REMEDY = "run baikalctl backup; it prints what is wrong"
HOUR_S, DAY_S = 3600, 86400


def findings(declared: DesiredState) -> Iterator[Finding]:
    """Yield whether the newest archive is as new as it should be, and whether restic's repository has it."""
    if not declared.backup.on:
        yield Finding("backup", OK, "is off: no archives are made on a schedule")
        return
    found, now = status.read(), time.time()
    waited = now - (max(found.success, _since(found, now)) or now)
    periods = waited / schedule.period_s(declared.backup.schedule)
    newest = _newest(found, now)
    if periods >= LOST:
        why = f"the last attempt failed: {found.error}" if found.error else "no backup was attempted"
        yield Finding("backup", FAILED, f"{newest}, and {why}", REMEDY)
    elif found.error and found.error != status.UNDER_WAY:
        yield Finding("backup", WARNING, f"{newest}; the last attempt failed: {found.error}", REMEDY)
    elif periods > OVERDUE:
        yield Finding("backup", WARNING, f"{newest}, and the next is overdue", REMEDY)
    else:
        due = schedule.next_due(declared.backup.schedule, now, schedule.zone(str(declared.system["timezone"])))
        yield Finding("backup", OK, f"{newest}; the next is due in {_span(due - now)}")
    if found.upload_error and declared.backup.repository:
        message = f"the newest archive is only in {paths.BACKUPS}, not in the restic repository: {found.upload_error}"
        yield Finding("backup", WARNING, message, REMEDY)


def _newest(found: status.Outcome, now: float) -> str:
    if not found.success:
        return "no archive has been made yet"
    what = f"made by {found.by}, which uses the same database" if found.by else status.in_words(found.size)
    return f"the newest archive is {_span(now - found.success)} old, {what}"


def _since(found: status.Outcome, now: float) -> float:
    """Return since when archives are made by the clock, or 0: a container's first start tells, or a machine's timer."""
    if found.since:
        return min(found.since, now)
    try:
        return min(Path(paths.BACKUP_TIMER).stat().st_mtime, now)
    except OSError:
        return 0


def _span(seconds: float) -> str:
    if seconds < 2 * HOUR_S:
        return f"{max(0, seconds) / 60:.0f} minutes"
    return f"{seconds / HOUR_S:.0f} hours" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"
