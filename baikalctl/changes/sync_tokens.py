"""After a restore, clients that had synchronised later than the archive are told what is different now.

A client asks what has changed since its token (RFC 6578), which in sabre/dav is a number that grows with each write.
Data that comes back has smaller ones, and of a number that it hasn't reached sabre/dav says "nothing changed"
(CalDAV/Backend/PDO.php, getChangesForCalendar): the client would go on with what isn't there any more. So tokens never
go back, and what may be different is listed as changed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import staging, transaction
from baikalctl.database import interface, sqlite_file
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from baikalctl.host import safe_copy
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Connection


MODIFIED, DELETED = 2, 3
"""``operation`` in the tables of changes (sabre/dav, CalDAV/Backend/PDO.php)."""
LEAP = 1_000_000
"""By how much tokens grow where nobody knows how far they had come: more than anybody writes between two archives."""
REPLACED = "Specific/db/replaced.sqlite"
"""In INCOMING, what was kept of the database that is replaced."""
LARGEST = 2_000_000_000
"""Tokens are signed numbers of 32 bits in PostgreSQL."""


@dataclass(frozen=True)
class Kind:
    """Calendars or address books, as tables."""

    collections: str
    objects: str
    changes: str
    key: str
    """The column with the collection's id."""
    named: str
    """A query for the collections, each as id, token, and what tells it from others."""


KINDS = (
    Kind(
        "calendars",
        "calendarobjects",
        "calendarchanges",
        "calendarid",
        "SELECT calendars.id, calendars.synctoken, principaluri || '/' || uri FROM calendars"
        " JOIN calendarinstances ON calendarid = calendars.id WHERE COALESCE(access, 1) = 1",
    ),
    Kind(
        "addressbooks",
        "cards",
        "addressbookchanges",
        "addressbookid",
        "SELECT id, synctoken, principaluri || '/' || uri FROM addressbooks",
    ),
)


def continue_tokens(restored: Path, before: Path | None) -> int:
    """Have the tokens in the SQLite file ``restored`` go on from those ``before``; return how many objects are listed.

    ``before`` is the database that was in place, as SQLite has it. Where it is missing or damaged, or hasn't got a
    collection, every object of that is listed: clients compare ETags, and fetch only what they don't have.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(Sqlite(restored).connect()))
        old: Connection | None = None
        if before is not None:
            with contextlib.suppress(interface.Error, HostError):
                old = stack.enter_context(contextlib.closing(Sqlite(before).connect(read_only=True)))
        listed = sum(_go_on(kind, connection, old) for kind in KINDS)
        connection.commit()
    return listed


def _go_on(kind: Kind, connection: Connection, old: Connection | None) -> int:
    other: dict[tuple[int, str], int] = {}
    if old is not None:
        with contextlib.suppress(interface.Error):
            other = {(number, name): token for number, token, name in old.execute(kind.named)}
    listed = 0
    for number, token, name in connection.execute(kind.named).fetchall():
        now = _objects(kind, connection, number)
        reached = other.get((number, name))
        if old is None or reached is None or reached < token:
            # Nobody knows what clients have been told since.
            at, different = min(token + LEAP, LARGEST), set(now)
        else:
            at = reached
            had = _objects(kind, old, number)
            different = {uri for uri in now.keys() | had.keys() if now.get(uri) != had.get(uri)}
            since = f"SELECT uri FROM {kind.changes} WHERE {kind.key} = ? AND synctoken >= ?"
            different |= {uri for (uri,) in old.execute(since, [number, token])}
            if not different:
                continue
        statement = f"INSERT INTO {kind.changes} (uri, synctoken, {kind.key}, operation) VALUES (?, ?, ?, ?)"
        rows = [(uri, at, number, MODIFIED if uri in now else DELETED) for uri in sorted(different)]
        connection.executemany(statement, rows)
        connection.execute(f"UPDATE {kind.collections} SET synctoken = ? WHERE id = ?", [at + 1, number])
        listed += len(rows)
    return listed


def _objects(kind: Kind, connection: Connection, number: int) -> dict[str, str]:
    """Return the ETag of each object in a collection, by its name."""
    return dict(connection.execute(f"SELECT uri, etag FROM {kind.objects} WHERE {kind.key} = ?", [number]).fetchall())


def notify_clients(found: Configuration, say: Callable[[str], None], *, others: bool = True) -> None:
    """Have clients that had synchronised later than the data in INCOMING be told what is different.

    ``found`` is its baikal.yaml. Where what is replaced is another installation's, that is done only with ``others``.
    """
    path = Path(paths.INCOMING)
    kept = transaction.kept()
    before = None
    if kept and (kept / staging.SQLITE).is_file() and _is_successor(kept, found):
        before = path / REPLACED
        for suffix in ("", *sqlite_file.COMPANIONS):
            safe_copy.copy_in(kept / (staging.SQLITE + suffix), path / (REPLACED + suffix))
    elif not others:
        return
    listed = confined(lambda: continue_tokens(path / staging.SQLITE, before), THOROUGH)
    if listed:
        say(f"{counted(listed, 'object')} marked as changed, so that clients fetch them again")


def _is_successor(kept: Path, found: Configuration) -> bool:
    """Tell whether what is replaced has come from what ``found`` is of: each installation has a key of its own."""
    key = found.get("database", {}).get("encryption_key")
    try:
        return bool(key) and config.understood(kept / staging.YAML).get("database", {}).get("encryption_key") == key
    except (OSError, HostError):
        return False
