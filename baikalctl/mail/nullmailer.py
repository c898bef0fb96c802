"""nullmailer's queue: list waiting messages with the reason, retry them, and empty it.

A message is a file: the sender, the recipients, an empty line, and the message. In a container, the queue's folder is a
link to the volume.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.privileges import data_owner, privileged
from baikalctl.host.runtime import in_container
from baikalctl.host.safe_copy import change_owner, has_owner, open_untrusted
from baikalctl.mail.queue_protocol import Waiting, stop
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SPOOL = Path("/var/spool/nullmailer")
QUEUE, FAILED, TRIGGER = SPOOL / "queue", SPOOL / "failed", SPOOL / "trigger"
UNIT = "nullmailer"
ACCOUNT = "mail"
"""The account of Debian's and Ubuntu's nullmailer, which owns the queue."""
LARGEST = 256 << 20
"""Bytes of a message or of a log."""
MOST_LINES = "100000"
LOG = Path(paths.RUN) / "mail/current"
"""nullmailer's log in a container."""
SINCE = "-8d"
"""How far back to read a machine's journal: nullmailer gives up after a week."""
ENVELOPE = re.compile(r"From: <\S*> to: (.*)$")
ATTEMPT = re.compile(r"Starting delivery: host: .* file: (\S+)$")
OUTCOME = re.compile(r"smtp: (Failed|Succeeded): (.*)$")


class Outcome(NamedTuple):
    """How an attempt ended."""

    sent: bool
    words: str
    """The relay's answer, or why there is none."""
    recipients: str
    """In angle brackets."""


def waiting() -> list[Waiting]:
    """Return all messages that were not sent, the oldest first."""
    log = _log()
    return [Waiting.of(fields) for fields in confined(lambda: _waiting(log), account=_account())]


def _waiting(log: str | None) -> list[dict[str, Any]]:
    output = _outcomes(log)
    messages = []
    for folder in (QUEUE, FAILED):
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # it was sent just now
                reason = output[path.name].words if path.name in output else ""
                messages.append(_read_message(path, reason, failed=folder == FAILED))
    return [asdict(each) for each in sorted(messages, key=lambda each: each.since)]


def _account() -> str:
    """Return the account that the queue belongs to: in a container, the data's owner."""
    return "" if in_container() else ACCOUNT


def _outcomes(log: str | None) -> dict[str, Outcome]:
    """Return by message how its last attempt ended."""
    outcomes: dict[str, Outcome] = {}
    current = recipients = ""
    for line in _lines(log):
        if attempt := ATTEMPT.search(line):
            current = attempt[1]
        elif envelope := ENVELOPE.search(line):
            recipients = envelope[1]
        elif (outcome := OUTCOME.search(line)) and current:
            outcomes[current] = Outcome(outcome[1] == "Succeeded", outcome[2], recipients)
        elif "timed out, killing" in line and current:
            outcomes[current] = Outcome(False, "the relay took longer than two minutes", recipients)  # noqa: FBT003
    return outcomes


def last_result(recipient: str, begin: float) -> tuple[bool, str] | None:
    """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and the answer; None before any."""
    log = _log()
    result = confined(lambda: _last_result(log, recipient, begin), account=_account())
    return (bool(result[0]), str(result[1])) if result else None


def _last_result(log: str | None, recipient: str, begin: float) -> tuple[bool, str] | None:
    for name, outcome in reversed(_outcomes(log).items()):
        since = name.partition(".")[0]
        if f"<{recipient}>" in outcome.recipients and since.isdecimal() and int(since) >= int(begin):
            return outcome.sent, outcome.words
    return None


def requeue_failed() -> int:
    """Queue permanently refused messages again; return how many."""
    return int(confined(_requeue, account=_account()))


def _requeue() -> int:
    count = 0
    for path in FAILED.iterdir() if FAILED.is_dir() else ():
        if _envelope(path)[0]:  # bounces that were refused aren't sent again
            os.utime(path, follow_symlinks=False)  # nullmailer gives up a week after this time
            path.rename(QUEUE / path.name)
            count += 1
    return count


def drop(identifiers: Sequence[str]) -> None:
    """Delete messages that were permanently refused."""

    def act() -> None:
        for identifier in identifiers:
            (FAILED / identifier).unlink(missing_ok=True)

    confined(act, account=_account())


