"""A snapshot of all data of a corpus' users, and a synchronised client per collection, to compare with later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.lab.contents import Contents, compare, fetch_all
from tests.lab.dav import Dav
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.syncing import Syncer

if TYPE_CHECKING:
    from tests.lab.corpus import Corpus
    from tests.lab.server import Server


@dataclass
class DataSnapshot:
    """All data of a corpus' users at one moment, and a client of each collection that was synchronised then."""

    corpus: Corpus
    before: Contents
    syncers: list[Syncer]
    exact: bool = True

    @classmethod
    def take(cls, server: Server, corpus: Corpus, *, exact: bool = True) -> Self:
        """Fetch everything; without ``exact``, CR is left out, which is faster."""
        before = _fetch(server, corpus, exact=exact)
        syncers = [
            Syncer(Dav(server.url, user, PASSWORD), href)
            for user in corpus.names()
            for href in before.tokens
            if f"/{user}/" in href
        ]
        for syncer in syncers:
            syncer.sync()
        return cls(corpus, before, syncers, exact)

    def differences(self, server: Server) -> list[str]:
        """Return the differences on ``server``, and the clients that see a change or have to start over."""
        differences = compare(self.before, _fetch(server, self.corpus, exact=self.exact), tokens=False)
        for syncer in self.syncers:
            syncer.dav.close()
            syncer.dav.url = server.url
            synced = syncer.sync()
            if synced.started_over or synced.changed or synced.gone:
                differences.append(f"{syncer.collection} of {syncer.dav.user}: {synced}")
            differences += syncer.errors()
            syncer.dav.close()
        return differences


def _fetch(server: Server, corpus: Corpus, *, exact: bool) -> Contents:
    """Fetch everything; an error includes the end of the web server's log."""
    try:
        return fetch_all(server.url, corpus.people(), exact=exact)
    except LabError as error:
        message = f"{error}\n{server.machine.run('tail -n 5 /var/log/nginx/error.log')}"
        raise LabError(message) from None
