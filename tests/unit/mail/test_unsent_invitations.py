"""Invitations that Baïkal never sends, found in a real database of its schema."""

from __future__ import annotations

import time

import pytest

from baikalctl.baikal import accounts
from baikalctl.database import interface, sqlite_file
from baikalctl.errors import HostError
from baikalctl.host.finding import WARNING, Finding
from baikalctl.mail import unsent_invitations
from tests.unit.samples import declared, user

GUEST = "ATTENDEE:mailto:guest@example.net"
JO = user(email="jo@example.org")


def have(connection: sqlite_file.Connection, *tables: dict[str, object]) -> None:
    """Have these accounts, each with its calendar."""
    for _, act in accounts.plan(connection, declared(users=list(tables)).users, {}):
        act()
    connection.commit()


def calendar(*lines: str) -> str:
    """Return an event of these lines, as clients send it."""
    whole = ("BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "UID:1", *lines, "END:VEVENT", "END:VCALENDAR")
    return "\r\n".join((*whole, ""))


def put(
    connection: sqlite_file.Connection,
    *lines: str,
    name: str = "jo",
    days_ago: float = 1,
    kind: str = "VEVENT",
    blob: bool = True,
) -> None:
    """Put an event of these lines into the calendar of an account."""
    query = "SELECT calendarid FROM calendarinstances WHERE principaluri = ? AND (access = 1 OR access IS NULL)"
    number = interface.first_number(connection, query, (f"principals/{name}",))
    data = calendar(*lines)
    values = (data.encode() if blob else data, number, int(time.time() - days_ago * 86400), kind)
    connection.execute(
        "INSERT INTO calendarobjects (calendardata, uri, calendarid, lastmodified, etag, size, componenttype) "
        "VALUES (?, 'an-event.ics', ?, ?, 'e', 1, ?)",
        values,
    )
    connection.commit()


def found() -> list[Finding]:
    """Return what is found."""
    return list(unsent_invitations.findings(declared()))


def test_an_event_of_another_organiser_is_told_with_both_addresses(connection: sqlite_file.Connection) -> None:
    """Baïkal compares with the account's address alone, and answers 201 anyway."""
    have(connection, JO)
    for _ in range(2):
        put(connection, "ORGANIZER;CN=Jo:mailto:Jo@home.example", GUEST)
    assert found() == [
        Finding(
            "mail",
            WARNING,
            "nothing was sent for 2 events with guests of the last 30 days in the calendars of jo: their organizer "
            "is jo@home.example, but the address of the account is jo@example.org",
            "set the email of jo to that address (docs/users.md), or the address in the client's account to "
            "jo@example.org",
        )
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ("ORGANIZER:mailto:jo@example.org", GUEST),
        ('ORGANIZER;CN="Jo: at work";X=y:MAILTO:Jo@Example.ORG', GUEST),
        ("ORGANIZER:mailto:jo@exam\r\n ple.org", GUEST),
        ("ORGANIZER:mailto:jo@exam\r\n\tple.org", GUEST),
        ("ORGANIZER:mailto:boss@example.net", GUEST, "attendee;PARTSTAT=ACCEPTED:mailto:jo@example.org"),
        ("ORGANIZER:mailto:other@example.org",),
        (GUEST,),
        ("ORGANIZER:mailto:other@example.org", "BEGIN:VALARM", GUEST, "END:VALARM"),
        ("SUMMARY:ORGANIZER and ATTENDEE",),
    ],
    ids=[
        *("organised", "quoted", "folded", "folded by a tab", "attended", "no guests", "no organiser"),
        *("an alarm's guests", "only words"),
    ],
)
def test_what_is_sent_or_concerns_nobody_is_no_finding(
    connection: sqlite_file.Connection, lines: tuple[str, ...]
) -> None:
    """As Baïkal's own library reads it."""
    have(connection, JO)
    put(connection, *lines)
    assert found() == []


def test_an_alarm_doesnt_make_its_owner_a_guest(connection: sqlite_file.Connection) -> None:
    """It writes to them, and they aren't part of the event."""
    have(connection, JO)
    alarm = ("BEGIN:VALARM", "ATTENDEE:mailto:jo@example.org", "END:VALARM")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, *alarm)
    assert len(found()) == 1


