"""Clients that use a server while it is changed: some write, one synchronises, one sends anonymous requests.

They may see the old data, 503 with Retry-After, or the new data. No acknowledged write may be lost.
"""

from __future__ import annotations

import http.client
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.lab.contents import Contents, compare, fetch_all
from tests.lab.corpus import Corpus
from tests.lab.dav import Dav
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.syncing import Syncer
from tests.lab.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.lab.server import Server


FEW: Final = Corpus(users=2, calendars=1, events=14, books=1, contacts=4)
"""Users who only read their data, before and after. It has every kind of object, and few, as each costs a request."""
WRITER: Final = "jo"
CALENDAR: Final = f"/dav.php/calendars/{WRITER}/default/"
PAUSE_S: Final = 0.02
END_LIMIT_S: Final = 90
ANONYMOUS_STATUS: Final = 401


@dataclass
class ActiveUsers:
    """The clients start at the beginning of the block and stop at its end; then ``problems`` returns what went wrong."""

    server: Server
    writing: int = 3
    powered: bool = True
    """False if the test cuts the power: then requests may get no answer at all."""
    window_s: float = 0.0
    """The longest time without a 401 for anonymous requests."""
    _before: Contents = field(default_factory=Contents)
    _problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    writers: Writers = field(init=False)
    _syncer: Syncer = field(init=False)

    def __enter__(self) -> Self:
        """Fetch all data, and start the clients."""
        self._before = fetch_all(self.server.url, FEW.people())
        self._syncer = Syncer(Dav(self.server.url, WRITER, PASSWORD), CALENDAR)
        self._syncer.sync()
        name = f"active-{secrets.token_hex(3)}"
        self.writers = Writers(self.server.url, WRITER, PASSWORD, count=self.writing, name=name)
        self.writers.__enter__()
        for act in (self._sync, self._watch):
            self._threads.append(threading.Thread(target=self._repeat, args=(act,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all clients, each after its current answer."""
        self._over.set()
        self.writers.__exit__(kind, error, trace)
        for thread in self._threads:
            thread.join(END_LIMIT_S)

    def __str__(self) -> str:
        """Return a summary."""
        return f"{self.writers}; closed for {self.window_s:.1f} s"

    def problems(self) -> list[str]:
        """Return all problems, one sentence each: in answers, and in the server's present data."""
        contents = fetch_all(self.server.url, {WRITER: PASSWORD})
        problems = [*self._problems, *self.writers.wrong, *self.writers.lost(contents)]
        problems += compare(self._before, fetch_all(self.server.url, FEW.people()))
        if self.writers.without_retry_after:
            problems.append(f"{self.writers.without_retry_after} answers 503 had no Retry-After")
        if self.powered and self.writers.unanswered:
            problems.append(f"requests without an answer: {dict(self.writers.unanswered)}")
        self._synchronise()
        problems += [text for text in self._syncer.errors() if self.powered or not self._is_unacknowledged(text)]
        return problems + [text for text in self._problems if text not in problems]

    def _is_unacknowledged(self, sentence: str) -> bool:
        """Whether a problem is about a write that was not acknowledged because of the power cut.

        sabre/dav stores an object first, and its change in a second transaction; neither is acknowledged by then.
        """
        return any(
            expected.possible and sentence.startswith(f"{href} ") for href, expected in self.writers.expected.items()
        )

    def _sync(self) -> None:
        try:
            self._synchronise()
        except LabError as error:
            # sabre/dav 1.8, which the stand-in uses, fails on objects that are deleted while it answers.
            if "answered with 503" not in str(error) and "object not found" not in str(error):
                raise

    def _synchronise(self) -> None:
        if self._syncer.sync().started_over:
            self._problems.append("the synchronising client had to start over")

    def _watch(self) -> None:
        """Send anonymous requests until the answer is 401; record the time and every answer that isn't 503 or 401."""
        began = time.monotonic()
        while (answer := self.server.ask("PROPFIND", "/dav.php/")).status != ANONYMOUS_STATUS:
            if answer.status != 503 or answer.headers.get("retry-after") != "30":
                self._problems.append(f"an anonymous request got {answer.status} with {answer.headers}")
            if self._over.wait(PAUSE_S):
                break
        self.window_s = max(self.window_s, time.monotonic() - began)

    def _repeat(self, act: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                act()
            except (OSError, http.client.HTTPException) as error:
                if self.powered:
                    self._problems.append(f"no answer: {error!r}")
            except LabError as error:
                self._problems.append(str(error))
            self._over.wait(PAUSE_S)
