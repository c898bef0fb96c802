"""What scheduling messages say, and how they are put into words."""

from __future__ import annotations

import pytest

from baikalctl.mail.itip import METHODS, Invitation, UnfitError, read
from tests.unit.handover import BOB, ORGANISER, TIMES, calendar


def said(*lines: str, method: str = "REQUEST", component: str = "VEVENT", people: tuple[str, ...] = (BOB,)) -> str:
    """Return the words for a message with these lines, from Jo."""
    return read(calendar(*lines, method=method, component=component, people=(ORGANISER, *people))).words()


def test_an_invitation_in_words_has_what_a_guest_needs() -> None:
    """What, when, where, who, and the rest after an empty line."""
    words = said(
        "SUMMARY:Lunch", *TIMES, "LOCATION:Kantine", "URL:https://example.org/lunch", "DESCRIPTION:Bring it\\nall"
    )
    assert words == (
        "You are invited:\n"
        "\n"
        "    Lunch\n"
        "    When: 2026-11-24 10:00 to 2026-11-24 11:30 Europe/Berlin\n"
        "    Where: Kantine\n"
        "    More: https://example.org/lunch\n"
        "    Organiser: Jo <jo@example.org>\n"
        "    Invited: Bob <bob@example.net>\n"
        "\n"
        "Bring it\nall\n"
    )


def test_an_event_of_nothing_has_words_too() -> None:
    """Nothing that is missing leaves a gap."""
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
    ids=["days", "a day", "UTC", "anywhere", "again and again", "an odd zone", "no moment", "an impossible one"],
)
def test_the_time_is_said_as_it_stands_in_the_calendar(lines: tuple[str, ...], when: str) -> None:
    """With its zone, and unchanged where it can't be understood."""
    assert f"    When: {when}\n" in said(*lines)


def test_without_a_beginning_there_is_no_when() -> None:
    """A task may have none."""
    words = said("SUMMARY:Paint", "DUE:20261201T000000Z", component="VTODO")
    assert "    Paint\n" in words
    assert "When" not in words


@pytest.mark.parametrize(
    ("answer", "verb"),
    [("ACCEPTED", "accepts"), ("DECLINED", "declines"), ("TENTATIVE", "may come"), ("X-LATER", "x-later")],
)
def test_an_answer_says_what_is_answered(answer: str, verb: str) -> None:
    """In a word, whatever a program calls it."""
    words = said("SUMMARY:Lunch", method="REPLY", people=(BOB.replace("NEEDS-ACTION", answer),))
    assert words.startswith("This is an answer to your invitation:\n")
    assert f"    Bob <bob@example.net> {verb}\n" in words
    assert "Invited" not in words


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_known(method: str) -> None:
    """Those of RFC 5546, in small letters too."""
    assert read(calendar("SUMMARY:x", method=method)).method == method
    assert read(calendar("SUMMARY:x", method=method.lower())).method == method


def test_a_cancellation_begins_with_that() -> None:
    """Nobody should go there."""
    assert said("SUMMARY:x", method="CANCEL").startswith("This was cancelled, or you are no longer invited:\n")


