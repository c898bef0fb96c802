"""A client that synchronises a collection by its sync token, as phones do, and can detect wrong answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.lab.dav import SYNC, Dav
from tests.lab.errors import LabError

REFUSED: Final = (b"valid-sync-token", b"InvalidSyncToken", b"InvalidToken")
"""A server's answer to an unknown token (RFC 6578, section 3.2), and sabre/dav's exceptions for it."""


@dataclass(frozen=True)
class Synced:
    """Result of one synchronisation."""

    started_over: bool
    """Whether the server refused the token, so that everything was fetched again."""
    changed: frozenset[str]
    """Objects that are new or have a new ETag."""
    gone: frozenset[str]
    listed: int
    """How many addresses the server listed: all in a first synchronisation."""


@dataclass
class Syncer:
    """A client's state of one collection."""

    dav: Dav
    collection: str
    """The collection's address, such as /dav.php/calendars/jo/default/."""
    token: str = ""
    etags: dict[str, str] = field(default_factory=dict)
    """By address."""

    def sync(self) -> Synced:
        """Fetch the changes since the last time, or everything if the server no longer knows the token.

        Raises LabError on any other answer, and then keeps the client's state.
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

    def errors(self) -> list[str]:
        """Compare the client's state with the server's, and return the errors, one sentence each.

        A restore can cause some: with a token from after the archive, a server may report no changes.
        """
        true = self.dav.listing(self.collection)
        missing = [f"{href} exists, but the client doesn't know it" for href in true.keys() - self.etags.keys()]
        ghosts = [f"{href} no longer exists, but the client still has it" for href in self.etags.keys() - true.keys()]
        stale = [
            f"{href} has the ETag {true[href]}, but the client has {self.etags[href]}"
            for href in true.keys() & self.etags.keys()
            if true[href] != self.etags[href]
        ]
        return sorted(missing + ghosts + stale)
