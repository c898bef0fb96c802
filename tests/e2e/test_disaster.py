"""Disaster recovery: a company's data is archived during writes, the machine is destroyed, and one command restores it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab import corpus_rows
from tests.lab.contents import Contents, compare, fetch_all
from tests.lab.corpus import Corpus, book_uri, calendar_uri
from tests.lab.dav import Dav
from tests.lab.deploying import REPOSITORY, pyinfra
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import PASSWORD
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.objects import md5
from tests.lab.server import Server
from tests.lab.sql import SqliteFile
from tests.lab.syncing import Syncer
from tests.lab.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


LIMIT_S = 60
SUMS = """python3 -c '
import hashlib, sqlite3
connection = sqlite3.connect("/var/lib/baikal/Specific/db/db.sqlite")
rows = [row for table, data in (("calendarobjects", "calendardata"), ("cards", "carddata"))
    for row in connection.execute(f"SELECT etag, CAST({data} AS BLOB) FROM {table}")]
assert len(rows) > 25000
print(sum(hashlib.md5(data).hexdigest() != etag for etag, data in rows))
'"""
"""Prints the number of stored objects with an ETag that isn't their MD5."""


@pytest.fixture
def _home() -> Iterator[None]:
    """Restore the folder of downloaded archives afterwards."""
    folder = REPOSITORY / "backups"
    there_before = set(folder.glob("*"))
    yield
    for path in set(folder.glob("*")) - there_before:
        shutil.rmtree(path)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def expected_objects(corpus: Corpus) -> dict[str, tuple[str, bytes]]:
    """Return ETag and bytes of every object of the corpus' users, by address."""
    objects = {}
    names = corpus.names()
    for number, user in enumerate(names):
        sharee = names[(number + 1) % len(names)]
        for calendar in range(corpus.calendars):
            collections = [f"/dav.php/calendars/{user}/{calendar_uri(calendar)}/"]
            if calendar == 0:
                collections.append(f"/dav.php/calendars/{sharee}/von-{user}/")
            for thing in corpus.calendar_objects(user, calendar):
                for collection in collections:
                    objects[f"{collection}{thing.uri}"] = (f'"{md5(thing.data)}"', thing.data.encode())
        for book in range(corpus.books):
            for uri, data in corpus.cards(user, book):
                objects[f"/dav.php/addressbooks/{user}/{book_uri(book)}/{uri}"] = (f'"{md5(data)}"', data.encode())
    return objects


def without_cr(contents: Contents) -> Contents:
    """Return a copy without the CR at the ends of lines."""
    objects = {href: (etag, data.replace(b"\r\n", b"\n")) for href, (etag, data) in contents.objects.items()}
    return Contents(contents.tokens, objects)


@pytest.mark.usefixtures("_home")
def test_all_data_is_restored_on_a_new_machine(engine: Engine, release: Release) -> None:
    """Every object of 20 users is restored, byte for byte and with its ETag, by each user's own login.

    All objects are fetched in batches of 100, without the CR of their lines; those of two users one by one. So each
    ETag, the MD5 of all bytes, is also compared with the stored bytes. In addition, all acknowledged writes of eight
    writers from before the archive are restored, and synchronised clients continue without a difference.
    """
    corpus, image = Corpus(), machine_image(engine, "debian:12", PACKAGES)
    with Machine.start(engine, image) as machine:
        server = Server(machine, release)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        corpus_rows.fill(SqliteFile(engine, machine.name), corpus)
        syncers = [
            Syncer(Dav(server.url, user, PASSWORD), f"/dav.php/calendars/{user}/default/") for user in corpus.names()
        ]
        for syncer in syncers:
            syncer.sync()
        with Writers(server.url, "jo", PASSWORD) as writers:
            assert wait_until(lambda: writers.acknowledged > 100, LIMIT_S), writers
            early = {href: kept.acknowledged for href, kept in list(writers.expected.items()) if kept.acknowledged}
            outcome = pyinfra([server.host()], "-y", deploy="backup.py")
            assert outcome.status == 0, outcome.output
            seen = writers.acknowledged
            assert wait_until(lambda: writers.acknowledged > seen, LIMIT_S), "no further write was acknowledged"
        assert (writers.wrong, writers.unavailable) == ([], 0), writers
        # Objects without later changes.
        early = {href: data for href, data in early.items() if writers.expected[href].acknowledged == data}
        assert len(early) > 20
    with Machine.start(engine, image, name=machine.name) as machine:
        server = Server(machine, release)
        outcome = pyinfra([server.host()], "-y", "--json", deploy="restore.py")
        assert outcome.status == 0, outcome.output
        expected, few = expected_objects(corpus), corpus.names()[:2]
        assert len(expected) == 29_000
        looked_at = fetch_all(server.url, corpus.people(), exact=False)
        wrong = compare(without_cr(Contents(looked_at.tokens, expected)), without_cr(looked_at))
        assert not wrong, wrong[:10]
        exact = fetch_all(server.url, dict.fromkeys(few, PASSWORD)).objects
        assert exact == {href: each for href, each in expected.items() if href.split("/")[3] in few}
        assert machine.run(SUMS).strip() == "0"
        for syncer in syncers:
            syncer.dav.close()
            syncer.dav.url = server.url
            synced = syncer.sync()
            assert (synced.started_over, synced.changed, synced.gone) == (False, frozenset(), frozenset())
        theirs = fetch_all(server.url, {"jo": PASSWORD}).objects
        missing = [href for href, data in early.items() if theirs.get(href, ("", b""))[1] != data]
        assert not missing
        assert server.check()["healthy"]
        again = server.deploy()
        assert (again.status, again.changes) == (0, 0), again.output
