"""What a scheduling message says (RFC 5546): who asks whom for what, and in words for people whose program can't tell."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("REQUEST", "CANCEL", "REPLY", "ADD", "COUNTER", "DECLINECOUNTER", "REFRESH", "PUBLISH")
"""RFC 5546, section 1.4."""
FROM_ATTENDEES = ("REPLY", "COUNTER", "REFRESH")
MAILTO = "mailto:"
SAYS = {
    "REQUEST": "You are invited:",
    "ADD": "You are invited:",
    "CANCEL": "This was cancelled, or you are no longer invited:",
    "REPLY": "This is an answer to your invitation:",
    "COUNTER": "Another time is proposed for your invitation:",
}
ANSWERS = {"ACCEPTED": "accepts", "DECLINED": "declines", "TENTATIVE": "may come", "DELEGATED": "sends somebody else"}
COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL")
VALUE = re.compile(r"""^(?:[^":]|"[^"]*")*:""")
"""What comes before a value in its line: name and parameters, which may have colons in quotes."""
LONGEST_LIST = 20


class UnfitError(ValueError):
    """A message that can't be made right; says why in one sentence."""


@dataclass
class Invitation:
    """A scheduling message, as far as its letter needs it."""

    method: str = ""
    organiser: tuple[str, str] | None = None
    """Name, and address as it stands there."""
    attendees: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, address and answer."""
    properties: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    """Value and parameters of what happens once in an event, of its first component."""

    @property
    def parties(self) -> set[str]:
        """All addresses that it names, in lower case."""
        named = [bare for _, bare, _ in self.attendees] + ([self.organiser[1]] if self.organiser else [])
        return {bare.lower() for bare in named}

    @property
    def from_(self) -> tuple[str, str] | None:
        """Name and address of whose message it is: an attendee's if it answers, else the organiser's."""
        if self.method in FROM_ATTENDEES:
            return self.attendees[0][:2] if self.attendees else None
        return self.organiser

    def words(self) -> str:
        """Return the message in words."""
        lines = [SAYS.get(self.method, "This is about:"), ""]
        lines.append(f"    {_line(self._text('SUMMARY')) or '(without a title)'}")
        when = self._when()
        if when:
            lines.append(f"    When: {when}")
        for label, name in (("Where", "LOCATION"), ("More", "URL")):
            if self._text(name):
                lines.append(f"    {label}: {_line(self._text(name))}")
        if self.organiser:
            lines.append(f"    Organiser: {_person(*self.organiser)}")
        if self.method in FROM_ATTENDEES:
            lines += [f"    {_person(*who)} {ANSWERS.get(answer, answer.lower())}" for *who, answer in self.attendees]
        else:
            lines += [f"    Invited: {_person(*who)}" for *who, _ in self.attendees[:LONGEST_LIST]]
            if len(self.attendees) > LONGEST_LIST:
                lines.append(f"    … and {len(self.attendees) - LONGEST_LIST} more")
        if self._text("DESCRIPTION"):
            lines += ["", self._text("DESCRIPTION")]
        return "\n".join(lines) + "\n"

    def _text(self, name: str) -> str:
        return self.properties.get(name, ("", {}))[0].strip()

    def _when(self) -> str:
        begin, end = (self._moment(name) for name in ("DTSTART", "DTEND"))
        zone = self.properties.get("DTSTART", ("", {}))[1].get("TZID", "")
        utc = "UTC" if self._text("DTSTART").endswith("Z") else ""
        period = " to ".join(part for part in (begin, end) if part)
        again = ", and again" if "RRULE" in self.properties else ""
        return f"{period} {zone or utc}".strip() + again if period else ""

    def _moment(self, name: str) -> str:
        value = self._text(name)
        for pattern, shown in (("%Y%m%dT%H%M%S", "%Y-%m-%d %H:%M"), ("%Y%m%d", "%Y-%m-%d")):
            with contextlib.suppress(ValueError):
                return datetime.strptime(value.removesuffix("Z"), pattern).strftime(shown)  # noqa: DTZ007 - said as it stands
        return value


def read(body: bytes) -> Invitation:
    """Return what the calendar ``body`` says; raises :class:`UnfitError` if it isn't a scheduling message.

    A line that can't be understood is passed over: the calendar itself is sent as it is, and is for others to read.
    """
    from icalendar.parser import Contentline, Contentlines

    found = Invitation()
    inside: list[str] = []
    seen = ""
    for line in Contentlines.from_ical(body.decode("utf-8", "replace")):  # type: ignore[no-untyped-call]
        try:
            name, parameters, _ = Contentline(line).parts()  # type: ignore[no-untyped-call]
        except ValueError:
            continue
        name, value = name.upper(), VALUE.sub("", str(line))  # parts() unescapes it, each version otherwise
        if name == "BEGIN":
            inside.append(value.upper())
            if not seen and value.upper() in COMPONENTS:
                seen = value.upper()
        elif name == "END" and inside:
            if inside.pop() in COMPONENTS:
                seen = "over"
        elif name == "METHOD" and len(inside) == 1:
            found.method = value.strip().upper()
        elif inside and inside[-1] in COMPONENTS:
            _take(found, name, {str(key).upper(): _one(given) for key, given in parameters.items()}, value, seen)
    if found.method not in METHODS:
        message = "the calendar in it says none of the methods of RFC 5546, so nobody would know what is asked"
        raise UnfitError(message)
    return found


def _take(found: Invitation, name: str, parameters: dict[str, str], value: str, seen: str) -> None:
    bare = value.strip()[len(MAILTO) :] if value.strip().lower().startswith(MAILTO) else ""
    if name == "ORGANIZER" and bare:
        found.organiser = found.organiser or (parameters.get("CN", ""), bare)
    elif name == "ATTENDEE" and bare:
        if bare.lower() not in {known.lower() for _, known, _ in found.attendees}:
            found.attendees.append((parameters.get("CN", ""), bare, parameters.get("PARTSTAT", "").upper()))
    elif seen in COMPONENTS:
        found.properties.setdefault(name, (_unescaped(value), parameters))


def _one(value: object) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value))  # type: ignore[call-overload]


def _unescaped(value: str) -> str:
    """Return the text of a value (RFC 5545, section 3.3.11)."""
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], value)


def _line(text: str) -> str:
    """Return the text in one line, so that no name or title pretends to be another line of the message."""
    return " ".join(text.split())


def _person(name: str, bare: str) -> str:
    name = _line(name)
    return f"{name} <{bare}>" if name and name != bare else bare
