"""The results of the backups so far, for ``baikalctl check`` and for the timer: state/backup.json."""

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
    """All times are in seconds since the epoch, 0 where there was none."""

    since: float = 0
    """From when on they are made by the clock, where that is known."""
    attempt: float = 0
    """When the last one began."""
    error: str = ""
    """Why it failed; nothing where it didn't."""
    success: float = 0
    """When the newest archive was made."""
    size: int = 0
    """Its bytes."""
    by: str = ""
    """Which other machine with the same database has made it."""
    upload_error: str = ""
    """Why restic's repository doesn't have it; nothing where it has, or there is none."""


def read() -> Outcome:
    """Return what is remembered; where that can't be understood, nothing is."""
    try:
        fields = json.loads(_place().read_text(encoding="utf-8"))
        found = Outcome(**fields)
        now = time.time()
        # A clock that was wrong and has been set right must not keep anybody waiting for years.
        return dataclasses.replace(found, success=min(found.success, now), attempt=min(found.attempt, now))
    except (FileNotFoundError, ValueError, TypeError):
        return Outcome()


def remember(**changed: object) -> Outcome:
    """Change what is remembered, as far as there is room for it; return all of it."""
    after = dataclasses.replace(read(), **changed)  # type: ignore[arg-type]  # mypy can't know which
    with contextlib.suppress(HostError):
        write(_place(), json.dumps(dataclasses.asdict(after), ensure_ascii=False, indent=1) + "\n")
    return after


def in_words(number: float) -> str:
    """Return a size in bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"


def _place() -> Path:
    return Path(paths.STATE) / "backup.json"
