"""Batches: a number of hosts at a time, and the next batch only if those before are healthy.

pyinfra runs each operation on all hosts before the next operation. Here each batch runs all operations, and ends with the
health check. Between two batches there is an operation that the hosts of both share, so pyinfra's own order keeps the
batches apart, and everything else (facts, output, JSON, --limit) works as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.api.state import BaseStateCallback

from baikalctl.output import counted
from tasks.pyinfra_internals import operations

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pyinfra.api.host import Host
    from pyinfra.api.state import State

GATE = "After batch"
WHOLE = 100


def split(hosts: Sequence[Host], sizes: Sequence[int | str]) -> list[list[Host]]:
    """Return ``hosts`` in batches of these ``sizes``. The last size is repeated; ``25%`` is a share of all hosts."""
    counts = [size if isinstance(size, int) else len(hosts) * int(size.rstrip("%")) // WHOLE for size in sizes]
    batches: list[list[Host]] = []
    rest = list(hosts)
    while rest:
        count = max(1, counts[min(len(batches), len(counts) - 1)]) if counts else len(rest)
        batches.append(rest[:count])
        rest = rest[count:]
    return batches


def in_batches(host: Host, batches: Sequence[Sequence[Host]]) -> Iterator[None]:
    """Yield once, for the host's operations. If there are several batches, they get the order of the host's batch."""
    if len(batches) < 2:
        yield
        return
    number = next(number for number, batch in enumerate(batches) if host in batch)
    for gate in (number, number + 1):
        if 0 < gate < len(batches):
            # The same for the hosts of both batches, so that it is one operation.
            operations.set_position(host, [2 * gate])
            passed(name=gate_name(gate, len(batches)))
        if gate == number:
            operations.set_position(host, [2 * number + 1])
            with host.deploy(f"Batch {number + 1} of {len(batches)}", None, None):
                yield
    operations.set_position(host, [])


class Conductor(BaseStateCallback):
    """Stops the run before a batch if a batch before it isn't healthy.

    It also has pyinfra run each operation only on the hosts that have it: with 200 hosts in 20 batches, pyinfra would log
    28,000 times that a host is skipped.
    """

    def __init__(self, batches: list[list[Host]]) -> None:
        """Watch these ``batches``."""
        self._before = {
            gate_name(gate, len(batches)): [host for batch in batches[:gate] for host in batch]
            for gate in range(1, len(batches))
        }
        self._hosts = sum(len(batch) for batch in batches)

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        """Show pyinfra the operation's own hosts; raises DeployError before a batch if one before isn't healthy."""
        for name in operations.operation_names(state, op_hash) & set(self._before):
            self._stop_unless_healthy(state, self._before[name])
        operations.show_only_hosts_with(state, op_hash)

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Show pyinfra all hosts again, now that it has its list."""
        operations.show_all_hosts(state)

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Show pyinfra all hosts again, also if the operation had no host left."""
        operations.show_all_hosts(state)

    def _stop_unless_healthy(self, state: State, before: list[Host]) -> None:
        failed = [host.name for host in before if operations.has_failed(host)]
        asked = operations.asks_on_failure(state)  # the operator has decided about each failure
        if failed and not asked and len(failed) * WHOLE > (state.config.FAIL_PERCENT or 0) * len(before):
            following = counted(self._hosts - len(before), "host")
            message = (
                f"the run stops, because {', '.join(failed)} failed; the following batches ({following}) are unchanged"
            )
            raise DeployError(message)


@operation()
def passed() -> Generator[None, None, None]:
    """Do nothing: the operation separates two batches, for the :class:`Conductor`."""
    yield from ()


def gate_name(gate: int, batches: int) -> str:
    """Return the name of the operation between two batches."""
    return f"{GATE} {gate} of {batches}: continue if all hosts are healthy"
