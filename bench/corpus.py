"""Calendars and address books for measurements, created directly in SQLite, with the rows that sabre/dav would write.

Everything is deterministic: the same corpus has the same bytes in every row.
"""

from __future__ import annotations

import random
import sqlite3
import zipfile
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.lab.objects import (
    BERLIN,
    FOREVER,
    PLACES,
    STORED,
    TITLES,
    CalendarObject,
    card,
    description,
    event,
    md5,
    task,
    timestamp,
    whole_day,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD: Final = "käse & brot"  # noqa: S105 - of accounts that live for minutes
REALM: Final = "BaikalDAV"
FIRST_DAY: Final = date(2026, 1, 1)
DAYS: Final = 730
"""Days over which the events are spread."""
SCHEMA: Final = "baikal/Core/Resources/Db/SQLite/db.sql"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Size of a corpus: every user has one calendar and one address book, both called ``default``."""

    name: str
    users: int
    events: int
    """In each calendar."""
    contacts: int
    """Per address book."""

    def names(self) -> list[str]:
        """Return the users' names."""
        return [f"person{number:02}" for number in range(self.users)]

    def __str__(self) -> str:
        """Return the size in words, for the report."""
        events, contacts = (f"{self.users * each:,}" for each in (self.events, self.contacts))
        return f"{self.name}: {self.users} users, {events} events, {contacts} contacts"


SMALL: Final = Corpus(name="small", users=4, events=1000, contacts=100)
LARGE: Final = Corpus(name="large", users=50, events=1000, contacts=200)


def build(corpus: Corpus, release: Path, target: Path) -> None:
    """Create the database ``target`` with the schema in the zip ``release``, and fill it with ``corpus``."""
    with zipfile.ZipFile(release) as archive:
        schema = archive.read(SCHEMA).decode()
    connection = sqlite3.connect(target)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    connection.executescript(schema)
    for name in corpus.names():
        _add_user(connection, name, corpus)
    connection.commit()
    connection.close()


def calendar_objects(corpus: Corpus, user: str) -> Iterator[CalendarObject]:
    """Yield the objects of a user's calendar, evenly over all days: appointments, and in each 50 a task and some series."""
    rng = random.Random(f"{corpus.name} {user}")  # noqa: S311 - the same every time is the point
    for number in range(corpus.events):
        uid = f"{user}-{number:05}"
        day = FIRST_DAY + timedelta(days=number * DAYS // corpus.events)
        begin = datetime(day.year, day.month, day.day, rng.randrange(7, 20), rng.choice((0, 15, 30)), tzinfo=BERLIN)
        end = begin + timedelta(minutes=rng.choice((30, 45, 60, 90)))
        about = [f"SUMMARY:{rng.choice(TITLES)} {number}", f"LOCATION:{rng.choice(PLACES)}", description(rng)]
        match number % 50:
            case 0:
                yield event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY"], last=FOREVER)
            case 1 | 2:
                # In local time, so that the tenth occurrence is right across a change to summer time.
                tenth = timestamp(end + timedelta(weeks=9))
                yield event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY;COUNT=10"], last=tenth)
            case 3 | 4 | 5:
                yield whole_day(uid, day, about)
            case 6:
                yield task(uid, begin, about)
            case rest:
                yield event(uid, begin, end, about, alarm=rest % 3 == 0)


def _add_user(connection: sqlite3.Connection, name: str, corpus: Corpus) -> None:
    """Add a user's rows as Core/Frameworks/Baikal/Model/User.php and sabre/dav's backends write them."""
    principal = f"principals/{name}"
    digest = md5(f"{name}:{REALM}:{PASSWORD}")
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
    objects = [(number, thing, thing.data.encode()) for number, thing in enumerate(calendar_objects(corpus, name), 1)]
    connection.executemany(
        "INSERT INTO calendarobjects (calendarid, uri, calendardata, lastmodified, etag, size, componenttype, "
        "firstoccurence, lastoccurence, uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (calendar_id, it.uri, data, STORED, md5(data), len(data), it.component, it.first, it.last, it.uid)
            for _, it, data in objects
        ),
    )
    # Each change has the token from before it: see addChange in lib/CalDAV/Backend/PDO.php.
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
        data = card(uid, rng).encode()
        connection.execute(
            "INSERT INTO cards (addressbookid, carddata, uri, lastmodified, etag, size) VALUES (?, ?, ?, ?, ?, ?)",
            (book_id, data, f"{uid}.vcf", STORED, md5(data), len(data)),
        )
        connection.execute(
            "INSERT INTO addressbookchanges (uri, synctoken, addressbookid, operation) VALUES (?, ?, ?, 1)",
            (f"{uid}.vcf", number + 1, book_id),
        )
