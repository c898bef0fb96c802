"""``baikalctl backup``: an archive of everything is made, kept for as long as is declared, and remembered."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.backup import archive, catalog, collect, manifest, retention, shared, status
from baikalctl.baikal import current_database
from baikalctl.changes import transaction
from baikalctl.database import interface
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.lock import hold_lock
from baikalctl.host.tempdir import temporary_directory
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo
    from pathlib import Path

    from baikalctl.backup.catalog import StoredArchive
    from baikalctl.backup.manifest import Manifest
    from baikalctl.desired.state import DesiredState

    Say = Callable[[str], None]

RETRY_S = 3600
"""After a failure, a container tries again so much later; systemd does on a machine."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """An archive that was just made."""

    stored: StoredArchive
    said: Manifest


def create_archive(declared: DesiredState, label: str, say: Say) -> StoredArchive:
    """Make an archive with a ``label`` such as ``before-upgrade``, and return it; raises :class:`HostError`.

    To be called under the host's lock, by whatever is about to change the data. It goes to no other place.
    """
    with temporary_directory(directories.backups()) as folder:
        description = collect.collect_files(folder, declared, label)
        stored = archive.write(folder, description)
    say(describe(Result(stored=stored, said=description)))
    prune(declared, stored, say)
    return stored


def run(declared: DesiredState, say: Say, *, by_clock: bool = False) -> Result | None:
    """Make an archive, thin out the older ones, and bring it to restic's repository where there is one.

    ``by_clock`` is for whatever calls this when it is time: of several machines with one database, one does it then, and
    for all others there is nothing to do. The result is stored for ``baikalctl check``. Raises :class:`HostError`.
    """
    status.remember(attempt=time.time(), error=status.UNDER_WAY)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_directory(directories.backups()))
            made = _once(declared, folder, say) if by_clock else _archived(declared, folder, say)
        except (HostError, OSError, interface.Error) as error:
            status.remember(error=str(error))
            raise
        if made:
            _upload(declared, folder, say)
    return made


def due(declared: DesiredState) -> bool:
    """Tell whether it is time for an archive, or was while nobody could make one."""
    before = status.read()
    now, where = time.time(), zone(declared)
    if not before.since:
        before = status.remember(since=now)
    if before.error and now - before.attempt < RETRY_S:
        return False
    return schedule.last_due(declared.backup.schedule, now, where) > max(before.success, before.since)


def next_check_s(declared: DesiredState) -> float:
    """Return after how many seconds it may be time; an hour at most, because clocks are set."""
    now = time.time()
    return min(3600.0, max(1.0, schedule.next_due(declared.backup.schedule, now, zone(declared)) - now))


def _once(declared: DesiredState, folder: Path, say: Say) -> Result | None:
    period = manifest.format_time(schedule.last_due(declared.backup.schedule, time.time(), zone(declared)))
    database = current_database.of(declared)
    if not database.shared:
        return _archived(declared, folder, say)
    with current_database.exclusive(database, shared.NAME):
        by = shared.made_by(database, period)
        if not by or status.read().upload_error:  # this machine's last archive isn't in the repository
            made = _archived(declared, folder, say)
            shared.note_made(database, period)
            return made
    say(f"{by}, which has the same database, has made one")
    status.remember(error="", success=time.time(), size=0, by=by, upload_error="")
    return None


def _archived(declared: DesiredState, folder: Path, say: Say) -> Result:
    with hold_lock(paths.LOCK, say):
        transaction.recover(say)  # half of a change is nothing to keep
        say("copy the database, and all that belongs to it")
        description = collect.collect_files(folder, declared, "")
    say("pack it")
    stored = archive.write(folder, description)
    status.remember(error="", success=description.created, size=stored.size, by="")
    prune(declared, stored, say)
    return Result(stored=stored, said=description)


def _upload(declared: DesiredState, folder: Path, say: Say) -> None:
    """Bring what was archived to the repository; where that fails, the archive is there all the same."""
    if not declared.backup.repository:
        status.remember(upload_error="")
        return
    from baikalctl.backup import restic

    say("bring it to restic's repository")
    try:
        restic.upload(declared, folder, say)
    except HostError as error:
        status.remember(upload_error=str(error))
        message = f"{error} (the archive in {paths.BACKUPS} is there all the same)"
        raise HostError(message) from None
    status.remember(upload_error="")


def prune(declared: DesiredState, fresh: StoredArchive, say: Say) -> None:
    """Remove the archives that needn't be kept any longer; never the one that was just made."""
    keep = {"daily": declared.backup.daily, "weekly": declared.backup.weekly, "monthly": declared.backup.monthly}
    other = catalog.all_archives()
    kept = {old.path for old in retention.to_keep(other, keep, time.time(), zone(declared))} | {fresh.path}
    leaving = [old for old in other if old.path not in kept]
    for old in leaving:
        old.path.unlink(missing_ok=True)
    if leaving:
        say(f"{len(leaving)} older archive{'' if len(leaving) == 1 else 's'} removed, {len(other) - len(leaving)} kept")


def describe(made: Result) -> str:
    """Return in one line which archive that is, its size, and what is in it."""
    return f"{made.stored.path}, {status.in_words(made.stored.size)}: {contents(made.said.counts)}"


def as_json(made: Result) -> str:
    """Return the same for programs: what brings it home needs its checksum."""
    fields = {"path": str(made.stored.path), "size": made.stored.size, "counts": dict(made.said.counts)}
    return json.dumps(fields | {"sha256": archive.describe(made.stored.path).sha256})


def contents(counts: Mapping[str, int]) -> str:
    """Return in words what people have in the database with so many rows by table."""
    return interface.counts_in_words({word: counts.get(table, 0) for word, table in interface.COUNTED.items()})


def zone(declared: DesiredState) -> tzinfo:
    """Return the server's time zone."""
    return schedule.zone(str(declared.system["timezone"]))
