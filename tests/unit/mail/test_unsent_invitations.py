"""Invitations that Baïkal never sends, in a real database with its schema."""

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


def create(connection: sqlite_file.Connection, *tables: dict[str, object]) -> None:
    """Create these accounts, each with its calendar."""
    for _, act in accounts.plan(connection, declared(users=list(tables)).users, {}):
        act()
    connection.commit()


def calendar(*lines: str) -> str:
    """Return an event with these lines, in the form of clients."""
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
    """Store an event with these lines in the calendar of an account."""
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


def findings() -> list[Finding]:
    """Return the findings."""
    return list(unsent_invitations.findings(declared()))


def test_an_event_of_another_organizer_is_reported_with_both_addresses(connection: sqlite_file.Connection) -> None:
    """Baïkal compares with the account's address alone, and answers 201 anyway."""
    create(connection, JO)
    for _ in range(2):
        put(connection, "ORGANIZER;CN=Jo:mailto:Jo@home.example", GUEST)
    assert findings() == [
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
def test_events_that_are_sent_or_have_no_guests_are_not_reported(
    connection: sqlite_file.Connection, lines: tuple[str, ...]
) -> None:
    """As sabre/dav reads them."""
    create(connection, JO)
    put(connection, *lines)
    assert findings() == []


def test_attendees_of_an_alarm_are_not_guests(connection: sqlite_file.Connection) -> None:
    """The alarm writes to them; they don't take part in the event."""
    create(connection, JO)
    alarm = ("BEGIN:VALARM", "ATTENDEE:mailto:jo@example.org", "END:VALARM")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, *alarm)
    assert len(findings()) == 1


def test_an_address_in_quotation_marks_is_ignored(connection: sqlite_file.Connection) -> None:
    """It is the name."""
    create(connection, JO)
    put(connection, 'ORGANIZER;CN="mailto:jo@example.org":mailto:other@example.org', GUEST)
    assert "their organizer is other@example.org, but" in findings()[0].message


def test_escape_sequences_are_escaped(connection: sqlite_file.Connection) -> None:
    """Root reads the finding, and any account can write events."""
    create(connection, JO)
    put(connection, "ORGANIZER:mailto:\x1b[2Jother@example.org", GUEST)
    assert r"their organizer is \u001b[2jother@example.org, but" in str(findings()[0])


def test_data_stored_as_text_is_read_too(connection: sqlite_file.Connection) -> None:
    """sabre/dav stores bytes; other programs may store text."""
    create(connection, JO)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, "SUMMARY:Grüße", blob=False)
    assert len(findings()) == 1


def test_old_events_and_tasks_are_not_reported(connection: sqlite_file.Connection) -> None:
    """Baïkal never sends tasks."""
    create(connection, JO)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, days_ago=31)
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, kind="VTODO")
    assert findings() == []
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, days_ago=29)
    assert "for 1 event with guests" in findings()[0].message


def test_only_the_newest_events_are_read(connection: sqlite_file.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check must be fast."""
    monkeypatch.setattr(unsent_invitations, "MOST", 1)
    create(connection, JO)
    put(connection, "ORGANIZER:mailto:older@example.org", GUEST, days_ago=2)
    put(connection, "ORGANIZER:mailto:newer@example.org", GUEST, days_ago=1)
    assert "their organizer is newer@example.org, but" in findings()[0].message


def test_events_of_a_shared_calendar_are_reported_for_its_owner(connection: sqlite_file.Connection) -> None:
    """Other accounts with access aren't named. sabre/dav leaves the owner's access NULL in calendars that clients create."""
    shared = {"name": "default", "share": [{"with": "sam"}]}
    create(connection, JO | {"calendars": [shared]}, user("sam", email="sam@example.org"))
    connection.execute("UPDATE calendarinstances SET access = NULL WHERE access = 1")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST)
    (finding,) = findings()
    assert "in the calendars of jo: " in finding.message


def test_accounts_without_an_address_are_named(connection: sqlite_file.Connection) -> None:
    """Nothing is sent for them. Groups of delegates are no accounts."""
    create(connection, JO, user("ann"), user("sam"))
    connection.execute("INSERT INTO principals (uri) VALUES ('principals/jo/calendar-proxy-write')")
    connection.execute("UPDATE principals SET email = ' ' WHERE uri = 'principals/sam'")
    put(connection, "ORGANIZER:mailto:other@example.org", GUEST, name="ann")
    message = "nothing is sent for ann, sam, whose account has no e-mail address"
    assert findings() == [Finding("mail", WARNING, message, "set their email (docs/users.md)")]


def test_five_of_many_accounts_are_named(connection: sqlite_file.Connection) -> None:
    """The others are counted."""
    create(connection, *(user(f"u{number}") for number in range(7)))
    assert findings()[0].message.startswith("nothing is sent for u0, u1, u2, u3, u4 and 2 more, whose")


def test_five_of_many_accounts_with_other_organizers_are_reported(connection: sqlite_file.Connection) -> None:
    """The others are counted."""
    create(connection, *(user(f"u{number}", email=f"u{number}@example.org") for number in range(7)))
    for number in range(7):
        put(connection, "ORGANIZER:mailto:other@example.org", GUEST, name=f"u{number}")
    messages = [finding.message for finding in findings()]
    assert len(messages) == 6
    assert messages[-1] == "nothing was sent for events of 2 more accounts, for the same reason"


def test_an_address_with_capital_letters_is_reported(connection: sqlite_file.Connection) -> None:
    """sabre/dav converts an event's addresses to lower case, but not the account's, so they never match."""
    create(connection, JO)
    connection.execute("UPDATE principals SET email = 'Jo@Example.org'")
    put(connection, "ORGANIZER:mailto:Jo@Example.org", GUEST)
    message = "nothing is sent for jo (Jo@Example.org), whose e-mail address has capital letters"
    assert findings() == [Finding("mail", WARNING, message, "set their email in lower case (docs/users.md)")]


def test_an_unreadable_database_is_an_error(connection: sqlite_file.Connection) -> None:
    """As everywhere."""
    connection.execute("DROP TABLE calendarobjects")
    connection.commit()
    with pytest.raises(HostError, match="can't be read"):
        findings()
