"""A client that keeps a collection in step by its sync token, as phones do, and notices when it is led astray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.lab.dav import SYNC, Dav
from tests.lab.errors import LabError

REFUSED: Final = (b"valid-sync-token", b"InvalidSyncToken", b"InvalidToken")
"""What a server says of a token that it doesn't know (RFC 6578, section 3.2), and sabre/dav's exceptions for it."""


@dataclass(frozen=True)
class Synced:
    """What came of one synchronisation."""

    started_over: bool
    """Whether the server didn't take the token, so that everything had to be fetched again."""
    changed: frozenset[str]
    """What is new, or has another ETag than the client knew."""
    gone: frozenset[str]
    listed: int
    """How many addresses the server spoke of: after a start from nothing, all."""


@dataclass
class Syncer:
    """What a client knows of one collection."""

    dav: Dav
    collection: str
    """Its address, such as /dav.php/calendars/jo/default/."""
    token: str = ""
    etags: dict[str, str] = field(default_factory=dict)
    """By address."""

    def sync(self) -> Synced:
        """Ask what has changed since the last time, or for everything where the server no longer knows since when.

        Raises LabError if there is any other answer, and leaves what the client knows as it was.
        """
        started_over = False
        try:
            rows, token = self.dav.rows("REPORT", self.collection, SYNC.format(self.token))
        except LabError as error:
            if not (self.token and any(word.decode() in str(error) for word in REFUSED)):
                raise
            started_over = True
            rows, token = self.dav.rows("REPORT", self.collection, SYNC.format(""))
        present = {row.href: row.etag for row in rows if row.status != 404 and row.href != self.collection}
        gone = {row.href for row in rows if row.status == 404}
        before = self.etags
        kept = {} if started_over else {href: etag for href, etag in before.items() if href not in gone}
        self.etags, self.token = kept | present, token
        changed = frozenset(href for href, etag in self.etags.items() if before.get(href) != etag)
        return Synced(started_over, changed, frozenset(before.keys() - self.etags.keys()), len(rows))

    def wrong(self) -> list[str]:
        """Return what the client, which believes to be in step, has wrong, one sentence each.

        A token from a future that a restore has undone leads there: the server says that nothing has changed.
        """
        true = self.dav.listing(self.collection)
        missing = [f"{href} is there, and the client doesn't know" for href in true.keys() - self.etags.keys()]
        ghosts = [
            f"{href} is not there any more, and the client believes it is" for href in self.etags.keys() - true.keys()
        ]
        stale = [
            f"{href} has the ETag {true[href]}, and the client believes {self.etags[href]}"
            for href in true.keys() & self.etags.keys()
            if true[href] != self.etags[href]
        ]
        return sorted(missing + ghosts + stale)
