"""Outages of MySQL and PostgreSQL: the answers to clients and on the admin pages, and sessions in the database."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from baikalctl.desired.state import REALM
from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.clients import EVENT
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import PASSWORD, Answer
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.machine import Machine
    from tests.lab.release import Release


CA = "/etc/ssl/lab-database.pem"
LOG = "/var/log/nginx/error.log"
CALENDAR = "/dav.php/calendars/jo/default/"
EMPTY = "/dav.php/calendars/jo/default/none.ics"
SECRET = """pass word: "it's" #1 \\ 100% $HOME;"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Pair:
    """A deployed server, and the database server with its data."""

    server: Server
    database: DatabaseServer

    def sync(self) -> Answer:
        """Send a PROPFIND, as a synchronising client does."""
        return self.server.ask("PROPFIND", CALENDAR, user="jo", headers={"Depth": "1"}, timeout_s=70)

    def put(self, name: str) -> Answer:
        """Store an event."""
        body = EVENT.format(uid=name, summary="x").replace("\n", "\r\n")
        return self.server.ask("PUT", f"{CALENDAR}{name}.ics", user="jo", body=body, timeout_s=70)

    def admin(self, cookie: str) -> Answer:
        """Request the admin pages with a session."""
        return self.server.ask("GET", "/admin/", headers={"Cookie": cookie}, timeout_s=70)

    def log_in(self, cookie: str = "") -> str:
        """Log in to the admin pages and return the session's cookie."""
        login = f"auth=1&login=admin&password={PASSWORD.replace(' ', '+')}"
        answer = self.server.ask("POST", "/admin/", body=login, headers=FORM | {"Cookie": cookie})
        assert answer.status == 302, answer
        return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture(scope="module", params=BACKENDS)
def pair(
    request: pytest.FixtureRequest,
    engine: Engine,
    boot: Callable[..., Machine],
    release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Yield a deployed server with its data in a database server, connected over TLS."""
    signer = Signer.root()
    secret: Path = tmp_path_factory.mktemp("database") / "password"
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, request.param, signer, password=SECRET, tls_only=True) as database,
    ):
        machine = boot()
        attach(engine, network, machine.name)
        machine.write(CA, signer.pem)
        settings = database.settings(secret, CA)
        server = Server(machine, release, data=settings)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        yield Pair(server, database)


def is_unavailable(answer: Answer) -> bool:
    """Whether an answer is 503 with Retry-After, and has no details."""
    seen = (answer.status, answer.headers.get("retry-after"), "SQL" in answer.body, "Ba" in answer.body)
    return seen == (503, "30", False, False)


def test_database_outage_is_503_until_it_is_back(pair: Pair) -> None:
    """For clients and the admin pages, immediately; the reason is in the log, and recovery is automatic."""
    cookie = pair.log_in()
    assert pair.put("before").status == 201
    pair.server.machine.run(f": > {LOG}")
    pair.database.stop()
    assert is_unavailable(pair.server.ask("PROPFIND", "/dav.php/"))
    assert is_unavailable(pair.sync())
    assert is_unavailable(pair.put("during"))
    assert is_unavailable(pair.admin(cookie))
    assert "Baikal can't answer: SQLSTATE" in pair.server.machine.read(LOG)
    assert "answers an anonymous client with 503" in str(pair.server.check())
    pair.database.start()
    assert pair.sync().status == 207
    assert pair.put("during").status == 201
    assert 'type="password"' not in pair.admin(cookie).body, "the session is still valid"


def test_admin_session_is_in_the_database_and_in_no_file(pair: Pair) -> None:
    """Other machines share it; its id can't be read there."""
    cookie = pair.log_in()
    assert pair.server.machine.run("ls /var/lib/baikal/sessions") == ""
    rows = pair.database.rows("SELECT id FROM baikalctl_sessions")
    assert rows
    assert cookie.partition("=")[2] not in str(rows)
    assert 'type="password"' not in pair.admin(cookie).body
    pair.database.execute(("UPDATE baikalctl_sessions SET expires = 1",))
    assert 'type="password"' in pair.admin(cookie).body, "it has expired"


def test_unknown_session_id_is_not_accepted(pair: Pair) -> None:
    """Otherwise an attacker could let the administrator log in to a known session."""
    answer = pair.admin("__Host-baikal=0123456789abcdef0123456789abcdef")
    assert "set-cookie" in answer.headers
    assert "0123456789abcdef0123456789abcdef" not in answer.headers["set-cookie"]


def test_write_access_to_the_database_is_not_enough_to_log_in(pair: Pair) -> None:
    """Neither with a copy of the administrator's session, nor with forged data."""
    pair.log_in()
    cookie = pair.admin("").headers["set-cookie"].partition(";")[0]
    name = hashlib.sha256(cookie.partition("=")[2].encode()).hexdigest()
    rows = pair.database.rows("SELECT id, data FROM baikalctl_sessions")
    assert name in [row[0] for row in rows]
    password = hashlib.sha256(f"admin:{REALM}:{PASSWORD}".encode()).hexdigest()
    logged_in = f'baikaladminauth|s:32:"{hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()}";'
    made = base64.b64encode(logged_in.encode()).decode()
    for data in [made, *(row[1] for row in rows if row[0] != name)]:
        pair.database.execute(
            ("DELETE FROM baikalctl_sessions WHERE id = %s", [name]),
            ("INSERT INTO baikalctl_sessions (id, data, expires) VALUES (%s, %s, 99999999999)", [name, data]),
        )
        answer = pair.admin(cookie)
        assert 'type="password"' in answer.body, data
        assert answer.headers["set-cookie"].startswith("__Host-baikal="), "it has another session"
        assert cookie not in answer.headers["set-cookie"]


def test_the_session_id_changes_at_login(pair: Pair) -> None:
    """An attacker who has set the old id in a browser doesn't know the new one."""
    before = pair.admin("").headers["set-cookie"].partition(";")[0]
    after = pair.log_in(before)
    assert after != before
    assert 'type="password"' not in pair.admin(after).body
    assert 'type="password"' in pair.admin(before).body


def test_dav_clients_leave_no_session_in_the_database(pair: Pair) -> None:
    """Their requests add no rows."""
    before = pair.database.rows("SELECT count(*) FROM baikalctl_sessions")
    assert pair.sync().status == 207
    assert pair.database.rows("SELECT count(*) FROM baikalctl_sessions") == before


def test_hanging_database_does_not_block_all_requests(pair: Pair) -> None:
    """The first request waits for PHP's connection timeout; later ones are answered immediately."""
    pair.database.hang()
    try:
        assert is_unavailable(pair.sync())
        assert is_unavailable(pair.server.ask("PROPFIND", CALENDAR, user="jo", timeout_s=2))
    finally:
        pair.database.resume()
    assert wait_until(lambda: pair.sync().status == 207, 30)
