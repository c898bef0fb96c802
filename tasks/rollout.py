"""Batches: so many hosts at a time, and the next only when those before are well.

pyinfra runs each operation on all hosts before the next operation. Here each batch goes through all of them, and ends
with the doctor's word; a gate stands between it and the next. The gates are operations that the hosts on both sides
share, so pyinfra's own ordering keeps the batches apart, and everything else (facts, output, JSON, --limit) is as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.api.state import BaseStateCallback

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pyinfra.api.host import Host
    from pyinfra.api.state import State

GATE = "After batch"
WHOLE = 100


def split(hosts: Sequence[Host], sizes: Sequence[int | str]) -> list[list[Host]]:
    """Return ``hosts`` in batches of these ``sizes``, the last of which is repeated; ``25%`` is a share of all hosts."""
    counts = [size if isinstance(size, int) else len(hosts) * int(size.rstrip("%")) // WHOLE for size in sizes]
    batches: list[list[Host]] = []
    rest = list(hosts)
    while rest:
        count = max(1, counts[min(len(batches), len(counts) - 1)]) if counts else len(rest)
        batches.append(rest[:count])
        rest = rest[count:]
    return batches


def in_batches(host: Host, batches: Sequence[Sequence[Host]]) -> Iterator[None]:
    """Yield once, for the host's operations: when its batch's turn comes, where ``batches`` says so."""
    if len(batches) < 2:
        yield
        return
    number = next(number for number, batch in enumerate(batches) if host in batch)
    for gate in (number, number + 1):
        if 0 < gate < len(batches):
            # The same line for the hosts on both sides: pyinfra knows an operation by where it is called, and by this.
            host.loop_position = [2 * gate]
            passed(name=gate_name(gate, len(batches)))
        if gate == number:
            host.loop_position = [2 * number + 1]
            with host.deploy(f"Batch {number + 1} of {len(batches)}", None, None):
                yield
    host.loop_position = []


class Conductor(BaseStateCallback):
    """Leads pyinfra from batch to batch.

    It lets no batch begin after one that isn't well. And it has pyinfra run each operation on the hosts that have it
    alone: of 200 hosts in 20 batches it would say 28,000 times that one is skipped. pyinfra makes its list of active
    hosts right after it has told of an operation's start.
    """

    def __init__(self, batches: list[list[Host]]) -> None:
        """Lead through ``batches``."""
        self._before = {
            gate_name(gate, len(batches)): [host for batch in batches[:gate] for host in batch]
            for gate in range(1, len(batches))
        }
        self._hosts = sum(len(batch) for batch in batches)

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        """Show pyinfra the operation's own hosts; raises DeployError at the gate after a batch that isn't well."""
        for name in state.op_meta[op_hash].names & set(self._before):
            self._stop_unless_well(state, self._before[name])
        state.active_hosts = {host for host in state.active_hosts if op_hash in state.ops[host]}

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Show pyinfra all hosts again, now that it has its list: what counts failures needs them."""
        state.active_hosts = state.activated_hosts - state.failed_hosts

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Show pyinfra all hosts again, also where nobody was left for the operation."""
        state.active_hosts = state.activated_hosts - state.failed_hosts

    def _stop_unless_well(self, state: State, before: list[Host]) -> None:
        failed = [host.name for host in before if host in state.failed_hosts]
        asked = state.should_raise_failed_hosts is not None  # somebody sits there, and was asked about each failure
        if failed and not asked and len(failed) * WHOLE > (state.config.FAIL_PERCENT or 0) * len(before):
            message = (
                f"the roll-out stops, because {', '.join(failed)} failed; "
                f"the {self._hosts - len(before)} hosts of the batches that follow are as they were"
            )
            raise DeployError(message)


@operation()
def passed() -> Generator[None, None, None]:
    """Do nothing on a host: the operation stands between two batches, for the :class:`Conductor`."""
    yield from ()


def gate_name(gate: int, batches: int) -> str:
    """Return how what stands between two batches is called."""
    return f"{GATE} {gate} of {batches}: go on if all is well"
