"""Messages that a release passes to sendmail_path, and when: the same for a real release and for the stand-in."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.errors import LabError
from tests.lab.invitations import Event, Organiser, Person
from tests.lab.sendmail_capture import SENDER, SendmailCapture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


ANNA: Final = Person("anna@example.org", "Anna Groß")
BO: Final = Person("bo.berg@example.org", "Bo")
"""Both have accounts."""
ZOE: Final = Person("zoe@lab.test", "Zoë")
KIM: Final = Person("kim@lab.test")
LATER: Final = dt.datetime(2030, 6, 4, 9)  # noqa: DTZ001 - of Berlin
WEEKLY: Final = "RRULE:FREQ=WEEKLY;COUNT=3"


@pytest.fixture(scope="module", params=["debian:12", "debian:13"])
def running(engine: Engine, release: Release, request: pytest.FixtureRequest) -> Iterator[SendmailCapture]:
    """Yield a serving release."""
    with SendmailCapture.start(engine, release, request.param) as capture:
        yield capture


@pytest.fixture
def capture(running: SendmailCapture) -> SendmailCapture:
    """Return it without earlier messages."""
    running.captured()
    return running


@pytest.fixture(scope="module")
def anna(running: SendmailCapture) -> Organiser:
    """Return an organiser, with the calendar discovered once."""
    return Organiser(running.account())


def event(*attendees: Person, **changes: Any) -> Event:  # noqa: ANN401 - as Event takes them
    """Return an event of Anna's."""
    return Event(**{"attendees": attendees, "organizer": ANNA, **changes})


def lines(body: str, *names: str) -> list[str]:
    """Return the unfolded lines of iCalendar that begin with these names, in their order."""
    return [line for line in body.replace("\r\n ", "").split("\r\n") if re.split("[;:]", line)[0] in names]


def test_each_attendee_gets_a_message_with_unchanged_text(capture: SendmailCapture, anna: Organiser) -> None:
    """In raw UTF-8, with unquoted names, and without Date and Message-ID; the organizer gets no message."""
    stored = anna.invite(event(ZOE, KIM, ANNA, summary="Müll, more; \\ 🗑"))
    first, second = capture.captured()
    version = first.header("X-Sabre-Version")
    assert first.headers == [
        "To: Zoë <zoe@lab.test>",
        "Subject: Invitation: Müll, more; \\ 🗑",
        "Reply-To: Anna Groß <anna@example.org>",
        f"From: Anna Groß <{SENDER}>",
        "MIME-Version: 1.0",
        "Content-Type: text/calendar; charset=UTF-8; method=REQUEST",
        f"X-Sabre-Version: {version}",
    ]
    assert second.headers == ["To: kim@lab.test", *first.headers[1:]]
    assert second.body == first.body
    assert lines(first.body, "METHOD", "SUMMARY", "ORGANIZER", "ATTENDEE", "TZID") == [
        "METHOD:REQUEST",
        "TZID:Europe/Berlin",
        "SUMMARY:Müll\\, more\\; \\\\ 🗑",
        "ORGANIZER;CN=Anna Groß:mailto:anna@example.org",
        "ATTENDEE;CN=Zoë;PARTSTAT=NEEDS-ACTION:mailto:zoe@lab.test",
        "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:kim@lab.test",
        "ATTENDEE;CN=Anna Groß;PARTSTAT=NEEDS-ACTION:mailto:anna@example.org",
    ]
    assert first.body.endswith("END:VCALENDAR\r\n\r\n")
    statuses = {"mailto:zoe@lab.test": "1.1", "mailto:kim@lab.test": "1.1", "mailto:anna@example.org": ""}
    assert anna.statuses(stored) == statuses


