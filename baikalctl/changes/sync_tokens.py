"""After a restore, report the differences to clients that have synchronised since the archive was made.

A client requests the changes since its token (RFC 6578). In sabre/dav, a token is a number that grows with each write.
Restored data has smaller numbers, and for a token larger than its own sabre/dav answers "nothing changed"
(CalDAV/Backend/PDO.php, getChangesForCalendar): the client would keep what no longer exists. So tokens never become
smaller, and all objects that may differ are listed as changed.
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
"""How much a token grows if its last value is unknown: more than the number of writes between two archives."""
REPLACED = "Specific/db/replaced.sqlite"
"""In INCOMING: a copy of the database that is replaced."""
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
    """A query for the id, the token and a unique name of each collection."""


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
    """Make the tokens in the SQLite file ``restored`` continue from those in ``before``; return how many objects are listed.

    ``before`` is the replaced database, as an SQLite file. If it is missing or damaged, or doesn't have a collection, all
    objects of that collection are listed: clients compare ETags, and fetch only what they don't have.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(Sqlite(restored).connect()))
        old: Connection | None = None
        if before is not None:
            with contextlib.suppress(interface.Error, HostError):
                old = stack.enter_context(contextlib.closing(Sqlite(before).connect(read_only=True)))
        listed = sum(_continue(kind, connection, old) for kind in KINDS)
        connection.commit()
    return listed


def _continue(kind: Kind, connection: Connection, old: Connection | None) -> int:
    other: dict[tuple[int, str], int] = {}
    if old is not None:
        with contextlib.suppress(interface.Error):
            other = {(number, name): token for number, token, name in old.execute(kind.named)}
    listed = 0
    for number, token, name in connection.execute(kind.named).fetchall():
        now = _objects(kind, connection, number)
        reached = other.get((number, name))
        if old is None or reached is None or reached < token:
            # It is unknown which changes clients have seen since.
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


def notify_clients(configuration: Configuration, say: Callable[[str], None], *, others: bool = True) -> None:
    """List what differs between the data in INCOMING and the replaced data as changed, for clients that synchronise.

    ``configuration`` is the new baikal.yaml. If the replaced data is of another installation, this is done only with
    ``others``.
    """
    path = Path(paths.INCOMING)
    kept = transaction.kept()
    before = None
    if kept and (kept / staging.SQLITE).is_file() and _is_successor(kept, configuration):
        before = path / REPLACED
        for suffix in ("", *sqlite_file.COMPANIONS):
            safe_copy.copy_in(kept / (staging.SQLITE + suffix), path / (REPLACED + suffix))
    elif not others:
        return
    listed = confined(lambda: continue_tokens(path / staging.SQLITE, before), THOROUGH)
    if listed:
        say(f"{counted(listed, 'object')} marked as changed, so that clients fetch them again")


def _is_successor(kept: Path, configuration: Configuration) -> bool:
    """Tell whether the replaced data is of the same installation: each installation has its own encryption key."""
    key = configuration.get("database", {}).get("encryption_key")
    try:
        return bool(key) and config.understood(kept / staging.YAML).get("database", {}).get("encryption_key") == key
    except (OSError, HostError):
        return False
