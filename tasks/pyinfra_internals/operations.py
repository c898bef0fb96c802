"""pyinfra's operations: their results, their order, and the standard input of their commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyinfra.api.host import Host
    from pyinfra.api.state import BaseStateCallback, State


@dataclass(frozen=True)
class Result:
    """One operation on one host."""

    key: str
    title: str
    """Its name, without the names of the deploys that it is in, which pyinfra puts before it."""
    complete: bool
    executed: bool
    """Whether it had any command to run."""
    succeeded: bool
    changed: bool
    ignored: bool
    """Whether its errors are ignored (``_ignore_errors``)."""
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


def results(host: Host) -> Iterator[Result]:
    """Yield the host's operations in order (api/state.py: op_meta, ops; api/operation.py: OperationMeta)."""
    state = host.state
    for key in host.op_hash_order:
        if key not in state.ops[host]:
            continue
        data = state.ops[host][key]
        meta = data.operation_meta
        complete = meta.is_complete()
        yield Result(
            key=key,
            title=next(iter(state.op_meta[key].names)).rpartition(" | ")[2],
            complete=complete,
            executed=complete and meta.executed,
            succeeded=complete and meta.did_succeed(),
            changed=complete and meta.did_change(),
            ignored=bool(data.global_arguments.get("_ignore_errors")),
            stdout=tuple(meta.stdout_lines) if complete else (),
            stderr=tuple(meta.stderr_lines) if complete else (),
        )


def changes(host: Host) -> int:
    """Return how many operations have executed anything on the host so far, those of other deploy files included."""
    operations = (data.operation_meta for data in host.state.ops[host].values())
    return sum(operation.is_complete() and operation.executed for operation in operations)


def has_failed(host: Host) -> bool:
    """Tell whether the host has failed in this run (api/state.py, failed_hosts)."""
    return host in host.state.failed_hosts


def mark_failed(host: Host) -> None:
    """Count the host as failed, so that pyinfra's exit status says so, which --no-wait prevents otherwise."""
    host.state.failed_hosts.add(host)


def ignores_errors(host: Host, key: str) -> bool:
    """Tell whether the operation's errors are ignored on the host."""
    return bool(host.state.ops[host][key].global_arguments.get("_ignore_errors"))


def operation_names(state: State, key: str) -> set[str]:
    """Return the names of an operation, which may differ by host, without those of the deploys that it is in."""
    return {name.rpartition(" | ")[2] for name in state.op_meta[key].names}


def set_position(host: Host, position: list[int]) -> None:
    """Have pyinfra order the next operations by ``position``, as in ``host.loop`` (api/host.py, loop_position).

    pyinfra identifies an operation by the line that calls it, and by this.
    """
    host.loop_position = position


def show_only_hosts_with(state: State, key: str) -> None:
    """Have pyinfra run the operation on its own hosts alone, without a line for each host that it skips.

    api/operations.py makes its list from ``state.active_hosts`` right after the callback ``operation_start``.
    """
    state.active_hosts = {host for host in state.active_hosts if key in state.ops[host]}


def show_all_hosts(state: State) -> None:
    """Undo :func:`show_only_hosts_with`: pyinfra counts failures against all hosts that are active."""
    state.active_hosts = state.activated_hosts - state.failed_hosts


def asks_on_failure(state: State) -> bool:
    """Tell whether the operator was asked about each failure (pyinfra_cli/main.py, should_raise_failed_hosts)."""
    return state.should_raise_failed_hosts is not None


def add_callback(state: State, callback: BaseStateCallback) -> None:
    """Have pyinfra call ``callback`` at the begin and end of operations."""
    state.add_callback_handler(callback)  # type: ignore[no-untyped-call]


class Stdin:
    """Lines for a command's standard input, made when they are sent: pyinfra keeps every command to the end of the run.

    connectors/util.py takes a string, a list, or what has ``readlines``.
    """

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        """Send what ``lines`` returns."""
        self._lines = lines

    def readlines(self) -> Sequence[str]:
        """Return the lines."""
        return self._lines()

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, as pyinfra's type for standard input requires."""
        return iter(self._lines())
