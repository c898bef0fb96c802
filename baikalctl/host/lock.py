"""The host's lock for what may have to wait: not for ever, and saying for whom."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.install import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_S = 0.1


@contextlib.contextmanager
def hold_lock(path: str, say: Callable[[str], None], patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock ``path``, saying for whom this waits; raises :class:`HostError` after ``patience_s``."""
    deadline, told = time.monotonic() + patience_s, ""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                who = holder_in_words(descriptor)
            if time.monotonic() > deadline:
                message = f"{who} is still at work after {patience_s:.0f} seconds; let it end, or end it, and run again"
                raise HostError(message)
            if who != told:
                say(f"wait for {who}")
                told = who
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(descriptor)


def holder_in_words(descriptor: int) -> str:
    """Return in words which process holds the lock of an open file, as far as the kernel tells (proc(5), /proc/locks)."""
    found = os.fstat(descriptor)
    path = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == path and int(words[4]) > 0:
                command = Path(f"/proc/{words[4]}/cmdline").read_bytes().split(b"\0")
                program = _command_in_words([word.decode(errors="replace") for word in command if word])
                return f"{program} (process {words[4]})"
    return "another run of baikalctl or of the deploy"


def _command_in_words(command: list[str]) -> str:
    """Return what a process does, in the words that somebody started it with."""
    if "-c" in command and Path(command[0]).name.startswith("python"):  # baikalctl itself, or what the deploy sends
        verbs = command[command.index("-c") + 2 :]
        return f"baikalctl {' '.join(verbs)}" if verbs else "a deploy"
    return Path(command[0]).name


def try_volume() -> tuple[int, bool]:
    """Return the open lock of the process that serves the data, and whether it is this process now."""
    lock = os.open(paths.SERVING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return lock, False
    return lock, True


@contextlib.contextmanager
def volume_not_served(verb: str) -> Iterator[None]:
    """Hold what a container holds while it serves this data; raises :class:`HostError` if one does."""
    lock, ours = try_volume()
    try:
        if not ours:
            message = f"a container serves this data right now; stop it, {verb}, and start it again"
            raise HostError(message)
        yield
    finally:
        os.close(lock)


def lock_volume(say: Callable[[str], None]) -> int:
    """Return the open lock of the volume, after the container that holds it has ended.

    Two servers on one volume could each bring it to settings of their own, or to releases of their own.
    """
    lock, ours = try_volume()
    if not ours:
        say("another container serves this volume; waiting until it ends (stop it, or give this one its own volume)")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
