"""Findings about mail, and the commands that fix them."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.checks import mail as mail_check
from baikalctl.commands import mail
from baikalctl.errors import HostError
from baikalctl.host.finding import OK, WARNING, Finding
from baikalctl.mail import nullmailer, sendmail
from tests.unit.handover import SENDER, calendar, handover
from tests.unit.samples import RELAY, declared
from tests.unit.spool import ANN, BOB, put, write_log

pytestmark = pytest.mark.usefixtures("spool")

OURS = declared(**RELAY)
OFF = declared()
GIVEN = handover(calendar("SUMMARY:x"))


def attempt(name: str, outcome: str) -> str:
    """Return what nullmailer says of an attempt."""
    head = f"Starting delivery: host: smtp.example.net protocol: smtp file: {name}\n"
    return f"{head}From: <{SENDER}> to: <bob@example.net>\nsmtp: {outcome}\n"


def now(minutes: float = 0) -> str:
    """Return the name of a message that came this long ago."""
    return f"{int(time.time() - 60 * minutes)}.618"


def script(file: Path, body: str) -> None:
    """Put a program there."""
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.fixture
def queue(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a queue that takes everything, and keeps what it was given in this file."""
    file = host / "programs/nullmailer-queue"
    script(file, f"cat >>{file}.in")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(file))
    return file.with_name("nullmailer-queue.in")


def found() -> list[Finding]:
    """Return the findings about mail with a relay."""
    return list(mail_check.queue_findings(OURS))


def test_an_empty_queue_is_ok() -> None:
    """It is reported; with mail off, nothing is."""
    assert found() == [Finding("mail", OK, "nothing waits in the queue")]
    assert list(mail_check.queue_findings(OFF)) == []


def test_mail_that_waits_for_minutes_is_ok() -> None:
    """Greylisting takes some."""
    put("queue", now(59), "bob@example.net")
    assert found() == [Finding("mail", OK, "1 message is waiting in the queue")]


@pytest.mark.parametrize(("minutes", "age"), [(61, "61 min"), (600, "10 h"), (60 * 72, "3 days")])
def test_mail_that_waits_for_hours_is_a_warning(minutes: int, age: str) -> None:
    """With how long the oldest has."""
    put("queue", now(minutes), "bob@example.net")
    put("queue", now(62).replace(".618", ".619"), "ann@example.net")
    put("queue", now(1), "joe@example.net")
    (finding,) = found()
    assert finding.status == WARNING
    oldest = age if minutes > 62 else "62 min"
    assert finding.message == f"2 messages are waiting, the oldest for {oldest}"
    assert finding.remedy == "run baikalctl mail queue for the reason"


def test_refused_mail_is_a_warning_with_the_relays_message() -> None:
    """And how to have it sent, or gone."""
    put("failed", BOB, "bob@example.net")
    write_log(attempt(BOB, "Failed: 550 5.1.1 no such user"))
    (finding,) = found()
    assert finding.status == WARNING
    assert finding.message == "1 message is refused permanently, the last to bob@example.net: 550 5.1.1 no such user"
    assert "mail retry, or baikalctl mail drop" in finding.remedy


def test_a_refusal_without_a_known_reason_is_reported() -> None:
    """Also for a file without recipients."""
    file = put("failed", BOB, "bob@example.net")
    assert found()[0].message == "1 message is refused permanently, the last to bob@example.net"
    file.write_bytes(b"")
    assert found()[0].message == "1 message is refused permanently, the last to no recipient"


def test_kept_mail_is_a_warning_even_if_mail_is_off() -> None:
    """Or it would be forgotten."""
    sendmail.keep(GIVEN, "it rains")
    for which in (OURS, OFF):
        (finding,) = mail_check.queue_findings(which)
        assert (finding.status, finding.message) == (
            WARNING,
            "1 message is kept and not sent, the first because it rains",
        )
        assert f"read the messages in {paths.KEPT}; then run baikalctl mail retry" in finding.remedy


