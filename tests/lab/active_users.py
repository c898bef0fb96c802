"""People who go on using a server while it is changed: some write, one keeps in step, one looks at the door all the time.

What they may see is the old, 503 with when to come again, or the new; and nothing that was promised to them may be lost.
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
"""Who only look at what they have, before and after; of every kind, and few, as each object is a request."""
WRITER: Final = "jo"
CALENDAR: Final = f"/dav.php/calendars/{WRITER}/default/"
PAUSE_S: Final = 0.02
END_LIMIT_S: Final = 90
STRANGER: Final = 401


@dataclass
class ActiveUsers:
    """They come at the beginning of the block and leave at its end; what they complain of is asked for after that."""

    server: Server
    writing: int = 3
    powered: bool = True
    """Whether the machine keeps its power; while it has none, there is no answer at all."""
    window_s: float = 0.0
    """For how long strangers got another answer than to say who they are: the longest time in one piece."""
    _before: Contents = field(default_factory=Contents)
    _problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    writers: Writers = field(init=False)
    _syncer: Syncer = field(init=False)

    def __enter__(self) -> Self:
        """Look at everything, and begin."""
        self._before = fetch_all(self.server.url, FEW.people())
        self._syncer = Syncer(Dav(self.server.url, WRITER, PASSWORD), CALENDAR)
        self._syncer.sync()
        name = f"crowd-{secrets.token_hex(3)}"
        self.writers = Writers(self.server.url, WRITER, PASSWORD, count=self.writing, name=name)
        self.writers.__enter__()
        for act in (self._sync, self._watch):
            self._threads.append(threading.Thread(target=self._until_over, args=(act,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, each after the answer that is waited for."""
        self._over.set()
        self.writers.__exit__(kind, error, trace)
        for thread in self._threads:
            thread.join(END_LIMIT_S)

    def __str__(self) -> str:
        """Say what they did."""
        return f"{self.writers}; closed for {self.window_s:.1f} s"

    def problems(self) -> list[str]:
        """Return what was wrong, one sentence each: in any answer, and in what is there now."""
        contents = fetch_all(self.server.url, {WRITER: PASSWORD})
        problems = [*self._problems, *self.writers.wrong, *self.writers.lost(contents)]
        problems += compare(self._before, fetch_all(self.server.url, FEW.people()))
        if self.writers.without_retry_after:
            problems.append(f"{self.writers.without_retry_after} answers 503 did not say when to come again")
        if self.powered and self.writers.unanswered:
            problems.append(f"requests without an answer: {dict(self.writers.unanswered)}")
        self._in_step()
        problems += [text for text in self._syncer.wrong() if self.powered or not self._unsure(text)]
        return problems + [text for text in self._problems if text not in problems]

    def _unsure(self, sentence: str) -> bool:
        """Tell whether it is about a write that the power cut has kept from being acknowledged.

        sabre/dav stores an object first, and in a transaction of its own that it has changed; neither is promised yet.
        """
        return any(kept.possible and sentence.startswith(f"{href} ") for href, kept in self.writers.kept.items())

    def _sync(self) -> None:
        try:
            self._in_step()
        except LabError as error:
            # sabre/dav 1.8, of which the stand-in is made, stumbles over what is deleted while it answers.
            if "answered with 503" not in str(error) and "object not found" not in str(error):
                raise

    def _in_step(self) -> None:
        if self._syncer.sync().started_over:
            self._problems.append("the client that keeps in step had to start over")

    def _watch(self) -> None:
        """Be a stranger until the answer is another, and then until it is as it was again."""
        began = time.monotonic()
        while (answer := self.server.ask("PROPFIND", "/dav.php/")).status != STRANGER:
            if answer.status != 503 or answer.headers.get("retry-after") != "30":
                self._problems.append(f"a stranger got {answer.status} with {answer.headers}")
            if self._over.wait(PAUSE_S):
                break
        self.window_s = max(self.window_s, time.monotonic() - began)

    def _until_over(self, act: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                act()
            except (OSError, http.client.HTTPException) as error:
                if self.powered:
                    self._problems.append(f"no answer: {error!r}")
            except LabError as error:
                self._problems.append(str(error))
            self._over.wait(PAUSE_S)
