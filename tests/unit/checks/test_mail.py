"""The findings of the check about mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from baikalctl.checks import mail
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.mail import dns_records
from tests.unit.relays import Answers, mailing, relay, relaying

if TYPE_CHECKING:
    from pathlib import Path

    from baikalctl.database import sqlite_file


PRIVATE = "noreply@cal.lan"
"""Of a domain that DNS isn't asked for."""


def through(folder: Path, answers: Answers) -> list[Finding]:
    """Return what is found with such a relay."""
    with relaying(folder, answers):
        return list(mail.delivery_findings(mailing("relay", relay(folder, answers.port), sender=PRIVATE)))


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("answers", "status", "message"),
    [
        (Answers(), OK, "the relay localhost accepts mail from this host"),
        (Answers(starttls=False), FAILED, "localhost:{} doesn't offer STARTTLS, so nothing is sent to it"),
        (Answers(greeting="421 busy"), WARNING, "localhost:{} answers 421 busy"),
    ],
    ids=["good", "wrong", "for now"],
)
def test_the_relay_is_checked(tmp_path: Path, answers: Answers, status: str, message: str) -> None:
    """A temporary error is no failure, because mail stays in the queue."""
    (finding,) = through(tmp_path, answers)
    assert (finding.status, finding.message) == (status, message.format(answers.port))
    assert bool(finding.remedy) == (status != OK)


def test_without_a_relay_dns_records_and_organizers_are_checked(
    connection: sqlite_file.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server of one's own is believed for what DNS says."""
    monkeypatch.setattr(dns_records, "texts", lambda _: [])
    connection.execute("INSERT INTO principals (uri) VALUES ('principals/jo')")
    connection.commit()
    words = ("example.org has no SPF record", "example.org has no DMARC record", "nothing is sent for jo")
    results = list(mail.delivery_findings(mailing("postfix")))
    assert [finding.status for finding in results] == [WARNING] * 3
    assert all(finding.message.startswith(word) for finding, word in zip(results, words, strict=True))
