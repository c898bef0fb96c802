"""What the doctor says of mail: whether the relay takes it, whether others believe it, and what is never sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.baikal.health import FAILED, OK, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import Declared, Relay


SUBJECT = "mail"


def findings(declared: Declared) -> Iterator[Finding]:
    """Look at the way that invitations take, from the calendar to those who get them, where mail is on."""
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
    return Finding(SUBJECT, OK, f"the relay {relay.host} takes mail from us")
