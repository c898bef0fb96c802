"""The boundary between root and everything that others can write.

PHP's files, what a database or its server answers, archives, old installations and mail queues may be made to attack
the program that reads them. So root never opens, parses or queries them itself. :func:`confined` runs a function in a
child process that has given root up for good, with limits, and returns its answer as plain data. Files pass the
boundary as descriptors: root opens them with :func:`baikalctl.host.safe_copy.open_untrusted`, which follows no link,
and hands them to the child or copies their bytes.

This is the only place where privileges are dropped. For a process that has none, such as in a container with ``--user``,
the child is the same without the change of accounts.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from baikalctl.errors import HostError
from baikalctl.host import boundary_child
from baikalctl.host.child_limits import QUICK, THOROUGH, Limits
from baikalctl.host.privileges import data_owner, privileged

if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


PIECE = 1 << 16
LOOK_S = 1.0
"""How often to see whether the child still runs."""
LONGEST_MESSAGE = 2000
GRACE_S = 5.0
"""After its answer, how long a child may take to end."""


def confined(
    function: Callable[[], T],
    limits: Limits = QUICK,
    *,
    account: str = "",
    keep: Iterable[int] = (),
    setuid_programs: bool = False,
) -> T:
    """Run ``function`` in a child process without any privilege, and return what it returns.

    The child is the data's owner, or ``account``. It has no other groups, can't gain privileges, not even by a setuid
    program unless ``setuid_programs``, and has no terminal and no open files but those of ``keep``. It must end within
    the ``limits``, and can't write a file that is larger than the data's file system.

    What the function returns must be plain data: None, truth values, numbers, text, lists, and dictionaries with text as
    keys; tuples arrive as lists. It can raise :class:`HostError`, ``OSError`` and the errors of a database; anything
    else arrives as :class:`HostError`. Its output and its changes to variables are lost. Within a child, the function is
    simply called.
    """
    if boundary_child.inside:
        return function()
    with _child(function, limits, account=account, keep=keep, setuid_programs=setuid_programs) as child:
        answer = child.answer()
    return _result(answer)  # type: ignore[no-any-return] # what came through the pipe


@contextlib.contextmanager
def confined_while(function: Callable[[Callable[[], None]], None], limits: Limits = THOROUGH) -> Iterator[None]:
    """Run ``function`` in such a child for as long as the block lasts: it holds a lock of a server, for example.

    The function gets a function to call when it holds what it is to hold; that returns when the block has ended. What it
    raises before is raised here. ``limits.seconds`` is how long it may take until then.
    """
    if boundary_child.inside:
        message = "a confined process can't start another one"
        raise RuntimeError(message)
    until, ended = os.pipe()

    def hold() -> None:
        def held() -> None:
            boundary_child.send(boundary_child.channel, {"result": None})
            os.read(until, 1)

        function(held)

    with contextlib.ExitStack() as stack:
        stack.callback(os.close, until)
        end = contextlib.ExitStack()  # the child ends when this closes
        end.callback(os.close, ended)
        child = stack.enter_context(_child(hold, limits, keep=(until,), grace_s=GRACE_S))
        with end:
            _result(child.answer())
            yield


@dataclass(frozen=True, kw_only=True)
class _Child:
    pid: int
    pipe: int
    limits: Limits

    def answer(self) -> dict[str, Any]:
        """Return what the child sends; raises :class:`HostError` where that is nothing, too late or too much."""
        deadline = time.monotonic() + self.limits.seconds
        received = bytearray()
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left > 0 and not poll.poll(min(left, LOOK_S) * 1000):
                if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
                    raise HostError(
                        "the process that reads the data was stopped by another one of its account; run again"
                    )
                continue
            if left <= 0:
                message = (
                    f"this took longer than {self.limits.seconds:.0f} seconds and was stopped; look at the data and at "
                    "the load of this host, and run again"
                )
                raise HostError(message)
            piece = os.read(self.pipe, PIECE)
            if not piece:
                break
            received += piece
            if len(received) > self.limits.answer:
                message = "the data is larger than is allowed here; restore it from a backup"
                raise HostError(message)
        if not received.endswith(b"\n"):
            raise HostError(self._why_it_ended())
        return _plain(bytes(received))

    def _why_it_ended(self) -> str:
        _kill(self.pid)  # it may only have closed the pipe
        status = os.waitpid(self.pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return f"this took more than {self.limits.cpu_s} seconds of processor time and was stopped"
        return "the process that reads the data ended without an answer; run again, and look at the system's log"


@contextlib.contextmanager
def _child(  # noqa: PLR0913 - those of its callers
    function: Callable[[], object],
    limits: Limits,
    *,
    account: str = "",
    keep: Iterable[int] = (),
    setuid_programs: bool = False,
    grace_s: float = 0,
) -> Iterator[_Child]:
    """Have the child for the block; ``grace_s`` after that, it and what it has started are killed."""
    identity = owner_or_nobody(account) if privileged() else None
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        kept = {writing, *keep}
        boundary_child.be_confined(function, limits, identity, kept, writing, parent, setuid_programs=setuid_programs)
    os.close(writing)
    try:
        yield _Child(pid=pid, pipe=reading, limits=limits)
    finally:
        os.close(reading)
        _end(pid, grace_s)


def owner_or_nobody(account: str = "") -> pwd.struct_passwd:
    """Return the account of the child: on a machine without any data, one that owns nothing."""
    try:
        return data_owner(account)
    except HostError:
        if account:
            raise
        return data_owner("nobody")


def _end(pid: int, grace_s: float) -> None:
    """Give the child ``grace_s`` to end by itself, then kill it and everything in its session."""
    deadline = time.monotonic() + grace_s
    with contextlib.suppress(ChildProcessError):  # it was waited for already
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
            time.sleep(0.001)
        _kill(pid)
        os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    """Kill a child that wasn't waited for yet, and what it has started."""
    for kill in (os.killpg, os.kill):  # the child leads a session of its own once it has got that far
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _plain(received: bytes) -> dict[str, Any]:
    """Return what a child has sent, which isn't trusted any more than what it has read."""
    try:
        answer = json.loads(received)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not ({"result", "error"} & answer.keys()):
        message = "the process that reads the data gave no proper answer; the data may be damaged"
        raise HostError(message)
    return answer


def _result(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the function returned
    if "result" in answer:
        return answer["result"]
    kind, message = str(answer["error"]), str(answer.get("message", ""))
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]} …"
    if kind == "host":
        raise HostError(message)
    if kind == "os":
        number = answer.get("errno")
        raise OSError(
            number if isinstance(number, int) else 0, message, *([answer["file"]] if answer.get("file") else [])
        )
    import sqlite3

    known = getattr(sqlite3, kind, None) if kind.endswith("Error") else None
    error = (known if isinstance(known, type) and issubclass(known, sqlite3.Error) else sqlite3.DatabaseError)(message)
    if isinstance(answer.get("code"), int):
        error.sqlite_errorcode = answer["code"]
    raise error
