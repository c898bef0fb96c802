"""Streams of PUTs, several at once, and what became of each: for tests that end a server in their midst."""

from __future__ import annotations

import base64
import http.client
import itertools
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from tests.lab.clients import EVENT
from tests.lab.errors import LabError
from tests.lab.http_request import HOSTNAME, PASSWORD
from tests.lab.machine import LOCAL

if TYPE_CHECKING:
    from types import TracebackType

USER: Final = "jo"
CALENDAR: Final = f"/dav.php/calendars/{USER}/default/"
ANSWER_LIMIT_S: Final = 20
END_LIMIT_S: Final = 2 * ANSWER_LIMIT_S + 10
"""A stream may wait for a connection and for an answer, each as long as it may take."""


class Fate(StrEnum):
    """What became of a request."""

    ACKNOWLEDGED = "acknowledged"
    """201 or 204, in whole."""
    REFUSED = "refused"
    """Any other status, in whole."""
    CUT = "cut in the middle of the answer"
    DROPPED = "dropped without an answer"
    """The server had taken the connection, TLS included, and then closed it without a byte of an answer."""
    UNSENT = "not sent"
    """There was no connection: refused, or not taken out of the kernel's queue, so that TLS never began."""


ANSWERED: Final = frozenset({Fate.ACKNOWLEDGED, Fate.REFUSED})


@dataclass(frozen=True)
class Put:
    """One event that was to be stored."""

    uid: str
    summary: str
    fate: Fate
    detail: str
    """The status, or the error in the client's words."""

    @property
    def uri(self) -> str:
        """Where it was to be stored."""
        return f"{CALENDAR}{self.uid}.ics"


@dataclass
class Streams:
    """Clients that put one new event after the other, from the beginning of the block to its end.

    A stream ends with its first request that gets no answer. Streams of the same ``name`` write the same events.
    """

    port: int
    name: str
    streams: int = 8
    host: str = LOCAL
    """The name that the server is asked by, where it has several certificates; it must lead to loopback."""
    keep_alive: bool = True
    """Whether a stream keeps its connection; else it makes a new one for each request, which nothing may close."""
    puts: list[Put] = field(default_factory=list)
    """Every request that is over, of all streams."""
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        """Begin all streams."""
        for number in range(self.streams):
            self._threads.append(threading.Thread(target=self._stream, args=(number,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all streams, each after the answer that it waits for."""
        self._over.set()
        self.wait()

    def wait(self) -> None:
        """Wait until all streams have ended by themselves; LabError if one hangs."""
        for thread in self._threads:
            thread.join(END_LIMIT_S)
            if thread.is_alive():
                message = f"a stream of PUTs still waits for an answer after {END_LIMIT_S} s"
                raise LabError(message)

    def acknowledged(self) -> list[Put]:
        """Return the events that the server said it has stored."""
        return [put for put in list(self.puts) if put.fate is Fate.ACKNOWLEDGED]

    def fates(self) -> Counter[str]:
        """Count what became of the requests, with what was told of those that were not acknowledged."""
        return Counter(
            str(put.fate) if put.fate is Fate.ACKNOWLEDGED else f"{put.fate}: {put.detail}" for put in list(self.puts)
        )

    def _stream(self, stream: int) -> None:
        connection = connect_later(self.port, self.host)
        for number in itertools.count():
            uid = f"{self.name}-{stream}-{number}"
            summary = f"Event {number} of stream {stream}, {self.name}"
            fate, detail = put(connection, f"{CALENDAR}{uid}.ics", EVENT.format(uid=uid, summary=summary))
            self.puts.append(Put(uid, summary, fate, detail))
            if not self.keep_alive:
                connection.close()
            if fate not in ANSWERED or self._over.is_set():
                break
        connection.close()


def connect_later(port: int, host: str = LOCAL) -> http.client.HTTPSConnection:
    """Return a connection to a port of loopback that has yet to be made."""
    context = ssl._create_unverified_context()  # noqa: S323 - the lab's own server, on loopback
    return http.client.HTTPSConnection(host, port, timeout=ANSWER_LIMIT_S, context=context)


def headers(port: int) -> dict[str, str]:
    """Return the headers that every request has."""
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {
        "Host": f"{HOSTNAME}:{port}",
        "Authorization": f"Basic {credentials}",
        "Content-Type": "text/calendar; charset=utf-8",
    }


def put(connection: http.client.HTTPSConnection, uri: str, body: str) -> tuple[Fate, str]:
    """Send one PUT, on a new connection unless ``connection`` is open, and return what became of it."""
    try:
        if connection.sock is None:
            connection.connect()
    except OSError as error:
        return Fate.UNSENT, repr(error)
    try:
        connection.request("PUT", uri, body.encode(), headers(connection.port))
    except OSError as error:
        return Fate.DROPPED, repr(error)
    return outcome(connection)


def outcome(connection: http.client.HTTPSConnection) -> tuple[Fate, str]:
    """Read the answer to a PUT and return what became of it."""
    try:
        answer = connection.getresponse()
    except OSError as error:  # RemoteDisconnected is one as well
        return Fate.DROPPED, repr(error)
    except http.client.HTTPException as error:
        return Fate.CUT, repr(error)
    # nginx tells the length of every answer or sends it in chunks; where neither is told, the headers are not complete.
    whole = answer.length is not None or answer.chunked
    try:
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Fate.CUT, repr(error)
    if not whole:
        return Fate.CUT, f"status {answer.status} and headers without an end"
    return (Fate.ACKNOWLEDGED if answer.status in {201, 204} else Fate.REFUSED), f"status {answer.status}"
