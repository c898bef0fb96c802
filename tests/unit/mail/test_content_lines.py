"""The reader for iCalendar data (RFC 5545, section 3.1)."""

from __future__ import annotations

import pytest

from baikalctl.mail.content_lines import Line, read_lines, unescape


def test_each_property_has_its_component() -> None:
    """The innermost one. Line ends may be bare line feeds; names may be in lower case."""
    text = "X:0\nbegin:vcalendar\nMethod:REQUEST\r\nBEGIN:VEVENT\nBEGIN:VALARM\nX:1\nEND:VALARM\nX:2\nEND:VEVENT\nX:3"
    assert list(read_lines(text)) == [
        Line("", 0, 0, "X", {}, "0"),
        Line("VCALENDAR", 1, 1, "METHOD", {}, "REQUEST"),
        Line("VALARM", 3, 3, "X", {}, "1"),
        Line("VEVENT", 2, 2, "X", {}, "2"),
        Line("VCALENDAR", 1, 1, "X", {}, "3"),
    ]


@pytest.mark.parametrize(
    ("line", "parameters", "value"),
    [
        ("X;A=b;c=D:v", {"A": "b", "C": "D"}, "v"),
        ('X;A="b;c:d";E=f:v:w', {"A": "b;c:d", "E": "f"}, "v:w"),
        ("X;A=^'b^'^nc^^d^e:v", {"A": '"b"\nc^d^e'}, "v"),
        ("X;A=b,c:v", {"A": "b,c"}, "v"),
        ("X;A:v", {}, "v"),
        ("X;A=:", {"A": ""}, ""),
        ("X;A=b\r\n c\n\td:v", {"A": "bcd"}, "v"),
        ("X;A=b:v\u2028w\x0bz", {"A": "b"}, "v\u2028w\x0bz"),
    ],
)
def test_parameters_and_value_are_separated(line: str, parameters: dict[str, str], value: str) -> None:
    """At the first colon outside quotation marks. Only line ends separate lines; carets are escapes (RFC 6868)."""
    assert list(read_lines(line)) == [Line("", 0, 0, "X", parameters, value)]


@pytest.mark.parametrize("text", ["", "\r\n", "X", ";A=b:v", ":v", 'X;A="b:v', "\x00", "END:VEVENT", "BEGIN:VEVENT"])
def test_lines_without_a_property_are_skipped(text: str) -> None:
    """Also an END without a BEGIN."""
    assert list(read_lines(text)) == []


def test_a_hostile_line_is_read_in_linear_time() -> None:
    """Quotation marks without end, and many components, must not make the check hang."""
    assert list(read_lines("X;" + 'A="b";' * 100_000 + '"' + "c" * 1_000_000)) == []
    assert len(list(read_lines("BEGIN:A\n" * 100_000 + "X:v"))) == 1


def test_escapes_of_text_are_undone_once() -> None:
    """RFC 5545, section 3.3.11."""
    assert unescape("a\\,b\\;c\\nd\\Ne\\\\nf\\") == "a,b;c\nd\ne\\nf\\"
