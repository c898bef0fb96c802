"""What scheduling messages ask, and their plain text."""

from __future__ import annotations

import pytest

from baikalctl.mail.itip import METHODS, Invitation, UnfitError, read
from tests.unit.handover import BOB, ORGANISER, TIMES, calendar


def text_of(*lines: str, method: str = "REQUEST", component: str = "VEVENT", people: tuple[str, ...] = (BOB,)) -> str:
    """Return the plain text of a message with these lines, from Jo."""
    return read(calendar(*lines, method=method, component=component, people=(ORGANISER, *people))).words()


def test_the_text_of_an_invitation_has_all_that_a_guest_needs() -> None:
    """Title, time, place, people, and after an empty line the description."""
    text = text_of(
        "SUMMARY:Lunch", *TIMES, "LOCATION:Kantine", "URL:https://example.org/lunch", "DESCRIPTION:Come\\nall"
    )
    assert text == (
        "You are invited:\n"
        "\n"
        "    Lunch\n"
        "    When: 2026-11-24 10:00 to 2026-11-24 11:30 Europe/Berlin\n"
        "    Where: Kantine\n"
        "    More: https://example.org/lunch\n"
        "    Organiser: Jo <jo@example.org>\n"
        "    Invited: Bob <bob@example.net>\n"
        "\n"
        "Come\nall\n"
    )


def test_an_empty_event_has_a_text() -> None:
    """Missing properties leave no empty lines."""
    assert read(calendar(people=())).words() == "You are invited:\n\n    (without a title)\n"


@pytest.mark.parametrize(
    ("lines", "when"),
    [
        (("DTSTART;VALUE=DATE:20261124", "DTEND;VALUE=DATE:20261126"), "2026-11-24 to 2026-11-26"),
        (("DTSTART;VALUE=DATE:20261124",), "2026-11-24"),
        (("DTSTART:20261124T090000Z", "DTEND:20261124T100000Z"), "2026-11-24 09:00 to 2026-11-24 10:00 UTC"),
        (("DTSTART:20261124T090000",), "2026-11-24 09:00"),
        ((*TIMES, "RRULE:FREQ=WEEKLY;BYDAY=TU"), "2026-11-24 10:00 to 2026-11-24 11:30 Europe/Berlin, and again"),
        (('DTSTART;TZID="Somewhere: else":20261124T100000',), "2026-11-24 10:00 Somewhere: else"),
        (("DTSTART:tomorrow",), "tomorrow"),
        (("DTSTART:20269999T999999",), "20269999T999999"),
    ],
    ids=["days", "a day", "UTC", "no zone", "repeated", "a quoted zone", "no time", "an impossible time"],
)
def test_the_time_is_shown_with_its_zone(lines: tuple[str, ...], when: str) -> None:
    """A value that can't be parsed is shown unchanged."""
    assert f"    When: {when}\n" in text_of(*lines)


def test_without_a_start_no_time_is_shown() -> None:
    """A task may have none."""
    text = text_of("SUMMARY:Paint", "DUE:20261201T000000Z", component="VTODO")
    assert "    Paint\n" in text
    assert "When" not in text


@pytest.mark.parametrize(
    ("answer", "verb"),
    [("ACCEPTED", "accepts"), ("DECLINED", "declines"), ("TENTATIVE", "may come"), ("X-LATER", "x-later")],
)
def test_the_text_of_an_answer_has_the_guests_answer(answer: str, verb: str) -> None:
    """An unknown answer is shown in lower case."""
    text = text_of("SUMMARY:Lunch", method="REPLY", people=(BOB.replace("NEEDS-ACTION", answer),))
    assert text.startswith("This is an answer to your invitation:\n")
    assert f"    Bob <bob@example.net> {verb}\n" in text
    assert "Invited" not in text


@pytest.mark.parametrize("method", METHODS)
def test_each_method_of_rfc_5546_is_accepted(method: str) -> None:
    """Also in lower case."""
    assert read(calendar("SUMMARY:x", method=method)).method == method
    assert read(calendar("SUMMARY:x", method=method.lower())).method == method


def test_the_text_of_a_cancellation_begins_with_it() -> None:
    """So that guests see it first."""
    assert text_of("SUMMARY:x", method="CANCEL").startswith("This was cancelled, or you are no longer invited:\n")


