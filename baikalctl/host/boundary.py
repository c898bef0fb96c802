"""The boundary between root and everything that others can write.

PHP's files, the answers of a database or its server, archives, old installations and mail queues may be crafted to
attack the program that reads them. So root never opens, parses or queries them itself. :func:`confined` runs a function
in a child process that has dropped root's privileges for good and has limits, and returns its answer as plain data. Files
pass the boundary as descriptors: root opens them with :func:`baikalctl.host.safe_copy.open_untrusted`, which follows no
link, and passes them to the child or copies their bytes.

This is the only module that drops privileges. If the process has none, as in a container with ``--user``, the child is
the same without the change of accounts.
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
"""How often to check whether the child still runs."""
LONGEST_MESSAGE = 2000
GRACE_S = 5.0
"""How long a child may run after its answer."""


def confined(
    function: Callable[[], T],
    limits: Limits = QUICK,
    *,
    account: str = "",
    keep: Iterable[int] = (),
    setuid_programs: bool = False,
) -> T:
    """Run ``function`` in a child process without any privilege, and return its result.

    The child runs as the data's owner, or as ``account``. It has no other groups, no terminal and no open files except
    those in ``keep``. It can't gain privileges; setuid programs only work with ``setuid_programs``. It must end within the
    ``limits`` and can't write a file that is larger than the data's file system.

    The result must be plain data: None, booleans, numbers, text, lists, and dictionaries with text as keys; tuples arrive
    as lists. :class:`HostError`, ``OSError`` and database errors are raised here again; any other exception becomes a
    :class:`HostError`. Output and changes to variables are lost. In a child, the function is called directly.
    """
    if boundary_child.inside:
        return function()
    with _child(function, limits, account=account, keep=keep, setuid_programs=setuid_programs) as child:
        answer = child.answer()
    return _result(answer)  # type: ignore[no-any-return] # received through the pipe


@contextlib.contextmanager
def confined_while(function: Callable[[Callable[[], None]], None], limits: Limits = THOROUGH) -> Iterator[None]:
    """Run ``function`` in such a child while the block runs, for example to hold a lock on a database server.

    The function is passed a callback. It calls this when it holds the lock; the callback returns when the block has ended.
    Exceptions before that are raised here. ``limits.seconds`` is the time until the callback must be called.
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
        """Return the child's answer; raises :class:`HostError` if there is none, or if it is too late or too long."""
        deadline = time.monotonic() + self.limits.seconds
        received = bytearray()
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left > 0 and not poll.poll(min(left, LOOK_S) * 1000):
                if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
                    raise HostError(
                        "another process of the same account stopped the process that reads the data; run again"
                    )
                continue
            if left <= 0:
                message = (
                    f"this took longer than {self.limits.seconds:.0f} seconds and was stopped; check the data and "
                    "the load of this host, and run again"
                )
                raise HostError(message)
            piece = os.read(self.pipe, PIECE)
            if not piece:
                break
            received += piece
            if len(received) > self.limits.answer:
                message = "the data is larger than allowed here; restore it from a backup"
                raise HostError(message)
        if not received.endswith(b"\n"):
            raise HostError(self._why_it_ended())
        return _plain(bytes(received))

    def _why_it_ended(self) -> str:
        _kill(self.pid)  # it may still run: only its pipe is closed
        status = os.waitpid(self.pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return f"this took more than {self.limits.cpu_s} seconds of processor time and was stopped"
        return "the process that reads the data ended without an answer; run again, and check the system's log"


@contextlib.contextmanager
def _child(  # noqa: PLR0913 - the parameters of its callers
    function: Callable[[], object],
    limits: Limits,
    *,
    account: str = "",
    keep: Iterable[int] = (),
    setuid_programs: bool = False,
    grace_s: float = 0,
) -> Iterator[_Child]:
    """Run a child during the block; ``grace_s`` after it, kill the child and all processes that it started."""
    identity = child_account(account) if privileged() else None
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


def child_account(account: str = "") -> pwd.struct_passwd:
    """Return the account for the child; on a machine without data, ``nobody``, which owns nothing."""
    try:
        return data_owner(account)
    except HostError:
        if account:
            raise
        return data_owner("nobody")


def _end(pid: int, grace_s: float) -> None:
    """Wait ``grace_s`` for the child to end, then kill it and all processes of its session."""
    deadline = time.monotonic() + grace_s
    with contextlib.suppress(ChildProcessError):  # it has already been waited for
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
            time.sleep(0.001)
        _kill(pid)
        os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    """Kill a child that hasn't been waited for yet, and the processes that it started."""
    for kill in (os.killpg, os.kill):  # the child starts a session of its own first of all
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _plain(received: bytes) -> dict[str, Any]:
    """Parse a child's answer, which is as untrusted as the data that the child has read."""
    try:
        answer = json.loads(received)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not ({"result", "error"} & answer.keys()):
        message = "the process that reads the data gave an invalid answer; the data may be damaged"
        raise HostError(message)
    return answer


def _result(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - any result of the function
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
