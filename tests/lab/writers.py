"""Clients that write all the time and remember what they were promised: for tests that nothing promised is lost."""

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
"""After an answer that is none: nobody asks a server that is down as fast as he can."""
END_LIMIT_S: Final = 90
STEPS: Final = ("new", "read", "over", "read", "new", "delete")
"""What a client does in turn: two objects made, one written over and kept, one deleted, and reads in between."""
GONE: Final = b""
"""What an object is that is not there."""


@dataclass
class Kept:
    """What a client may expect of one object."""

    promised: bytes = GONE
    """What the server has acknowledged last."""
    possible: list[bytes] = field(default_factory=list)
    """What was written since without an acknowledgement: each of it may have come to be, or not."""

    def takes(self, data: bytes) -> bool:
        """Whether an object that is like this breaks no promise."""
        return data == self.promised or data in self.possible


@dataclass
class Writers:
    """``count`` clients from the beginning of the block to its end, each with objects of its own in ``collection``.

    A client goes on after an answer that is none, and after one that is wrong: which there were, is counted.
    """

    url: str
    user: str
    password: str
    count: int = 8
    collection: str = ""
    """A calendar's address; the user's own called ``default`` unless another is given."""
    name: str = "writer"
    """What the objects' names begin with: the same twice would be the same objects."""
    kept: dict[str, Kept] = field(default_factory=dict)
    """Every object that was written, by address."""
    acknowledged: int = 0
    """How many writes were answered with 201 or 204."""
    unavailable: int = 0
    """How many requests were answered with 503, …"""
    without_retry_after: int = 0
    """… and how many of these did not say when to come again."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """How many requests got no answer, or none in whole, by what happened."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no client should ever see: a sentence each."""
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        """Begin."""
        self.collection = self.collection or f"/dav.php/calendars/{urllib.parse.quote(self.user)}/default/"
        for number in range(self.count):
            self._threads.append(threading.Thread(target=self._run, args=(number,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, each client after the answer that it waits for; LabError if one hangs."""
        self._over.set()
        for thread in self._threads:
            thread.join(END_LIMIT_S)
            if thread.is_alive():
                message = f"a writer still waits for an answer after {END_LIMIT_S} s"
                raise LabError(message)

    def __str__(self) -> str:
        """Say what came of it."""
        silent = ", ".join(f"{number} × {what}" for what, number in self.unanswered.items()) or "none"
        return (
            f"{self.acknowledged} acknowledged writes, {self.unavailable} answers 503, {len(self.wrong)} wrong ones; "
            f"without an answer: {silent}"
        )

    def lost(self, contents: Contents) -> list[str]:
        """Return which promises what is there now breaks, one sentence each; to be asked once all clients have ended."""
        return [*self._broken(contents)]

    def _broken(self, contents: Contents) -> Iterator[str]:
        for href, kept in sorted(self.kept.items()):
            _, data = contents.objects.get(href, ("", GONE))
            if not kept.takes(data):
                yield f"{href} was promised to be {_said(kept.promised)}, and is {_said(data)}"
        ours = f"{self.collection}{self.name}-"
        for href in sorted(contents.objects):
            if href.startswith(ours) and href not in self.kept:
                yield f"{href} is there, and nobody has written it"

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
        """Yield the number of an object and what to do with it, without an end."""
        position = number * 1_000_000
        while True:
            for step in STEPS:
                position += step == "new"
                yield position, step

    def _write(self, dav: Dav, method: str, href: str, data: bytes) -> None:
        with self._lock:
            kept = self.kept.setdefault(href, Kept())
        kept.possible.append(data)
        status = self._send(dav, method, href, data)
        # A request that is sent again after one without an answer may find what that one has done.
        if status in {201, 204}:
            kept.promised, kept.possible = data, []
            with self._lock:
                self.acknowledged += 1
        elif status == 404 and method == "DELETE" and GONE in [kept.promised, *kept.possible[:-1]]:
            kept.promised, kept.possible = GONE, []
        elif status not in {0, 503}:
            self._tell(f"{method} {href} was answered with {status}")

    def _read(self, dav: Dav, href: str) -> None:
        kept = self.kept[href]
        reply = self._ask(dav, "GET", href)
        if reply is None or reply.status == 503:
            return
        data = reply.body if reply.status == 200 else GONE
        if reply.status not in {200, 404} or not kept.takes(data):
            sentence = (
                f"GET {href} was answered with {reply.status} and {_said(data)} instead of {_said(kept.promised)}"
            )
            self._tell(sentence)

    def _send(self, dav: Dav, method: str, href: str, data: bytes) -> int:
        """Return a write's status, or 0 where there was no answer."""
        headers = {"Content_Type": "text/calendar; charset=utf-8"} if data else {}
        reply = self._ask(dav, method, href, data, **headers)
        return reply.status if reply else 0

    def _ask(self, dav: Dav, method: str, href: str, data: bytes = b"", **headers: str) -> Reply | None:
        """Return the answer, or None where there was none; either is counted."""
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

    def _tell(self, sentence: str) -> None:
        with self._lock:
            self.wrong.append(sentence)


def _said(data: bytes) -> str:
    return (
        "gone" if data == GONE else f"{data[:2000].decode(errors='backslashreplace').partition('SUMMARY:')[2][:40]!r}"
    )
