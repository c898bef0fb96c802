"""Calendars and contacts as a client uses them: a real request of each kind, by an account of its own for the moment."""

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
"""What the account's name begins with, before the second in which it was made and what makes it unlike others."""
LIFE_S = 1800
"""After so long, an account is one that a killed run has left."""
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
    """An account that is there for a moment."""

    name: str
    password: str


@contextlib.contextmanager
def temporary_user(database: Database, realm: str = REALM) -> Iterator[TemporaryUser]:
    """Have an account with a calendar and an address book in the database, and at the end none of it.

    What killed runs have left in a database that machines share goes first; one's own data is put back as it was.
    """
    if database.shared:
        _bring(database, *(_account(name, present=False) for name in _left(database)))
    visitor = TemporaryUser(f"{NAME}{int(time.time()):08x}{secrets.token_hex(4)}", secrets.token_urlsafe(24))
    digest = hashlib.md5(f"{visitor.name}:{realm}:{visitor.password}".encode(), usedforsecurity=False).hexdigest()
    _bring(database, _account(visitor.name, digest))
    try:
        yield visitor
    finally:
        _bring(database, _account(visitor.name, present=False))


def make(base: str, visitor: TemporaryUser, headers: Mapping[str, str], *, calendars: bool, contacts: bool) -> None:
    """Log in at the address ``base``, and store, read and delete an event and a card; raises :class:`HostError`.

    ``headers`` go along with each request; ``calendars`` and ``contacts`` tell which of them are served.
    """
    client = _Client(base, visitor, headers)
    client.expect(MULTI_STATUS, "PROPFIND", f"principals/{visitor.name}/")
    if calendars:
        client.store(f"calendars/{visitor.name}/default/check.ics", EVENT, "text/calendar")
    if contacts:
        client.store(f"addressbooks/{visitor.name}/default/check.vcf", CARD, "text/vcard")


class _Client:
    def __init__(self, base: str, visitor: TemporaryUser, headers: Mapping[str, str]) -> None:
        # Over loopback, to ourselves: who it is, is not the question here.
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
            message = f"GET /dav.php/{path} gives another text than was stored there"
            raise HostError(message)
        self.expect(NO_CONTENT, "DELETE", path)

    def expect(self, status: int, method: str, path: str, content: bytes | None = None, kind: str = "") -> bytes:
        """Send a request and return what is answered; raises :class:`HostError` for any other ``status``."""
        headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(f"{self._base}/dav.php/{path}", content, headers, method=method)  # noqa: S310 - our own address
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as answer:
                found, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            found, body = error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"{method} /dav.php/{path} gets no answer: {getattr(error, 'reason', error)}"
            raise HostError(message) from None
        if found != status:
            output = " ".join(body.decode("utf-8", "replace").split())[:300]
            message = f"{method} /dav.php/{path} answers {found}, not {status}" + (f" ({output})" if output else "")
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
    """Return the accounts of runs that were killed: others may be in use, by another machine."""
    with contextlib.closing(database.connect()) as connection:
        rows = connection.execute("SELECT username FROM users WHERE username LIKE ?", (f"{NAME}%",)).fetchall()
    made = {str(name): re.fullmatch(rf"{NAME}([0-9a-f]{{8}})[0-9a-f]{{8}}", str(name)) for (name,) in rows}
    return [name for name, found in made.items() if found and time.time() - int(found[1], 16) > LIFE_S]


def _bring(database: Database, *accounts: DesiredUser) -> None:
    with contextlib.closing(database.connect()) as connection:
        for _, act in plan(connection, accounts, {}):
            act()
        connection.commit()
