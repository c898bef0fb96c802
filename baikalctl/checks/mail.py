"""Findings about mail: the relay, the sender's DNS records, and invitations that are never sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.mail.queues import age, kept, message_count, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState, Relay


SUBJECT = "mail"


def delivery_findings(declared: DesiredState) -> Iterator[Finding]:
    """Check the delivery of invitations: relay, DNS records and senders; only if mail is on."""
    from baikalctl.mail import dns_records, unsent_invitations

    if declared.mail.relay:
        yield _of_relay(declared.mail.relay, declared.hostname)
    yield from dns_records.findings(declared)
    yield from unsent_invitations.findings(declared)


def _of_relay(relay: Relay, hostname: str) -> Finding:
    from baikalctl.mail import smtp_probe

    try:
        smtp_probe.probe(relay, hostname)
    except smtp_probe.RelayError as error:
        return Finding(SUBJECT, WARNING if error.passing else FAILED, error.reason, error.remedy)
    return Finding(SUBJECT, OK, f"the relay {relay.host} accepts mail from this host")


LATE_S = 3600
"""Seconds that mail may wait before ``baikalctl check`` warns: greylisting takes minutes, an outage longer."""


def queue_findings(declared: DesiredState) -> Iterator[Finding]:
    """Report mail that waits, was refused, or is kept."""
    kept_mail = kept()
    if kept_mail:
        message = f"{message_count(kept_mail)} kept and not sent, the first because {kept_mail[0][1]}"
        remedy = (
            f"read the messages in {paths.KEPT}; then run baikalctl mail retry, or delete those that are not needed"
        )
        yield Finding("mail", WARNING, message, remedy)
    queue = waiting(declared) if declared.mail.mode != "off" else []
    refused = [each for each in queue if each.failed]
    if refused:
        last = ", ".join(refused[-1].recipients) or "no recipient"
        message = f"{message_count(refused)} refused permanently, the last to {last}"
        remedy = "run baikalctl mail queue for the reason; then baikalctl mail retry, or baikalctl mail drop"
        yield Finding("mail", WARNING, f"{message}: {refused[-1].reason}" if refused[-1].reason else message, remedy)
    late = [each for each in queue if not each.failed and each.since < time.time() - LATE_S]
    if late:
        message = f"{message_count(late)} waiting, the oldest for {age(late[0].since)}"
        yield Finding("mail", WARNING, message, "run baikalctl mail queue for the reason")
    elif declared.mail.mode != "off" and not refused and not kept_mail:
        yield Finding(
            "mail", OK, f"{message_count(queue)} waiting in the queue" if queue else "nothing waits in the queue"
        )
