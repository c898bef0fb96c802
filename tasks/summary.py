"""The last word of a run over many hosts: which are in which state, what changed where, what failed and why.

pyinfra's own table counts by operation and isn't printed when a run is stopped. This one is by host and always comes.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import signal
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
import pyinfra
from pyinfra import logger
from pyinfra.api.output import format_text
from pyinfra.api.state import BaseStateCallback

from baikalctl.output import escaped
from tasks.rollout import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import State

COLORS = {"failed": "red", "unreachable": "red", "unfinished": "yellow", "not begun": "yellow", "changed": "green"}
ORDER = ("unreachable", "failed", "unfinished", "not begun", "changed", "unchanged")
"""The states that a host can be in at the end, worst first."""
UNANSWERED = "a question to it failed; why stands above"
FEW = 20
"""So many unchanged hosts are named; of more it is enough that they are all others."""
SENTENCE_LENGTH = 300
INTERRUPTED = 128
"""What a shell adds to a signal's number for the exit status of the command that it ended."""


@dataclass(frozen=True)
class Ending:
    """How the run ended for a host: its state, and what changed or why it failed."""

    state: str
    words: str = ""


class Watch(BaseStateCallback):
    """Sees what begins and what fails; it makes pyinfra's exit status tell of every failure, also with --no-wait."""

    def __init__(self) -> None:
        """Begin with nothing begun."""
        self.last: dict[Host, str] = {}
        """The operation that each host began last, by its key."""

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        """Remember where the host is."""
        if op_hash in state.ops[host]:
            self.last[host] = op_hash

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """Count the host as failed, unless that was to be ignored or is tried again."""
        if retry_count >= max_retries and not _ignored(state, host, op_hash):
            state.failed_hosts.add(host)


def at_the_end_of(state: State) -> None:
    """Have the summary printed when pyinfra's process ends, however it ends."""
    if not pyinfra.is_cli:  # whoever calls pyinfra from a program of their own has the state itself
        return
    watch = Watch()
    state.add_callback_handler(watch)  # type: ignore[no-untyped-call]
    atexit.register(_print, state, watch)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, functools.partial(_interrupted, state))


def _interrupted(state: State, number: int, _: FrameType | None) -> None:
    """End the run, and not with the status 0 that pyinfra has for Ctrl-C.

    The signal may come while any greenlet is at work. Raised in one of Paramiko's, SystemExit would end that one alone,
    and the run would wait for it for ever; so it goes to the main one. Those at work are ended, because the pool that
    they fill is needed for disconnecting.
    """
    logger.error(f"--> Stopped by {signal.Signals(number).name}; run again, and it goes on where it is needed")
    state.pool.kill(block=False)
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(INTERRUPTED + number))


def _print(state: State, watch: Watch) -> None:
    if not state.is_executing:
        return  # nothing has begun
    endings = endings_of(state, watch)
    if len(endings) == 1 and not state.failed_hosts:
        return  # pyinfra's table has said it all
    for line in lines(endings, shutil.get_terminal_size().columns):
        logger.info(line)


def endings_of(state: State, watch: Watch) -> dict[str, Ending]:
    """Return how the run ended for every host that it was to reach, by name, in the inventory's order."""
    return {
        host.name: _ending(state, host, watch.last.get(host, ""))
        for host in state.inventory
        if state.is_host_in_limit(host)
    }


def lines(endings: dict[str, Ending], width: int) -> Iterator[str]:
    """Yield what people read: hosts with the same ending together, each name in full, to be searched for."""
    by_state = {state: [ending for ending in endings.values() if ending.state == state] for state in ORDER}
    counts = ", ".join(f"{len(found)} {state}" for state, found in by_state.items() if found)
    yield f"--> Summary of {len(endings)} {'host' if len(endings) == 1 else 'hosts'}: {counts}"
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
        yield "Mend what failed and run again: what is as declared is left alone."


def _ending(state: State, host: Host, last: str) -> Ending:
    if host not in state.activated_hosts:
        return Ending("unreachable", "why stands above, where pyinfra connected")
    keys = [key for key in host.op_hash_order if key in state.ops[host] and not _title(state, key).startswith(GATE)]
    operations = {key: state.ops[host][key].operation_meta for key in keys}
    complete = {key: meta for key, meta in operations.items() if meta.is_complete()}
    done = "; ".join(_title(state, key) for key, meta in complete.items() if meta.did_change())
    if host in state.failed_hosts:
        wrong = [key for key, meta in complete.items() if not meta.did_succeed() and not _ignored(state, host, key)]
        what = f"{_title(state, wrong[0])}: {_reason(complete[wrong[0]])}" if wrong else UNANSWERED
        return Ending("failed", what)
    if len(complete) == len(operations):
        return Ending("changed", done) if done else Ending("unchanged")
    under_way = _title(state, last) if last in operations and last not in complete else ""
    if not complete and not under_way:
        return Ending("not begun")
    words = [f"stopped at: {under_way}" if under_way else "", f"done so far: {done}" if done else ""]
    return Ending("unfinished", "; ".join(word for word in words if word))


def _ignored(state: State, host: Host, key: str) -> bool:
    """Tell whether the operation's errors are to be ignored, as somebody else's may be."""
    return bool(state.ops[host][key].global_arguments.get("_ignore_errors"))


def _title(state: State, key: str) -> str:
    """Return an operation's own sentence, without the names of its batch and subsystem."""
    return next(iter(state.op_meta[key].names)).rpartition(" | ")[2]


def _reason(meta: OperationMeta) -> str:
    """Return the one line of what a failed operation said that tells most."""
    output = [line.strip() for line in (*meta.stderr_lines, *meta.stdout_lines) if line.strip()]
    if not output:
        return "the reason stands above; if nothing does, the connection broke, or it stopped answering"
    # apt's, nginx's and PHP's errors and the doctor's findings: first what is wrong, then what else that leads to.
    telling = [line for line in output if line.startswith(("E: ", "failed ")) or "[emerg]" in line or "ERROR" in line]
    errors = [line.strip() for line in meta.stderr_lines if line.strip()]
    chosen = escaped(telling[0] if telling else (errors or output)[-1])
    return chosen if len(chosen) <= SENTENCE_LENGTH else f"{chosen[:SENTENCE_LENGTH]}…"