def test_the_queue_is_printed_with_a_line_for_each_message() -> None:
    """State, age, recipients, reason and file."""
    put("queue", waits := now(3), "bob@example.net", "joe@example.net")
    put("failed", ANN, "ann@example.net")
    write_log(attempt(ANN, "Failed: 550 5.1.1 no such user"))
    kept = sendmail.keep(GIVEN, "it rains")
    refused, waiting, third = mail.queue(OURS).splitlines()
    assert refused.startswith("refused ")
    assert refused.endswith(f", to ann@example.net: 550 5.1.1 no such user  [{ANN}]")
    assert waiting == f"waiting 3 min, to bob@example.net, joe@example.net: not tried yet  [{waits}]"
    assert third == f"kept 0 min: it rains  [{kept}]"
    assert mail.queue(OFF) == third


def test_an_empty_queue_is_printed_as_such() -> None:
    """Not an empty line."""
    assert mail.queue(OURS) == mail.queue(OFF) == "the queue is empty"


def test_a_retry_sends_kept_mail_and_requeues_refused_mail(queue: Path) -> None:
    """From the address that mail comes from now."""
    file = sendmail.keep(GIVEN, "it rains")
    put("failed", ANN, "ann@example.net")
    heard: list[str] = []
    os.mkfifo(nullmailer.TRIGGER)
    reader = os.open(nullmailer.TRIGGER, os.O_RDONLY | os.O_NONBLOCK)
    assert mail.retry(OURS, heard.append) == 0
    assert os.read(reader, 10) == b"\0", "nullmailer is triggered"
    os.close(reader)
    assert heard == [f"{file.name} is in the queue", "1 refused message added to the queue again"]
    assert queue.read_bytes().startswith(f"{SENDER}\nbob@example.net\n\n".encode())
    assert sendmail.kept() == []
    assert [path.name for path in nullmailer.QUEUE.iterdir()] == [ANN]


