"""A server whose database is away, or no good: what its clients are told, and that it recovers by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.asking import PASSWORD
from tests.lab.clients import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.server import Server


LOG = "/var/log/nginx/error.log"
DATABASE = "/var/lib/baikal/Specific/db/db.sqlite"
YAML = "/var/lib/baikal/config/baikal.yaml"
CALENDAR = "/dav.php/calendars/jo/default/"
BODY = EVENT.format(uid="away", summary="x").replace("\n", "\r\n")
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a stranger": ("PROPFIND", "/dav.php/", {}),
    "a listing": ("PROPFIND", CALENDAR, {"user": "jo"}),
    "a write": ("PUT", f"{CALENDAR}away.ics", {"user": "jo", "body": BODY}),
    "a wrong password": ("GET", CALENDAR, {"user": "jo", "password": "wrong"}),
    "calendars alone": ("PROPFIND", "/cal.php/", {"user": "jo"}),
    "the page": ("GET", "/", {}),
    "the log-in": ("GET", "/admin/", {}),
}
WAYS = {
    "missing": f"mv {DATABASE} {DATABASE}.away; rm -f {DATABASE}-*",
    "another's": f"cp -p {DATABASE} {DATABASE}.away; chown root {DATABASE}",
    "without its configuration": f"cp -p {YAML} {YAML}.away; echo 'system: [' > {YAML}",
    "of an older release": f"cp -p {YAML} {YAML}.away; sed -i 's/configured_version: .*/configured_version: 0.9.0/' {YAML}",
}
BACK = f"for file in {DATABASE} {YAML}; do ! [ -e $file.away ] || mv $file.away $file; done"


@pytest.fixture
def broken(server: Server) -> Iterator[Callable[[str], None]]:
    """Give a function that does something to the server's data, which is as before at the end."""

    def do(command: str) -> None:
        server.machine.run(f"{command}; : > {LOG}")

    yield do
    server.machine.run(BACK)
    assert server.ask("PROPFIND", CALENDAR, user="jo", headers={"Depth": "0"}).status == 207
    assert server.check()["healthy"] is True


@pytest.mark.parametrize("way", WAYS)
def test_whoever_asks_is_told_to_come_again(server: Server, broken: Callable[[str], None], way: str) -> None:
    """Not a page with status 200, nor a redirect to the installer: clients would take either for an answer."""
    broken(WAYS[way])
    for what, (method, path, parts) in REQUESTS.items():
        answer = server.ask(method, path, **parts)
        told = (answer.status, answer.headers.get("retry-after"), answer.headers.get("cache-control"))
        assert told == (503, "30", "no-store"), (what, answer)
        assert "503 Service Temporarily Unavailable" in answer.body
        assert not [word for word in ("Ba", "SQL", "/var", "/opt", "exception", ".php") if word in answer.body], what
        assert not {"set-cookie", "location", "www-authenticate"} & set(answer.headers), what
    assert server.machine.read(LOG).count("Baikal can't answer: ") >= len(REQUESTS)


def test_the_doctor_says_so(server: Server, broken: Callable[[str], None]) -> None:
    """In the answer that clients get as well as in the database itself."""
    broken(WAYS["missing"])
    found = {finding["subject"]: finding for finding in server.check()["findings"]}
    assert "answers an anonymous client with 503" in found["answer"]["message"]
    assert "is not there" in found["database"]["message"]


def test_a_database_that_is_damaged_is_no_answer_either(server: Server, broken: Callable[[str], None]) -> None:
    """A stranger learns nothing of it, because nobody looks for him in it; whoever logs in is told to come again."""
    broken(
        f"systemctl stop $(basename -s .pid /run/php/php*-fpm.pid); cp -p {DATABASE} {DATABASE}.away;"
        f" rm -f {DATABASE}-*; head -c 65536 /dev/urandom > {DATABASE};"
        " systemctl start $(ls /usr/sbin | sed -n 's/^php-fpm\\(.*\\)/php\\1-fpm/p')"
    )
    assert server.ask("PROPFIND", "/dav.php/").status == 401
    for method, path, body in (("PROPFIND", CALENDAR, ""), ("PUT", f"{CALENDAR}away.ics", BODY)):
        answer = server.ask(method, path, user="jo", body=body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        assert "SQL" not in answer.body
    assert "SQLSTATE[HY000]" in server.machine.read(LOG)


def test_what_a_client_has_done_wrong_is_still_its_own(server: Server) -> None:
    """Ordinary answers stay as they are, whether they have a body or none."""
    place = f"{CALENDAR}own.ics"
    text = {"Content-Type": "text/calendar"}
    body = BODY.replace("UID:away", "UID:own")
    for method, path, parts, status in (
        ("PUT", place, {"body": body, "headers": text | {"If-Match": '"none"'}}, 412),
        ("PUT", place, {"body": body, "headers": text}, 201),
        ("HEAD", place, {}, 200),
        ("GET", place, {}, 200),
        ("GET", place, {"headers": {"If-None-Match": "*"}}, 304),
        ("PUT", place, {"body": "no calendar", "headers": text}, 415),
        ("GET", f"{CALENDAR}none.ics", {}, 404),
        ("GET", "/dav.php/calendars/Corey/default/", {}, 403),
        ("DELETE", place, {}, 204),
    ):
        answer = server.ask(method, path, user="jo", **parts)
        assert answer.status == status, (method, path, answer)
        assert "retry-after" not in answer.headers
    # Newer releases of sabre/dav call that an error of their own.
    assert server.ask("REPORT", CALENDAR, user="jo", body="<no").status in {400, 500}


def test_the_admin_pages_keep_their_session(server: Server) -> None:
    """In a file, where the database is one."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    login = f"auth=1&login=admin&password={PASSWORD.replace(' ', '+')}"
    first = server.ask("POST", "/admin/", body=login, headers=form)
    assert (first.status, first.headers["location"]) == (302, "/admin/")
    cookie = {"Cookie": first.headers["set-cookie"].partition(";")[0]}
    assert 'type="password"' not in server.ask("GET", "/admin/", headers=cookie).body
