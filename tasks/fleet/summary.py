"""The summary of a run: the state of each host, what changed, what failed and why, and what a few hosts offer now.

pyinfra's own table counts by operation and isn't printed when a run is stopped. This one is by host and always printed.
"""

from __future__ import annotations

import atexit
import shutil
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.output import format_text
from pyinfra.api.state import BaseStateCallback

from baikalctl.output import counted, escaped
from tasks.fleet.batches import GATE
from tasks.pyinfra_internals import hosts, operations, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyinfra.api.host import Host
    from pyinfra.api.state import State

    from tasks.pyinfra_internals.operations import Result


COLORS = {"failed": "red", "unreachable": "red", "unfinished": "yellow", "not begun": "yellow", "changed": "green"}
ORDER = ("unreachable", "failed", "unfinished", "not begun", "changed", "unchanged")
"""The states that a host can be in at the end, worst first."""
UNANSWERED = "a question to it failed; its output is above"
FEW = 20
"""Up to this many unchanged hosts are listed by name."""
DESCRIBED = 5
"""In runs with up to this many hosts, it is printed what each offers now."""
SENTENCE_LENGTH = 300


@dataclass(frozen=True)
class Ending:
    """How the run ended for a host: its state, and what changed or why it failed."""

    state: str
    words: str = ""


class Watch(BaseStateCallback):
    """Records what begins and what fails, so that pyinfra's exit status is 1 after each failure, also with --no-wait."""

    def __init__(self) -> None:
        """Start without operations."""
        self.last: dict[Host, str] = {}
        """The operation that each host began last, by its key."""

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Record the operation that the host has begun."""
        if op_hash in host.op_hash_order:
            self.last[host] = op_hash

    def operation_host_error(  # type: ignore[override]
        self,
        state: State,  # noqa: ARG002 - pyinfra passes it
        host: Host,
        op_hash: str,
        retry_count: int = 0,
        max_retries: int = 0,
    ) -> None:
        """Count the host as failed, unless the error is ignored or the operation is retried."""
        if retry_count >= max_retries and not operations.ignores_errors(host, op_hash):
            operations.mark_failed(host)


def at_the_end_of(state: State, describe: Callable[[Host], Iterable[str]] = lambda _: ()) -> None:
    """Print the summary when pyinfra's process ends, for any reason. ``describe`` returns what a host offers now."""
    if not process.is_command_line():  # a program that uses pyinfra as a library has the state itself
        return
    watch = Watch()
    operations.add_callback(state, watch)
    atexit.register(_print, state, watch, describe)
    process.exit_on_signals(state)


def _print(state: State, watch: Watch, describe: Callable[[Host], Iterable[str]]) -> None:
    if not state.is_executing:
        return  # nothing has begun
    endings = endings_of(state, watch)
    # For one host that hasn't failed, pyinfra's table has everything.
    if len(endings) > 1 or any(ending.state == "failed" for ending in endings.values()):
        for line in lines(endings, shutil.get_terminal_size().columns):
            logger.info(line)
    for host in hosts.selected_hosts(state) if len(endings) <= DESCRIBED else ():
        if endings[host.name].state in ("changed", "unchanged"):
            for line in describe(host):
                logger.info(line)


def endings_of(state: State, watch: Watch) -> dict[str, Ending]:
    """Return how the run ended for every host that it was to reach, by name, in the inventory's order."""
    return {host.name: _ending(host, watch.last.get(host, "")) for host in hosts.selected_hosts(state)}


def lines(endings: dict[str, Ending], width: int) -> Iterator[str]:
    """Yield lines for people. Hosts with the same ending are in one entry, with full names, which can be searched."""
    by_state = {state: [ending for ending in endings.values() if ending.state == state] for state in ORDER}
    counts = ", ".join(f"{len(alike)} {state}" for state, alike in by_state.items() if alike)
    yield f"--> Summary of {counted(len(endings), 'host')}: {counts}"
    for state in ORDER:
        for words in dict.fromkeys(ending.words for ending in by_state[state]):
            alike = [name for name, ending in endings.items() if ending == Ending(state, words)]
            names = f"all {len(alike)} others" if state == "unchanged" and len(alike) > FEW else ", ".join(alike)
            label = format_text(f"{state:<12}", COLORS.get(state, "cyan"))
            first, *rest = textwrap.wrap(names, max(40, width - 20), break_on_hyphens=False)
            yield f"{label} {first}"
            yield from (f"{'':<12} {line}" for line in rest)
            if words:
                yield f"{'':<12}     {words}"
    if by_state["failed"] or by_state["unfinished"] or by_state["not begun"] or by_state["unreachable"]:
        yield "Fix what failed and run again: hosts that are up to date don't change."


def _ending(host: Host, last: str) -> Ending:
    """Return how the run ended for the host, whose operation with the key ``last`` began last."""
    if not hosts.is_connected(host):
        return Ending("unreachable", "the reason is above, where pyinfra connected")
    results = [each for each in operations.results(host) if not each.title.startswith(GATE)]
    complete = [each for each in results if each.complete]
    done = "; ".join(each.title for each in complete if each.changed)
    if operations.has_failed(host):
        wrong = [each for each in complete if not each.succeeded and not each.ignored]
        return Ending("failed", f"{wrong[0].title}: {_reason(wrong[0])}" if wrong else UNANSWERED)
    if len(complete) == len(results):
        return Ending("changed", done) if done else Ending("unchanged")
    under_way = next((each.title for each in results if each.key == last and not each.complete), "")
    if not complete and not under_way:
        return Ending("not begun")
    words = [f"stopped at: {under_way}" if under_way else "", f"done so far: {done}" if done else ""]
    return Ending("unfinished", "; ".join(word for word in words if word))


def _reason(result: Result) -> str:
    """Return the most useful line of a failed operation's output."""
    output = [line.strip() for line in (*result.stderr, *result.stdout) if line.strip()]
    if not output:
        return "the reason is above; if there is none, the connection was lost, or the host stopped answering"
    # Errors of apt, nginx and PHP, and findings of baikalctl check: the first is the cause, the others follow from it.
    telling = [line for line in output if line.startswith(("E: ", "failed ")) or "[emerg]" in line or "ERROR" in line]
    errors = [line.strip() for line in result.stderr if line.strip()]
    chosen = escaped(telling[0] if telling else (errors or output)[-1])
    return chosen if len(chosen) <= SENTENCE_LENGTH else f"{chosen[:SENTENCE_LENGTH]}…"
