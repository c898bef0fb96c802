"""What baikalctl needs from a mail server's queue: nullmailer's and Postfix's modules implement it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

STOPPING_S = 120
"""More than systemd's default limit for stopping a service."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One message that was not sent yet."""

    identifier: str
    """The mail server's identifier."""
    since: float
    """When it was queued, as a Unix time."""
    sender: str
    """The envelope's sender, empty for a bounce."""
    recipients: tuple[str, ...]
    """The recipients who haven't received it yet."""
    reason: str
    """Why the last attempt failed; empty before the first one."""
    failed: bool
    """Whether the mail server won't retry by itself."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Waiting:
        """Return the message from the result of ``dataclasses.asdict``, which the confined child sends."""
        return cls(**{**fields, "recipients": tuple(map(str, fields["recipients"]))})


def stop(*units: str) -> None:
    """Stop a mail server's units, if they exist; raises :class:`HostError` if one still runs."""
    try:
        subprocess.run(["systemctl", "stop", *units], capture_output=True, check=False, timeout=STOPPING_S)
        asked = ["systemctl", "is-active", *units]
        states = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=STOPPING_S).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{' and '.join(units)} can't be stopped ({error}); see systemctl status"
        raise HostError(message) from None
    if "active" in states:
        message = f"{' or '.join(units)} can't be stopped; see systemctl status"
        raise HostError(message)


class Queue(Protocol):
    """The functions of each mail server's module."""

    def waiting(self) -> list[Waiting]:
        """Return all messages that were not sent, the oldest first."""

    def last_result(self, recipient: str, begin: float) -> tuple[bool, str] | None:
        """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and the answer; None before any."""

    def flush(self) -> None:
        """Retry all messages now."""
