"""What an administrator is told of mail, and what can be done about it."""

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


def script(place: Path, body: str) -> None:
    """Put a program there."""
    place.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    place.chmod(0o755)


@pytest.fixture
def queue(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a queue that takes everything, and keeps what it was given in this file."""
    place = host / "programs/nullmailer-queue"
    script(place, f"cat >>{place}.in")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(place))
    return place.with_name("nullmailer-queue.in")


def found() -> list[Finding]:
    """Return what the doctor finds where a relay takes the mail."""
    return list(mail_check.queue_findings(OURS))


def test_an_empty_queue_is_well() -> None:
    """It is said so; where mail is off, nothing is."""
    assert found() == [Finding("mail", OK, "nothing waits in the queue")]
    assert list(mail_check.queue_findings(OFF)) == []


def test_mail_that_waits_for_minutes_is_well() -> None:
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
    assert finding.remedy == "baikalctl mail queue tells what for"


def test_mail_that_was_refused_is_a_warning_with_the_relays_words() -> None:
    """And how to have it sent, or gone."""
    put("failed", BOB, "bob@example.net")
    write_log(attempt(BOB, "Failed: 550 5.1.1 no such user"))
    (finding,) = found()
    assert finding.status == WARNING
    assert finding.message == "1 message is refused for good, the last to bob@example.net: 550 5.1.1 no such user"
    assert "mail retry, or baikalctl mail drop" in finding.remedy


def test_a_refusal_whose_reason_is_forgotten_is_still_told() -> None:
    """Also one of a file that says to nobody whom it is for."""
    place = put("failed", BOB, "bob@example.net")
    assert found()[0].message == "1 message is refused for good, the last to bob@example.net"
    place.write_bytes(b"")
    assert found()[0].message == "1 message is refused for good, the last to nobody"


def test_mail_that_is_kept_is_a_warning_even_where_mail_is_off() -> None:
    """Or it would be forgotten."""
    sendmail.keep(GIVEN, "it rains")
    for which in (OURS, OFF):
        (finding,) = mail_check.queue_findings(which)
        assert (finding.status, finding.message) == (
            WARNING,
            "1 message is kept and not sent, the first because it rains",
        )
        assert f"look at {paths.KEPT}; then baikalctl mail retry" in finding.remedy


def test_the_queue_is_a_line_for_each_message() -> None:
    """State, age, to whom, why, and which file."""
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


def test_an_empty_queue_says_so() -> None:
    """Not an empty line."""
    assert mail.queue(OURS) == mail.queue(OFF) == "nothing waits"


def test_a_retry_sends_what_is_kept_and_puts_back_what_was_refused(queue: Path) -> None:
    """From the address that mail comes from now."""
    place = sendmail.keep(GIVEN, "it rains")
    put("failed", ANN, "ann@example.net")
    heard: list[str] = []
    os.mkfifo(nullmailer.TRIGGER)
    reader = os.open(nullmailer.TRIGGER, os.O_RDONLY | os.O_NONBLOCK)
    assert mail.retry(OURS, heard.append) == 0
    assert os.read(reader, 10) == b"\0", "and it is told to begin"
    os.close(reader)
    assert heard == [f"{place.name} is in the queue", "1 of those that were refused are in the queue again"]
    assert queue.read_bytes().startswith(f"{SENDER}\nbob@example.net\n\n".encode())
    assert sendmail.kept() == []
    assert [path.name for path in nullmailer.QUEUE.iterdir()] == [ANN]


def test_one_that_can_not_be_sent_keeps_no_other_from_its_turn(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it; the exit status tells."""
    sendmail.keep(b"nonsense", "x")
    sendmail.keep(b"X-Baikal-Envelope: \xff\xff\nSubject: x\n\n", "x")
    good = sendmail.keep(GIVEN, "x")
    heard: list[str] = []
    assert mail.retry(OURS, heard.append) == 1
    assert len([line for line in heard if " stays: " in line]) == 2
    assert "UnicodeDecodeError" in heard[1]
    assert heard[2] == f"{good.name} is in the queue"
    assert len(sendmail.kept()) == 2
    assert queue.exists()
    monkeypatch.setattr(sendmail, "NULLMAILER", "/nowhere")
    monkeypatch.setattr(sendmail, "SENDMAIL", "/nowhere")
    sendmail.keep(GIVEN, "x")
    assert mail.retry(OURS, heard.append) == 1
    assert len(sendmail.kept()) == 3


def test_nothing_is_tried_where_mail_is_off() -> None:
    """It says what to set."""
    with pytest.raises(HostError, match='mail is off here, so nothing can be sent; set mail = "relay" or "postfix"'):
        mail.retry(OFF, pytest.fail)
    with pytest.raises(HostError, match='mail is off here; set mail = "relay" or "postfix"'):
        mail.test(OFF, "bob@example.net", pytest.fail)
    with pytest.raises(HostError, match="only nullmailer keeps what was refused"):
        mail.drop(OFF, pytest.fail)


def test_only_what_was_refused_is_dropped(spool: Path) -> None:
    """And it is said whose it was."""
    put("failed", ANN, "ann@example.net")
    put("failed", "1.5")
    put("queue", BOB, "bob@example.net")
    write_log(attempt(ANN, "Failed: 550 5.1.1 no such user"))
    heard: list[str] = []
    assert mail.drop(OURS, heard.append) == 0
    assert heard == [
        "deleted, to nobody: no reason is known any more",
        "deleted, to ann@example.net: 550 5.1.1 no such user",
    ]
    assert list((spool / "failed").iterdir()) == []
    assert [path.name for path in (spool / "queue").iterdir()] == [BOB]


def test_what_waits_is_kept_before_its_server_goes() -> None:
    """All of it, and only where there is some is it said."""
    heard: list[str] = []
    assert mail.save_queued(heard.append) == 0
    assert heard == []
    put("queue", BOB, "bob@example.net")
    put("failed", ANN, "ann@example.net")
    assert mail.save_queued(heard.append) == 0
    assert heard == [f"2 messages that waited in the queue are kept in {paths.KEPT}"]
    assert len(sendmail.kept()) == 2
    assert mail.queue(OURS).count("kept ") == 2


def filter_does(body: str) -> None:
    """Have what PHP calls do this."""
    script(Path(paths.COMMAND), f'[ "$1 $2 $3" = "sendmail --from {SENDER}" ] || exit 2\ncat >"$0.in"\n{body}')


def tried(recipient: str = "bob@example.net") -> tuple[int, list[str]]:
    """Try, and return the exit status and what was said."""
    heard: list[str] = []
    return mail.test(OURS, recipient, heard.append), heard


HANDED = f"handed to the queue, from {SENDER} to bob@example.net"


def enqueue(part: str, name: str, outcome: str = "") -> str:
    """Return the shell's words for a queue that has taken the test's message, and what nullmailer says of it."""
    words = f"printf '%s\\nbob@example.net\\n\\nx' {SENDER} >{nullmailer.SPOOL / part / name}\n" if part else ""
    log = attempt(name, outcome) if outcome else ""
    return words + f"printf %s {shlex.quote(log)} >{nullmailer.SPOOL.parent}/journal"


def test_a_test_that_the_relay_takes_says_so_in_its_words() -> None:
    """It has what a reader must know; the filter makes it right as it does for PHP."""
    filter_does(enqueue("", now(), "Succeeded: 250 2.0.0 Ok"))
    assert tried() == (0, [HANDED, "accepted: smtp.example.net says 250 2.0.0 Ok"])
    given = Path(f"{paths.COMMAND}.in").read_bytes()
    assert given.startswith(b"To: bob@example.net\r\nSubject: A test of Ba\xc3\xafkal's mail\r\n")
    assert b"This is a test from cal.example.org" in given


def test_a_test_waits_for_the_relays_word() -> None:
    """Which takes a moment."""
    later = enqueue("", now(), "Succeeded: 250 2.0.0 Ok")
    filter_does(enqueue("queue", now()))
    with subprocess.Popen(["sh", "-c", f"sleep 1; {later}"]):
        assert tried() == (0, [HANDED, "accepted: smtp.example.net says 250 2.0.0 Ok"])


def test_a_test_that_waits_says_why_and_is_no_success() -> None:
    """It is tried again all the same."""
    filter_does(enqueue("queue", now(), "Failed: 451 4.3.0 later"))
    assert tried() == (1, [HANDED, "it waits in the queue, and is tried again: 451 4.3.0 later"])


def test_a_test_that_is_refused_says_why() -> None:
    """In the relay's words."""
    filter_does(enqueue("failed", now(), "Failed: 550 5.7.1 relaying denied"))
    assert tried() == (1, [HANDED, "it was refused for good: 550 5.7.1 relaying denied"])


def test_a_test_of_which_nothing_is_heard_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a minute, and is no success."""
    monkeypatch.setattr(mail, "TEST_S", 0)
    filter_does(enqueue("queue", now()))
    assert tried() == (1, [HANDED, "it waits in the queue, and is tried again: nobody has answered yet"])


def test_a_test_is_not_confused_by_what_went_before_or_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an attempt for this address since it began says what became of it."""
    monkeypatch.setattr(mail, "TEST_S", 0)
    others = attempt(now(), "Succeeded: 250 Ok").replace("bob@", "ann@") + attempt(now(5), "Succeeded: 250 Ok")
    filter_does(f"printf %s {shlex.quote(others)} >{nullmailer.SPOOL.parent}/journal")
    assert tried() == (1, [HANDED, "it has left the queue, and the log doesn't tell where to"])


def test_a_test_finds_its_message_however_the_address_was_written() -> None:
    """The queue has it in small letters and ASCII."""
    filter_does(enqueue("queue", now(), "Failed: 451 later"))
    assert tried("bob@EXAMPLE.net") == (1, [HANDED, "it waits in the queue, and is tried again: 451 later"])


def test_a_test_that_no_queue_takes_repeats_what_the_filter_says() -> None:
    """It has kept the message."""
    filter_does("echo 'baikalctl: a message is kept' >&2; exit 75")
    assert tried() == (1, ["it was not taken by the queue: baikalctl: a message is kept"])


@pytest.mark.parametrize("recipient", ["bob", "bob@example.net\nBcc: eve@example.com", "jürgen@example.net"])
def test_a_test_needs_an_address(recipient: str) -> None:
    """Before anything is sent."""
    with pytest.raises(HostError, match=r"give one such as jo@example\.org"):
        mail.test(OURS, recipient, pytest.fail)
