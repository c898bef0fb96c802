"""A client's requests, each of its kind, and an account that is there only for them."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from baikalctl import paths
from baikalctl.baikal import smoke_test
from baikalctl.baikal.smoke_test import TemporaryUser
from baikalctl.database import sqlite, transfer
from baikalctl.errors import HostError
from tests.unit.moving import names
from tests.unit.samples import here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.database.sqlite_file import Connection


VISITOR = TemporaryUser("visitor", "secret")
EVENT, CARD = "calendars/visitor/default/check.ics", "addressbooks/visitor/default/check.vcf"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as configured, and records its requests."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[tuple[str, str, str]]] = []
    stored: ClassVar[dict[str, bytes]] = {}

    def answer(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, self.headers.get("X-Given", "")))
        path = self.path.partition("/dav.php/")[2]
        usual = {"PROPFIND": 207, "PUT": 201, "GET": 200, "DELETE": 204}[self.command]
        if self.command == "PUT":
            self.stored[path] = body
        status, text = self.answers.get(self.command, (usual, self.stored.get(path, b"")))
        if not self.headers.get("Authorization"):
            status, text = 401, b""
        self.send_response(status)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET" or status not in {204, 401}:
            self.wfile.write(text)

    do_PROPFIND = do_PUT = do_GET = do_DELETE = answer  # noqa: N815 - as the library wants them called

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Have it answer; return its address."""
    for held in (Server.answers, Server.asked, Server.stored):
        held.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/base"
        serving.shutdown()
        thread.join()


def make(base: str, *, calendars: bool = True, contacts: bool = True) -> None:
    """Make the requests."""
    smoke_test.make(base, VISITOR, {"X-Given": "token"}, calendars=calendars, contacts=contacts)


def test_each_kind_of_request_is_made_with_what_was_given(server: str) -> None:
    """Below the address, logged in, and with the headers that let it in."""
    make(server)
    asked = list(dict.fromkeys(Server.asked))
    everything = [("PROPFIND", "principals/visitor/")]
    everything += [(method, path) for path in (EVENT, CARD) for method in ("PUT", "GET", "DELETE")]
    assert asked == [(method, f"/base/dav.php/{path}", "token") for method, path in everything]
    assert b"BEGIN:VEVENT\r\nUID:" in Server.stored[EVENT]
    assert b"BEGIN:VCARD\r\n" in Server.stored[CARD]


def test_what_is_not_served_is_not_asked_for(server: str) -> None:
    """With both off, there is still the log-in."""
    make(server, calendars=False)
    assert EVENT not in Server.stored
    make(server, contacts=False, calendars=False)
    assert Server.asked[-1][0] == "PROPFIND"


@pytest.mark.parametrize(
    ("method", "status", "text", "message"),
    [
        ("PROPFIND", 503, b"<p>no\n\ndatabase", "principals/visitor/ answers 503, not 207 (<p>no database)"),
        ("PUT", 507, b"x" * 1000, f"{EVENT} answers 507, not 201 ({'x' * 300})"),
        ("GET", 200, b"another", f"{EVENT} returns another text than was stored"),
        ("DELETE", 403, b"", f"{EVENT} answers 403, not 204"),
    ],
)
def test_any_other_answer_is_reported_with_its_request(
    server: str, method: str, status: int, text: bytes, message: str
) -> None:
    """As one line, and not all of a long page."""
    Server.answers[method] = status, text
    with pytest.raises(HostError) as caught:
        make(server)
    assert str(caught.value) == f"{method} /dav.php/{message}"


def test_a_wrong_password_is_401(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not tried for ever."""
    monkeypatch.setattr(Server, "answers", {"PROPFIND": (401, b"")})
    with pytest.raises(HostError, match="answers 401, not 207"):
        make(server)
    assert len(Server.asked) < 10


def test_a_server_that_does_not_answer_is_reported() -> None:
    """With the system's reason."""
    with pytest.raises(HostError, match=r"PROPFIND /dav\.php/principals/visitor/ gets no answer: .*refused"):
        make("http://127.0.0.1:1")


def test_the_account_is_there_for_the_time_and_leaves_nothing(connection: Connection, host: Path) -> None:
    """With a calendar and an address book, in the given realm; removed after any error in the block."""
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('jo', 'x')")
    connection.commit()
    before = host / "before.sqlite"
    shutil.copy(paths.SQLITE, before)
    with contextlib.suppress(ZeroDivisionError), smoke_test.temporary_user(here(), "Realm") as visitor:
        assert names(paths.SQLITE) == [visitor.name, "jo"]
        owner = (f"principals/{visitor.name}",)
        for table in ("calendarinstances", "addressbooks"):
            query = f"SELECT uri FROM {table} WHERE principaluri = ?"  # noqa: S608 - our own names
            assert connection.execute(query, owner).fetchall() == [("default",)]
        with contextlib.closing(sqlite3.connect(paths.SQLITE)) as client:
            client.execute(
                "INSERT INTO cards (addressbookid, uri, carddata) SELECT id, 'left.vcf', 'x' FROM addressbooks"
            )
            client.commit()
        raise ZeroDivisionError
    assert transfer.difference(before, Path(paths.SQLITE)) == transfer.difference(Path(paths.SQLITE), before) == ""


def test_no_two_visitors_are_the_same(connection: Connection) -> None:
    """Several machines may try out the same database at once."""
    with smoke_test.temporary_user(here()) as one, smoke_test.temporary_user(here()) as other:
        assert one.name != other.name
        assert one.password != other.password
        assert len(names(paths.SQLITE)) == 2
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_what_killed_runs_have_left_goes_and_what_others_use_stays(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared database, which isn't rolled back. A name that only looks similar belongs to a user."""
    someone = f"{smoke_test.NAME}jo"
    connection.execute("INSERT INTO users (username, digesta1) VALUES (?, 'x')", (someone,))
    connection.commit()
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now - smoke_test.LIFE_S - 2)
        with smoke_test.temporary_user(here()) as killed:
            left = killed.name
    smoke_test._write(here(), smoke_test._account(left))
    with smoke_test.temporary_user(here()) as other:
        with smoke_test.temporary_user(here()) as mine:
            assert set(names(paths.SQLITE)) == {someone, left, other.name, mine.name}
        monkeypatch.setattr(sqlite.Sqlite, "shared", True)
        with smoke_test.temporary_user(here()) as mine:
            assert set(names(paths.SQLITE)) == {someone, other.name, mine.name}
    assert connection.execute("SELECT count(*) FROM principals").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM calendars").fetchone() == (0,)