@pytest.mark.parametrize(
    "body", [b"", b"Hello", b"\xff\xfe", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", b"METHOD:REQUEST\r\n"]
)
def test_what_is_no_scheduling_message_is_refused(body: bytes) -> None:
    """A method outside a calendar is none."""
    with pytest.raises(UnfitError, match="has no METHOD of RFC 5546"):
        read(body)


def test_a_method_within_an_event_is_not_the_calendars() -> None:
    """Only the one that stands at its top."""
    with pytest.raises(UnfitError):
        read(calendar("METHOD:REQUEST", method=""))


def test_names_are_those_that_people_gave_themselves() -> None:
    """Commas and colons in quotes, quotes as sabre writes them (RFC 6868), and umlauts."""
    guest = "ATTENDEE;CN=\"Doe: ^'Bob^', der Größte\";ROLE=CHAIR:mailto:bob@example.net"
    assert read(calendar(people=(ORGANISER, guest))).attendees == [('Doe: "Bob", der Größte', "bob@example.net", "")]


def test_a_line_break_in_a_name_or_title_begins_no_line_of_the_letter() -> None:
    """It would say who else is the organiser."""
    guest = 'ATTENDEE;CN="Bob^n    Organiser: Eve <eve@example.com>":mailto:bob@example.net'
    words = said(
        "SUMMARY:Lunch\\n    Organiser: Eve <eve@example.com>", "LOCATION:here\\nOrganiser: Eve", people=(guest,)
    )
    organisers = [line for line in words.splitlines() if line.strip().startswith("Organiser:")]
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
def test_a_text_is_read_as_it_was_meant(written: str, meant: str) -> None:
    """Escapes are undone once, and nothing else is (RFC 5545, section 3.3.11)."""
    assert read(calendar(f"DESCRIPTION:{written}")).properties["DESCRIPTION"][0] == meant


def test_folded_lines_are_one() -> None:
    """Also within a character's neighbours."""
    assert "    Käse und Brot\n" in said("SUMMARY:Käse\r\n  und\r\n\t Brot")


def test_all_whom_any_part_names_are_parties_and_the_first_part_is_told() -> None:
    """One time of many may have a guest of its own; what a reminder or a zone has is nobody's business."""
    body = (
        b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n"
        b"BEGIN:VTIMEZONE\r\nTZID:X\r\nSUMMARY:zone\r\nEND:VTIMEZONE\r\n"
        b"BEGIN:VEVENT\r\nBEGIN:VALARM\r\nSUMMARY:alarm\r\nATTENDEE:mailto:alarm@example.net\r\nEND:VALARM\r\n"
        b"SUMMARY:first\r\nORGANIZER:mailto:Jo@example.org\r\nATTENDEE:mailto:bob@example.net\r\nEND:VEVENT\r\n"
        b"BEGIN:VEVENT\r\nSUMMARY:second\r\nLOCATION:there\r\nATTENDEE:mailto:BOB@example.net\r\n"
        b"ATTENDEE:mailto:ann@example.net\r\nATTENDEE:urn:uuid:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    found = read(body)
    assert found.parties == {"jo@example.org", "bob@example.net", "ann@example.net"}
    assert found.properties["SUMMARY"][0] == "first"
    assert "LOCATION" not in found.properties
    assert [bare for _, bare, _ in found.attendees] == ["bob@example.net", "ann@example.net"]


def test_lines_that_nobody_understands_are_passed_over() -> None:
    """The calendar is for others to read."""
    found = read(calendar("NO COLON", ";;;:", 'X-A;B="unended:1', ":", "SUMMARY:Lunch", "\x00"))
    assert found.properties["SUMMARY"][0] == "Lunch"
    assert "bob@example.net" in found.parties


def test_bytes_that_are_no_utf8_are_read_as_far_as_possible() -> None:
    """One bad letter in a title hides no guest."""
    found = read(calendar("SUMMARY:Lunch").replace(b"Lunch", b"L\xfcnch"))
    assert found.properties["SUMMARY"][0] == "L\ufffdnch"
    assert found.parties == {"jo@example.org", "bob@example.net"}


def test_whose_message_it_is_depends_on_who_asks_whom() -> None:
    """An answer is the guest's, all else the organiser's, and some is nobody's."""
    jo, bob = ("Jo", "jo@example.org"), ("Bob", "bob@example.net")
    for method in METHODS:
        whose = bob if method in {"REPLY", "COUNTER", "REFRESH"} else jo
        assert read(calendar(method=method)).from_ == whose
    assert Invitation(method="REPLY").from_ is None
    assert Invitation(method="PUBLISH").from_ is None


def test_a_name_that_is_the_address_is_said_once() -> None:
    """As some programs write it."""
    assert "    Invited: bob@example.net\n" in said(people=("ATTENDEE;CN=bob@example.net:mailto:bob@example.net",))
