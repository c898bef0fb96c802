"""Which environment variables that begin like ours are somebody else's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_OURS = re.compile(
    r"BAIKAL_(PATH_|(\w+_)?SERVICE_(HOST|PORT)|(\w+_)?PORT(_\w+)?=(tcp|udp|sctp)://|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_)"
)
"""Variables that begin like ours: Baïkal's own, and those by which Kubernetes tells of a service called baikal."""


def is_of_others(variable: str, text: str) -> bool:
    """Tell whether a variable with this text is no attempt at one of our settings."""
    return bool(NOT_OURS.match(f"{variable}={text}"))


def referred(raw: object) -> Iterator[str]:
    """Yield the environment variables that secrets anywhere in ``raw`` are to come from."""
    if isinstance(raw, dict):
        if list(raw) == ["env"] and isinstance(raw["env"], str):
            yield raw["env"]
        raw = list(raw.values())
    for inner in raw if isinstance(raw, list) else ():
        yield from referred(inner)
