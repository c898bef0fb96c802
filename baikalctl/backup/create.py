"""``baikalctl backup``: make an archive, remove old archives, upload to restic, and store the result for the checks."""

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
from baikalctl.output import counted
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
"""Seconds after which a container tries again after a failure; on a machine, systemd does that."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """An archive that was just made."""

    stored: StoredArchive
    description: Manifest


def create_archive(declared: DesiredState, label: str, say: Say) -> StoredArchive:
    """Make an archive with a ``label`` such as ``before-upgrade``, and return it; raises :class:`HostError`.

    To be called under the host's lock, before the data is changed. It is not uploaded.
    """
    with temporary_directory(directories.backups()) as folder:
        description = collect.collect_files(folder, declared, label)
        stored = archive.write(folder, description)
    say(describe(Result(stored=stored, description=description)))
    prune(declared, stored, say)
    return stored


def run(declared: DesiredState, say: Say, *, by_clock: bool = False) -> Result | None:
    """Make an archive, remove old ones, and upload it to the restic repository, if there is one.

    ``by_clock`` is for scheduled backups: of several machines with one database, only one then makes an archive; on the
    others, None is returned. The result is stored for ``baikalctl check``. Raises :class:`HostError`.
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
    """Tell whether an archive is due, or was due while none could be made."""
    before = status.read()
    now, where = time.time(), zone(declared)
    if not before.since:
        before = status.remember(since=now)
    if before.error and now - before.attempt < RETRY_S:
        return False
    return schedule.last_due(declared.backup.schedule, now, where) > max(before.success, before.since)


def next_check_s(declared: DesiredState) -> float:
    """Return after how many seconds an archive may be due; an hour at most, because clocks are set."""
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
    say(f"{by}, which uses the same database, has made the backup")
    status.remember(error="", success=time.time(), size=0, by=by, upload_error="")
    return None


def _archived(declared: DesiredState, folder: Path, say: Say) -> Result:
    with hold_lock(paths.LOCK, say):
        transaction.recover(say)  # an unfinished change must not be archived
        say("copy the database, the configuration and the keys")
        description = collect.collect_files(folder, declared, "")
    say("compress the archive")
    stored = archive.write(folder, description)
    status.remember(error="", success=description.created, size=stored.size, by="")
    prune(declared, stored, say)
    return Result(stored=stored, description=description)


def _upload(declared: DesiredState, folder: Path, say: Say) -> None:
    """Upload the content of the archive to the repository; if that fails, the archive stays."""
    if not declared.backup.repository:
        status.remember(upload_error="")
        return
    from baikalctl.backup import restic

    say("upload it to the restic repository")
    try:
        restic.upload(declared, folder, say)
    except HostError as error:
        status.remember(upload_error=str(error))
        message = f"{error} (the archive in {paths.BACKUPS} was made)"
        raise HostError(message) from None
    status.remember(upload_error="")


def prune(declared: DesiredState, fresh: StoredArchive, say: Say) -> None:
    """Remove the archives that retention doesn't keep, but never ``fresh``, the one that was just made."""
    keep = {"daily": declared.backup.daily, "weekly": declared.backup.weekly, "monthly": declared.backup.monthly}
    other = catalog.all_archives()
    kept = {old.path for old in retention.to_keep(other, keep, time.time(), zone(declared))} | {fresh.path}
    leaving = [old for old in other if old.path not in kept]
    for old in leaving:
        old.path.unlink(missing_ok=True)
    if leaving:
        say(f"{counted(len(leaving), 'older archive')} removed, {len(other) - len(leaving)} kept")


def describe(made: Result) -> str:
    """Return the path, the size and the contents of the archive, in one line."""
    return f"{made.stored.path}, {status.in_words(made.stored.size)}: {contents(made.description.counts)}"


def as_json(made: Result) -> str:
    """Return the same as JSON; backup.py needs the checksum to download it."""
    fields = {"path": str(made.stored.path), "size": made.stored.size, "counts": dict(made.description.counts)}
    return json.dumps(fields | {"sha256": archive.describe(made.stored.path).sha256})


def contents(counts: Mapping[str, int]) -> str:
    """Return in words what users have in a database with so many rows by table."""
    return interface.counts_in_words({word: counts.get(table, 0) for word, table in interface.COUNTED.items()})


def zone(declared: DesiredState) -> tzinfo:
    """Return the server's time zone."""
    return schedule.zone(str(declared.system["timezone"]))
