"""The host's lock, and the lock of the data volume. Both report which process they wait for."""

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
    """Hold the lock ``path``; report which process holds it; raise :class:`HostError` after ``patience_s``."""
    deadline, reported = time.monotonic() + patience_s, ""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                who = holder_in_words(descriptor)
            if time.monotonic() > deadline:
                message = (
                    f"{who} still holds the lock after {patience_s:.0f} seconds; wait for it or end it, and run again"
                )
                raise HostError(message)
            if who != reported:
                say(f"wait for {who}")
                reported = who
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(descriptor)


def holder_in_words(descriptor: int) -> str:
    """Return which process holds the lock of an open file, if the kernel shows it (proc(5), /proc/locks)."""
    status = os.fstat(descriptor)
    path = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == path and int(words[4]) > 0:
                command = Path(f"/proc/{words[4]}/cmdline").read_bytes().split(b"\0")
                program = _command_in_words([word.decode(errors="replace") for word in command if word])
                return f"{program} (process {words[4]})"
    return "another run of baikalctl or of the deploy"


def _command_in_words(command: list[str]) -> str:
    """Return the command of a process as the operator knows it."""
    if "-c" in command and Path(command[0]).name.startswith(
        "python"
    ):  # baikalctl itself, or a program that the deploy sent
        verbs = command[command.index("-c") + 2 :]
        return f"baikalctl {' '.join(verbs)}" if verbs else "a deploy"
    return Path(command[0]).name


def try_volume() -> tuple[int, bool]:
    """Return the open lock of the data volume, and whether this process holds it now."""
    lock = os.open(paths.SERVING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return lock, False
    return lock, True


@contextlib.contextmanager
def volume_not_served(verb: str) -> Iterator[None]:
    """Hold the lock that a container holds while it serves this data; raises :class:`HostError` if one does."""
    lock, ours = try_volume()
    try:
        if not ours:
            message = f"a container is serving this data; stop it, {verb}, and start it again"
            raise HostError(message)
        yield
    finally:
        os.close(lock)


def lock_volume(say: Callable[[str], None]) -> int:
    """Return the open lock of the volume, after the container that holds it has ended.

    Two servers on one volume could each apply their own settings or their own release.
    """
    lock, ours = try_volume()
    if not ours:
        say("another container serves this volume; waiting until it ends (stop it, or give this one its own volume)")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
