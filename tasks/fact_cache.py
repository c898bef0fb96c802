"""The answers of a host: several facts in one command, kept as long as they must still be true."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import gevent
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase

from baikalctl.errors import HostError
from tasks.facts import CheckFact, FilesFact, ReleaseFact, ServicesFact
from tasks.pyinfra_internals import operations

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyinfra.api.host import Host

    from baikalctl.rendering.model import FileSet


T = TypeVar("T")
Answers: TypeAlias = "dict[type[FactBase[Any]], Any]"

ANSWER_SECONDS = 120
"""How long a host may take to answer. The longest is a check of a server that hangs: 30 seconds for each request."""
FRESH_SECONDS = 20
"""How long an answer is used on a host where this run has changed nothing: other processes may change it."""


class CombinedFact(FactBase["Answers"]):
    """All that an unchanged host is asked: four facts in one command, so two round trips instead of eight.

    The check takes longest, so it runs while the host answers the other three. Its answer comes last.
    """

    QUICK: ClassVar = (FilesFact, ReleaseFact, ServicesFact)
    MARK = "=== "
    """Begins the line before each answer; no answer has it at the start of a line."""

    def command(self, files: FileSet, version: str) -> str:
        """Print every fact's name before its answer."""
        questions = (
            FilesFact().command(files=files),
            ReleaseFact().command(version=version),
            ServicesFact().command(services=files.services),
        )
        quick = "\n".join(
            f"echo '{self.MARK}{fact.__name__}'\n{question}"
            for fact, question in zip(self.QUICK, questions, strict=True)
        )
        return f"{{ {CheckFact().command()}; }} | {{ {quick}\necho '{self.MARK}{CheckFact.__name__}'; cat; }}"

    def process(self, output: list[str]) -> Answers:
        """Have each fact read its own lines."""
        lines: dict[str, list[str]] = {}
        part: list[str] = []
        for line in output:
            if line.startswith(self.MARK):
                part = lines.setdefault(line.removeprefix(self.MARK), [])
            else:
                part.append(line)
        answers = ((fact, lines.get(fact.__name__)) for fact in (*self.QUICK, CheckFact))
        return {fact: fact().process(part) if part else fact.default() for fact, part in answers}

    @staticmethod
    def default() -> Answers:
        """Return the answer of a host that prints nothing."""
        return {}


@dataclass
class FactCache:
    """The answers of one host. pyinfra itself caches no fact."""

    host: Host
    expected: Callable[[], tuple[FileSet, str]] | None = None
    """For a host that may be unchanged: the files and the release to ask about, together with the other facts."""
    checked: tuple[dict[str, Any], int] | None = None
    """The last result of ``baikalctl check``, and how many operations had changed anything by then."""
    _answers: Answers = field(default_factory=dict)
    _asked: float = 0.0
    _changes: int = 0
    """How many operations had changed anything when the answers were given."""
    _coming: gevent.Greenlet[[], Answers | HostError | PyinfraError] | None = None

    def prefetch(self) -> None:
        """Ask now, without waiting for the answer: this machine does its own work at the same time."""

        def ahead() -> Answers | HostError | PyinfraError:
            try:
                return self._all()
            except (
                HostError,
                PyinfraError,
            ) as error:  # such as that no host is left: raised where the answer is needed
                return error

        self._asked = time.monotonic()
        self._coming = gevent.spawn(ahead)

    def ask(self, fact: type[FactBase[T]], **arguments: object) -> T:
        """Return the host's answer: the kept one, if it must still be true."""
        if self._coming is not None:  # an ended greenlet is false
            arrived, self._coming = self._coming.get(), None
            if isinstance(arrived, Exception):
                raise arrived
            self._answers = arrived
        current = self._changes == self.changes() and time.monotonic() - self._asked < FRESH_SECONDS
        if fact not in self._answers or not current:
            self._asked, self._changes = time.monotonic(), self.changes()
            self._answers = {} if self._changes else self._all()
        if fact not in self._answers:
            if operations.has_failed(self.host):
                return fact.default()  # the host doesn't answer, so the operation's own command will fail
            self._answers[fact] = self.host.get_fact(fact, _timeout=ANSWER_SECONDS, **arguments)
        answer: T = self._answers[fact]
        return answer

    def keep(self, fact: type[FactBase[Any]]) -> None:
        """Keep the answer to ``fact``, although the present operation changes the host. All other answers expire."""
        self._answers = {fact: self._answers[fact]}
        self._changes += 1

    def changes(self) -> int:
        """Return how many operations have changed anything on the host so far."""
        return operations.changes(self.host)

    def _all(self) -> Answers:
        if self.expected is None:
            return {}
        files, version = self.expected()
        answers: Answers = self.host.get_fact(CombinedFact, files=files, version=version, _timeout=ANSWER_SECONDS)
        return dict(answers)
