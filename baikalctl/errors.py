"""What is wrong: with somebody's settings, said all at once, or with a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_YET = 75
"""The exit status where something is left to be tried again (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class Fault:
    """One wrong setting: its path (``users[0].email``), the value as shown to people, what is wrong and the remedy."""

    setting: str
    problem: str
    value: str = ""

    def __str__(self) -> str:
        """Return the one line that a person reads."""
        shown = f" = {self.value}" if self.value else ""
        return f"{self.setting}{shown}: {self.problem}"


class SettingsError(Exception):
    """The settings are wrong; ``faults`` lists every reason."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Keep all ``faults``, in the order in which they were found."""
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class HostError(Exception):
    """This host can't do what was asked; the message says why, and what to do."""


def unknown_name(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return what to say of a ``name`` that is not among the ``known`` ones, with the nearest as a suggestion.

    What all of them begin with makes none of them alike, so it is left out of the comparison as ``prefix``.
    """
    import difflib

    names = sorted(known)
    bare = [other.removeprefix(prefix) for other in names]
    near = difflib.get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=0.6)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}"
    return f"no such setting; {hint}"
