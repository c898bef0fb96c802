"""Postfix's queue: list waiting messages, retry them, and empty it without losing a message."""

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
"""How postqueue prints the empty sender of a bounce."""
STATUS = re.compile(r"to=<([^>]+)>.* status=(\w+) \((.*)\)$")
"""How postfix/smtp logs an attempt."""
QUEUES = ("hold", "incoming", "active", "deferred", "maildrop")
"""All queues that may contain a message. In maildrop, which postsuper skips by default, messages wait for the signer."""


def waiting() -> list[Waiting]:
    """Return all waiting messages, the oldest first; raises :class:`HostError` if Postfix's command fails."""
    printed = _run("postqueue", "-j").decode(errors="replace")
    return [Waiting.of(fields) for fields in confined(lambda: [asdict(each) for each in read(printed)])]


def read(lines: str) -> list[Waiting]:
    """Return the messages that ``postqueue -j`` has printed, one JSON object per line."""
    messages = []
    for line in lines.splitlines():
        entry = json.loads(line)
        reasons = [recipient["delay_reason"] for recipient in entry["recipients"] if "delay_reason" in recipient]
        message = Waiting(
            identifier=entry["queue_id"],
            since=float(entry["arrival_time"]),
            sender="" if entry["sender"] == NOBODY else entry["sender"],
            recipients=tuple(recipient["address"] for recipient in entry["recipients"]),
            reason="; ".join(dict.fromkeys(reasons)),
            failed=entry["queue_name"] == "hold",
        )
        messages.append(message)
    return sorted(messages, key=lambda message: message.since)


def last_result(recipient: str, begin: float) -> tuple[bool, str] | None:
    """Return whether the last attempt for ``recipient`` since ``begin`` delivered, and the answer; None before any."""
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
    result = None
    for line in _run(*command).decode(errors="replace").splitlines():
        if (match := STATUS.search(line)) and match[1] == recipient:
            result = (match[2] == "sent", match[3])
    return result


def flush() -> None:
    """Retry all messages now; raises :class:`HostError` if Postfix doesn't run."""
    _run("postqueue", "-f")


def take_all(keep: Callable[[str, tuple[str, ...], bytes], object]) -> int:
    """Remove all messages from the queue, each after ``keep`` has stored it on disk; return how many.

    Postfix is stopped first, because messages that it delivers during this time would be sent twice. Raises
    :class:`HostError` if that fails. Messages that can't be stored stay in the queue.
    """
    # On Debian 12, the unit postfix stands for all instances; stopping it doesn't wait for the instance postfix@-.
    stop("postfix@-", "postfix")
    messages = waiting()
    for message in messages:
        content = _run("postcat", "-q", "-h", "-b", message.identifier)
        confined(lambda message=message, content=content: keep(message.sender, message.recipients, content))  # type: ignore[misc]
        _run("postsuper", "-d", message.identifier, *QUEUES)
    return len(messages)


def _run(*command: str) -> bytes:
    """Return the output of one of Postfix's commands."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{command[0]} can't be run ({error}); run the deploy, which installs Postfix"
        raise HostError(message) from None
    if done.returncode:
        output = done.stderr.decode(errors="replace").strip()
        message = f"{' '.join(command)} failed: {output}; see journalctl -t postfix/postqueue -t postfix/master"
        raise HostError(message)
    return done.stdout
