"""``baikalctl sendmail``: PHP's ``mail()`` calls it. It never loses a message.

Baïkal reports an invitation as sent even if this command fails. So it needs no network: it corrects the message and
queues it on this host. If one of these fails, it keeps the message on disk, and ``baikalctl check`` reports it.
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
from baikalctl.output import counted

if TYPE_CHECKING:
    import argparse

NULLMAILER = "/usr/sbin/nullmailer-queue"
SENDMAIL = "/usr/sbin/sendmail"
SECONDS = 60
"""How long a queue may take to store a message."""
LONGEST_REASON = 1000
BY_ONE, BY_ALL = 200, 2000
"""How many recipients per hour of the clock one organizer, and all organizers together, may send to.

The second limit is for an account that changes its address; sabre/dav allows that (a PROPPATCH of its principal).
"""
LARGEST_COUNT = 1 << 20
COUNTING_S = 5
"""How long to wait for another process that has locked the count."""
WHY = b"X-Baikal-Kept: "
"""Begins the first line of a kept message, which has the reason."""


def run(chosen: argparse.Namespace) -> int:
    """Send the message on standard input."""
    return sendmail(sys.stdin.buffer.read(), chosen.sender)


def sendmail(value: bytes, sender: str) -> int:
    """Send the message ``value`` from PHP, from the address ``sender``; returns the exit status.

    A message that can't be sent is kept with the reason, which is also printed to standard error, PHP's log.
    """
    try:
        outgoing = compose(value, sender)
        _count(outgoing.organizer)
        enqueue(outgoing)
    except Exception as error:  # noqa: BLE001 - no error may lose the message
        output.print_error(f"a message was not sent and is kept: {reason(error)}")
        keep(value, reason(error))
        return NOT_YET
    return 0


def reason(error: Exception) -> str:
    """Return why a message was not sent, from the error."""
    return str(error) if isinstance(error, UnfitError | HostError) else f"{type(error).__name__}: {error}"


def enqueue(outgoing: Outgoing) -> None:
    """Put the message in this host's queue; afterwards it is on disk. Raises :class:`HostError`."""
    submit(outgoing.sender, (outgoing.recipient,), outgoing.content)


def submit(sender: str, recipients: tuple[str, ...], content: bytes) -> None:
    """Put a message with its envelope in this host's queue; raises :class:`HostError` if the queue refuses it."""
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
    """Keep a message with the reason; returns its path. Raises OSError if it can't be written."""
    return _store(WHY + " ".join(why.split()).encode() + b"\n" + value)


def keep_queued(sender: str, recipients: tuple[str, ...], content: bytes) -> Path:
    """Keep a message from a removed queue with its envelope. It is ready to be sent and only needs another queue."""
    envelope = " ".join((sender or "<>", *recipients)).encode()
    return _store(WHY + b"its queue was removed\nX-Baikal-Envelope: " + envelope + b"\n" + content)


def kept() -> list[tuple[Path, str, float]]:
    """Return each kept message with reason and time."""
    messages = []
    for path in sorted(Path(paths.KEPT).glob("*.eml")):
        # Another retry may have sent it just now. Entries that aren't regular files are ignored.
        with contextlib.suppress(FileNotFoundError, HostError), open_untrusted(path) as stream:
            first = stream.readline(LONGEST_REASON).removeprefix(WHY).decode("utf-8", "replace").strip()
            messages.append((path, first, os.fstat(stream.fileno()).st_mtime))
    return messages


def send_again(path: Path, sender: str) -> None:
    """Send a kept message and delete it once a queue has it; raises :class:`HostError` or UnfitError."""
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
    """Count a recipient; raises :class:`HostError` if the limit of this hour is reached.

    A message that can't be counted is sent: losing the limit for a while is better than losing an invitation.
    """
    try:
        refused = _past_limit(organizer or "an organizer without an address")
    except (OSError, HostError):
        return
    if refused:
        raise HostError(refused)


def _past_limit(organizer: str) -> str:
    """Count a recipient; return the limit that it exceeds, or an empty text. PHP can write any content to the file."""
    path = Path(paths.RECIPIENTS)
    hour = str(int(time.time() // 3600))
    with hold_lock(str(path), lambda _: None, COUNTING_S):
        with open_untrusted(path) as stream:
            first, *before = stream.read(LARGEST_COUNT).decode("utf-8", "replace").split("\n")
        before = [line for line in before if line] if first == hour else []
        for sender, count, limit in (
            (organizer, before.count(organizer), BY_ONE),
            ("this server", len(before), BY_ALL),
        ):
            if count >= limit:
                return f"{sender} has sent to {counted(count, 'recipient')} within this hour, and the limit is {limit}"
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
