"""``baikalctl backup``: an archive of everything is made, kept for as long as is declared, and remembered."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl import (
    archive,
    archives,
    current_database,
    database,
    gathering,
    jobs,
    manifest,
    outcome,
    paths,
    retention,
    schedule,
    transition,
    volume,
)
from baikalctl.faults import HostError
from baikalctl.holding import held
from baikalctl.private import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo
    from pathlib import Path

    from baikalctl.archives import Stored
    from baikalctl.declared import Declared
    from baikalctl.manifest import Manifest

    Say = Callable[[str], None]

RETRY_S = 3600
"""After a failure, a container tries again so much later; systemd does on a machine."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """An archive that was just made."""

    stored: Stored
    said: Manifest


def make(declared: Declared, label: str, say: Say) -> Stored:
    """Make an archive with a ``label`` such as ``before-upgrade``, and return it; raises :class:`HostError`.

    To be called under the host's lock, by whatever is about to change the data. It goes to no other place.
    """
    with private_folder(volume.backups()) as folder:
        said = gathering.gather(folder, declared, label)
        stored = archive.write(folder, said)
    say(describe(Made(stored=stored, said=said)))
    thin(declared, stored, say)
    return stored


def run(declared: Declared, say: Say, *, by_clock: bool = False) -> Made | None:
    """Make an archive, thin out the older ones, and bring it to restic's repository where there is one.

    ``by_clock`` is for whatever calls this when it is time: of several machines with one database, one does it then, and
    for all others there is nothing to do. What became of it is remembered for the doctor. Raises :class:`HostError`.
    """
    outcome.remember(attempt=time.time(), error=outcome.UNDER_WAY)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(volume.backups()))
            made = _once(declared, folder, say) if by_clock else _archived(declared, folder, say)
        except (HostError, OSError, database.Error) as error:
            outcome.remember(error=str(error))
            raise
        if made:
            _upload(declared, folder, say)
    return made


def due(declared: Declared) -> bool:
    """Tell whether it is time for an archive, or was while nobody could make one."""
    before = outcome.read()
    now, where = time.time(), zone(declared)
    if not before.since:
        before = outcome.remember(since=now)
    if before.error and now - before.attempt < RETRY_S:
        return False
    return schedule.last_due(declared.backup.schedule, now, where) > max(before.success, before.since)


def next_look_s(declared: Declared) -> float:
    """Return after how many seconds it may be time; an hour at most, because clocks are set."""
    now = time.time()
    return min(3600.0, max(1.0, schedule.next_due(declared.backup.schedule, now, zone(declared)) - now))


def _once(declared: Declared, folder: Path, say: Say) -> Made | None:
    period = manifest.stamp(schedule.last_due(declared.backup.schedule, time.time(), zone(declared)))
    with jobs.once(current_database.of(declared), "backup", period) as job:
        if job.mine:
            return _archived(declared, folder, say)
    say(f"{job.by}, which has the same database, has made one")
    outcome.remember(error="", success=time.time(), size=0, by=job.by, upload_error="")
    return None


def _archived(declared: Declared, folder: Path, say: Say) -> Made:
    with held(paths.LOCK, say):
        transition.recover(say)  # half of a change is nothing to keep
        say("copy the database, and all that belongs to it")
        said = gathering.gather(folder, declared, "")
    say("pack it")
    stored = archive.write(folder, said)
    outcome.remember(error="", success=said.created, size=stored.size, by="")
    thin(declared, stored, say)
    return Made(stored=stored, said=said)


def _upload(declared: Declared, folder: Path, say: Say) -> None:
    """Bring what was archived to the repository; where that fails, the archive is there all the same."""
    if not declared.backup.repository:
        outcome.remember(upload_error="")
        return
    from baikalctl import restic

    say("bring it to restic's repository")
    try:
        restic.upload(declared, folder, say)
    except HostError as error:
        outcome.remember(upload_error=str(error))
        message = f"{error} (the archive in {paths.BACKUPS} is there all the same)"
        raise HostError(message) from None
    outcome.remember(upload_error="")


def thin(declared: Declared, fresh: Stored, say: Say) -> None:
    """Remove the archives that needn't be kept any longer; never the one that was just made."""
    keep = {"daily": declared.backup.daily, "weekly": declared.backup.weekly, "monthly": declared.backup.monthly}
    there = archives.stored()
    kept = {old.path for old in retention.kept(there, keep, time.time(), zone(declared))} | {fresh.path}
    leaving = [old for old in there if old.path not in kept]
    for old in leaving:
        old.path.unlink(missing_ok=True)
    if leaving:
        say(f"{len(leaving)} older archive{'' if len(leaving) == 1 else 's'} removed, {len(there) - len(leaving)} kept")


def describe(made: Made) -> str:
    """Return in one line which archive that is, its size, and what is in it."""
    return f"{made.stored.path}, {outcome.in_words(made.stored.size)}: {contents(made.said.counts)}"


def as_json(made: Made) -> str:
    """Return the same for programs: what brings it home needs its checksum."""
    fields = {"path": str(made.stored.path), "size": made.stored.size, "counts": dict(made.said.counts)}
    return json.dumps(fields | {"sha256": archive.describe(made.stored.path).sha256})


def contents(counts: Mapping[str, int]) -> str:
    """Return in words what people have in the database with so many rows by table."""
    return database.told({word: counts.get(table, 0) for word, table in database.COUNTED.items()})


def zone(declared: Declared) -> tzinfo:
    """Return the server's time zone."""
    return schedule.zone(str(declared.system["timezone"]))
