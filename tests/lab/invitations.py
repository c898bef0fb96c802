"""An account that invites people with a real client: events with full control of every detail, and their statuses."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from icalendar.parser import Contentlines

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from tests.lab.clients import Account

TIMEZONE: Final = "Europe/Berlin"
ZONE: Final = f"""\
BEGIN:VTIMEZONE
TZID:{TIMEZONE}
BEGIN:STANDARD
DTSTART:19961027T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZNAME:CET
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19960331T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZNAME:CEST
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE"""
FOLDED_BYTES: Final = 75
"""Without the line break (RFC 5545, 3.1)."""


@dataclass(frozen=True)
class Person:
    """An organizer or attendee."""

    address: str
    """An e-mail address, or another address with its scheme."""
    name: str = ""
    """CN, encoded by RFC 6868 so that it can hold any text; no CN if empty."""
    parameters: str = ""
    """Further parameters in iCalendar's notation, such as ``;SCHEDULE-AGENT=CLIENT``."""

    @property
    def uri(self) -> str:
        """The address as a URI."""
        return self.address if ":" in self.address else f"mailto:{self.address}"

    def line(self, role: str) -> str:
        """Return the property ``role`` for this person, unfolded."""
        encoded = self.name.replace("^", "^^").replace("\n", "^n").replace('"', "^'")
        name = f';CN="{encoded}"' if encoded else ""
        return f"{role}{name}{self.parameters}:{self.uri}"


@dataclass(frozen=True)
class Event:
    """An event; times without a zone are in Berlin's, and a date is a whole day."""

    attendees: tuple[Person, ...] = ()
    organizer: Person | None = field(default_factory=lambda: Person("jo@example.org", "Jo Möller"))
    summary: str = "Müll & more"
    description: str = ""
    start: dt.datetime | dt.date = dt.datetime(2030, 6, 3, 9)  # noqa: DTZ001 - of Berlin
    end: dt.datetime | dt.date | None = None
    """By default, an hour or a day after the start."""
    sequence: int = 0
    lines: tuple[str, ...] = ()
    """Further properties in iCalendar's notation, unfolded, such as ``RRULE:FREQ=WEEKLY``."""
    component: str = "VEVENT"
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def name(self) -> str:
        """Name of the object in its calendar."""
        return f"{self.uid}.ics"

    def text(self) -> str:
        """Return the object as a client sends it."""
        step = dt.timedelta(hours=1) if isinstance(self.start, dt.datetime) else dt.timedelta(days=1)
        last = "DUE" if self.component == "VTODO" else "DTEND"
        described = [f"DESCRIPTION:{escaped(self.description)}"] if self.description else []
        lines = [
            *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//baikal-deploy//lab//EN", *ZONE.splitlines()),
            *(f"BEGIN:{self.component}", f"UID:{self.uid}", "DTSTAMP:20300101T000000Z", f"SEQUENCE:{self.sequence}"),
            *(moment("DTSTART", self.start), moment(last, self.end or self.start + step)),
            *(f"SUMMARY:{escaped(self.summary)}", *described, *self.lines),
            *([self.organizer.line("ORGANIZER")] if self.organizer else []),
            *(person.line("ATTENDEE") for person in self.attendees),
            *(f"END:{self.component}", "END:VCALENDAR"),
        ]
        return "".join(f"{folded(line)}\r\n" for line in lines)


@dataclass
class Organiser:
    """An account with a calendar; its events with attendees become invitations."""

    account: Account
    calendar_name: str = "default"

    @functools.cached_property
    def calendar(self) -> Any:  # noqa: ANN401 - python-caldav has no types
        """The calendar, as found by python-caldav."""
        return self.account.calendar(self.calendar_name)

    def invite(self, event: Event) -> Event:
        """Store an event, and return it; LabError with the server's answer if it is refused."""
        self._ask("put", event, event.text(), {"Content-Type": "text/calendar; charset=utf-8"})
        return event

    def update(self, event: Event, **changes: Any) -> Event:  # noqa: ANN401 - as Event takes them
        """Store the event with changes, as its next version, and return that version."""
        return self.invite(replace(event, **{"sequence": event.sequence + 1, **changes}))

    def uninvite(self, event: Event, person: Person) -> Event:
        """Store the event without one of its attendees, and return that version."""
        return self.update(event, attendees=tuple(each for each in event.attendees if each != person))

    def cancel(self, event: Event) -> None:
        """Delete the event."""
        self._ask("delete", event)

    def stored(self, event: Event) -> str:
        """Return the stored object from the server."""
        return str(self._ask("request", event).raw)

    def statuses(self, event: Event) -> dict[str, str]:
        """Return each attendee's stored SCHEDULE-STATUS, by URI; empty if there is none."""
        lines: Any = Contentlines
        statuses = {}
        for line in lines.from_ical(self.stored(event)):
            if line.upper().startswith("ATTENDEE"):
                _, parameters, address = line.parts()
                statuses[str(address)] = str(parameters.get("SCHEDULE-STATUS", ""))
        return statuses

    def _ask(self, method: str, event: Event, *parts: Any) -> Any:  # noqa: ANN401
        """Send a request for an object with python-caldav's own client and its usual headers."""
        answer = getattr(self.calendar.client, method)(self.calendar.url.join(event.name), *parts)
        if answer.status >= 300:
            message = f"the server answers {answer.status} to {method} of {event.name}: {answer.raw}"
            raise LabError(message)
        return answer


def moment(name: str, value: dt.datetime | dt.date) -> str:
    """Return a property with a date, a time in UTC or a time in Berlin."""
    if not isinstance(value, dt.datetime):
        return f"{name};VALUE=DATE:{value:%Y%m%d}"
    if value.tzinfo:
        return f"{name}:{value.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"
    return f"{name};TZID={TIMEZONE}:{value:%Y%m%dT%H%M%S}"


def escaped(text: str) -> str:
    """Return text escaped as a value (RFC 5545, 3.3.11)."""
    for plain, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, written)
    return text


def folded(line: str) -> str:
    """Fold a line into pieces of limited length in bytes, without splitting a character."""
    pieces = [""]
    for character in line:
        if len(f"{pieces[-1]}{character}".encode()) > FOLDED_BYTES:
            pieces.append(" ")
        pieces[-1] += character
    return "\r\n".join(pieces)