@pytest.mark.parametrize(
    ("organizer", "attendee", "recipient", "reply_to", "sender"),
    [
        (
            "Groß, Anna",
            'Zoë "Z"; <x@y>',
            'Zoë "Z"; <x@y> <zoe@lab.test>',
            "Groß, Anna <anna@example.org>",
            "Groß, Anna",
        ),
        ("", "", "zoe@lab.test", "anna@example.org", ""),
        ("A", "zoe@lab.test", "zoe@lab.test", "A <anna@example.org>", "A"),
        ("A", "Zoë\nBcc: x@lab.test", "Zoë Bcc: x@lab.test <zoe@lab.test>", "A <anna@example.org>", "A"),
        ("A^n", "^^'\t", "^^'  <zoe@lab.test>", "A^n <anna@example.org>", "A^n"),
    ],
)
def test_names_are_passed_unchanged(  # noqa: PLR0913 - the parts of a header
    *,
    capture: SendmailCapture,
    anna: Organiser,
    organizer: str,
    attendee: str,
    recipient: str,
    reply_to: str,
    sender: str,
) -> None:
    """Only in the recipient, PHP replaces control characters by blanks."""
    anna.invite(event(replace(ZOE, name=attendee), organizer=replace(ANNA, name=organizer)))
    (captured,) = capture.captured()
    headers = (captured.header("To"), captured.header("Reply-To"), captured.header("From"))
    assert headers == (recipient, reply_to, f"{sender} <{SENDER}>")


def test_line_break_in_the_organizers_name_adds_headers(capture: SendmailCapture, anna: Organiser) -> None:
    """A user who may store an event can write any header."""
    anna.invite(event(ZOE, organizer=replace(ANNA, name="Anna\nBcc: spy@lab.test,")))
    (captured,) = capture.captured()
    assert (
        b"\r\nReply-To: Anna\nBcc: spy@lab.test, <anna@example.org>\r\nFrom: Anna\nBcc: spy@lab.test, <" in captured.raw
    )


def test_an_empty_line_in_the_organizers_name_is_an_error(capture: SendmailCapture, anna: Organiser) -> None:
    """PHP refuses it, so the event is not stored."""
    refused = event(ZOE, organizer=replace(ANNA, name="Anna\n\nbody"))
    with pytest.raises(LabError, match="the server answers 500"):
        anna.invite(refused)
    assert capture.captured() == []


def test_a_line_break_in_the_summary_is_a_blank(capture: SendmailCapture, anna: Organiser) -> None:
    """In the subject; the calendar part keeps the line break."""
    anna.invite(event(ZOE, summary="one\nBcc: spy@lab.test"))
    (captured,) = capture.captured()
    assert captured.header("Subject") == "Invitation: one Bcc: spy@lab.test"
    assert lines(captured.body, "SUMMARY") == ["SUMMARY:one\\nBcc: spy@lab.test"]


@pytest.mark.parametrize(
    ("uri", "handed_over"),
    [
        ("MAILTO:Zoe@Lab.Test", "zoe@lab.test"),
        ("mailto:a@lab.test>,<b@lab.test", "a@lab.test>,<b@lab.test"),
        ("mailto:a%2Cb@lab.test", "a%2cb@lab.test"),
        ("mailto:a@lab.test?cc=b@lab.test", "a@lab.test?cc=b@lab.test"),
        ("mailto:a@lab.test\\nBcc: b@lab.test", "a@lab.test bcc: b@lab.test"),
        ("mailto:ü@müller.test", "ü@müller.test"),
        ("mailto:-oQ/tmp@lab.test", "-oq/tmp@lab.test"),
        ("mailto:", ""),
    ],
)
def test_address_is_passed_lowercased(capture: SendmailCapture, anna: Organiser, uri: str, handed_over: str) -> None:
    """Also if it is invalid, or two addresses."""
    stored = anna.invite(event(Person(uri, "N")))
    (captured,) = capture.captured()
    assert captured.header("To") == f"N <{handed_over}>"
    assert list(anna.statuses(stored).values()) == ["1.1"]


@pytest.mark.parametrize("uri", ["urn:uuid:1", "https://lab.test/zoe", "tel:+49123"])
def test_attendee_without_a_mail_address_gets_no_mail(capture: SendmailCapture, anna: Organiser, uri: str) -> None:
    """The organizer's event shows the status."""
    stored = anna.invite(event(Person(uri)))
    assert capture.captured() == []
    assert list(anna.statuses(stored).values()) == ["3.7"]


