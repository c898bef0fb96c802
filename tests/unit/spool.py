"""A queue of nullmailer 2.2 below a temporary directory, and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.mail import nullmailer

if TYPE_CHECKING:
    from pathlib import Path

SENDER = "noreply@cal.example.org"
BOB, ANN = "1700000058.618", "1700000000.500"
LOG = f"""\
Rescanning queue.
Starting delivery, 4 message(s) in queue.
Starting delivery: host: smtp.example.net protocol: smtp file: {BOB}
From: <{SENDER}> to: <bob@example.net>
Message-Id: <1@cal.example.org>
smtp: Failed: 450 4.2.0 greylisted
Sending failed: 450 4.2.0 greylisted
Starting delivery: host: smtp.example.net protocol: smtp file: {ANN}
From: <{SENDER}> to: <ann@example.net>
smtp: Failed: 550 5.1.1 no such user
Sending failed: 550 5.1.1 no such user
Moving message {ANN} into failed
Starting delivery: host: smtp.example.net protocol: smtp file: 1700000070.801
From: <{SENDER}> to: <bob@example.net>
Sending timed out, killing protocol
Sending failed: Killed
Starting delivery: host: smtp.example.net protocol: smtp file: 1700000071.802
From: <{SENDER}> to: <bob@example.net>
smtp: Succeeded: 250 2.0.0 Ok: queued as 4X
Sent file.
Starting delivery: host: smtp.example.net protocol: smtp file: {BOB}
From: <{SENDER}> to: <bob@example.net>
smtp: Failed: 451 4.3.0 later
Sending failed: 451 4.3.0 later
Delivery complete, 1 message(s) remain.
"""


def put(part: str, name: str, *recipients: str, sender: str = SENDER, content: bytes = b"Subject: x\n\nbody\n") -> Path:
    """Put a message into ``queue`` or ``failed``; return its file."""
    folder = {"queue": nullmailer.QUEUE, "failed": nullmailer.FAILED}[part]
    (folder / name).write_bytes("\n".join([sender, *recipients, "", ""]).encode() + content)
    return folder / name


def write_log(log: str) -> None:
    """Replace the journal by this text."""
    (nullmailer.SPOOL.parent / "journal").write_text(log, encoding="latin-1")
