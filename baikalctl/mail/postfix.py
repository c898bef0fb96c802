"""Postfix's queue: what waits there, and how it is taken out without any loss."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING

from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.mail.queue_protocol import Waiting, stop

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = "MAILER-DAEMON"
"""How postqueue writes the empty sender of a report."""
STATUS = re.compile(r"to=<([^>]+)>.* status=(\w+) \((.*)\)$")
"""What postfix/smtp logs of an attempt."""
QUEUES = ("hold", "incoming", "active", "deferred", "maildrop")
"""All that may hold a message. In maildrop, which postsuper leaves out by itself, it waits for the signer."""


def waiting() -> list[Waiting]:
    """Return what waits, the oldest first; raises :class:`HostError` where Postfix can't be asked."""
    printed = _run("postqueue", "-j").decode(errors="replace")
    return [Waiting.of(fields) for fields in confined(lambda: [asdict(each) for each in read(printed)])]


def read(lines: str) -> list[Waiting]:
    """Return what ``postqueue -j`` has printed: one JSON object a line, of one message each."""
    found = []
    for line in lines.splitlines():
        told = json.loads(line)
        reasons = [recipient["delay_reason"] for recipient in told["recipients"] if "delay_reason" in recipient]
        message = Waiting(
            identifier=told["queue_id"],
            since=float(told["arrival_time"]),
            sender="" if told["sender"] == NOBODY else told["sender"],
            recipients=tuple(recipient["address"] for recipient in told["recipients"]),
            reason="; ".join(dict.fromkeys(reasons)),
            failed=told["queue_name"] == "hold",
        )
        found.append(message)
    return sorted(found, key=lambda message: message.since)


def last_result(recipient: str, begin: float) -> tuple[bool, str] | None:
    """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and what was said; None before any."""
    command = (
        "journalctl",
        "--output",
        "cat",
        "--no-pager",
        "--since",
        f"@{int(begin)}",
        "--identifier",
        "postfix/smtp",
    )
    found = None
    for line in _run(*command).decode(errors="replace").splitlines():
        if (told := STATUS.search(line)) and told[1] == recipient:
            found = (told[2] == "sent", told[3])
    return found


def flush() -> None:
    """Have Postfix try everything again now; raises :class:`HostError` where it doesn't run."""
    _run("postqueue", "-f")


def take_all(keep: Callable[[str, tuple[str, ...], bytes], object]) -> int:
    """Take every message out of the queue, each once ``keep`` has it on the disk; return how many those are.

    Postfix is stopped first: what it delivered meanwhile would be sent twice. Raises :class:`HostError` where that fails;
    whatever is not kept stays in the queue.
    """
    # Debian 12's postfix is a name for all instances, and stopping it doesn't wait for the one that is meant.
    stop("postfix@-", "postfix")
    found = waiting()
    for one in found:
        content = _run("postcat", "-q", "-h", "-b", one.identifier)
        confined(lambda one=one, content=content: keep(one.sender, one.recipients, content))  # type: ignore[misc]
        _run("postsuper", "-d", one.identifier, *QUEUES)
    return len(found)


def _run(*command: str) -> bytes:
    """Return what a command of Postfix prints."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{command[0]} can't be run ({error}); run the deploy again, which installs Postfix"
        raise HostError(message) from None
    if done.returncode:
        output = done.stderr.decode(errors="replace").strip()
        message = (
            f"{' '.join(command)} failed: {output}; journalctl -t postfix/postqueue -t postfix/master may tell more"
        )
        raise HostError(message)
    return done.stdout