@pytest.mark.parametrize("organizer", [Person("anna@elsewhere.test"), Person("bo.berg@example.org"), None])
def test_organizer_with_another_address_sends_no_invitations(
    capture: SendmailCapture, anna: Organiser, organizer: Person | None
) -> None:
    """No status or error shows it."""
    stored = anna.invite(event(ZOE, organizer=organizer))
    assert capture.captured() == []
    assert list(anna.statuses(stored).values()) == [""]


def test_account_with_a_capital_in_its_address_sends_no_invitations(capture: SendmailCapture, anna: Organiser) -> None:
    """The organizer's address is lowercased before the comparison, and the account's is not."""
    capture.set_address("anna", "Anna@example.org")
    try:
        for written in ("anna@example.org", "Anna@example.org"):
            anna.invite(event(ZOE, organizer=Person(written)))
        assert capture.captured() == []
    finally:
        capture.set_address("anna", "anna@example.org")
    anna.invite(event(ZOE, organizer=Person("MAILTO:Anna@Example.ORG")))
    assert len(capture.captured()) == 1


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"summary": "Other"}, 0),
        ({"description": "Other", "lines": (WEEKLY, "LOCATION:Other")}, 0),
        ({"lines": ("RRULE:INTERVAL=1;COUNT=3;FREQ=WEEKLY",)}, 0),
        ({"start": LATER}, 2),
        ({"lines": ("RRULE:FREQ=WEEKLY;COUNT=4",)}, 2),
        ({"lines": (WEEKLY, "EXDATE;TZID=Europe/Berlin:20300610T090000")}, 2),
        ({"lines": (WEEKLY, "STATUS:TENTATIVE")}, 2),
        ({"attendees": (ZOE, KIM, Person("new@lab.test"))}, 1),
        ({"attendees": (replace(ZOE, parameters=";SCHEDULE-FORCE-SEND=REQUEST"), KIM)}, 1),
    ],
)
def test_change_of_time_is_sent_to_attendees(
    capture: SendmailCapture, anna: Organiser, changes: dict[str, Any], count: int
) -> None:
    """Attendees without a message have no status afterwards; new attendees always get one."""
    invited = anna.invite(event(ZOE, KIM, lines=(WEEKLY,)))
    assert len(capture.captured()) == 2
    updated = anna.update(invited, **changes)
    captured = capture.captured()
    assert [each.header("Content-Type").rpartition("=")[2] for each in captured] == ["REQUEST"] * count
    assert all("SEQUENCE:1" in each.body for each in captured)
    assert list(anna.statuses(updated).values()).count("1.1") == count


def test_removed_attendee_and_deleted_event_cause_a_cancellation(capture: SendmailCapture, anna: Organiser) -> None:
    """It has the present event, without other attendees; after a deletion, the next sequence number."""
    invited = anna.invite(event(ZOE, KIM))
    capture.captured()
    updated = anna.uninvite(invited, KIM)
    (left_out,) = capture.captured()
    assert left_out.headers[:2] == ["To: kim@lab.test", "Subject: Cancelled: Müll & more"]
    assert left_out.header("Content-Type") == "text/calendar; charset=UTF-8; method=CANCEL"
    assert lines(left_out.body, "METHOD", "SEQUENCE", "SUMMARY", "ATTENDEE") == [
        *("METHOD:CANCEL", "SEQUENCE:1", "SUMMARY:Müll & more", "ATTENDEE;CN=:mailto:kim@lab.test"),
    ]
    anna.cancel(updated)
    (deleted,) = capture.captured()
    assert deleted.headers[:2] == ["To: Zoë <zoe@lab.test>", "Subject: Cancelled: Müll & more"]
    assert lines(deleted.body, "SEQUENCE", "ATTENDEE") == ["SEQUENCE:2", "ATTENDEE;CN=Zoë:mailto:zoe@lab.test"]


