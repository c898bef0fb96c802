r"""Find events whose organizer is not the account's e-mail address. Baïkal silently sends no invitations for them.

Baïkal sends only if the account's e-mail address is the organizer's or an attendee's of the event
(Sabre\CalDAV\Schedule\Plugin, calendarObjectChange; Sabre\VObject\ITip\Broker, parseEvent).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from baikalctl.baikal import current_database
from baikalctl.database import interface
from baikalctl.host.boundary import confined
from baikalctl.host.finding import WARNING, Finding
from baikalctl.mail.content_lines import read_lines
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from baikalctl.desired.state import DesiredState


SUBJECT = "mail"
DAYS = 30
"""Events that were not changed for so long are ignored."""
MOST = 2000
"""How many events are checked at most, the newest first."""
NAMED = 5
"""How many accounts or addresses a message names; it counts the others."""
PRINCIPALS = "principals/"


class Event(NamedTuple):
    """Who takes part in an event: addresses in lower case, without ``mailto:``."""

    organiser: str
    attendees: frozenset[str]


def findings(declared: DesiredState) -> list[Finding]:
    """Return the findings; raises :class:`HostError` if the database can't be read."""
    wanted = current_database.section(declared)

    def check() -> list[dict[str, Any]]:
        database = current_database.compared(wanted)
        with contextlib.closing(database.connect()) as connection:
            try:
                addresses = _addresses(connection)
                unsent = _unsent(connection, database.text_type, addresses)
            except interface.Error as error:
                raise database.unreadable(error) from None
        return [asdict(finding) for finding in _findings(addresses, unsent)]

    return [Finding(**each) for each in confined(check)]


def _findings(addresses: dict[str, str], unsent: dict[str, Counter[str]]) -> Iterator[Finding]:
    nameless = [name for name, address in addresses.items() if not address]
    if nameless:
        message = f"nothing is sent for {some(nameless)}, whose account has no e-mail address"
        yield Finding(SUBJECT, WARNING, message, "set their email (docs/users.md)")
    # sabre/dav converts an event's addresses to lower case before it compares them, but not the account's
    # (Sabre\VObject\Property\ICalendar\CalAddress, getNormalizedValue).
    capital = [f"{name} ({address})" for name, address in addresses.items() if address != address.lower()]
    if capital:
        message = f"nothing is sent for {some(capital)}, whose e-mail address has capital letters"
        yield Finding(SUBJECT, WARNING, message, "set their email in lower case (docs/users.md)")
    for position, (name, organisers) in enumerate(unsent.items()):
        if position == NAMED:
            rest = f"nothing was sent for events of {counted(len(unsent) - NAMED, 'more account')}, for the same reason"
            yield Finding(SUBJECT, WARNING, rest, "fix these first")
            return
        yield _finding(name, addresses[name], organisers)


def _finding(name: str, address: str, organisers: Counter[str]) -> Finding:
    """Return the finding for the events in one account's calendars."""
    events = f"{counted(organisers.total(), 'event')} with guests"
    others = some([organiser for organiser, _ in organisers.most_common()])
    message = (
        f"nothing was sent for {events} of the last {DAYS} days in the calendars of {name}: "
        f"their organizer is {others}, but the address of the account is {address}"
    )
    remedy = (
        f"set the email of {name} to that address (docs/users.md), or the address in the client's account to {address}"
    )
    return Finding(SUBJECT, WARNING, message, remedy)


def some(names: Iterable[str]) -> str:
    """Return the first :data:`NAMED` of ``names``, and the number of the others."""
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


def _addresses(connection: interface.Connection) -> dict[str, str]:
    """Return each account's e-mail address; empty if it has none."""
    rows = connection.execute("SELECT uri, email FROM principals ORDER BY uri")
    names = ((uri.removeprefix(PRINCIPALS), email) for uri, email in rows if uri.startswith(PRINCIPALS))
    # Names with another slash are groups of delegates (calendar-proxy-write).
    return {name: (email or "").strip() for name, email in names if "/" not in name}


def _unsent(connection: interface.Connection, text: str, addresses: dict[str, str]) -> dict[str, Counter[str]]:
    """Return by account the organizers of events for which nothing was sent, each with the number of events."""
    # On SQLite, sabre/dav leaves access NULL in calendars that clients create. It stores bytes, which LIKE can't search.
    query = f"""
        SELECT calendarinstances.principaluri, calendarobjects.calendardata
        FROM calendarobjects JOIN calendarinstances ON calendarinstances.calendarid = calendarobjects.calendarid
        WHERE calendarobjects.lastmodified >= ? AND calendarobjects.componenttype = 'VEVENT'
        AND (calendarinstances.access = 1 OR calendarinstances.access IS NULL)
        AND CAST(calendardata AS {text}) LIKE '%ORGANIZER%' AND CAST(calendardata AS {text}) LIKE '%ATTENDEE%'
        ORDER BY calendarobjects.lastmodified DESC LIMIT ?
    """
    unsent: dict[str, Counter[str]] = {}
    for principal, data in connection.execute(query, (int(time.time()) - DAYS * 86400, MOST)):
        name = principal.removeprefix(PRINCIPALS)
        address = addresses.get(name, "").lower()
        event = read(data if isinstance(data, str) else data.decode("utf-8", "replace"))
        if address and event and address != event.organiser and address not in event.attendees:
            unsent.setdefault(name, Counter())[event.organiser] += 1
    return unsent


def read(text: str) -> Event | None:
    """Return who takes part in the event in ``text``, iCalendar; None unless it has an organizer and attendees.

    Properties of alarms don't count: an alarm's attendees are the addresses that it writes to (RFC 5545, section 3.6.6).
    """
    lines = [line for line in read_lines(text) if line.component == "VEVENT"]
    organiser = next((_address(line.value) for line in lines if line.name == "ORGANIZER" and line.value.strip()), "")
    attendees = frozenset(_address(line.value) for line in lines if line.name == "ATTENDEE")
    return Event(organiser, attendees) if organiser and attendees else None


def _address(value: str) -> str:
    """Return an address as it is compared."""
    return value.strip().lower().removeprefix("mailto:")