def flush() -> None:
    """Retry all messages now."""

    def act() -> None:
        descriptor = os.open(TRIGGER, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, b"\0")
        os.close(descriptor)

    with contextlib.suppress(OSError):  # if nullmailer doesn't run, its next start retries all
        confined(act, account=_account())


def prepare(mode: str, say: Callable[[str], None]) -> None:
    """Prepare a container's queue. If mail is off, report messages that are left in it."""
    spool = Path(paths.SPOOL)
    if mode == "off":
        left = [path for part in ("queue", "failed") for path in (spool / part).glob("*")]
        if left:
            say(
                f"mail is off; {counted(len(left), 'message is', 'messages are')} kept in the volume until there is a relay"
            )
        return
    if privileged():  # files of another account, for example after the container ran as an ordinary user
        account = data_owner()
        for part in ("queue", "failed"):
            for name in _names(spool / part):
                try:
                    if not has_owner(spool / part / name, account):
                        change_owner(spool / part / name, account)
                except (HostError, OSError) as error:  # Baïkal starts without mail
                    say(str(error))
    try:
        confined(lambda: _prepare(spool))
    except (HostError, OSError) as error:
        say(f"invitations can't be queued: {error}")


def _names(folder: Path) -> list[str]:
    """Return the names of the files in a folder of the queue."""
    with contextlib.suppress(OSError):
        return [entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    return []


def _prepare(spool: Path) -> None:
    """Remove messages that were never accepted, and create a new pipe."""
    for path in (spool / "tmp").iterdir():
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(FileNotFoundError):
        (spool / TRIGGER.name).unlink()
    os.mkfifo(spool / TRIGGER.name, 0o600)


def take_all(keep: Callable[[str, tuple[str, ...], bytes], object]) -> int:
    """Remove all messages from the queue, each after ``keep`` has stored it; return how many."""
    if not in_container():
        stop(UNIT)
    names = confined(
        lambda: [
            str(path.relative_to(SPOOL))
            for folder in (QUEUE, FAILED)
            for path in (folder.iterdir() if folder.is_dir() else ())
        ],
        account=_account(),
    )
    for name in map(str, names):
        if not re.fullmatch(r"(queue|failed)/[^/\0]{1,255}", name):
            continue
        with open_untrusted(SPOOL / name, below=SPOOL, largest=LARGEST) as stream:
            confined(lambda stream=stream: _keep(stream.read(), keep), keep=(stream.fileno(),))  # type: ignore[misc]
        confined(lambda name=name: (SPOOL / name).unlink(), account=_account())  # type: ignore[misc]
    return len(names)


def _keep(content: bytes, keep: Callable[[str, tuple[str, ...], bytes], object]) -> None:
    """Store a message of the queue, as the data's owner."""
    head, _, content = content.partition(b"\n\n")
    sender, *recipients = head.decode("utf-8", "replace").split("\n")
    keep(sender, tuple(recipients), content)


def _read_message(path: Path, reason: str, *, failed: bool) -> Waiting:
    sender, *recipients = _envelope(path)
    since = path.name.partition(".")[0]
    return Waiting(
        identifier=path.name,
        since=float(since) if since.isdecimal() and len(since) < 12 else path.lstat().st_mtime,
        sender=sender,
        recipients=tuple(recipients),
        reason=reason,
        failed=failed,
    )


def _envelope(path: Path) -> list[str]:
    with open_untrusted(path, below=SPOOL) as stream:
        head = stream.read(64 * 1024).partition(b"\n\n")[0]
    return head.decode("utf-8", "replace").split("\n")


def _log() -> str | None:
    """Return a machine's journal, which only root may read; None in a container, where :func:`_lines` reads the log."""
    if in_container():
        return None
    command = ["journalctl", "--unit", UNIT, "--output", "cat", "--no-pager", "--since", SINCE, "--lines", MOST_LINES]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        return done.stdout.decode("utf-8", "replace")
    return ""


def _lines(log: str | None) -> Iterator[str]:
    if log is not None:
        yield from log.splitlines()
        return
    for path in (*sorted(LOG.parent.glob("@*")), LOG):
        with contextlib.suppress(OSError, HostError), open_untrusted(path) as stream:
            yield from stream.read(LARGEST).decode("utf-8", "replace").splitlines()
