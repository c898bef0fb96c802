"""Calendar objects and cards as text, with everything that is hard to preserve, and sabre/dav's columns for them.

Everything is deterministic: the same random numbers give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import random

BERLIN: Final = ZoneInfo("Europe/Berlin")
FOREVER: Final = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())
"""sabre/dav's end of an endless series: ``MAX_DATE`` in lib/CalDAV/Backend/PDO.php, on a server in UTC."""
STORED: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

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


@dataclass(frozen=True)
class CalendarObject:
    """A calendar object with sabre/dav's columns for it: ``getDenormalizedData`` in lib/CalDAV/Backend/PDO.php."""

    uid: str
    data: str
    component: str
    first: int | None
    last: int | None

    @property
    def uri(self) -> str:
        """Name of the object in its calendar."""
        return f"{self.uid}.ics"


def calendar(*parts: str, timezone: bool = True) -> str:
    """Return an iCalendar object, with CRLF line breaks."""
    head = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//baikal-deploy//bench//DE\nCALSCALE:GREGORIAN\n"
    text = head + (TIMEZONE if timezone else "") + "".join(parts) + "END:VCALENDAR\n"
    return text.replace("\n", "\r\n")


def event(  # noqa: PLR0913 - the parts of an event
    uid: str, begin: datetime, end: datetime, about: list[str], *, last: int | None = None, alarm: bool = True
) -> CalendarObject:
    """Return an appointment; ``last`` is the end of its series in sabre/dav's column."""
    lines = [
        f"UID:{uid}",
        "DTSTAMP:20260101T000000Z",
        f"DTSTART;TZID=Europe/Berlin:{begin:%Y%m%dT%H%M%S}",
        f"DTEND;TZID=Europe/Berlin:{end:%Y%m%dT%H%M%S}",
        *about,
    ]
    text = "BEGIN:VEVENT\n" + "\n".join(lines) + "\n" + (ALARM if alarm else "") + "END:VEVENT\n"
    return CalendarObject(uid, calendar(text), "VEVENT", timestamp(begin), last or timestamp(end))


def whole_day(uid: str, day: date, about: list[str]) -> CalendarObject:
    """Return an appointment of a whole day, without a time zone."""
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
    return CalendarObject(uid, calendar(text, timezone=False), "VEVENT", first, last)


def task(uid: str, due: datetime, about: list[str]) -> CalendarObject:
    """Return a task; sabre/dav stores no times for it."""
    lines = [
        f"UID:{uid}",
        "DTSTAMP:20260101T000000Z",
        f"DUE;TZID=Europe/Berlin:{due:%Y%m%dT%H%M%S}",
        "STATUS:NEEDS-ACTION",
        *about,
    ]
    return CalendarObject(uid, calendar("BEGIN:VTODO\n" + "\n".join(lines) + "\nEND:VTODO\n"), "VTODO", None, None)


def exceptional_series(uid: str, begin: datetime, end: datetime, about: list[str]) -> CalendarObject:
    """Return an endless weekly series with one cancelled occurrence and one at another hour."""
    out, moved = begin + timedelta(weeks=2), begin + timedelta(weeks=3)
    master = event(uid, begin, end, [*about, "RRULE:FREQ=WEEKLY", f"EXDATE;TZID=Europe/Berlin:{_local(out)}"])
    lines = [
        "BEGIN:VEVENT",
        f"UID:{uid}",
        "DTSTAMP:20260102T000000Z",
        f"RECURRENCE-ID;TZID=Europe/Berlin:{_local(moved)}",
        f"DTSTART;TZID=Europe/Berlin:{_local(moved + timedelta(hours=1))}",
        f"DTEND;TZID=Europe/Berlin:{_local(moved + (end - begin) + timedelta(hours=1))}",
        "SUMMARY:Ausnahmsweise später 🕙",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]
    data = master.data.removesuffix("END:VCALENDAR\r\n") + "\r\n".join(lines)
    return CalendarObject(uid, data, "VEVENT", master.first, FOREVER)


def attachment(rng: random.Random, size: int) -> str:
    """Return a property with an attached file, folded."""
    text = base64.b64encode(rng.randbytes(size)).decode()
    return folded(f"ATTACH;FMTTYPE=image/png;ENCODING=BASE64;VALUE=BINARY;FILENAME=Foto.png:{text}")


def photo(data: str, rng: random.Random, size: int) -> str:
    """Return a card with a photo."""
    text = base64.b64encode(rng.randbytes(size)).decode()
    lines = folded(f"PHOTO;ENCODING=b;TYPE=JPEG:{text}").replace("\n", "\r\n")
    return data.replace("END:VCARD\r\n", f"{lines}\r\nEND:VCARD\r\n")


def card(uid: str, rng: random.Random) -> str:
    """Return a card."""
    first_name, family = rng.choice(PEOPLE)
    phone = f"+49 221 {rng.randrange(10**6, 10**7)}"
    lines = [
        "BEGIN:VCARD",
        "VERSION:3.0",
        f"UID:{uid}",
        f"FN:{first_name} {family}",
        f"N:{family};{first_name};;;",
        f"EMAIL;TYPE=HOME:{uid}@example.org",
        f"TEL;TYPE=CELL:{phone}",
        f"ADR;TYPE=HOME:;;Königstraße {rng.randrange(1, 200)};Köln;;50667;Deutschland",
        "ORG:Grün & Söhne",
        folded(f"NOTE:{' '.join(rng.choices(TITLES, k=5))}"),
        "END:VCARD",
    ]
    return "\n".join([*lines, ""]).replace("\n", "\r\n")


def description(rng: random.Random) -> str:
    """Return a property that is folded into several lines."""
    return folded("DESCRIPTION:" + "\\n".join(" ".join(rng.choices(TITLES, k=3)) for _ in range(rng.randrange(1, 5))))


def folded(text: str) -> str:
    """Fold a line to at most 75 octets each (RFC 5545, section 3.1, and RFC 2426, section 2.6)."""
    if text.isascii():
        return "\n ".join([text[:75], *(text[at : at + 74] for at in range(75, len(text), 74))])
    lines, line = [], ""
    for letter in text:
        if len((line + letter).encode()) > 75:
            lines.append(line)
            line = " "
        line += letter
    return "\n".join([*lines, line])


def _local(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%S}"


def timestamp(moment: datetime) -> int:
    """Return seconds since 1970."""
    return int(moment.timestamp())


def md5(data: str | bytes) -> str:
    """Return the MD5, which sabre/dav uses as etag and Baïkal as password digest."""
    return hashlib.md5(data.encode() if isinstance(data, str) else data, usedforsecurity=False).hexdigest()
