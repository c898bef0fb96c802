"""The child's side of the boundary (:mod:`baikalctl.host.boundary`): drop privileges, run the function, answer."""

from __future__ import annotations

import contextlib
import ctypes  # imported before root is dropped: afterwards, its directory may not be readable
import errno
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from baikalctl import paths
from baikalctl.errors import HostError

if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable

    from baikalctl.host.child_limits import Limits


VARIABLES = ("PATH", "TZ", "LANG", "LC_ALL", "TMPDIR", "PYTHONDONTWRITEBYTECODE")
"""The variables of root's environment that a child keeps."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
"""Numbers of prctl(2)."""

inside = False
"""Whether this process is such a child, so that its calls are already confined."""
channel = -1
"""In a child, the pipe to root's process."""


def be_confined(  # noqa: PLR0913, PLR0917 - all parameters of a child
    function: Callable[[], object],
    limits: Limits,
    identity: pwd.struct_passwd | None,
    kept: set[int],
    pipe: int,
    parent: int,
    *,
    setuid_programs: bool,
) -> NoReturn:
    """Drop all that the child doesn't need, run ``function`` and send its answer; never returns."""
    global inside, channel
    status = 1
    try:
        inside, channel = True, pipe
        _detach(kept)
        _limit(limits)
        _give_up_root(identity, setuid_programs=setuid_programs)
        if os.getppid() == parent:
            send(pipe, _answer(function))
            status = 0
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        with contextlib.suppress(BaseException):
            send(pipe, {"error": "host", "message": f"the data can't be read safely ({type(error).__name__}: {error})"})
    finally:
        os._exit(status)


def _detach(kept: set[int]) -> None:
    """Leave the terminal, signal handlers, environment and open files of root's process."""
    os.setsid()  # a process with root's terminal could enter commands there
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in kept:
            os.dup2(null, standard)
    first = 3
    for descriptor in sorted(number for number in kept if number >= first):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _highest(first) + 1)
    os.chdir("/")
    os.umask(0o077)
    # Root's environment may have secrets and settings of libraries; the account can read it in programs that it starts.
    kept_variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update(kept_variables, HOME="/nonexistent")


def _highest(first: int) -> int:
    """Return the highest number of an open file, at least ``first``."""
    return max(first, *(int(path.name) for path in Path("/dev/fd").iterdir()))


def _limit(limits: Limits) -> None:
    """Limit memory, processor time and the size of files, and write no core dumps, which would hold secrets."""
    with contextlib.suppress(OSError, ValueError):
        present = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _at_most(resource.RLIMIT_AS, present + limits.memory)
    # At the soft limit, the kernel sends SIGXCPU, which tells the parent the reason; at the hard limit, SIGKILL.
    _at_most(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
    with contextlib.suppress(OSError):
        system = os.statvfs(paths.DATA)
        _at_most(resource.RLIMIT_FSIZE, system.f_blocks * system.f_frsize)
    _at_most(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):  # if memory runs out, the kernel ends this process first
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _at_most(which: int, soft: int, hard: int | None = None) -> None:
    present = resource.getrlimit(which)[1]
    highest = soft if hard is None else hard
    if present != resource.RLIM_INFINITY:
        soft, highest = min(soft, present), min(highest, present)
    resource.setrlimit(which, (soft, highest))


def _give_up_root(identity: pwd.struct_passwd | None, *, setuid_programs: bool) -> None:
    """Become ``identity`` with all its ids, so that this process can't become root again."""
    if identity is not None:
        uid, gid = identity.pw_uid, identity.pw_gid
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or os.getgroups():
            raise PermissionError(errno.EPERM, f"this process is not the account {identity.pw_name}")
    if sys.platform == "linux":
        # The child ends with root's process. Set after the change of accounts, which would reset it.
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(PR_SET_DUMPABLE, 0)  # other processes of the account can't read its memory
        if not setuid_programs:
            _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).prctl
    if call(ctypes.c_int(option), *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "prctl failed")


def _answer(function: Callable[[], object]) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of error
    try:
        return {"result": function()}
    except HostError as error:
        return {"error": "host", "message": str(error)}
    except OSError as error:
        return {"error": "os", "errno": error.errno, "message": error.strerror or str(error), "file": _name(error)}
    except MemoryError:
        return {"error": "host", "message": "this needs more memory than allowed; the data may be damaged"}
    except RecursionError:
        return {"error": "host", "message": "the data is nested too deeply; it may be damaged"}
    except Exception as error:  # noqa: BLE001 - the parent reports it
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "sqlite3"]
        if kinds:
            return {"error": kinds[0], "message": str(error), "code": getattr(error, "sqlite_errorcode", 0)}
        return {"error": "host", "message": f"this failed unexpectedly ({type(error).__name__}: {error})"}


def _name(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""


def send(pipe: int, answer: dict[str, Any]) -> None:
    """Send an answer as a line of JSON; one that isn't plain data becomes an error."""
    try:
        text = json.dumps(answer)
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps({"error": "host", "message": f"the result can't be sent ({error})"})
    left = memoryview(text.encode("ascii") + b"\n")
    while left:
        left = left[os.write(pipe, left) :]
