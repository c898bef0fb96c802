"""nullmailer's queue: what waits in it and why, and how it is told to go on.

A message is a file: the sender, the recipients, an empty line, and the message. In a container its folder leads into
the volume.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from baikalctl import paths
from baikalctl.faults import HostError
from baikalctl.health import in_container
from baikalctl.privilege import as_owner, belongs, give, owner, privileged
from baikalctl.waiting import Waiting, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPOOL = Path("/var/spool/nullmailer")
QUEUE, FAILED, TRIGGER = SPOOL / "queue", SPOOL / "failed", SPOOL / "trigger"
UNIT = "nullmailer"
LOG = Path(paths.RUN) / "mail/current"
"""What nullmailer has said, in a container."""
SINCE = "-8d"
"""How far back to look in a machine's journal: nullmailer gives up after a week."""
ENVELOPE = re.compile(r"From: <\S*> to: (.*)$")
ATTEMPT = re.compile(r"Starting delivery: host: .* file: (\S+)$")
OUTCOME = re.compile(r"smtp: (Failed|Succeeded): (.*)$")


class Outcome(NamedTuple):
    """How an attempt ended."""

    sent: bool
    words: str
    """The relay's, or what kept it from having any."""
    recipients: str
    """In angle brackets."""


def waiting() -> list[Waiting]:
    """Return all messages that were not sent, the oldest first."""
    said = outcomes()
    found = []
    for folder in (QUEUE, FAILED):
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # it has just left
                found.append(_look(path, said[path.name].words if path.name in said else "", failed=folder == FAILED))
    return sorted(found, key=lambda each: each.since)


def outcomes() -> dict[str, Outcome]:
    """Return by message how its last attempt ended."""
    found: dict[str, Outcome] = {}
    current = recipients = ""
    for line in _log():
        if attempt := ATTEMPT.search(line):
            current = attempt[1]
        elif envelope := ENVELOPE.search(line):
            recipients = envelope[1]
        elif (outcome := OUTCOME.search(line)) and current:
            found[current] = Outcome(outcome[1] == "Succeeded", outcome[2], recipients)
        elif "timed out, killing" in line and current:
            found[current] = Outcome(False, "the relay took longer than two minutes", recipients)  # noqa: FBT003
    return found


def last_words(recipient: str, begin: float) -> tuple[bool, str] | None:
    """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and what was said; None before any."""
    for name, outcome in reversed(outcomes().items()):
        since = name.partition(".")[0]
        if f"<{recipient}>" in outcome.recipients and since.isdecimal() and int(since) >= int(begin):
            return outcome.sent, outcome.words
    return None


def put_back() -> int:
    """Have what was refused for good tried once more; return how many those are."""
    count = 0
    for path in FAILED.iterdir() if FAILED.is_dir() else ():
        if _envelope(path)[0]:  # a bounce that nobody took is nothing to be tried again
            os.utime(path)  # it is given up on a week after this
            path.rename(QUEUE / path.name)
            count += 1
    return count


def flush() -> None:
    """Have everything tried now."""
    with contextlib.suppress(OSError):  # with nobody there to read it, the next start tries everything anyway
        descriptor = os.open(TRIGGER, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, b"\0")
        os.close(descriptor)


def prepare(mode: str, say: Callable[[str], None]) -> None:
    """See to it that a container's queue can be used, and say what waits in it although mail is off."""
    spool = Path(paths.SPOOL)
    if mode == "off":
        left = [path for part in ("queue", "failed") for path in (spool / part).glob("*")]
        if left:
            say(f"mail is off, and {len(left)} messages stay in the volume: with a relay, they are sent")
        return
    if privileged():  # what another account has left there, an ordinary user's container for example
        account = owner()
        with as_owner():  # what nobody has been told was taken
            for path in (spool / "tmp").iterdir():
                path.unlink()
        for path in spool.rglob("*"):
            try:
                if path.is_file() and not path.is_symlink() and not belongs(path, account):
                    give(path, account)
            except HostError as error:  # calendars are served all the same
                say(str(error))
        (spool / TRIGGER.name).unlink(missing_ok=True)
    with as_owner(), contextlib.suppress(FileExistsError):
        os.mkfifo(spool / TRIGGER.name, 0o600)


def take(keep: Callable[[str, tuple[str, ...], bytes], object]) -> int:
    """Take everything out of the queue, each message after ``keep`` has it; return how many those are."""
    if not in_container():
        stop(UNIT)
    count = 0
    for folder in (QUEUE, FAILED):
        for path in folder.iterdir() if folder.is_dir() else ():
            head, _, content = path.read_bytes().partition(b"\n\n")
            sender, *recipients = head.decode("utf-8", "replace").split("\n")
            keep(sender, tuple(recipients), content)
            path.unlink()
            count += 1
    return count


def _look(path: Path, reason: str, *, failed: bool) -> Waiting:
    sender, *recipients = _envelope(path)
    return Waiting(
        identifier=path.name,
        since=float(path.name.partition(".")[0]) if path.name.partition(".")[0].isdecimal() else path.stat().st_mtime,
        sender=sender,
        recipients=tuple(recipients),
        reason=reason,
        failed=failed,
    )


def _envelope(path: Path) -> list[str]:
    with path.open("rb") as stream:
        head = stream.read(64 * 1024).partition(b"\n\n")[0]
    return head.decode("utf-8", "replace").split("\n")


def _log() -> Iterator[str]:
    if in_container():
        for path in (*sorted(LOG.parent.glob("@*")), LOG):
            with contextlib.suppress(OSError):
                yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
        return
    command = ["journalctl", "--unit", UNIT, "--output", "cat", "--no-pager", "--since", SINCE]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        yield from done.stdout.decode("utf-8", "replace").splitlines()
