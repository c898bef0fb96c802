"""Run many commands of ``baikalctl``, each in its own process, without starting Python each time.

``python forking.py LIBRARY ROOT USER OUTPUT``: imports baikalctl from LIBRARY and places every path of a host below ROOT.
Each line on standard input is a JSON list: a time limit in seconds, and the command's words. For each, a process is
forked that runs the command with standard output and error in the file OUTPUT. The answer is a line of JSON: the exit
status, or null if the process was killed at the limit, and the seconds that it took.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

MEMORY = 1536 << 20
"""Limit of address space, in bytes, for a command and for its children."""
LARGEST_FILE = 256 << 20


def prepare(library: str, root: str, user: str) -> None:
    """Import all modules of baikalctl before forking, and change the paths of the host."""
    sys.path.insert(0, library)
    import baikalctl
    from baikalctl import paths

    for name, value in vars(paths).items():
        if name.isupper() and isinstance(value, str) and value.startswith("/"):
            setattr(paths, name, f"{root}{value}")
    paths.USER = user
    for module in pkgutil.walk_packages(baikalctl.__path__, "baikalctl."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # a database library that isn't installed
                importlib.import_module(module.name)
    queue: Any = sys.modules["baikalctl.mail.nullmailer"]
    spool = Path(f"{root}/var/spool/nullmailer")
    queue.SPOOL, queue.QUEUE, queue.FAILED, queue.TRIGGER = spool, spool / "queue", spool / "failed", spool / "trigger"


def run(words: list[str], output: str) -> NoReturn:
    """Run the command in this process, and end the process."""
    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, descriptor), (2, descriptor)):
        os.dup2(source, target)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = 70
    try:
        from baikalctl.cli import main

        status = main(words)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 71
    except BaseException:  # noqa: BLE001 - Python would do the same, and then run what belongs to this program
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def watch(pid: int, seconds: float) -> int | None:
    """Wait for the process; kill it and its children after ``seconds``; return its status as a shell would."""
    descriptor = os.pidfd_open(pid)
    try:
        import select

        ended = select.select([descriptor], [], [], seconds)[0]
    finally:
        os.close(descriptor)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # also processes that it has left behind
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if ended else None


def serve(library: str, root: str, user: str, output: str) -> None:
    """Run the commands from standard input."""
    prepare(library, root, user)
    os.environ["PATH"] = f"{root}/programs:{os.environ['PATH']}"
    for line in sys.stdin:
        seconds, *words = json.loads(line)
        began = time.monotonic()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            run(words, output)
        answer = [watch(pid, seconds), time.monotonic() - began]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
