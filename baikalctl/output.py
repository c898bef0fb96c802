"""All output of baikalctl, to terminals and logs. No other module prints.

Messages contain text that others wrote: error messages of servers, kept mail, names in archives. Control characters in
it could change the terminal, and a line break could forge a line of a log. So all such characters are escaped.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

BREAKS = re.compile(r"[\t\n\v\f\r]+")


def escaped(text: str) -> str:
    r"""Return ``text`` as one line of printable characters only.

    Tabs and line breaks become one space. Every other character that isn't printable is written as in JSON
    (``\u001b``), so JSON stays valid: control characters (Unicode's Cc), format characters such as
    U+202E, which reverses what follows (Cf), line and paragraph separators (Zl, Zp), spaces other than U+0020 (Zs), lone
    surrogates (Cs), and what Unicode hasn't assigned (Co, Cn). Backslashes aren't changed, so escaping twice has no effect.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in BREAKS.sub(" ", text))


def lines(texts: Iterable[str], *, error: bool = False) -> None:
    """Print each of ``texts`` as one line, on standard output, or on standard error if ``error``."""
    stream = sys.stderr if error else sys.stdout
    stream.write("".join(f"{escaped(text)}\n" for text in texts))
    stream.flush()


def page(text: str) -> None:
    """Print ``text`` on standard output. Line breaks are kept, so text of others in it must already be escaped."""
    lines(text.split("\n"))


def line(text: str) -> None:
    """Print ``text`` as one line on standard output."""
    lines([text])


def say(sentence: str) -> None:
    """Print a step of baikalctl on standard output."""
    line(f"baikalctl: {sentence}")


def print_error(sentence: str) -> None:
    """Print an error on standard error."""
    lines([f"baikalctl: {sentence}"], error=True)


def traceback(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    """Print the traceback of an unexpected error, escaped; for ``sys.excepthook``."""
    from traceback import format_exception

    lines((part for text in format_exception(kind, error, frames) for part in text.splitlines()), error=True)


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def utc(seconds: float) -> str:
    """Return a time in UTC for messages."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun, such as ``1 account`` or ``2 accounts``; ``plural`` is for an irregular plural."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
