"""What pyinfra prints of hosts' answers: a compromised host must not control the operator's terminal.

pyinfra shows the output of failed commands, and with ``-v`` of all commands, as it comes.
"""

from __future__ import annotations

import logging
import re

from baikalctl.output import escaped
from tasks.pyinfra_internals import process

STYLE = re.compile(r"(\x1b\[(?:0|1|3[0-7]|9[0-7])m|\n)")
"""Colours and bold, which pyinfra's own messages have, and ends of lines."""


class Escaping(logging.Filter):
    """Escapes what isn't printable in every message of pyinfra's log, before a handler has it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the text of the record in its place, escaped."""
        record.msg, record.args = shown(record.getMessage()), ()
        return True


def shown(text: str) -> str:
    """Return ``text`` with everything escaped that isn't printable, except for line ends and colours."""
    return "".join(part if number % 2 else escaped(part) for number, part in enumerate(STYLE.split(text)))


def escape_all_output() -> None:
    """Have pyinfra print nothing else; more than once is the same as once."""
    process.filter_output(Escaping(), shown)
