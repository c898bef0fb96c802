"""The results of the last backups, for ``baikalctl check`` and for the schedule: state/backup.json."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import write

UNDER_WAY = "it was interrupted or is still running"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of the last backups. All times are in seconds since the epoch, 0 if there was none."""

    since: float = 0
    """Since when backups are scheduled, if that is known."""
    attempt: float = 0
    """When the last attempt began."""
    error: str = ""
    """Why it failed; empty if it didn't."""
    success: float = 0
    """When the newest archive was made."""
    size: int = 0
    """Its size in bytes."""
    by: str = ""
    """The other machine with the same database that has made it."""
    upload_error: str = ""
    """Why the upload to restic failed; empty if it succeeded, or if there is no repository."""


def read() -> Outcome:
    """Return the stored result, or an empty one if there is no valid one."""
    try:
        fields = json.loads(_place().read_text(encoding="utf-8"))
        outcome = Outcome(**fields)
        now = time.time()
        # A clock that was once wrong must not delay backups for years.
        return dataclasses.replace(outcome, success=min(outcome.success, now), attempt=min(outcome.attempt, now))
    except (FileNotFoundError, ValueError, TypeError):
        return Outcome()


def remember(**changed: object) -> Outcome:
    """Change the stored result, unless the disk is full; return it."""
    after = dataclasses.replace(read(), **changed)  # type: ignore[arg-type]  # mypy can't know which
    with contextlib.suppress(HostError):
        write(_place(), json.dumps(dataclasses.asdict(after), ensure_ascii=False, indent=1) + "\n")
    return after


def in_words(number: float) -> str:
    """Return a size in bytes with a readable unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"


def _place() -> Path:
    return Path(paths.STATE) / "backup.json"
