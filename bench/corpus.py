"""Calendars and address books to measure on, made straight in SQLite: rows as sabre/dav itself would have written them.

Everything is deterministic: the same corpus is the same bytes in every row, whenever it is made.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD: Final = "käse & brot"  # noqa: S105 - of accounts that live for minutes
REALM: Final = "BaikalDAV"
BERLIN: Final = ZoneInfo("Europe/Berlin")
FIRST_DAY: Final = date(2026, 1, 1)
DAYS: Final = 730
"""How long the time is that the events are spread over."""
FOREVER: Final = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())
"""When a series without an end ends for sabre/dav: ``MAX_DATE`` in lib/CalDAV/Backend/PDO.php, on a server in UTC."""
STORED: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
SCHEMA: Final = "baikal/Core/Resources/Db/SQLite/db.sql"

TITLES: Final = ("Zahnärztin", "Übergabe", "Frühstück mit Zoë", "Müllabfuhr", "Straßenfest", "Probe", "Café Größenwahn")
PLACES: Final = ("Büro 3\\, Köln", "Schützenstraße 12", "Øster Søgade", "zu Hause", "Łódź", "Besprechungsraum „Süd“")
PEOPLE: Final = (("Jürgen", "Weiß"), ("Zoë", "Çelik"), ("Åsa", "Öberg"), ("Łukasz", "Dąbrowski"), ("Anna", "Müller"))

TIMEZONE: Final = """\
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
END:VTIMEZONE
"""
ALARM: Final = "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Gleich!\nTRIGGER:-PT15M\nEND:VALARM\n"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How much there is of what: every user has one calendar and one address book, both called ``default``."""

    name: str
    users: int
    events: int
    """In each calendar."""
    contacts: int
    """In each address book."""

    def names(self) -> list[str]:
        """Return the users' names."""
        return [f"person{number:02}" for number in range(self.users)]

    def __str__(self) -> str:
        """Say it for the report."""
        events, contacts = (f"{self.users * each:,}" for each in (self.events, self.contacts))
        return f"{self.name}: {self.users} users, {events} events, {contacts} contacts"


SMALL: Final = Corpus(name="small", users=4, events=1000, contacts=100)
LARGE: Final = Corpus(name="large", users=50, events=1000, contacts=200)


@dataclass(frozen=True)
class Thing:
    """What a calendar holds, and what sabre/dav notes beside it: ``getDenormalizedData`` in lib/CalDAV/Backend/PDO.php."""

    uid: str
    data: str
    component: str
    first: int | None
    last: int | None

    @property
    def uri(self) -> str:
        """The object's name below its calendar."""
        return f"{self.uid}.ics"


def build(corpus: Corpus, release: Path, target: Path) -> None:
    """Make ``target`` a database with the schema in the zip ``release``, and ``corpus`` in it."""
    with zipfile.ZipFile(release) as archive:
        schema = archive.read(SCHEMA).decode()
    connection = sqlite3.connect(target)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    connection.executescript(schema)
    for name in corpus.names():
        _add_user(connection, name, corpus)
    connection.commit()
    connection.close()


