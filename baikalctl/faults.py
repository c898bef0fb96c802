"""What is wrong: with somebody's settings, said all at once, or with a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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


def unknown(name: str, known: Iterable[str]) -> str:
    """Return what to say of a ``name`` that is not among the ``known`` ones, with the nearest as a suggestion."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"no such setting; did you mean {near[0]}?" if near else f"no such setting; there are {', '.join(names)}"
