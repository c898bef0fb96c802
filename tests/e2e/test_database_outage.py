"""A server with a missing or damaged database: the answers to its clients, and automatic recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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
    "an anonymous request": ("PROPFIND", "/dav.php/", {}),
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
    """Yield a function that damages the server's data; it is restored at the end."""

    def do(command: str) -> None:
        server.machine.run(f"{command}; : > {LOG}")

    yield do
    server.machine.run(BACK)
    assert server.ask("PROPFIND", CALENDAR, user="jo", headers={"Depth": "0"}).status == 207
    assert server.check()["healthy"] is True


@pytest.mark.parametrize("way", WAYS)
def test_clients_get_503_with_retry_after(server: Server, broken: Callable[[str], None], way: str) -> None:
    """Not a page with status 200, nor a redirect to the installer: clients would accept either as an answer."""
    broken(WAYS[way])
    for what, (method, path, parts) in REQUESTS.items():
        answer = server.ask(method, path, **parts)
        seen = (answer.status, answer.headers.get("retry-after"), answer.headers.get("cache-control"))
        assert seen == (503, "30", "no-store"), (what, answer)
        assert "503 Service Temporarily Unavailable" in answer.body
        assert not [word for word in ("Ba", "SQL", "/var", "/opt", "exception", ".php") if word in answer.body], what
        assert not {"set-cookie", "location", "www-authenticate"} & set(answer.headers), what
    assert server.machine.read(LOG).count("Baikal can't answer: ") >= len(REQUESTS)


def test_check_reports_the_database(server: Server, broken: Callable[[str], None]) -> None:
    """It reports both the clients' answer and the database itself."""
    broken(WAYS["missing"])
    findings = {finding["subject"]: finding for finding in server.check()["findings"]}
    assert "answers an anonymous client with 503" in findings["answer"]["message"]
    assert "does not exist" in findings["database"]["message"]


def test_damaged_database_is_503_after_login(server: Server, broken: Callable[[str], None]) -> None:
    """An anonymous request doesn't need the database and gets 401; a login gets 503."""
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


def test_errors_of_clients_are_unchanged(server: Server) -> None:
    """Ordinary answers are unchanged, with and without a body."""
    href = f"{CALENDAR}own.ics"
    text = {"Content-Type": "text/calendar"}
    body = BODY.replace("UID:away", "UID:own")
    for method, path, parts, status in (
        ("PUT", href, {"body": body, "headers": text | {"If-Match": '"none"'}}, 412),
        ("PUT", href, {"body": body, "headers": text}, 201),
        ("HEAD", href, {}, 200),
        ("GET", href, {}, 200),
        ("GET", href, {"headers": {"If-None-Match": "*"}}, 304),
        ("PUT", href, {"body": "no calendar", "headers": text}, 415),
        ("GET", f"{CALENDAR}none.ics", {}, 404),
        ("GET", "/dav.php/calendars/Corey/default/", {}, 403),
        ("DELETE", href, {}, 204),
    ):
        answer = server.ask(method, path, user="jo", **parts)
        assert answer.status == status, (method, path, answer)
        assert "retry-after" not in answer.headers
    # Newer releases of sabre/dav answer this with a server error.
    assert server.ask("REPORT", CALENDAR, user="jo", body="<no").status in {400, 500}
