"""Mail that waits for the next attempt to send it, whoever is to make that."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

STOPPING_S = 120
"""More than systemd gives a service to end."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One message that hasn't left yet."""

    identifier: str
    """What the mail server calls it."""
    since: float
    """When it came, as a Unix time."""
    sender: str
    """Its envelope's, empty for a report of a failure."""
    recipients: tuple[str, ...]
    """Those who haven't got it yet."""
    reason: str
    """What the last attempt failed with; nothing before there was one."""
    failed: bool
    """Whether nobody will try again by himself."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Waiting:
        """Return what ``dataclasses.asdict`` has made of one, after it has passed the boundary."""
        return cls(**{**fields, "recipients": tuple(map(str, fields["recipients"]))})


def stop(*units: str) -> None:
    """Stop the units of a mail server, those that are there; raises :class:`HostError` where one goes on."""
    try:
        subprocess.run(["systemctl", "stop", *units], capture_output=True, check=False, timeout=STOPPING_S)
        asked = ["systemctl", "is-active", *units]
        states = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=STOPPING_S).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{' and '.join(units)} can't be stopped ({error}); systemctl status tells why"
        raise HostError(message) from None
    if "active" in states:
        message = f"{' or '.join(units)} can't be stopped; systemctl status tells why"
        raise HostError(message)


class Queue(Protocol):
    """What every mail server's queue can be asked; each is a module."""

    def waiting(self) -> list[Waiting]:
        """Return all messages that were not sent, the oldest first."""

    def last_result(self, recipient: str, begin: float) -> tuple[bool, str] | None:
        """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and what was said; None before any."""

    def flush(self) -> None:
        """Have everything tried now."""
