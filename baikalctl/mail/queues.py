"""This host's mail queue, for either mail server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl.host.boundary import confined
from baikalctl.mail import sendmail
from baikalctl.output import counted

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState
    from baikalctl.mail.queue_protocol import Queue, Waiting


def waiting(declared: DesiredState) -> list[Waiting]:
    """Return the messages in this host's queue, the oldest first."""
    return of(declared).waiting()


def kept() -> list[tuple[Path, str, float]]:
    """Return each kept message with reason and time."""
    messages = confined(lambda: [(str(path), reason, since) for path, reason, since in sendmail.kept()])
    return [(Path(path), str(reason), float(since)) for path, reason, since in messages]


def of(declared: DesiredState) -> Queue:
    """Return the module for this host's queue, imported only when needed."""
    if declared.mail.mode == "postfix":
        from baikalctl.mail import postfix

        return postfix
    from baikalctl.mail import nullmailer

    return nullmailer


def message_count(messages: list[tuple[Path, str, float]] | list[Waiting]) -> str:
    """Return the number of ``messages``, with noun and verb."""
    return counted(len(messages), "message is", "messages are")


def age(since: float) -> str:
    """Return how long ago the Unix time ``since`` was."""
    minutes = max(0, int(time.time() - since)) // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 60 * 48 else f"{minutes // 60 // 24} days"
