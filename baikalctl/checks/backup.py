"""Findings about backups, from the stored results: no archive is read, because every deploy runs the checks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.backup import status
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.output import counted
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState


OVERDUE, LOST = 1.5, 3
"""Periods without a new archive: after the first number there is a warning, after the second the check fails."""
REMEDY = "run baikalctl backup; it prints what is wrong"
HOUR_S, DAY_S = 3600, 86400


def findings(declared: DesiredState) -> Iterator[Finding]:
    """Check that the newest archive isn't too old, and that the restic repository has it."""
    if not declared.backup.on:
        yield Finding("backup", OK, "is off: no archives are made on a schedule")
        return
    outcome, now = status.read(), time.time()
    waited = now - (max(outcome.success, _since(outcome, now)) or now)
    periods = waited / schedule.period_s(declared.backup.schedule)
    newest = _newest(outcome, now)
    if periods >= LOST:
        why = f"the last attempt failed: {outcome.error}" if outcome.error else "no backup was attempted"
        yield Finding("backup", FAILED, f"{newest}, and {why}", REMEDY)
    elif outcome.error and outcome.error != status.UNDER_WAY:
        yield Finding("backup", WARNING, f"{newest}; the last attempt failed: {outcome.error}", REMEDY)
    elif periods > OVERDUE:
        yield Finding("backup", WARNING, f"{newest}, and the next is overdue", REMEDY)
    else:
        due = schedule.next_due(declared.backup.schedule, now, schedule.zone(str(declared.system["timezone"])))
        yield Finding("backup", OK, f"{newest}; the next is due in {_span(due - now)}")
    if outcome.upload_error and declared.backup.repository:
        message = f"the newest archive is only in {paths.BACKUPS}, not in the restic repository: {outcome.upload_error}"
        yield Finding("backup", WARNING, message, REMEDY)


def _newest(outcome: status.Outcome, now: float) -> str:
    if not outcome.success:
        return "no archive has been made yet"
    what = f"made by {outcome.by}, which uses the same database" if outcome.by else status.in_words(outcome.size)
    return f"the newest archive is {_span(now - outcome.success)} old, {what}"


def _since(outcome: status.Outcome, now: float) -> float:
    """Return since when backups are scheduled, or 0: a container's first start, or when a machine's timer was installed."""
    if outcome.since:
        return min(outcome.since, now)
    try:
        return min(Path(paths.BACKUP_TIMER).stat().st_mtime, now)
    except OSError:
        return 0


def _span(seconds: float) -> str:
    if seconds < 2 * HOUR_S:
        return counted(round(max(0, seconds) / 60), "minute")
    return counted(round(seconds / HOUR_S), "hour") if seconds < 2 * DAY_S else counted(round(seconds / DAY_S), "day")
