"""Tests of the lab's corpus and its clients: rows equal those that the server writes, and every loss is detected."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from tests.lab import corpus as corpora
from tests.lab import corpus_rows
from tests.lab.acme import Network
from tests.lab.bare_release import CA, SQLITE, BareRelease
from tests.lab.certificates import Signer
from tests.lab.contents import compare, fetch_all
from tests.lab.corpus import KINDS, SMALL, Corpus
from tests.lab.databases import BACKENDS, DatabaseServer
from tests.lab.dav import Dav
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import PASSWORD
from tests.lab.sql import SqliteFile
from tests.lab.syncing import Syncer
from tests.lab.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.database_image import Backend
    from tests.lab.release import Release
    from tests.lab.server import Server


USER: Final = SMALL.names()[0]
CALENDAR: Final = f"/dav.php/calendars/{USER}/default/"
NOTED: Final = (
    "uri, etag, size, componenttype, firstoccurence, lastoccurence, uid, typeof(calendardata), hex(calendardata)"
)
WRITES: Final = 60


@pytest.fixture
def filled(server: Server) -> Iterator[Server]:
    """Yield the server with a small corpus, which is removed afterwards."""
    database = SqliteFile(server.machine.engine, server.machine.name)
    corpus_rows.fill(database, SMALL)
    yield server
    corpus_rows.remove(database, SMALL)


def client(server: Server, user: str = USER) -> Dav:
    """Return a user's connection."""
    return Dav(server.url, user, PASSWORD)


def test_default_corpus_has_the_size_of_a_company() -> None:
    """The numbers are those of the documentation, and it is the same each time."""
    assert str(Corpus()) == "20 users, 100 calendars, 20,000 events, 5,000 contacts"
    assert list(SMALL.calendar_objects(USER, 0)) == list(SMALL.calendar_objects(USER, 0))
    assert list(Corpus(seed=8).cards(USER, 0)) != list(Corpus(seed=7).cards(USER, 0))
    text = "".join(thing.data for thing in SMALL.calendar_objects(USER, 0))
    for part in ("RECURRENCE-ID", "EXDATE", "BEGIN:VALARM", "ENCODING=BASE64", "BEGIN:VTIMEZONE", "ü", "👩", "VTODO"):
        assert part in text
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n") if line.startswith(("DESC", " ", "ATTACH")))


def test_rows_equal_those_that_the_server_writes(filled: Server) -> None:
    """One object of each kind is stored again by DAV, and its other columns don't change."""
    calendar_objects = [
        thing for thing in list(SMALL.calendar_objects(USER, 1))[:KINDS] if "ORGANIZER" not in thing.data
    ]
    uris = ", ".join(f"'{thing.uri}'" for thing in calendar_objects)
    query = f"SELECT {NOTED} FROM calendarobjects WHERE uri IN ({uris}) ORDER BY uri"  # noqa: S608 - our own names
    before = filled.rows(query)
    assert len(before) == len(calendar_objects) == KINDS - 1
    dav = client(filled)
    for thing in calendar_objects:
        path = f"/dav.php/calendars/{USER}/kalender-1/{thing.uri}"
        assert dav.send("PUT", path, thing.data.encode(), Content_Type="text/calendar").status == 204
    assert filled.rows(query) == before


def test_each_user_sees_all_data_and_differences_are_reported(filled: Server) -> None:
    """All data of the corpus, byte for byte, shared calendars twice; and one sentence for each difference."""
    before = fetch_all(filled.url, SMALL.people())
    # Two own calendars, an own address book, and a shared calendar.
    assert len(before.tokens) == SMALL.users * 4
    assert len(before.objects) == SMALL.users * (3 * SMALL.events + SMALL.contacts)
    for thing in SMALL.calendar_objects(USER, 0):
        assert before.objects[f"{CALENDAR}{thing.uri}"][1] == thing.data.encode()
    for uri, data in SMALL.cards(USER, 0):
        assert before.objects[f"/dav.php/addressbooks/{USER}/default/{uri}"][1] == data.encode()
    assert compare(before, fetch_all(filled.url, SMALL.people())) == []
    first, second, *_ = (thing.uri for thing in SMALL.calendar_objects(USER, 1))
    dav, home = client(filled), f"/dav.php/calendars/{USER}/kalender-1/"
    other = dav.send("GET", f"{home}{first}").body.replace(b"CONFIRMED", b"").replace(b"SUMMARY:", b"SUMMARY:!", 1)
    assert dav.send("PUT", f"{home}{first}", other, Content_Type="text/calendar").status == 204
    assert dav.send("DELETE", f"{home}{second}").status == 204
    differences = compare(before, fetch_all(filled.url, SMALL.people()))
    assert [line.split(":")[0].split(" from")[0] for line in differences] == [
        f"{home}{first} has other bytes",
        f"{home}{first} has another ETag",
        f"{home}{second} is gone",
        f"{home} has another sync token",
    ]


def test_objects_are_also_stored_by_dav(filled: Server) -> None:
    """In addition to the rows, in every calendar and address book, and unchanged."""
    before = fetch_all(filled.url, {USER: PASSWORD})
    assert corpora.store(filled.url, SMALL, each=3) == SMALL.users * (SMALL.calendars + SMALL.books) * 3
    after = fetch_all(filled.url, {USER: PASSWORD})
    new = after.objects.keys() - before.objects.keys()
    assert len(new) == (SMALL.calendars + SMALL.books + 1) * 3
    assert all(after.objects[href][1].endswith(b"\r\n") and b"dav-" in after.objects[href][1] for href in new)