def test_a_message_that_cannot_be_sent_does_not_stop_the_others(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any error; the exit status is 1."""
    sendmail.keep(b"nonsense", "x")
    sendmail.keep(b"X-Baikal-Envelope: \xff\xff\nSubject: x\n\n", "x")
    good = sendmail.keep(GIVEN, "x")
    heard: list[str] = []
    assert mail.retry(OURS, heard.append) == 1
    assert len([line for line in heard if " is kept: " in line]) == 2
    assert "UnicodeDecodeError" in heard[1]
    assert heard[2] == f"{good.name} is in the queue"
    assert len(sendmail.kept()) == 2
    assert queue.exists()
    monkeypatch.setattr(sendmail, "NULLMAILER", "/nowhere")
    monkeypatch.setattr(sendmail, "SENDMAIL", "/nowhere")
    sendmail.keep(GIVEN, "x")
    assert mail.retry(OURS, heard.append) == 1
    assert len(sendmail.kept()) == 3


def test_a_retry_with_mail_off_is_refused() -> None:
    """It says what to set."""
    with pytest.raises(HostError, match='mail is off here, so nothing can be sent; set mail = "relay" or "postfix"'):
        mail.retry(OFF, pytest.fail)
    with pytest.raises(HostError, match='mail is off here; set mail = "relay" or "postfix"'):
        mail.test(OFF, "bob@example.net", pytest.fail)
    with pytest.raises(HostError, match="only nullmailer keeps refused messages"):
        mail.drop(OFF, pytest.fail)


def test_only_refused_mail_is_dropped(spool: Path) -> None:
    """The recipients are printed."""
    put("failed", ANN, "ann@example.net")
    put("failed", "1.5")
    put("queue", BOB, "bob@example.net")
    write_log(attempt(ANN, "Failed: 550 5.1.1 no such user"))
    heard: list[str] = []
    assert mail.drop(OURS, heard.append) == 0
    assert heard == [
        "deleted, to no recipient: the reason is not known any more",
        "deleted, to ann@example.net: 550 5.1.1 no such user",
    ]
    assert list((spool / "failed").iterdir()) == []
    assert [path.name for path in (spool / "queue").iterdir()] == [BOB]


def test_queued_mail_is_saved_before_its_server_is_removed() -> None:
    """All messages are saved, and reported if there are any."""
    heard: list[str] = []
    assert mail.save_queued(heard.append) == 0
    assert heard == []
    put("queue", BOB, "bob@example.net")
    put("failed", ANN, "ann@example.net")
    assert mail.save_queued(heard.append) == 0
    assert heard == [f"2 queued messages saved in {paths.KEPT}"]
    assert len(sendmail.kept()) == 2
    assert mail.queue(OURS).count("kept ") == 2


def filter_does(body: str) -> None:
    """Have what PHP calls do this."""
    script(Path(paths.COMMAND), f'[ "$1 $2 $3" = "sendmail --from {SENDER}" ] || exit 2\ncat >"$0.in"\n{body}')


def tried(recipient: str = "bob@example.net") -> tuple[int, list[str]]:
    """Run the test, and return the exit status and the messages."""
    heard: list[str] = []
    return mail.test(OURS, recipient, heard.append), heard


HANDED = f"added to the queue, from {SENDER} to bob@example.net"


def enqueue(part: str, name: str, outcome: str = "") -> str:
    """Return the shell's words for a queue that has taken the test's message, and what nullmailer says of it."""
    words = f"printf '%s\\nbob@example.net\\n\\nx' {SENDER} >{nullmailer.SPOOL / part / name}\n" if part else ""
    log = attempt(name, outcome) if outcome else ""
    return words + f"printf %s {shlex.quote(log)} >{nullmailer.SPOOL.parent}/journal"


def test_an_accepted_test_reports_the_relays_message() -> None:
    """It has what a reader must know; the filter makes it right as it does for PHP."""
    filter_does(enqueue("", now(), "Succeeded: 250 2.0.0 Ok"))
    assert tried() == (0, [HANDED, "accepted: smtp.example.net says 250 2.0.0 Ok"])
    arguments = Path(f"{paths.COMMAND}.in").read_bytes()
    assert arguments.startswith(b"To: bob@example.net\r\nSubject: A test of Ba\xc3\xafkal's mail\r\n")
    assert b"This is a test from cal.example.org" in arguments


def test_a_test_waits_for_the_relays_answer() -> None:
    """Which takes a moment."""
    later = enqueue("", now(), "Succeeded: 250 2.0.0 Ok")
    filter_does(enqueue("queue", now()))
    with subprocess.Popen(["sh", "-c", f"sleep 1; {later}"]):
        assert tried() == (0, [HANDED, "accepted: smtp.example.net says 250 2.0.0 Ok"])


def test_a_test_that_waits_in_the_queue_fails_with_the_reason() -> None:
    """It is tried again all the same."""
    filter_does(enqueue("queue", now(), "Failed: 451 4.3.0 later"))
    assert tried() == (1, [HANDED, "it waits in the queue and will be tried again: 451 4.3.0 later"])


def test_a_refused_test_reports_the_reason() -> None:
    """In the relay's words."""
    filter_does(enqueue("failed", now(), "Failed: 550 5.7.1 relaying denied"))
    assert tried() == (1, [HANDED, "it was refused permanently: 550 5.7.1 relaying denied"])


def test_a_test_without_an_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a minute, and is no success."""
    monkeypatch.setattr(mail, "TEST_S", 0)
    filter_does(enqueue("queue", now()))
    assert tried() == (1, [HANDED, "it waits in the queue and will be tried again: no answer yet"])


def test_a_test_ignores_earlier_mail_and_other_recipients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an attempt for this address since it began says what became of it."""
    monkeypatch.setattr(mail, "TEST_S", 0)
    others = attempt(now(), "Succeeded: 250 Ok").replace("bob@", "ann@") + attempt(now(5), "Succeeded: 250 Ok")
    filter_does(f"printf %s {shlex.quote(others)} >{nullmailer.SPOOL.parent}/journal")
    assert tried() == (1, [HANDED, "it has left the queue, but the log doesn't say where it went"])


def test_a_test_finds_its_message_for_any_form_of_the_address() -> None:
    """The queue has it in small letters and ASCII."""
    filter_does(enqueue("queue", now(), "Failed: 451 later"))
    assert tried("bob@EXAMPLE.net") == (1, [HANDED, "it waits in the queue and will be tried again: 451 later"])


def test_a_test_that_the_queue_refuses_reports_the_filters_message() -> None:
    """It has kept the message."""
    filter_does("echo 'baikalctl: a message is kept' >&2; exit 75")
    assert tried() == (1, ["the queue did not accept it: baikalctl: a message is kept"])


@pytest.mark.parametrize("recipient", ["bob", "bob@example.net\nBcc: eve@example.com", "jürgen@example.net"])
def test_a_test_with_an_invalid_address_is_refused(recipient: str) -> None:
    """Before anything is sent."""
    with pytest.raises(HostError, match=r"use an address such as jo@example\.org"):
        mail.test(OURS, recipient, pytest.fail)
