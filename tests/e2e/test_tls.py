"""TLS, as seen by scanners and browsers: one server with a trusted certificate, one with a self-signed certificate."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.certificates import Signer
from tests.lab.http_request import HOSTNAME, PASSWORD
from tests.lab.scanner import scan
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


FURTHER: Final = "dav.example.org"
ROOT: Final = "/usr/local/share/ca-certificates/lab-root.crt"
PATHS: Final = ("/", "/admin/", "/dav.php/", "/nothing", "/robots.txt", "/.well-known/caldav")


@pytest.fixture(scope="module")
def trusted(boot: Callable[..., Machine], release: Release) -> Server:
    """Yield a server with a certificate for two names that its system trusts."""
    machine = boot("debian:13")
    root = Signer.root()
    pair = root.intermediate().issue(HOSTNAME, FURTHER, days=(-1, 89))
    machine.write(ROOT, root.pem)
    machine.run("update-ca-certificates")
    machine.write("/etc/ssl/own.crt", pair.chain)
    machine.write("/etc/ssl/own.key", pair.key, mode="0600")
    files = {"tls": "files", "tls_certificate": "/etc/ssl/own.crt", "tls_key": "/etc/ssl/own.key"}
    server = Server(machine, release, data={**files, "hostnames": [FURTHER]})
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    return server


def test_scanner_gives_the_best_grade_and_finds_no_problem(trusted: Server) -> None:
    """By the rules of SSL Labs."""
    seen = scan(trusted.machine, trusted.machine.read(ROOT))
    assert seen.problems == {}
    assert seen.grade == "A+"
    assert seen.score >= 90
    assert seen.findings["cert_chain_of_trust"] == "passed."


@pytest.mark.parametrize("path", PATHS)
def test_hsts_is_sent_with_a_trusted_certificate(trusted: Server, path: str) -> None:
    """For two years, on every answer including errors; without subdomains, which may belong to others."""
    assert _headers(trusted, path)["strict-transport-security"] == ["max-age=63072000"]
    assert "strict-transport-security" not in trusted.ask("GET", path, port=80).headers


@pytest.mark.parametrize("path", PATHS)
def test_no_hsts_is_sent_with_an_untrusted_certificate(server: Server, path: str) -> None:
    """With HSTS, a browser wouldn't let users accept the warning."""
    assert "strict-transport-security" not in _headers(server, path)


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers_once(trusted: Server, path: str) -> None:
    """No type sniffing, no frames, no referrer; pages load from this server only."""
    headers = _headers(trusted, path)
    assert headers["x-content-type-options"] == ["nosniff"]
    assert headers["x-frame-options"] == ["DENY"]
    assert headers["referrer-policy"] == ["same-origin"]
    (policy,) = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("frame-ancestors 'none'")
    assert ("script-src" in policy) == (path in {"/", "/admin/"})


def test_pages_of_sabre_dav_keep_its_own_policy(trusted: Server, release: Release) -> None:
    """Two policies would both apply. The stand-in has no such pages."""
    headers = _headers(trusted, "/dav.php/", user="jo")
    assert headers["x-frame-options"] == ["DENY"]
    (policy,) = headers["content-security-policy"]
    if "stand-in" not in release.origin:
        assert policy == "default-src 'none'; img-src 'self'; style-src 'self'; font-src 'self';"


def test_pages_are_not_compressed(trusted: Server) -> None:
    """The length of a compressed page can reveal secrets in it (BREACH)."""
    assert "content-encoding" not in trusted.ask("GET", "/admin/", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize("which", ["trusted", "server"])
def test_http_2_is_used_if_the_client_offers_it(which: str, request: pytest.FixtureRequest) -> None:
    """With each nginx: it is enabled differently on Debian 12 and 13."""
    context = _any_certificate()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with _connected(request.getfixturevalue(which), context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("which", ["trusted", "server"])
def test_outdated_tls_is_refused(which: str, request: pytest.FixtureRequest) -> None:
    """The server refuses TLS 1.1 but accepts 1.2, because some calendar clients need it."""
    context = _any_certificate()
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this client itself would refuse
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with _connected(request.getfixturevalue(which), context) as connection:
        assert connection.version() == "TLSv1.2"
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
        _connected(request.getfixturevalue(which), context),
    ):
        pass


@pytest.mark.parametrize("which", ["trusted", "server"])
def test_dhe_is_refused(which: str, request: pytest.FixtureRequest) -> None:
    """DHE costs the server far more than the client (D(HE)at), and TLS 1.3 has it with all ciphers."""
    server: Server = request.getfixturevalue(which)
    command = f"openssl s_client -connect {HOSTNAME}:443 -tls1_3 -groups ffdhe2048 </dev/null 2>&1; true"
    assert "alert handshake failure" in server.machine.run(command)


@pytest.mark.parametrize("name", [HOSTNAME, FURTHER])
def test_each_name_is_kept_in_redirects_and_pages(trusted: Server, name: str) -> None:
    """In the redirect from plain HTTP, and in the addresses of pages, with the client's port."""
    redirect = trusted.ask("GET", "/admin/?x=1", port=80, headers={"Host": name})
    assert (redirect.status, redirect.headers["location"]) == (308, f"https://{name}/admin/?x=1")
    page = trusted.ask("GET", "/", headers={"Host": f"{name}:8443"}).body
    assert re.findall(r'<base href="([^"]*)"', page) == [f"https://{name}:8443/"]


def test_unknown_name_is_replaced_by_the_first_declared_one(trusted: Server) -> None:
    """For any unknown name."""
    for name in ("evil.example", f"{FURTHER}.evil.example", f"not-{FURTHER}", FURTHER.replace(".", "x", 1)):
        redirect = trusted.ask("GET", "/x", port=80, headers={"Host": name})
        assert redirect.headers["location"] == f"https://{HOSTNAME}/x"
        assert f'<base href="https://{HOSTNAME}/"' in trusted.ask("GET", "/", headers={"Host": name}).body


def _headers(server: Server, path: str, user: str = "") -> dict[str, list[str]]:
    """Return the answer's headers, each with all of its values."""
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=_any_certificate())
    credentials = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    login = {"Authorization": f"Basic {credentials}"} if user else {}
    try:
        connection.request("GET", path, headers=login)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    values: dict[str, list[str]] = {}
    for name, value in answer.getheaders():
        values.setdefault(name.lower(), []).append(value)
    return values


def _any_certificate() -> ssl.SSLContext:
    return ssl._create_unverified_context()  # noqa: S323 - the lab's own server, on loopback


def _connected(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a TLS connection to a server."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    return context.wrap_socket(plain, server_hostname=HOSTNAME)
