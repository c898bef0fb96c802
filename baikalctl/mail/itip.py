"""What a scheduling message asks (RFC 5546): method, organizer and guests, and its text for programs without calendars."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from baikalctl.mail.content_lines import read_lines, unescape

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("REQUEST", "CANCEL", "REPLY", "ADD", "COUNTER", "DECLINECOUNTER", "REFRESH", "PUBLISH")
"""RFC 5546, section 1.4."""
FROM_ATTENDEES = ("REPLY", "COUNTER", "REFRESH")
MAILTO = "mailto:"
INTRODUCTIONS = {
    "REQUEST": "You are invited:",
    "ADD": "You are invited:",
    "CANCEL": "This was cancelled, or you are no longer invited:",
    "REPLY": "This is an answer to your invitation:",
    "COUNTER": "Another time is proposed for your invitation:",
}
ANSWERS = {"ACCEPTED": "accepts", "DECLINED": "declines", "TENTATIVE": "may come", "DELEGATED": "delegates"}
COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL")
LONGEST_LIST = 20


class UnfitError(ValueError):
    """A message that can't be sent; its text is the reason, in one sentence."""


@dataclass
class Invitation:
    """What the e-mail needs from a scheduling message."""

    method: str = ""
    organiser: tuple[str, str] | None = None
    """Name, and address as written in the calendar."""
    attendees: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, address and answer."""
    properties: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    """Value and parameters of the first component's properties; the first of each name."""

    @property
    def parties(self) -> set[str]:
        """All addresses in the message, in lower case."""
        named = [bare for _, bare, _ in self.attendees] + ([self.organiser[1]] if self.organiser else [])
        return {bare.lower() for bare in named}

    @property
    def from_(self) -> tuple[str, str] | None:
        """Name and address of the author: the attendee who answers, else the organizer."""
        if self.method in FROM_ATTENDEES:
            return self.attendees[0][:2] if self.attendees else None
        return self.organiser

    def words(self) -> str:
        """Return the message as plain text."""
        lines = [INTRODUCTIONS.get(self.method, "This is about:"), ""]
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
                return datetime.strptime(value.removesuffix("Z"), pattern).strftime(shown)  # noqa: DTZ007 - local time, as in the calendar
        return value


def read(body: bytes) -> Invitation:
    """Return what the calendar ``body`` asks; raises :class:`UnfitError` if it isn't a scheduling message."""
    invitation = Invitation()
    first = 0
    for line in read_lines(body.decode("utf-8", "replace")):
        if line.name == "METHOD" and line.depth == 1:
            invitation.method = line.value.strip().upper()
        if line.component not in COMPONENTS:
            continue
        first = first or line.number
        value = line.value.strip()
        bare = value[len(MAILTO) :] if value.lower().startswith(MAILTO) else ""
        name = line.parameters.get("CN", "")
        if line.name == "ORGANIZER" and bare:
            invitation.organiser = invitation.organiser or (name, bare)
        elif line.name == "ATTENDEE" and bare:
            if bare.lower() not in {known.lower() for _, known, _ in invitation.attendees}:
                invitation.attendees.append((name, bare, line.parameters.get("PARTSTAT", "").upper()))
        elif line.number == first:
            invitation.properties.setdefault(line.name, (unescape(line.value), line.parameters))
    if invitation.method not in METHODS:
        message = "its calendar has no METHOD of RFC 5546, so mail programs can't tell what it asks"
        raise UnfitError(message)
    return invitation


def _line(text: str) -> str:
    """Return the text in one line, so that no name or title can look like another line of the message."""
    return " ".join(text.split())


def _person(name: str, bare: str) -> str:
    name = _line(name)
    return f"{name} <{bare}>" if name and name != bare else bare
