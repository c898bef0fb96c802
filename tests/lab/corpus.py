"""A corpus of users, calendars and address books with everything that is hard to preserve, as rows or stored by DAV.

Everything is deterministic: the same corpus has the same bytes in every row.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.lab.dav import Dav
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.objects import (
    BERLIN,
    PLACES,
    TITLES,
    CalendarObject,
    attachment,
    card,
    description,
    event,
    exceptional_series,
    folded,
    photo,
    task,
    timestamp,
    whole_day,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_DAY: Final = date(2026, 1, 1)
DAYS: Final = 730
KINDS: Final = 12
"""How many kinds of objects a calendar has; every twelfth object is of the same kind."""
EMOJI: Final = "🎂🎉🚲👩‍👩‍👧‍👦🏳️‍🌈"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The size of the corpus; by default that of a company, with smaller numbers that of a quick test."""

    users: int = 20
    calendars: int = 5
    """Per user. The first is called ``default``; the next user may read it, or write to it."""
    events: int = 200
    """In each calendar."""
    books: int = 2
    contacts: int = 125
    """Per address book."""
    seed: int = 7

    def names(self) -> list[str]:
        """Return the users' names."""
        return [f"corpus{number:02}" for number in range(self.users)]

    def people(self) -> dict[str, str]:
        """Return the users' passwords, by name."""
        return dict.fromkeys(self.names(), PASSWORD)

    def __str__(self) -> str:
        """Return the size in words."""
        calendars, books = self.users * self.calendars, self.users * self.books
        events, contacts = calendars * self.events, books * self.contacts
        return f"{self.users} users, {calendars} calendars, {events:,} events, {contacts:,} contacts"

    def calendar_objects(self, user: str, calendar: int) -> Iterator[CalendarObject]:
        """Yield the objects of one of a user's calendars, of all kinds, evenly over two years."""
        rng = self._random(user, "calendar", calendar)
        for number in range(self.events):
            day = FIRST_DAY + timedelta(days=number * DAYS // self.events)
            yield _calendar_object(f"{user}-{calendar}-{number:05}", number, day, rng)

    def cards(self, user: str, book: int) -> Iterator[tuple[str, str]]:
        """Yield the names and the texts of one of a user's address books; every fifth has a photo."""
        rng = self._random(user, "book", book)
        for number in range(self.contacts):
            uid = f"{user}-{book}-{number:05}"
            data = card(uid, rng)
            yield f"{uid}.vcf", photo(data, rng, rng.randrange(500, 6000)) if number % 5 == 0 else data

    def _random(self, *where: object) -> random.Random:
        return random.Random(f"{self.seed} {where}")  # noqa: S311 - the same every time is the point


SMALL: Final = Corpus(users=3, calendars=2, events=2 * KINDS + 2, books=1, contacts=11)
"""For quick tests: still every kind of object, with changes and deletions."""


def store(url: str, corpus: Corpus, each: int = 2) -> int:
    """Add ``each`` further objects to every calendar and address book, by DAV and with each user's own login.

    Returns how many were stored; LabError if one was not.
    """
    stored = 0
    for user in corpus.names():
        dav = Dav(url, user, PASSWORD)
        home = f"/dav.php/calendars/{user}/"
        # The calendars begin with different kinds, so that a few objects of each calendar cover all kinds.
        more = replace(corpus, events=KINDS, contacts=each, seed=corpus.seed + 1)
        for number in range(corpus.calendars):
            for thing in itertools.islice(more.calendar_objects(user, number), number % KINDS, number % KINDS + each):
                path = f"{home}{calendar_uri(number)}/dav-{thing.uri}"
                stored += _stored(dav, path, thing.data.replace(f"UID:{thing.uid}", f"UID:dav-{thing.uid}"))
        for number in range(corpus.books):
            for uri, data in more.cards(user, number):
                path = f"/dav.php/addressbooks/{user}/{book_uri(number)}/dav-{uri}"
                stored += _stored(dav, path, data.replace("UID:", "UID:dav-"))
        dav.close()
    return stored


def calendar_uri(number: int) -> str:
    """Return the last part of the address of a user's calendar."""
    return f"kalender-{number}" if number else "default"


def book_uri(number: int) -> str:
    """Return the last part of the address of a user's address book."""
    return f"buch-{number}" if number else "default"


def _stored(dav: Dav, path: str, data: str) -> int:
    kind = "text/vcard" if path.endswith(".vcf") else "text/calendar"
    reply = dav.send("PUT", path, data.encode(), Content_Type=f"{kind}; charset=utf-8")
    if reply.status != 201:
        message = f"PUT {path} was answered with {reply.status}: {reply.body[:500]!r}"
        raise LabError(message)
    return 1


def _calendar_object(uid: str, number: int, day: date, rng: random.Random) -> CalendarObject:  # noqa: PLR0911 - one for each kind
    """Return the ``number``-th object of a calendar."""
    begin = datetime(day.year, day.month, day.day, rng.randrange(7, 20), rng.choice((0, 15, 30)), tzinfo=BERLIN)
    end = begin + timedelta(minutes=rng.choice((30, 45, 60, 90)))
    about = [f"SUMMARY:{rng.choice(TITLES)} {number}", f"LOCATION:{rng.choice(PLACES)}", description(rng)]
    match number % KINDS:
        case 0:
            return exceptional_series(uid, begin, end, about)
        case 1:
            # In local time, so that the tenth occurrence is right across a change to summer time.
            tenth = timestamp(end + timedelta(weeks=9))
            return event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY;COUNT=10"], last=tenth)
        case 2:
            return whole_day(uid, day, about)
        case 3 | 4:
            return task(uid, begin, about)
        case 5:
            return event(uid, begin, end, [*about, attachment(rng, rng.randrange(500, 20_000))])
        case 6:
            return event(uid, begin, end, [folded(f"SUMMARY:{EMOJI * 30} {number}"), *about[1:]], alarm=False)
        case 7:
            people = [
                f"ORGANIZER;CN=Jürgen Weiß:mailto:{uid}@elsewhere.example",
                "ATTENDEE;CN=Zoë Çelik;PARTSTAT=ACCEPTED:mailto:zoe@elsewhere.example",
            ]
            return event(uid, begin, end, [*about, *people])
        case 8:
            return event(uid, begin, end, [*about, folded("X-LONG:" + "Straße " * 300)])
        case rest:
            return event(uid, begin, end, about, alarm=rest % 2 == 0)