def things(corpus: Corpus, user: str) -> Iterator[Thing]:
    """Yield what is in a user's calendar, evenly over all days: appointments, and of 50 a task and some series."""
    rng = random.Random(f"{corpus.name} {user}")  # noqa: S311 - the same every time is the point
    for number in range(corpus.events):
        uid = f"{user}-{number:05}"
        day = FIRST_DAY + timedelta(days=number * DAYS // corpus.events)
        begin = datetime(day.year, day.month, day.day, rng.randrange(7, 20), rng.choice((0, 15, 30)), tzinfo=BERLIN)
        end = begin + timedelta(minutes=rng.choice((30, 45, 60, 90)))
        about = [f"SUMMARY:{rng.choice(TITLES)} {number}", f"LOCATION:{rng.choice(PLACES)}", _description(rng)]
        match number % 50:
            case 0:
                yield _event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY"], last=FOREVER)
            case 1 | 2:
                # By the clock on the wall, so that the tenth time is right across a change to summer time.
                tenth = _timestamp(end + timedelta(weeks=9))
                yield _event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY;COUNT=10"], last=tenth)
            case 3 | 4 | 5:
                yield _whole_day(uid, day, about)
            case 6:
                yield _task(uid, begin, about)
            case rest:
                yield _event(uid, begin, end, about, alarm=rest % 3 == 0)


def calendar(*parts: str, timezone: bool = True) -> str:
    """Return an iCalendar object, with the line ends that it must have."""
    head = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//baikal-deploy//bench//DE\nCALSCALE:GREGORIAN\n"
    text = head + (TIMEZONE if timezone else "") + "".join(parts) + "END:VCALENDAR\n"
    return text.replace("\n", "\r\n")


def _event(  # noqa: PLR0913 - the parts of an event
    uid: str, begin: datetime, end: datetime, about: list[str], *, last: int | None = None, alarm: bool = True
) -> Thing:
    lines = [
        f"UID:{uid}",
        "DTSTAMP:20260101T000000Z",
        f"DTSTART;TZID=Europe/Berlin:{begin:%Y%m%dT%H%M%S}",
        f"DTEND;TZID=Europe/Berlin:{end:%Y%m%dT%H%M%S}",
        *about,
    ]
    text = "BEGIN:VEVENT\n" + "\n".join(lines) + "\n" + (ALARM if alarm else "") + "END:VEVENT\n"
    return Thing(uid, calendar(text), "VEVENT", _timestamp(begin), last or _timestamp(end))


def _whole_day(uid: str, day: date, about: list[str]) -> Thing:
    after = day + timedelta(days=1)
    lines = [
        f"UID:{uid}",
        "DTSTAMP:20260101T000000Z",
        f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
        f"DTEND;VALUE=DATE:{after:%Y%m%d}",
        *about,
    ]
    text = "BEGIN:VEVENT\n" + "\n".join(lines) + "\nEND:VEVENT\n"
    first, last = (int(datetime(one.year, one.month, one.day, tzinfo=UTC).timestamp()) for one in (day, after))
    return Thing(uid, calendar(text, timezone=False), "VEVENT", first, last)


def _task(uid: str, due: datetime, about: list[str]) -> Thing:
    lines = [
        f"UID:{uid}",
        "DTSTAMP:20260101T000000Z",
        f"DUE;TZID=Europe/Berlin:{due:%Y%m%dT%H%M%S}",
        "STATUS:NEEDS-ACTION",
        *about,
    ]
    return Thing(uid, calendar("BEGIN:VTODO\n" + "\n".join(lines) + "\nEND:VTODO\n"), "VTODO", None, None)


def _card(uid: str, rng: random.Random) -> str:
    given, family = rng.choice(PEOPLE)
    phone = f"+49 221 {rng.randrange(10**6, 10**7)}"
    lines = [
        "BEGIN:VCARD",
        "VERSION:3.0",
        f"UID:{uid}",
        f"FN:{given} {family}",
        f"N:{family};{given};;;",
        f"EMAIL;TYPE=HOME:{uid}@example.org",
        f"TEL;TYPE=CELL:{phone}",
        f"ADR;TYPE=HOME:;;Königstraße {rng.randrange(1, 200)};Köln;;50667;Deutschland",
        "ORG:Grün & Söhne",
        _folded(f"NOTE:{' '.join(rng.choices(TITLES, k=5))}"),
        "END:VCARD",
    ]
    return "\n".join([*lines, ""]).replace("\n", "\r\n")


def _description(rng: random.Random) -> str:
    return _folded("DESCRIPTION:" + "\\n".join(" ".join(rng.choices(TITLES, k=3)) for _ in range(rng.randrange(1, 5))))


def _folded(text: str) -> str:
    """Fold a line as RFC 5545, section 3.1, and RFC 2426, section 2.6, want it: at most 75 octets each."""
    lines, line = [], ""
    for letter in text:
        if len((line + letter).encode()) > 75:
            lines.append(line)
            line = " "
        line += letter
    return "\n".join([*lines, line])


def _timestamp(moment: datetime) -> int:
    return int(moment.timestamp())


def _add_user(connection: sqlite3.Connection, name: str, corpus: Corpus) -> None:
    """Add a user's rows as Core/Frameworks/Baikal/Model/User.php and sabre/dav's backends write them."""
    principal = f"principals/{name}"
    digest = _md5(f"{name}:{REALM}:{PASSWORD}")
    connection.execute("INSERT INTO users (username, digesta1) VALUES (?, ?)", (name, digest))
    connection.execute(
        "INSERT INTO principals (uri, email, displayname) VALUES (?, ?, ?)",
        (principal, f"{name}@example.org", f"{name} Weiß"),
    )
    calendar_id = connection.execute(
        "INSERT INTO calendars (synctoken, components) VALUES (?, 'VEVENT,VTODO')", (corpus.events + 1,)
    ).lastrowid
    connection.execute(
        "INSERT INTO calendarinstances (calendarid, principaluri, access, displayname, uri, description, calendarorder, "
        "calendarcolor, timezone, transparent, share_invitestatus) VALUES (?, ?, 1, 'Kalender', 'default', '', 0, '', "
        "'', 0, 2)",
        (calendar_id, principal),
    )
    objects = [(number, thing, thing.data.encode()) for number, thing in enumerate(things(corpus, name), 1)]
    connection.executemany(
        "INSERT INTO calendarobjects (calendarid, uri, calendardata, lastmodified, etag, size, componenttype, "
        "firstoccurence, lastoccurence, uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (calendar_id, it.uri, data, STORED, _md5(data), len(data), it.component, it.first, it.last, it.uid)
            for _, it, data in objects
        ),
    )
    # Each change has the token that stood before it: addChange in lib/CalDAV/Backend/PDO.php.
    connection.executemany(
        "INSERT INTO calendarchanges (uri, synctoken, calendarid, operation) VALUES (?, ?, ?, 1)",
        ((it.uri, number, calendar_id) for number, it, _ in objects),
    )
    book_id = connection.execute(
        "INSERT INTO addressbooks (principaluri, displayname, uri, description, synctoken) "
        "VALUES (?, 'Adressbuch', 'default', '', ?)",
        (principal, corpus.contacts + 1),
    ).lastrowid
    rng = random.Random(f"contacts {name}")  # noqa: S311 - the same every time is the point
    for number in range(corpus.contacts):
        uid = f"contact-{number:05}"
        data = _card(uid, rng).encode()
        connection.execute(
            "INSERT INTO cards (addressbookid, carddata, uri, lastmodified, etag, size) VALUES (?, ?, ?, ?, ?, ?)",
            (book_id, data, f"{uid}.vcf", STORED, _md5(data), len(data)),
        )
        connection.execute(
            "INSERT INTO addressbookchanges (uri, synctoken, addressbookid, operation) VALUES (?, ?, ?, 1)",
            (f"{uid}.vcf", number + 1, book_id),
        )


def _md5(data: str | bytes) -> str:
    """Return what sabre/dav uses as etag, and Baïkal as password digest."""
    return hashlib.md5(data.encode() if isinstance(data, str) else data, usedforsecurity=False).hexdigest()
