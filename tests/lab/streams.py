"""Concurrent streams of PUTs and their outcomes, for tests that stop a server during requests."""

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
"""Limit for both a connection and an answer, at their longest."""


class Outcome(StrEnum):
    """The outcome of a request."""

    ACKNOWLEDGED = "acknowledged"
    """201 or 204, completely received."""
    REFUSED = "refused"
    """Any other status, completely received."""
    CUT = "cut in the middle of the answer"
    DROPPED = "dropped without an answer"
    """The server had accepted the connection, including TLS, and then closed it without a byte of an answer."""
    UNSENT = "not sent"
    """There was no connection: refused, or never accepted from the kernel's queue, so that TLS never began."""


ANSWERED: Final = frozenset({Outcome.ACKNOWLEDGED, Outcome.REFUSED})


@dataclass(frozen=True)
class Put:
    """One request to store an event."""

    uid: str
    summary: str
    result: Outcome
    detail: str
    """The status, or the client's error message."""

    @property
    def uri(self) -> str:
        """The event's address."""
        return f"{CALENDAR}{self.uid}.ics"


@dataclass
class Streams:
    """Clients that store one new event after the other, from the beginning of the block to its end.

    A stream ends at its first request without an answer. Streams with the same ``name`` write the same events.
    """

    port: int
    name: str
    streams: int = 8
    host: str = LOCAL
    """The host name of requests, if the server has several certificates; it must resolve to loopback."""
    keep_alive: bool = True
    """Whether a stream keeps its connection; else it makes a new one for each request."""
    puts: list[Put] = field(default_factory=list)
    """All completed requests of all streams."""
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        """Start all streams."""
        for number in range(self.streams):
            self._threads.append(threading.Thread(target=self._stream, args=(number,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all streams, each after its current answer."""
        self._over.set()
        self.wait()

    def wait(self) -> None:
        """Wait until all streams have ended; LabError if one hangs."""
        for thread in self._threads:
            thread.join(END_LIMIT_S)
            if thread.is_alive():
                message = f"a stream of PUTs still waits for an answer after {END_LIMIT_S} s"
                raise LabError(message)

    def acknowledged(self) -> list[Put]:
        """Return the acknowledged events."""
        return [put for put in list(self.puts) if put.result is Outcome.ACKNOWLEDGED]

    def outcomes(self) -> Counter[str]:
        """Count the outcomes of the requests, with the details of those that were not acknowledged."""
        return Counter(
            str(put.result) if put.result is Outcome.ACKNOWLEDGED else f"{put.result}: {put.detail}"
            for put in list(self.puts)
        )

    def _stream(self, stream: int) -> None:
        connection = connect_later(self.port, self.host)
        for number in itertools.count():
            uid = f"{self.name}-{stream}-{number}"
            summary = f"Event {number} of stream {stream}, {self.name}"
            result, detail = put(connection, f"{CALENDAR}{uid}.ics", EVENT.format(uid=uid, summary=summary))
            self.puts.append(Put(uid, summary, result, detail))
            if not self.keep_alive:
                connection.close()
            if result not in ANSWERED or self._over.is_set():
                break
        connection.close()


def connect_later(port: int, host: str = LOCAL) -> http.client.HTTPSConnection:
    """Return an unopened connection to a port of loopback."""
    context = ssl._create_unverified_context()  # noqa: S323 - the lab's own server, on loopback
    return http.client.HTTPSConnection(host, port, timeout=ANSWER_LIMIT_S, context=context)


def headers(port: int) -> dict[str, str]:
    """Return the headers of every request."""
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {
        "Host": f"{HOSTNAME}:{port}",
        "Authorization": f"Basic {credentials}",
        "Content-Type": "text/calendar; charset=utf-8",
    }


def put(connection: http.client.HTTPSConnection, uri: str, body: str) -> tuple[Outcome, str]:
    """Send one PUT, on a new connection unless ``connection`` is open, and return its outcome."""
    try:
        if connection.sock is None:
            connection.connect()
    except OSError as error:
        return Outcome.UNSENT, repr(error)
    try:
        connection.request("PUT", uri, body.encode(), headers(connection.port))
    except OSError as error:
        return Outcome.DROPPED, repr(error)
    return outcome(connection)


def outcome(connection: http.client.HTTPSConnection) -> tuple[Outcome, str]:
    """Read the answer to a PUT and return its outcome."""
    try:
        answer = connection.getresponse()
    except OSError as error:  # includes RemoteDisconnected
        return Outcome.DROPPED, repr(error)
    except http.client.HTTPException as error:
        return Outcome.CUT, repr(error)
    # nginx sends the length of every answer, or chunks; without either, the headers are incomplete.
    whole = answer.length is not None or answer.chunked
    try:
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Outcome.CUT, repr(error)
    if not whole:
        return Outcome.CUT, f"status {answer.status} and headers without an end"
    return (Outcome.ACKNOWLEDGED if answer.status in {201, 204} else Outcome.REFUSED), f"status {answer.status}"
