"""A reader for iCalendar data, line by line (RFC 5545, section 3.1).

Debian's python3-icalendar isn't used: its versions on supported hosts (4.0 to 6) unescape values differently, it rejects
a whole calendar because of one bad line, and only a few properties are needed here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINE = re.compile(r"""([A-Za-z0-9-]+)((?:;(?:[^":]|"[^"]*")*)?):(.*)""", re.DOTALL)
"""Name, parameters and value. The value begins after the first colon outside quotation marks."""
PARAMETER = re.compile(r""";([A-Za-z0-9-]+)=((?:[^";]|"[^"]*")*)""")
ESCAPES = {"^n": "\n", "^^": "^", "^'": '"'}
"""How line breaks, carets and quotation marks are written in parameters (RFC 6868)."""


class Line(NamedTuple):
    """One property, and the component that contains it."""

    component: str
    """The innermost component, for example ``VEVENT``; empty outside all components."""
    number: int
    """Which component of the data that is, counted from 1 in the order of their BEGIN lines."""
    depth: int
    """How many components contain the line."""
    name: str
    parameters: Mapping[str, str]
    """Values by name in upper case, without quotation marks."""
    value: str
    """As written: text is still escaped."""


def read_lines(text: str) -> Iterator[Line]:
    """Yield the properties in ``text``, unfolded, without BEGIN and END. Lines that can't be parsed are skipped."""
    components: list[tuple[str, int]] = []
    begun = 0
    for line in re.split(r"\r?\n", re.sub(r"\r?\n[ \t]", "", text)):
        match = LINE.fullmatch(line)
        if match is None:
            continue
        name, value = match[1].upper(), match[3]
        if name == "BEGIN":
            begun += 1
            components.append((value.strip().upper(), begun))
        elif name == "END":
            del components[-1:]
        else:
            component, number = components[-1] if components else ("", 0)
            yield Line(component, number, len(components), name, _parameters(match[2]), value)


def unescape(value: str) -> str:
    """Return the text of a value (RFC 5545, section 3.3.11)."""
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], value)


def _parameters(text: str) -> dict[str, str]:
    """Return parameters by name."""
    return {
        name.upper(): re.sub(r"\^[n^']", lambda match: ESCAPES[match[0]], value.replace('"', ""))
        for name, value in PARAMETER.findall(text)
    }
