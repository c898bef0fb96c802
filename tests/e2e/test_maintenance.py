"""Maintenance mode, as seen by clients and by check."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.clients import EVENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.server import Server


FOLDER = "/var/lib/baikal/maintenance"
TOKEN = "0123456789abcdef" * 2
EVERYTHING = (
    *("/", "/dav.php/", "/cal.php/", "/card.php/principals/", "/.well-known/caldav", "/.well-known/carddav"),
    *("/admin", "/admin/", "/admin/install/", "/res/core/Baikal/Images/logo-baikal.png", "/robots.txt", "/nowhere"),
)


@pytest.fixture
def maintenance(server: Server) -> Iterator[Server]:
    """Yield the server, in maintenance mode during the test."""
    server.machine.run(f"touch {FOLDER}/on {FOLDER}/{TOKEN}")
    yield server
    server.machine.run(f"rm -f {FOLDER}/*")
    assert server.ask("PROPFIND", "/dav.php/").status == 401


def test_every_address_answers_503_with_retry_after(maintenance: Server) -> None:
    """503 with Retry-After, not cacheable, and without content of Baïkal."""
    for method, path in itertools.product(("GET", "PROPFIND"), EVERYTHING):
        answer = maintenance.ask(method, path, user="jo")
        seen = (answer.status, answer.headers.get("retry-after"), answer.headers.get("cache-control"))
        assert seen == (503, "30", "no-store"), (method, path)
        assert "set-cookie" not in answer.headers, (method, path)
        assert "Baïkal" not in answer.body, (method, path)


def test_data_of_clients_is_not_stored(maintenance: Server) -> None:
    """It isn't lost either: a client that gets 503 keeps the event, and sends it again."""
    href = "/dav.php/calendars/jo/default/during.ics"
    event = EVENT.format(uid="during", summary="x").replace("\n", "\r\n")
    for body in (event, event + "X" * 2_000_000):
        assert (
            maintenance.ask("PUT", href, user="jo", body=body, headers={"Content-Type": "text/calendar"}).status == 503
        )
    with opened(maintenance):
        assert maintenance.ask("GET", href, user="jo").status == 404


@contextlib.contextmanager
def opened(server: Server) -> Iterator[None]:
    """Leave maintenance mode within the block."""
    server.machine.run(f"rm {FOLDER}/on")
    yield
    server.machine.run(f"touch {FOLDER}/on")


@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
def test_every_version_of_http_gets_503(maintenance: Server, version: str) -> None:
    """Also for a client that sends Expect: 100-continue."""
    answer = maintenance.machine.run(
        f"head -c 300000 /dev/zero | curl -sk --http{version} -X PUT --data-binary @- -H 'Expect: 100-continue'"
        " -D - -o /dev/null https://localhost/dav.php/calendars/jo/default/x.ics"
    ).lower()
    assert re.match(rf"http/{'1.1' if version == '1.0' else version}\b\S* 503", answer), answer
    assert "retry-after: 30" in answer


def test_check_is_served_with_a_user_agent_that_only_root_knows(maintenance: Server) -> None:
    """An anonymous request gets 401, and one with the account of check is served."""
    probe = {"X-Baikal-Probe": TOKEN}
    assert maintenance.ask("PROPFIND", "/dav.php/", headers=probe).status == 401
    href = "/dav.php/calendars/jo/default/probe.ics"
    event = EVENT.format(uid="probe", summary="x").replace("\n", "\r\n")
    sent = probe | {"Content-Type": "text/calendar"}
    assert maintenance.ask("PUT", href, user="jo", body=event, headers=sent).status == 201
    assert maintenance.ask("DELETE", href, user="jo", headers=probe).status == 204


def test_no_other_user_agent_is_served(maintenance: Server) -> None:
    """Guessed, misspelt, or a path to a known file."""
    tokens = (
        *("", "on", ".", "..", "/", "f" * 32, TOKEN.upper(), TOKEN[:-1], f"{TOKEN}0", f" {TOKEN[1:]}", f"{TOKEN}/"),
        *(f"./{TOKEN}", f"../maintenance/{TOKEN}", "../config/baikal.yaml", "../../../../etc/passwd"),
        f"{TOKEN}, {TOKEN}",
    )
    for token in tokens:
        assert maintenance.ask("PROPFIND", "/dav.php/", headers={"X-Baikal-Probe": token}).status == 503, token


@pytest.mark.parametrize("then", ["stop", "reload"])
def test_request_from_before_maintenance_gets_503(server: Server, then: str) -> None:
    """A request with a slow body, sent before maintenance: PHP has stopped, or serves only check."""
    unit = server.machine.run("cd /run/php && echo php*-fpm.pid").strip().removesuffix(".pid")
    program = f"""
import socket, ssl, subprocess
context = ssl._create_unverified_context()
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", 443)))
head = "PUT /dav.php/calendars/jo/default/slow.ics HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 4\\r\\n\\r\\nab"
connection.sendall(head.encode())
# Another request's answer shows that nginx has read what came before it.
subprocess.run(["curl", "-sk", "-o", "/dev/null", "https://127.0.0.1/dav.php/"], check=True)
open("{FOLDER}/on", "w").close()
subprocess.run(["systemctl", "{then}", "{unit}"], check=True)
connection.sendall(b"cd")
print(connection.recv(12).decode())
"""
    try:
        output = server.machine.engine.docker("exec", "-i", server.machine.name, "python3", "-", input=program)
    finally:
        server.machine.run(f"rm -f {FOLDER}/on; systemctl start {unit}")
    assert output.strip() == "HTTP/1.1 503"
    assert server.ask("PROPFIND", "/dav.php/").status == 401
