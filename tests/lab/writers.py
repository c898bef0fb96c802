"""Clients that write all the time and remember acknowledged writes, for tests that none of these is lost."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.lab.clients import EVENT
from tests.lab.dav import Dav, Reply
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.lab.contents import Contents


PAUSE_S: Final = 0.05
"""Pause after a missing answer or 503, as real clients make."""
END_LIMIT_S: Final = 90
STEPS: Final = ("new", "read", "over", "read", "new", "delete")
"""A client's cycle: create two objects, overwrite and keep one, delete one, with reads in between."""
GONE: Final = b""
"""The data of an object that doesn't exist."""


@dataclass
class ExpectedObject:
    """The states of one object that a client may expect."""

    acknowledged: bytes = GONE
    """The last acknowledged state."""
    possible: list[bytes] = field(default_factory=list)
    """Later writes without an acknowledgement: each may have happened or not."""

    def accepts(self, data: bytes) -> bool:
        """Whether ``data`` is one of the expected states."""
        return data == self.acknowledged or data in self.possible


@dataclass
class Writers:
    """``count`` clients from the beginning of the block to its end, each with its own objects in ``collection``.

    A client continues after missing and wrong answers; they are counted.
    """

    url: str
    user: str
    password: str
    count: int = 8
    collection: str = ""
    """A calendar's address; by default the user's calendar ``default``."""
    name: str = "writer"
    """Prefix of the objects' names: the same prefix means the same objects."""
    expected: dict[str, ExpectedObject] = field(default_factory=dict)
    """All written objects, by address."""
    acknowledged: int = 0
    """How many writes were answered with 201 or 204."""
    unavailable: int = 0
    """How many requests were answered with 503."""
    without_retry_after: int = 0
    """How many of the answers 503 had no Retry-After."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """How many requests got no complete answer, by error."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no client should ever see, one sentence each."""
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        """Start all clients."""
        self.collection = self.collection or f"/dav.php/calendars/{urllib.parse.quote(self.user)}/default/"
        for number in range(self.count):
            self._threads.append(threading.Thread(target=self._run, args=(number,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all clients, each after its current answer; LabError if one hangs."""
        self._over.set()
        for thread in self._threads:
            thread.join(END_LIMIT_S)
            if thread.is_alive():
                message = f"a writer still waits for an answer after {END_LIMIT_S} s"
                raise LabError(message)

    def __str__(self) -> str:
        """Return a summary."""
        silent = ", ".join(f"{number} × {what}" for what, number in self.unanswered.items()) or "none"
        return (
            f"{self.acknowledged} acknowledged writes, {self.unavailable} answers 503, {len(self.wrong)} wrong ones; "
            f"without an answer: {silent}"
        )

    def lost(self, contents: Contents) -> list[str]:
        """Return the lost writes, one sentence each; call this after all clients have stopped."""
        return [*self._lost(contents)]

    def _lost(self, contents: Contents) -> Iterator[str]:
        for href, expected in sorted(self.expected.items()):
            _, data = contents.objects.get(href, ("", GONE))
            if not expected.accepts(data):
                yield f"{href} was acknowledged as {_shortened(expected.acknowledged)}, and is {_shortened(data)}"
        ours = f"{self.collection}{self.name}-"
        for href in sorted(contents.objects):
            if href.startswith(ours) and href not in self.expected:
                yield f"{href} exists, but no client has written it"

    def _run(self, number: int) -> None:
        dav = Dav(self.url, self.user, self.password)
        for position, step in self._plan(number):
            if self._over.is_set():
                break
            href = f"{self.collection}{self.name}-{number}-{position}.ics"
            match step:
                case "read":
                    self._read(dav, href)
                case "delete":
                    self._write(dav, "DELETE", href, GONE)
                case _:
                    uid = f"{self.name}-{number}-{position}"
                    text = EVENT.format(uid=uid, summary=f"Größe, {step}").replace("\n", "\r\n")
                    self._write(dav, "PUT", href, text.encode())
        dav.close()

    @staticmethod
    def _plan(number: int) -> Iterator[tuple[int, str]]:
        """Yield numbers of objects and steps, endlessly."""
        position = number * 1_000_000
        while True:
            for step in STEPS:
                position += step == "new"
                yield position, step

    def _write(self, dav: Dav, method: str, href: str, data: bytes) -> None:
        with self._lock:
            expected = self.expected.setdefault(href, ExpectedObject())
        expected.possible.append(data)
        status = self._send(dav, method, href, data)
        # A repeated request may see the effect of the first one, which got no answer.
        if status in {201, 204}:
            expected.acknowledged, expected.possible = data, []
            with self._lock:
                self.acknowledged += 1
        elif status == 404 and method == "DELETE" and GONE in [expected.acknowledged, *expected.possible[:-1]]:
            expected.acknowledged, expected.possible = GONE, []
        elif status not in {0, 503}:
            self._record(f"{method} {href} was answered with {status}")

    def _read(self, dav: Dav, href: str) -> None:
        expected = self.expected[href]
        reply = self._ask(dav, "GET", href)
        if reply is None or reply.status == 503:
            return
        data = reply.body if reply.status == 200 else GONE
        if reply.status not in {200, 404} or not expected.accepts(data):
            right = _shortened(expected.acknowledged)
            self._record(f"GET {href} was answered with {reply.status} and {_shortened(data)} instead of {right}")

    def _send(self, dav: Dav, method: str, href: str, data: bytes) -> int:
        """Return a write's status, or 0 if there was no answer."""
        headers = {"Content_Type": "text/calendar; charset=utf-8"} if data else {}
        reply = self._ask(dav, method, href, data, **headers)
        return reply.status if reply else 0

    def _ask(self, dav: Dav, method: str, href: str, data: bytes = b"", **headers: str) -> Reply | None:
        """Return the answer, or None if there was none; both are counted."""
        try:
            reply = dav.send(method, href, data, **headers)
        except (OSError, http.client.HTTPException) as error:
            dav.close()
            with self._lock:
                self.unanswered[type(error).__name__] += 1
            self._over.wait(PAUSE_S)
            return None
        if reply.status == 503:
            with self._lock:
                self.unavailable += 1
                self.without_retry_after += "retry-after" not in reply.headers
            self._over.wait(PAUSE_S)
        return reply

    def _record(self, sentence: str) -> None:
        with self._lock:
            self.wrong.append(sentence)


def _shortened(data: bytes) -> str:
    return (
        "gone" if data == GONE else f"{data[:2000].decode(errors='backslashreplace').partition('SUMMARY:')[2][:40]!r}"
    )
