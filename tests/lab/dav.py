"""A DAV client with one kept connection, for fetching much data, and for many clients at once."""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_LIMIT_S: Final = 60
NAMES: Final = {
    "d": "DAV:",
    "c": "urn:ietf:params:xml:ns:caldav",
    "a": "urn:ietf:params:xml:ns:carddav",
}
_SPACES: Final = "".join(f' xmlns:{prefix}="{name}"' for prefix, name in NAMES.items())
COLLECTIONS: Final = f"<d:propfind{_SPACES}><d:prop><d:resourcetype/><d:sync-token/></d:prop></d:propfind>"
LISTING: Final = f"<d:propfind{_SPACES}><d:prop><d:getetag/></d:prop></d:propfind>"
SYNC: Final = (
    f"<d:sync-collection{_SPACES}><d:sync-token>{{}}</d:sync-token><d:sync-level>1</d:sync-level>"
    "<d:prop><d:getetag/></d:prop></d:sync-collection>"
)
MULTIGET: Final = {
    "calendars": (
        f"<c:calendar-multiget{_SPACES}><d:prop><d:getetag/><c:calendar-data/></d:prop>{{}}</c:calendar-multiget>"
    ),
    "addressbooks": (
        f"<a:addressbook-multiget{_SPACES}><d:prop><d:getetag/><a:address-data/></d:prop>{{}}</a:addressbook-multiget>"
    ),
}
DATA: Final = ("c:calendar-data", "a:address-data")


@dataclass(frozen=True)
class Reply:
    """One complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Row:
    """One response of a multistatus."""

    href: str
    status: int
    """Status of the whole response; 200 if it has only properties."""
    etag: str
    data: bytes | None
    is_collection: bool
    """True for a calendar or an address book, not for a home or an inbox."""
    token: str


@dataclass
class Dav:
    """A user's connection to a server, made at the first request and again after the server has closed it.

    Certificates are not verified: tests of certificates have their own clients.
    """

    url: str
    """Such as https://localhost:20443."""
    user: str
    password: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that are added to every request."""
    timeout_s: float = ANSWER_LIMIT_S
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """Send one request, and repeat it once if the kept connection was closed; raises OSError or HTTPException."""
        kept = self._connection is not None
        try:
            return self._send(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            if not kept or method not in {"PROPFIND", "REPORT", "GET"}:
                raise
            return self._send(method, path, body, headers)

    def rows(self, method: str, path: str, body: str, depth: str = "1") -> tuple[list[Row], str]:
        """Send a PROPFIND or a REPORT; return its responses, and the sync token of the collection.

        Raises LabError if the answer isn't a multistatus.
        """
        reply = self.send(method, path, body.encode(), Depth=depth, Content_Type="application/xml; charset=utf-8")
        if reply.status != 207:
            message = f"{method} {path} of {self.user} was answered with {reply.status}: {reply.body[:500]!r}"
            raise LabError(message)
        tree = ET.fromstring(reply.body)  # noqa: S314 - from the lab's own server
        return [_row(response) for response in tree.iterfind("d:response", NAMES)], _text(tree, "d:sync-token")

    def collections(self) -> dict[str, str]:
        """Return all calendars and address books that the user has or shares, each with its sync token."""
        tokens: dict[str, str] = {}
        for kind in MULTIGET:
            rows, _ = self.rows("PROPFIND", f"/dav.php/{kind}/{urllib.parse.quote(self.user)}/", COLLECTIONS)
            tokens |= {row.href: row.token for row in rows if row.is_collection}
        return tokens

    def listing(self, collection: str) -> dict[str, str]:
        """Return the ETags of all objects in a collection."""
        rows, _ = self.rows("PROPFIND", collection, LISTING)
        return {row.href: row.etag for row in rows if row.href != collection}

    def objects(self, collection: str, hrefs: Iterable[str]) -> dict[str, tuple[str, bytes]]:
        """Return ETag and data of those of the objects that exist, by one multiget.

        Lines end with LF: sabre/dav removes the CR (lib/CalDAV/Plugin.php), or the XML parser does.
        """
        wanted = "".join(f"<d:href>{_escaped(href)}</d:href>" for href in hrefs)
        rows, _ = self.rows("REPORT", collection, MULTIGET[collection.split("/")[2]].format(wanted))
        return {row.href: (row.etag, row.data) for row in rows if row.data is not None}

    def object(self, href: str) -> tuple[str, bytes]:
        """Return ETag and data of an object, byte for byte; LabError if it doesn't exist."""
        reply = self.send("GET", href)
        if reply.status != 200:
            message = f"GET {href} of {self.user} was answered with {reply.status}: {reply.body[:500]!r}"
            raise LabError(message)
        return reply.headers.get("etag", ""), reply.body

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        parts = urllib.parse.urlsplit(self.url)
        if self._connection is None:
            host, port = parts.hostname or "", parts.port
            self._connection = (
                http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=_trusting())
                if parts.scheme == "https"
                else http.client.HTTPConnection(host, port, timeout=self.timeout_s)
            )
            self._connection.connect()
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Host": parts.netloc, "Authorization": f"Basic {credentials}", **self.headers, **lines}
        self._connection.request(method, path, body or None, sent)
        answer = self._connection.getresponse()
        content = answer.read()
        ends = answer.length is not None or answer.chunked or answer.getheader("Connection", "").lower() == "close"
        if not ends:
            self.close()  # nginx announces a close after the length or chunks: the headers were cut
            raise http.client.IncompleteRead(content)
        if answer.will_close:
            self.close()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


def _trusting() -> ssl.SSLContext:
    return ssl._create_unverified_context()  # noqa: S323 - the lab's own server, on loopback


def _row(response: ET.Element) -> Row:
    kinds = {element.tag.partition("}")[2] for element in response.iterfind(".//d:resourcetype/*", NAMES)}
    data = next((element for path in DATA if (element := response.find(f".//{path}", NAMES)) is not None), None)
    status = _text(response, "d:status")
    return Row(
        _text(response, "d:href"),
        int(status.split()[1]) if status else 200,
        _text(response, ".//d:getetag"),
        None if data is None else (data.text or "").encode(),
        "calendar" in kinds or "addressbook" in kinds,
        _text(response, ".//d:sync-token"),
    )


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path, "", NAMES) or "").strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