def test_a_cancelled_event_is_a_cancellation(capture: SendmailCapture, anna: Organiser) -> None:
    """Also if one instance of a series is cancelled."""
    invited = anna.invite(event(ZOE, lines=(WEEKLY,)))
    capture.captured()
    anna.update(invited, lines=(WEEKLY, "STATUS:CANCELLED"))
    (captured,) = capture.captured()
    assert captured.header("Subject") == "Cancelled: Müll & more"


def test_client_can_take_over_scheduling(capture: SendmailCapture, anna: Organiser) -> None:
    """For one attendee, by SCHEDULE-AGENT=CLIENT; NONE is not supported."""
    agents = [
        Person(f"{agent.lower()}@lab.test", parameters=f";SCHEDULE-AGENT={agent}") for agent in ("CLIENT", "NONE")
    ]
    anna.invite(event(*agents))
    assert [each.header("To") for each in capture.captured()] == ["none@lab.test"]


def test_attendee_with_an_account_gets_mail(capture: SendmailCapture, anna: Organiser) -> None:
    """As attendees without an account do."""
    stored = anna.invite(event(BO))
    (captured,) = capture.captured()
    assert captured.header("To") == "Bo <bo.berg@example.org>"
    assert list(anna.statuses(stored).values()) == ["1.1"]


def test_no_mail_is_sent_without_a_sender(capture: SendmailCapture, anna: Organiser) -> None:
    """The organizer's event shows the status."""
    capture.send_from("")
    try:
        stored = anna.invite(event(BO, ZOE))
    finally:
        capture.send_from(SENDER)
    assert capture.captured() == []
    assert anna.statuses(stored) == {"mailto:bo.berg@example.org": "1.2", "mailto:zoe@lab.test": "3.7"}


def test_task_sends_no_invitations(capture: SendmailCapture, anna: Organiser) -> None:
    """Only events cause messages."""
    anna.invite(event(ZOE, component="VTODO"))
    assert capture.captured() == []


def test_an_answer_goes_to_the_organizer(capture: SendmailCapture, anna: Organiser) -> None:
    """Once for each changed answer; deleting an event declines it."""
    boss = Person("boss@lab.test", "Boß, der")
    invited = anna.invite(event(ANNA, KIM, organizer=boss))
    assert capture.captured() == []
    accepted = anna.update(invited, attendees=(replace(ANNA, parameters=";PARTSTAT=ACCEPTED"), KIM))
    (captured,) = capture.captured()
    assert captured.headers[:2] == ["To: Boß, der <boss@lab.test>", "Subject: Re: Müll & more"]
    assert captured.header("Content-Type") == "text/calendar; charset=UTF-8; method=REPLY"
    assert lines(captured.body, "ORGANIZER", "ATTENDEE") == [
        'ORGANIZER;CN="Boß, der":mailto:boss@lab.test',
        "ATTENDEE;PARTSTAT=ACCEPTED;CN=Anna Groß:mailto:anna@example.org",
    ]
    again = anna.update(accepted, summary="Other")
    assert capture.captured() == []
    anna.cancel(again)
    (captured,) = capture.captured()
    assert "ATTENDEE;PARTSTAT=DECLINED;CN=Anna Groß:mailto:anna@example.org\r\n" in captured.body


def test_failure_of_the_mail_program_is_ignored(capture: SendmailCapture, anna: Organiser) -> None:
    """The message counts as sent although the program has failed."""
    with capture.failing():
        stored = anna.invite(event(ZOE))
    assert capture.captured() == []
    assert list(anna.statuses(stored).values()) == ["1.1"]


def test_seventy_attendees_get_seventy_messages(capture: SendmailCapture, anna: Organiser) -> None:
    """They are sent one after the other, while the client waits."""
    guests = [Person(f"guest{number}@lab.test", f"Guest {number}") for number in range(70)]
    anna.invite(event(*guests, start=dt.date(2030, 6, 3)))
    captured = capture.captured()
    assert [each.header("To") for each in captured] == [f"{guest.name} <{guest.address}>" for guest in guests]
    assert "DTSTART;VALUE=DATE:20300603\r\nDTEND;VALUE=DATE:20300604\r\n" in captured[0].body