def test_a_name_with_a_colon_is_no_address(connection: sqlite_file.Connection) -> None:
    """It stands in quotation marks."""
    have(connection, JO)
    put(connection, 'ORGANIZER;CN="mailto:jo@example.org":mailto:other@example.org', GUEST)
    assert "their organizer is other@example.org, but" in found()[0].message


def test_what_a_terminal_would_obey_is_escaped(connection: sqlite_file.Connection) -> None:
    """Root reads the check, and any account writes events."""
    have(connection, JO)
    put(connection, "ORGANIZER:mailto:\x1b[2Jother@example.org", GUEST)
    assert r"their organizer is \u001b[2jother@example.org, but" in str(found()[0])


def test_what_is_stored_as_text_is_read_as_well(connection: sqlite_file.Connection) -> None:
    """sabre/dav stores bytes, and other programs might not."""
    have(connection, JO)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, "SUMMARY:Grüße", blob=False)
    assert len(found()) == 1


def test_only_events_of_these_days_count(connection: sqlite_file.Connection) -> None:
    """Old ones are nobody's news, and tasks are never sent."""
    have(connection, JO)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, days_ago=31)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, kind="VTODO")
    assert found() == []
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, days_ago=29)
    assert "for 1 event with guests" in found()[0].message


def test_only_the_newest_events_are_read(connection: sqlite_file.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check is to take no time."""
    monkeypatch.setattr(unsent_invitations, "MOST", 1)
    have(connection, JO)
    put(connection, "ORGANIZER:mailto:older@example.org", GUEST, days_ago=2)
    put(connection, "ORGANIZER:mailto:newer@example.org", GUEST, days_ago=1)
    assert "their organizer is newer@example.org, but" in found()[0].message


def test_a_shared_calendar_is_its_owners(connection: sqlite_file.Connection) -> None:
    """Whoever else sees it isn't told of; sabre/dav leaves the owner's access NULL in calendars that clients make."""
    shared = {"name": "default", "share": [{"with": "sam"}]}
    have(connection, JO | {"calendars": [shared]}, user("sam", email="sam@example.org"))
    connection.execute("UPDATE calendarinstances SET access = NULL WHERE access = 1")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST)
    (finding,) = found()
    assert "in the calendars of jo: " in finding.message


def test_accounts_without_an_address_are_named(connection: sqlite_file.Connection) -> None:
    """Nothing is sent for them at all; those that act for others are no accounts."""
    have(connection, JO, user("ann"), user("sam"))
    connection.execute("INSERT INTO principals (uri) VALUES ('principals/jo/calendar-proxy-write')")
    connection.execute("UPDATE principals SET email = ' ' WHERE uri = 'principals/sam'")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, name="ann")
    message = "nothing is sent for ann, sam, whose account has no e-mail address"
    assert found() == [Finding("mail", WARNING, message, "set their email (docs/users.md)")]


def test_of_many_a_few_are_named(connection: sqlite_file.Connection) -> None:
    """And how many more there are."""
    have(connection, *(user(f"u{number}") for number in range(7)))
    assert found()[0].message.startswith("nothing is sent for u0, u1, u2, u3, u4 and 2 more, whose")


def test_of_many_accounts_with_other_organisers_a_few_are_told(connection: sqlite_file.Connection) -> None:
    """The others have the same reason."""
    have(connection, *(user(f"u{number}", email=f"u{number}@example.org") for number in range(7)))
    for number in range(7):
        put(connection, "ORGANIZER:mailto:other@example.org", GUEST, name=f"u{number}")
    messages = [finding.message for finding in found()]
    assert len(messages) == 6
    assert messages[-1] == "nothing was sent for events of 2 more accounts, for the same reason"


def test_an_address_with_capitals_is_told(connection: sqlite_file.Connection) -> None:
    """Baïkal's library puts an event's addresses in lower case and the account's not, so they are never the same."""
    have(connection, JO)
    connection.execute("UPDATE principals SET email = 'Jo@Example.org'")
    put(connection, "ORGANIZER:mailto:Jo@Example.org", GUEST)
    message = "nothing is sent for jo (Jo@Example.org), whose e-mail address has capital letters"
    assert found() == [Finding("mail", WARNING, message, "set their email in lower case (docs/users.md)")]


def test_a_database_that_cannot_be_read_is_told_as_such(connection: sqlite_file.Connection) -> None:
    """As everywhere."""
    connection.execute("DROP TABLE calendarobjects")
    connection.commit()
    with pytest.raises(HostError, match="can't be read"):
        found()
