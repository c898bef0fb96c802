r"""Invitations that Baïkal doesn't send, of which it tells nobody: whose address isn't the organiser's.

Nothing leaves unless the organiser or an attendee of an event is the owner of the calendar, by the address of the
account (Sabre\CalDAV\Schedule\Plugin, calendarObjectChange; Sabre\VObject\ITip\Broker, parseEvent).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from baikalctl.baikal import current_database
from baikalctl.database import interface
from baikalctl.host.boundary import confined
from baikalctl.host.finding import WARNING, Finding
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from baikalctl.desired.state import DesiredState


SUBJECT = "mail"
DAYS = 30
"""Events that were changed so long ago are nobody's news."""
MOST = 2000
"""So many events are looked at, the newest first."""
NAMED = 5
"""So many are named of what there may be hundreds of."""
PRINCIPALS = "principals/"
LINE = re.compile(
    r"""^(?P<name>BEGIN|END|ORGANIZER|ATTENDEE)(;([^":\n]|"[^"\n]*")*)?:(?P<value>.*)$""", re.IGNORECASE | re.MULTILINE
)
"""A line of interest: its value begins after the first colon outside quotation marks (RFC 5545, section 3.1)."""


class Event(NamedTuple):
    """Who is part of an event, by addresses in lower case, without ``mailto:``."""

    organiser: str
    attendees: frozenset[str]


def findings(declared: DesiredState) -> list[Finding]:
    """Read the database; raises :class:`HostError` where that can't be read."""
    wanted = current_database.section(declared)

    def look() -> list[dict[str, Any]]:
        database = current_database.compared(wanted)
        with contextlib.closing(database.connect()) as connection:
            try:
                addresses = _addresses(connection)
                unsent = _unsent(connection, database.text_type, addresses)
            except interface.Error as error:
                raise database.unreadable(error) from None
        return [asdict(finding) for finding in _findings(addresses, unsent)]

    return [Finding(**each) for each in confined(look)]


def _findings(addresses: dict[str, str], unsent: dict[str, Counter[str]]) -> Iterator[Finding]:
    nameless = [name for name, address in addresses.items() if not address]
    if nameless:
        message = f"nothing is sent for {some(nameless)}, whose account has no e-mail address"
        yield Finding(SUBJECT, WARNING, message, "give it as their email (docs/users.md)")
    # An event's addresses are put in lower case before they are compared, and the account's isn't
    # (Sabre\VObject\Property\ICalendar\CalAddress, getNormalizedValue).
    capital = [f"{name} ({address})" for name, address in addresses.items() if address != address.lower()]
    if capital:
        message = f"nothing is sent for {some(capital)}, whose e-mail address has capital letters"
        yield Finding(SUBJECT, WARNING, message, "write their email in lower case (docs/users.md)")
    for position, (name, organisers) in enumerate(unsent.items()):
        if position == NAMED:
            rest = f"nothing was sent for events of {counted(len(unsent) - NAMED, 'more account')}, for the same reason"
            yield Finding(SUBJECT, WARNING, rest, "mend these first")
            return
        yield _of(name, addresses[name], organisers)


def _of(name: str, address: str, organisers: Counter[str]) -> Finding:
    """Tell of the events in one account's calendars."""
    count = organisers.total()
    events = f"{counted(count, 'event')} with guests"
    others = some([organiser for organiser, _ in organisers.most_common()])
    message = (
        f"nothing was sent for {events} of the last {DAYS} days in the calendars of {name}: "
        f"organised by {others}, and the account has {address}"
    )
    remedy = (
        f"set the email of {name} to that address (docs/users.md), or the address in the client's account to {address}"
    )
    return Finding(SUBJECT, WARNING, message, remedy)


def some(names: Iterable[str]) -> str:
    """Return the first :data:`NAMED` of ``names``, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


def _addresses(connection: interface.Connection) -> dict[str, str]:
    """Return each account's e-mail address, or nothing where it has none."""
    rows = connection.execute("SELECT uri, email FROM principals ORDER BY uri")
    names = ((uri.removeprefix(PRINCIPALS), email) for uri, email in rows if uri.startswith(PRINCIPALS))
    # What has a further slash is for those that act on somebody's behalf.
    return {name: (email or "").strip() for name, email in names if "/" not in name}


def _unsent(connection: interface.Connection, text: str, addresses: dict[str, str]) -> dict[str, Counter[str]]:
    """Return the organisers of events for which nothing was sent, and of how many, by account."""
    # sabre/dav leaves access NULL in calendars that clients make on SQLite, and stores bytes, in which LIKE finds nothing.
    query = f"""
        SELECT calendarinstances.principaluri, calendarobjects.calendardata
        FROM calendarobjects JOIN calendarinstances ON calendarinstances.calendarid = calendarobjects.calendarid
        WHERE calendarobjects.lastmodified >= ? AND calendarobjects.componenttype = 'VEVENT'
        AND (calendarinstances.access = 1 OR calendarinstances.access IS NULL)
        AND CAST(calendardata AS {text}) LIKE '%ORGANIZER%' AND CAST(calendardata AS {text}) LIKE '%ATTENDEE%'
        ORDER BY calendarobjects.lastmodified DESC LIMIT ?
    """
    found: dict[str, Counter[str]] = {}
    for principal, data in connection.execute(query, (int(time.time()) - DAYS * 86400, MOST)):
        name = principal.removeprefix(PRINCIPALS)
        address = addresses.get(name, "").lower()
        event = read(data if isinstance(data, str) else data.decode("utf-8", "replace"))
        if address and event and address != event.organiser and address not in event.attendees:
            found.setdefault(name, Counter())[event.organiser] += 1
    return found


def read(text: str) -> Event | None:
    """Return who is part of the event in ``text``, iCalendar; None unless it has an organiser and attendees.

    Only what stands in the event itself counts: an alarm has attendees as well, whom it writes to (RFC 5545, section
    3.6.6).
    """
    unfolded = text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "")
    inside: list[str] = []
    organiser, attendees = "", set()
    for found in LINE.finditer(unfolded):
        name, value = found["name"].upper(), found["value"].strip()
        if name == "BEGIN":
            inside.append(value.upper())
        elif name == "END" and inside:
            inside.pop()
        elif inside[-1:] == ["VEVENT"] and name == "ORGANIZER":
            organiser = organiser or _address(value)
        elif inside[-1:] == ["VEVENT"] and name == "ATTENDEE":
            attendees.add(_address(value))
    return Event(organiser, frozenset(attendees)) if organiser and attendees else None


def _address(value: str) -> str:
    """Return an address as it is compared."""
    return value.lower().removeprefix("mailto:")
