"""The answer of a host is kept as long as it must still be true."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import gevent
import pytest
from pyinfra.api.exceptions import PyinfraError

from baikalctl import paths
from baikalctl.rendering.model import File, FileSet
from tasks.fact_cache import FRESH_SECONDS, CombinedFact, FactCache
from tasks.facts import CheckFact, FilesFact, ReleaseFact, ServicesFact

if TYPE_CHECKING:
    from pyinfra.api.host import Host

FILES = FileSet(directories=(), files=(File(path="/etc/x", content=b"x"),))


class Asked:
    """A host that counts what it is asked, and answers with the number of the question."""

    def __init__(self) -> None:
        """Begin with no question."""
        self.questions: list[str] = []
        self.state = SimpleNamespace(failed_hosts=set(), ops={self: {}})

    def did(self, *, changed: bool) -> None:
        """Have an operation of whichever deploy file complete, which has done something or not."""
        meta = SimpleNamespace(is_complete=lambda: True, executed=changed)
        self.state.ops[self][len(self.state.ops[self])] = SimpleNamespace(operation_meta=meta)

    def get_fact(self, fact: type, **_: object) -> Any:  # noqa: ANN401 - as pyinfra's
        """Answer all four where they are asked together."""
        self.questions.append(fact.__name__)
        if fact is CombinedFact:
            return {each: len(self.questions) for each in (*CombinedFact.QUICK, CheckFact)}
        return len(self.questions)


@pytest.fixture
def asked() -> Asked:
    """Give a host that has been asked nothing."""
    return Asked()


def answer(run: FactCache, fact: type[Any]) -> Any:  # noqa: ANN401 - a number, from this host
    """Return what the run makes of the host's answer."""
    return run.ask(fact)


def settled(asked: Asked) -> FactCache:
    """Return the run of a host that may be as declared already."""
    return FactCache(cast("Host", asked), expected=lambda: (FILES, "0.12.1"))


def test_a_settled_host_is_asked_once(asked: Asked) -> None:
    """All four questions together, however often they are needed, also after operations without a change."""
    run = settled(asked)
    for fact in (FilesFact, ReleaseFact, CheckFact, ServicesFact, CheckFact):
        assert answer(run, fact) == 1
        asked.did(changed=False)
    assert asked.questions == ["CombinedFact"]


def test_what_is_asked_ahead_is_not_asked_again(asked: Asked) -> None:
    """It has arrived when the first operation needs it."""
    run = settled(asked)
    run.prefetch()
    gevent.sleep(0)  # the question leaves when this machine waits for anything
    assert asked.questions == ["CombinedFact"]
    assert answer(run, FilesFact) == 1
    assert asked.questions == ["CombinedFact"]


def test_reason_for_a_missing_answer_is_raised_where_it_is_needed(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A greenlet of its own would print a traceback instead."""

    def no_host_left(*_: object, **__: object) -> None:
        message = "No hosts remaining!"
        raise PyinfraError(message)

    monkeypatch.setattr(asked, "get_fact", no_host_left)
    run = settled(asked)
    run.prefetch()
    gevent.sleep(0)
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run.ask(FilesFact)


def test_a_change_makes_all_answers_old(asked: Asked) -> None:
    """From then on each question is asked when it comes up, and again after the next change."""
    run = settled(asked)
    run.ask(FilesFact)
    asked.did(changed=True)
    assert answer(run, CheckFact) == 2
    assert answer(run, CheckFact) == 2
    asked.did(changed=True)
    assert answer(run, CheckFact) == 3
    assert asked.questions == ["CombinedFact", "CheckFact", "CheckFact"]


def test_time_makes_answers_old(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the operator reads the plan, or another batch is deployed, the host may change."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = settled(asked)
    run.ask(FilesFact)
    now += FRESH_SECONDS - 1
    assert answer(run, CheckFact) == 1
    now += 2
    assert answer(run, CheckFact) == 2
    assert asked.questions == ["CombinedFact", "CombinedFact"]


def test_a_bare_host_is_asked_what_is_needed(asked: Asked) -> None:
    """It will have changed by the time that the next question comes up."""
    run = FactCache(cast("Host", asked))
    assert answer(run, FilesFact) == 1
    assert answer(run, ReleaseFact) == 2
    assert asked.questions == ["FilesFact", "ReleaseFact"]


def test_a_host_that_has_stopped_answering_is_not_asked_on(asked: Asked) -> None:
    """Each question could cost minutes; the operation's own command fails instead, once."""
    run = FactCache(cast("Host", asked))
    asked.state.failed_hosts.add(asked)
    assert answer(run, FilesFact) == FilesFact.default()
    assert asked.questions == []


@pytest.mark.usefixtures("host")
def test_the_four_questions_together_are_right_shell() -> None:
    """Each part reads its own lines. Those of the check come last, and its error output is in no part."""
    answer = {"healthy": True, "pending": [], "findings": []}
    answer = answer | {"pending": ["=== none of these lines begins a part"]}
    command = Path(paths.COMMAND)
    command.write_text(f"#!/bin/sh\necho noise >&2\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    command.chmod(0o755)
    question = CombinedFact().command(files=FILES, version="0.12.1")
    done = subprocess.run(["/bin/sh", "-c", question], capture_output=True, text=True, check=True)
    answers = CombinedFact().process(done.stdout.splitlines())
    assert answers == {
        FilesFact: {"checksums": {}, "states": {}, "links": {}, "owned": []},
        ReleaseFact: ("", "", True),
        ServicesFact: {},
        CheckFact: answer,
    }


def test_nothing_is_made_of_no_answer() -> None:
    """Of lines that belong to no question, too."""
    assert CombinedFact.default() == {}
    assert CombinedFact().process(["noise before the first part"])[FilesFact] == FilesFact.default()
