"""``baikalctl sendmail``: what stands behind PHP's ``mail()``, and never loses what it is given.

Baïkal tells its clients that an invitation was sent whatever this ends with. So it talks to no network: it makes the
message right, hands it to a queue on this host, and keeps what neither works with, for ``baikalctl check`` to tell of.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.errors import NOT_YET, HostError
from baikalctl.host.atomic_write import replacing
from baikalctl.host.lock import hold_lock
from baikalctl.host.safe_copy import open_untrusted
from baikalctl.mail.itip import UnfitError
from baikalctl.mail.message import Outgoing, compose

if TYPE_CHECKING:
    import argparse

NULLMAILER = "/usr/sbin/nullmailer-queue"
SENDMAIL = "/usr/sbin/sendmail"
SECONDS = 60
"""How long a queue may take to have a message on its disk."""
LONGEST_REASON = 1000
BY_ONE, BY_ALL = 200, 2000
"""To how many recipients one organizer, and all together, may send within an hour of the clock.

The second is for an account that changes its address, which sabre/dav lets each do (a PROPPATCH of its principal).
"""
LARGEST_COUNT = 1 << 20
COUNTING_S = 5
"""How long to wait for other processes that count."""
WHY = b"X-Baikal-Kept: "
"""Begins the first line of a kept message, which says why it is kept."""


def run(chosen: argparse.Namespace) -> int:
    """Send the message on standard input."""
    return sendmail(sys.stdin.buffer.read(), chosen.sender)


def sendmail(value: bytes, sender: str) -> int:
    """Send what PHP gives, from the address ``sender``; returns the exit status.

    What can't be sent is kept, with the reason; that is said on standard error, which is PHP's log.
    """
    try:
        outgoing = compose(value, sender)
        _count(outgoing.organizer)
        enqueue(outgoing)
    except Exception as error:  # noqa: BLE001 - whatever it is, the message must not be lost
        output.print_error(f"a message is kept, and not sent: {reason(error)}")
        keep(value, reason(error))
        return NOT_YET
    return 0


def reason(error: Exception) -> str:
    """Return what to say of a message that was not sent because of this."""
    return str(error) if isinstance(error, UnfitError | HostError) else f"{type(error).__name__}: {error}"


def enqueue(outgoing: Outgoing) -> None:
    """Put the message in this host's queue: when this returns, it is on the disk. Raises :class:`HostError`."""
    submit(outgoing.sender, (outgoing.recipient,), outgoing.content)


def submit(sender: str, recipients: tuple[str, ...], content: bytes) -> None:
    """Put a message with its envelope in this host's queue; raises :class:`HostError` where that refuses it."""
    if Path(paths.MAIL_CHANGING).exists():
        raise HostError("the mail server is being changed")
    if Path(NULLMAILER).exists():
        command = [NULLMAILER]
        content = "\n".join((sender, *recipients, "", "")).encode("ascii") + content
    else:
        command = [SENDMAIL, "-i", "-f", sender, "--", *recipients]
    try:
        done = subprocess.run(command, input=content, capture_output=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"the queue doesn't take it ({error})"
        raise HostError(message) from None
    if done.returncode:
        text = " ".join((done.stderr + done.stdout).decode("utf-8", "replace").split())
        message = f"the queue refuses it ({text or f'status {done.returncode}'})"
        raise HostError(message)


def keep(value: bytes, why: str) -> Path:
    """Keep a message and why; returns where. Raises OSError where even that is impossible."""
    return _store(WHY + " ".join(why.split()).encode() + b"\n" + value)


def keep_queued(sender: str, recipients: tuple[str, ...], content: bytes) -> Path:
    """Keep a message that was in a queue, with its envelope: it needs nothing but another queue."""
    envelope = " ".join((sender or "<>", *recipients)).encode()
    return _store(WHY + b"the queue that it was in was taken away\nX-Baikal-Envelope: " + envelope + b"\n" + content)


def kept() -> list[tuple[Path, str, float]]:
    """Return each kept message with the reason and the moment."""
    found = []
    for path in sorted(Path(paths.KEPT).glob("*.eml")):
        # One that another retry has just sent is gone, and what is no file is nobody's message.
        with contextlib.suppress(FileNotFoundError, HostError), open_untrusted(path) as stream:
            first = stream.readline(LONGEST_REASON).removeprefix(WHY).decode("utf-8", "replace").strip()
            found.append((path, first, os.fstat(stream.fileno()).st_mtime))
    return found


def send_again(path: Path, sender: str) -> None:
    """Try a kept message once more, and forget it once a queue has it; raises :class:`HostError` or UnfitError."""
    with open_untrusted(path) as stream:
        value = stream.read().partition(b"\n")[2]
    mark = b"X-Baikal-Envelope: "
    if value.startswith(mark):
        envelope, _, content = value.removeprefix(mark).partition(b"\n")
        who, *recipients = envelope.decode("ascii").split()
        submit("" if who == "<>" else who, tuple(recipients), content)
    else:
        enqueue(compose(value, sender))
    path.unlink()


def _count(organizer: str) -> None:
    """Count a recipient; raises :class:`HostError` where there were enough within this hour.

    A message that can't be counted is sent: losing the limit for a while is better than losing an invitation.
    """
    try:
        refused = _past_limit(organizer or "an organizer without an address")
    except (OSError, HostError):
        return
    if refused:
        raise HostError(refused)


def _past_limit(organizer: str) -> str:
    """Count a recipient; return why it is one too many, or nothing. The file may contain anything: PHP can write it."""
    path = Path(paths.RECIPIENTS)
    hour = str(int(time.time() // 3600))
    with hold_lock(str(path), lambda _: None, COUNTING_S):
        with open_untrusted(path) as stream:
            first, *before = stream.read(LARGEST_COUNT).decode("utf-8", "replace").split("\n")
        before = [line for line in before if line] if first == hour else []
        for who, count, limit in (
            (organizer, before.count(organizer), BY_ONE),
            ("this server", len(before), BY_ALL),
        ):
            if count >= limit:
                return f"{who} has sent to {count} recipients within this hour, and the limit is {limit}"
        path.write_text("\n".join((hour, *before, organizer, "")), encoding="utf-8")
    return ""


def _store(content: bytes) -> Path:
    folder = Path(paths.KEPT)
    for attempt in itertools.count():
        path = folder / f"{int(time.time())}.{threading.get_native_id()}.{attempt}.eml"
        if not path.exists():
            break
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError:
        if not path.exists():  # else only the directory couldn't be synced: the message is stored and will be sent
            raise
    return path