def test_syncing_client_gets_changes_and_detects_a_wrong_token(filled: Server) -> None:
    """From a token of the corpus; and from a token after a rollback, which the server accepts."""
    syncer = Syncer(client(filled), CALENDAR)
    assert (len(syncer.sync().changed), syncer.errors()) == (SMALL.events, [])
    known = Syncer(client(filled), CALENDAR, "http://sabre.io/ns/sync/1", dict(syncer.etags))
    assert len(known.sync().changed) == 0  # everything is listed again, and nothing is new
    assert syncer.sync().listed == 0
    first = f"{CALENDAR}{next(SMALL.calendar_objects(USER, 0)).uri}"
    assert client(filled).send("DELETE", first).status == 204
    ahead = Syncer(client(filled), CALENDAR, "http://sabre.io/ns/sync/99999", dict(syncer.etags))
    synced = syncer.sync()
    assert (synced.started_over, synced.gone, syncer.errors()) == (False, frozenset({first}), [])
    if not ahead.sync().started_over:
        assert ahead.errors() == [f"{first} no longer exists, but the client still has it"]
    syncer.token = "http://example.org/nonsense"
    assert (syncer.sync().started_over, syncer.errors()) == (True, [])


def test_writers_detect_a_lost_acknowledged_write(filled: Server) -> None:
    """Also while PHP is down and the web server answers alone; and a removed object is reported."""
    with Writers(filled.url, USER, PASSWORD, count=3) as writers:
        assert wait_until(lambda: writers.acknowledged > WRITES, 60), writers
    assert (writers.wrong, writers.unavailable) == ([], 0)
    contents = fetch_all(filled.url, {USER: PASSWORD})
    assert writers.lost(contents) == []
    href = next(href for href, kept in writers.expected.items() if kept.acknowledged)
    del contents.objects[href]
    contents.objects[f"{CALENDAR}writer-unknown.ics"] = ('"x"', b"x")
    lost = writers.lost(contents)
    assert len(lost) == 2
    assert lost[0].startswith(f"{href} was acknowledged as ")
    assert lost[1] == f"{CALENDAR}writer-unknown.ics exists, but no client has written it"


class StubServer(http.server.BaseHTTPRequestHandler):
    """A server that answers each write with the next status of a list; 0 closes the connection."""

    statuses: Final = [503, 0, 200, 503, 500, 503]
    protocol_version = "HTTP/1.1"
    seen = 0

    def answer(self) -> None:
        """Answer with the next status of the list."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.statuses[StubServer.seen % len(self.statuses)]
        StubServer.seen += 1
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if StubServer.seen % 2:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_GET = do_DELETE = answer  # noqa: N815 - the library's own names

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the library's own
        """Log nothing."""


def test_writers_count_answers_by_kind() -> None:
    """503 with and without Retry-After, missing answers, and wrong ones."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StubServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Writers(f"http://127.0.0.1:{server.server_port}", USER, PASSWORD, count=1) as writers:
            assert wait_until(lambda: len(writers.wrong) >= 4, 30), writers
        server.shutdown()
    assert writers.acknowledged == 0
    assert writers.unanswered["RemoteDisconnected"] >= 2
    assert 0 < writers.without_retry_after < writers.unavailable
    assert all("was answered with 200" in line or "was answered with 500" in line for line in writers.wrong)
    with Writers(f"http://127.0.0.1:{server.server_port}", USER, PASSWORD, count=1) as nobody:
        assert wait_until(lambda: nobody.unanswered["ConnectionRefusedError"] >= 2, 30), nobody
    assert nobody.wrong == []


@pytest.mark.parametrize("backend", ["sqlite", *BACKENDS])
def test_corpus_is_the_same_on_every_database(
    engine: Engine, release: Release, backend: Literal["sqlite"] | Backend
) -> None:
    """All three have the same data, new objects get new ids afterwards, and all of it can be removed."""
    if backend == "sqlite":
        with BareRelease.run(engine, None, SQLITE) as bare:
            bare.run_shell(
                "command -v python3 >/dev/null || (apt-get update && apt-get install -y python3) >/dev/null 2>&1"
            )
            check_database(bare, SqliteFile(engine, bare.name, str(SQLITE["sqlite_file"])), release)
        return
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, backend, Signer.root()) as database,
        BareRelease.run(engine, network, database.section(CA), database.ca) as bare,
    ):
        check_database(bare, database, release)


def check_database(bare: BareRelease, database: Any, release: Release) -> None:  # noqa: ANN401 - three classes
    """Fill, compare, store, remove and compare."""
    bare.install(bare.add(release))
    bare.serve(release.version)
    corpus_rows.fill(database, SMALL)
    url = f"http://127.0.0.1:{bare.port}"
    contents = fetch_all(url, SMALL.people())
    assert len(contents.objects) == SMALL.users * (3 * SMALL.events + SMALL.contacts)
    for thing in SMALL.calendar_objects(USER, 0):
        assert contents.objects[f"{CALENDAR}{thing.uri}"][1] == thing.data.encode()
    dav = Dav(url, USER, PASSWORD)
    assert dav.send("MKCALENDAR", f"/dav.php/calendars/{USER}/new/").status == 201
    assert dav.send("PUT", f"{CALENDAR}again.ics", next(SMALL.calendar_objects(USER, 0)).data.encode()).status == 201
    assert database.execute(("SELECT COUNT(*) FROM calendars",)) == [[SMALL.users * SMALL.calendars + 2]]
    corpus_rows.remove(database, SMALL)
    assert database.execute(("SELECT COUNT(*) FROM calendarobjects",)) == [[0]]
    assert database.execute(("SELECT COUNT(*) FROM users",)) == [[1]]
