"""Exceptions: wrong settings (all faults together), and a host that can't do what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_YET = 75
"""The exit status if something must be tried again later (EX_TEMPFAIL of sysexits.h)."""
MAX_LISTED = 10


@dataclass(frozen=True)
class Fault:
    """One wrong setting: its path (``users[0].email``), the problem with its remedy, and the value as it is shown."""

    setting: str
    problem: str
    value: str = ""

    def __str__(self) -> str:
        """Return the line that is printed."""
        shown = f" = {self.value}" if self.value else ""
        return f"{self.setting}{shown}: {self.problem}"


class SettingsError(Exception):
    """The settings are wrong; ``faults`` has all faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Keep all ``faults``, in the order in which they were found."""
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class HostError(Exception):
    """This host can't do what was asked; the message has the reason and the remedy."""


def unknown_name(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the message for a ``name`` that isn't a ``known`` setting: with the nearest name, or with all names.

    All known names start with ``prefix``, so it is left out of the comparison.
    """
    import difflib

    names = sorted(known)
    bare = [other.removeprefix(prefix) for other in names]
    if near := difflib.get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=0.6):
        return f"no such setting; did you mean {prefix}{near[0]}?"
    listed = f"there are {', '.join(names)}" if len(names) <= MAX_LISTED else "docs/settings.md lists all settings"
    return f"no such setting; {listed}"
