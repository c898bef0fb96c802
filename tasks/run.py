"""What has happened so far in this run on one host, and what the host has said that is still true."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import gevent
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase

from tasks.check_fact import CheckFact
from tasks.facts import FilesFact, ReleaseFact, ServicesFact

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyinfra.api.host import Host

    from baikalctl.rendering.model import FileSet


T = TypeVar("T")
Answers: TypeAlias = "dict[type[FactBase[Any]], Any]"

ANSWER_SECONDS = 120
"""How long a host may take to answer: the longest is a check that finds its server hanging, 30 seconds for a request."""
FRESH_SECONDS = 20
"""How long an answer is believed of a host where this run has changed nothing: somebody else may."""


class StandingFact(FactBase["Answers"]):
    """All that a host which is as declared is asked: four questions in one command, so two round trips instead of eight.

    The doctor takes longest, so it works while the host answers the other three; its answer comes last, as it is printed
    when all of it is there.
    """

    QUICK: ClassVar = (FilesFact, ReleaseFact, ServicesFact)
    MARK = "=== "
    """Begins the line before each answer, which no answer has at the start of a line."""

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
        return {fact: fact().process(said) if said else fact.default() for fact, said in answers}

    @staticmethod
    def default() -> Answers:
        """Return what is said of nothing."""
        return {}


@dataclass
class Run:
    """One host's part of the run. pyinfra keeps no fact; this keeps those that are asked together."""

    host: Host
    standing: Callable[[], tuple[FileSet, str]] | None = None
    """On a host that may be as declared already: which files and which release to ask about, with all the rest."""
    _answers: Answers = field(default_factory=dict)
    _asked: float = 0.0
    _changes: int = 0
    """How many operations had done anything when the answers were given."""
    _coming: gevent.Greenlet[[], Answers | PyinfraError] | None = None

    def foresee(self) -> None:
        """Ask already, without waiting: while the host looks, this machine has work of its own."""

        def ahead() -> Answers | PyinfraError:
            try:
                return self._all()
            except PyinfraError as error:  # such as that no host is left: for whoever needs the answer
                return error

        self._asked = time.monotonic()
        self._coming = gevent.spawn(ahead)

    def ask(self, fact: type[FactBase[T]], **arguments: object) -> T:
        """Return what the host answers: what it has said already, where that must still be true."""
        if self._coming is not None:  # not its truth: a greenlet that has ended is false
            arrived, self._coming = self._coming.get(), None
            if isinstance(arrived, PyinfraError):
                raise arrived
            self._answers = arrived
        current = self._changes == self.changes() and time.monotonic() - self._asked < FRESH_SECONDS
        if fact not in self._answers or not current:
            self._asked, self._changes = time.monotonic(), self.changes()
            self._answers = {} if self._changes else self._all()
        if fact not in self._answers:
            if self.host in self.host.state.failed_hosts:
                return fact.default()  # it has stopped answering: the operation's own command will fail, once
            self._answers[fact] = self.host.get_fact(fact, _timeout=ANSWER_SECONDS, **arguments)
        answer: T = self._answers[fact]
        return answer

    def changes(self) -> int:
        """Return how many operations have done anything on the host so far: ours, and those of other deploy files."""
        operations = (data.operation_meta for data in self.host.state.ops[self.host].values())
        return sum(operation.is_complete() and operation.executed for operation in operations)

    def _all(self) -> Answers:
        if self.standing is None:
            return {}
        files, version = self.standing()
        found: Answers = self.host.get_fact(StandingFact, files=files, version=version, _timeout=ANSWER_SECONDS)
        return dict(found)
