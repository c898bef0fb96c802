"""Test calendars and contacts like a client: a real request of each kind, by a temporary account."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import re
import secrets
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from baikalctl.baikal.accounts import plan
from baikalctl.desired.state import REALM, DesiredUser
from baikalctl.errors import HostError
from baikalctl.settings.users import Collection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from baikalctl.database.interface import Database


REQUEST_SECONDS = 30
MULTI_STATUS, OK, CREATED, NO_CONTENT = 207, 200, 201, 204
NAME = "baikalctl-check-"
"""The prefix of the account's name; its creation time in seconds and a random part follow."""
LIFE_S = 1800
"""An older account was left by a killed run."""
EVENT = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//baikalctl//EN\r
BEGIN:VEVENT\r
UID:{uid}\r
DTSTAMP:20260101T000000Z\r
DTSTART:20260101T000000Z\r
SUMMARY:A check, which is deleted at once\r
END:VEVENT\r
END:VCALENDAR\r
"""
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:A check\r\nN:check;A;;;\r\nEND:VCARD\r\n"


@dataclasses.dataclass(frozen=True)
class TemporaryUser:
    """A temporary account."""

    name: str
    password: str


@contextlib.contextmanager
def temporary_user(database: Database, realm: str = REALM) -> Iterator[TemporaryUser]:
    """Create an account with a calendar and an address book for the block, and remove them afterwards.

    In a shared database, accounts that killed runs have left are removed first; this machine's own data is rolled back
    after a failure.
    """
    if database.shared:
        _write(database, *(_account(name, present=False) for name in _left(database)))
    visitor = TemporaryUser(f"{NAME}{int(time.time()):08x}{secrets.token_hex(4)}", secrets.token_urlsafe(24))
    digest = hashlib.md5(f"{visitor.name}:{realm}:{visitor.password}".encode(), usedforsecurity=False).hexdigest()
    _write(database, _account(visitor.name, digest))
    try:
        yield visitor
    finally:
        _write(database, _account(visitor.name, present=False))


def make(base: str, visitor: TemporaryUser, headers: Mapping[str, str], *, calendars: bool, contacts: bool) -> None:
    """Log in at the URL ``base``, and store, read and delete an event and a card; raises :class:`HostError`.

    ``headers`` are sent with each request; ``calendars`` and ``contacts`` tell which of them are enabled.
    """
    client = _Client(base, visitor, headers)
    client.expect(MULTI_STATUS, "PROPFIND", f"principals/{visitor.name}/")
    if calendars:
        client.store(f"calendars/{visitor.name}/default/check.ics", EVENT, "text/calendar")
    if contacts:
        client.store(f"addressbooks/{visitor.name}/default/check.vcf", CARD, "text/vcard")


class _Client:
    def __init__(self, base: str, visitor: TemporaryUser, headers: Mapping[str, str]) -> None:
        # Over loopback, to this host: no need to verify the server.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, base, visitor.name, visitor.password)
        self._base, self._headers = base, headers
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPBasicAuthHandler(passwords),
            urllib.request.HTTPDigestAuthHandler(passwords),
        )

    def store(self, path: str, template: str, kind: str) -> None:
        """Store, read and delete an object."""
        text = template.format(uid=secrets.token_hex(8)).encode()
        self.expect(CREATED, "PUT", path, text, kind)
        if self.expect(OK, "GET", path) != text:
            message = f"GET /dav.php/{path} returns another text than was stored"
            raise HostError(message)
        self.expect(NO_CONTENT, "DELETE", path)

    def expect(self, status: int, method: str, path: str, content: bytes | None = None, kind: str = "") -> bytes:
        """Send a request and return the body of the answer; raises :class:`HostError` for any other ``status``."""
        headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(f"{self._base}/dav.php/{path}", content, headers, method=method)  # noqa: S310 - our own address
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as answer:
                answered, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            answered, body = error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"{method} /dav.php/{path} gets no answer: {getattr(error, 'reason', error)}"
            raise HostError(message) from None
        if answered != status:
            output = " ".join(body.decode("utf-8", "replace").split())[:300]
            message = f"{method} /dav.php/{path} answers {answered}, not {status}" + (f" ({output})" if output else "")
            raise HostError(message)
        return bytes(body)


def _account(name: str, digest: str = "", *, present: bool = True) -> DesiredUser:
    collections = (Collection("default", name),)
    return DesiredUser(
        name=name,
        display_name=name,
        displayed=True,
        email="",
        digest=digest,
        calendars=collections,
        address_books=collections,
        present=present,
    )


def _left(database: Database) -> list[str]:
    """Return the accounts that killed runs have left; another machine may be using the other ones."""
    with contextlib.closing(database.connect()) as connection:
        rows = connection.execute("SELECT username FROM users WHERE username LIKE ?", (f"{NAME}%",)).fetchall()
    made = {str(name): re.fullmatch(rf"{NAME}([0-9a-f]{{8}})[0-9a-f]{{8}}", str(name)) for (name,) in rows}
    return [name for name, match in made.items() if match and time.time() - int(match[1], 16) > LIFE_S]


def _write(database: Database, *accounts: DesiredUser) -> None:
    with contextlib.closing(database.connect()) as connection:
        for _, act in plan(connection, accounts, {}):
            act()
        connection.commit()