@pytest.mark.parametrize(
    "body", [b"", b"Hello", b"\xff\xfe", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", b"METHOD:REQUEST\r\n"]
)
def test_data_without_a_method_is_refused(body: bytes) -> None:
    """A method outside a calendar doesn't count."""
    with pytest.raises(UnfitError, match="has no METHOD of RFC 5546"):
        read(body)


def test_a_method_within_an_event_is_ignored() -> None:
    """Only the one that stands at its top."""
    with pytest.raises(UnfitError):
        read(calendar("METHOD:REQUEST", method=""))


def test_names_with_special_characters_are_read() -> None:
    """Commas and colons in quotation marks, quotation marks as sabre writes them (RFC 6868), umlauts."""
    guest = "ATTENDEE;CN=\"Doe: ^'Bob^', der Größte\";ROLE=CHAIR:mailto:bob@example.net"
    assert read(calendar(people=(ORGANISER, guest))).attendees == [('Doe: "Bob", der Größte', "bob@example.net", "")]


def test_line_breaks_in_names_and_titles_become_spaces() -> None:
    """Otherwise they could add a false organizer to the text."""
    guest = 'ATTENDEE;CN="Bob^n    Organiser: Eve <eve@example.com>":mailto:bob@example.net'
    text = text_of(
        "SUMMARY:Lunch\\n    Organiser: Eve <eve@example.com>", "LOCATION:here\\nOrganiser: Eve", people=(guest,)
    )
    organisers = [line for line in text.splitlines() if line.strip().startswith("Organiser:")]
    assert organisers == ["    Organiser: Jo <jo@example.org>"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\, b\\; c", "a, b; c"),
        ("a\\nb\\Nc", "a\nb\nc"),
        ("C:\\\\new", "C:\\new"),
        ("100%2C and %5C", "100%2C and %5C"),
        ('say "hello": now', 'say "hello": now'),
        ("ends with \\", "ends with \\"),
    ],
)
def test_escapes_in_a_text_are_undone_once(written: str, meant: str) -> None:
    """RFC 5545, section 3.3.11."""
    assert read(calendar(f"DESCRIPTION:{written}")).properties["DESCRIPTION"][0] == meant


def test_folded_lines_are_joined() -> None:
    """Also within a character's neighbours."""
    assert "    Käse und Brot\n" in text_of("SUMMARY:Käse\r\n  und\r\n\t Brot")


def test_parties_come_from_all_events_and_properties_from_the_first() -> None:
    """One date of a series may have its own guest. Alarms and time zones don't count."""
    body = (
        b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n"
        b"BEGIN:VTIMEZONE\r\nTZID:X\r\nSUMMARY:zone\r\nEND:VTIMEZONE\r\n"
        b"BEGIN:VEVENT\r\nBEGIN:VALARM\r\nSUMMARY:alarm\r\nATTENDEE:mailto:alarm@example.net\r\nEND:VALARM\r\n"
        b"SUMMARY:first\r\nORGANIZER:mailto:Jo@example.org\r\nATTENDEE:mailto:bob@example.net\r\nEND:VEVENT\r\n"
        b"BEGIN:VEVENT\r\nSUMMARY:second\r\nLOCATION:there\r\nATTENDEE:mailto:BOB@example.net\r\n"
        b"ATTENDEE:mailto:ann@example.net\r\nATTENDEE:urn:uuid:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    invitation = read(body)
    assert invitation.parties == {"jo@example.org", "bob@example.net", "ann@example.net"}
    assert invitation.properties["SUMMARY"][0] == "first"
    assert "LOCATION" not in invitation.properties
    assert [bare for _, bare, _ in invitation.attendees] == ["bob@example.net", "ann@example.net"]


def test_lines_that_cannot_be_parsed_are_skipped() -> None:
    """The calendar itself is sent unchanged."""
    invitation = read(calendar("NO COLON", ";;;:", 'X-A;B="unended:1', ":", "SUMMARY:Lunch", "\x00"))
    assert invitation.properties["SUMMARY"][0] == "Lunch"
    assert "bob@example.net" in invitation.parties


def test_invalid_utf8_is_replaced() -> None:
    """A wrong byte in a title must not hide the guests."""
    invitation = read(calendar("SUMMARY:Lunch").replace(b"Lunch", b"L\xfcnch"))
    assert invitation.properties["SUMMARY"][0] == "L\ufffdnch"
    assert invitation.parties == {"jo@example.org", "bob@example.net"}


def test_the_author_depends_on_the_method() -> None:
    """Answers are from the guest, all others from the organizer."""
    jo, bob = ("Jo", "jo@example.org"), ("Bob", "bob@example.net")
    for method in METHODS:
        whose = bob if method in {"REPLY", "COUNTER", "REFRESH"} else jo
        assert read(calendar(method=method)).from_ == whose
    assert Invitation(method="REPLY").from_ is None
    assert Invitation(method="PUBLISH").from_ is None


def test_a_name_equal_to_the_address_is_shown_once() -> None:
    """Some clients set the name so."""
    assert "    Invited: bob@example.net\n" in text_of(people=("ATTENDEE;CN=bob@example.net:mailto:bob@example.net",))
