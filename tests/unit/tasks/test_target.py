"""What is made of a host before and while it is deployed to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.machine import MachineFact
from tasks.release_download import Archive
from tasks.target import Target
from tests.unit.fake import BARE, INSTALLED, OFFERED, SETTLED
from tests.unit.samples import PLATFORM, settings


class Answering:
    """A host that answers the question what it is with these lines, or with nothing."""

    def __init__(self, *lines: str) -> None:
        """Have changed something already, which makes the question come up again."""
        self.lines = lines
        done = SimpleNamespace(operation_meta=SimpleNamespace(is_complete=lambda: True, executed=True))
        config = SimpleNamespace(PARALLEL=1)
        self.state: Any = SimpleNamespace(ops={self: {"packages": done}}, config=config, active_hosts={self})

    def get_fact(self, _: type, **__: object) -> Any:  # noqa: ANN401 - as pyinfra's
        """Answer."""
        return MachineFact().process(list(self.lines)) if self.lines else None


def target(host: Answering) -> Target:
    """Return a bare machine of the run."""
    return Target(
        host=cast("Any", host),
        settings=settings(),
        machine=MachineFact().process(BARE),
        candidates=OFFERED,
        archive=Archive("/b.zip", "0" * 64),
    )


def test_what_a_machine_has_become_decides_its_files() -> None:
    """After its packages are installed, it is asked what it got: here another PHP than it was offered."""
    got = [line.replace("2:8.2+93", "2:8.4+96") for line in (*BARE, *INSTALLED)]
    assert target(Answering(*got)).platform().php == "8.4"


def test_a_machine_that_dies_between_two_operations_is_taken_as_it_was() -> None:
    """Its next command will fail, for itself; an exception here would end the run for all hosts."""
    assert target(Answering()).platform() == PLATFORM


@pytest.mark.parametrize(("active", "asked"), [(1, True), (2, False)])
def test_only_as_many_hosts_are_asked_ahead_as_are_worked_on_at_a_time(active: int, *, asked: bool) -> None:
    """The answers of the others would be old by the time that it is their turn."""
    host = Answering(*SETTLED)
    host.state.active_hosts = set(range(active))
    made = Target(
        host=cast("Any", host),
        settings=settings(),
        machine=MachineFact().process(SETTLED),
        candidates={},
        archive=Archive("/b.zip", "0" * 64),
    )
    assert made.facts.expected is not None
    assert (made.facts._coming is not None) == asked
