"""Who the server is: its names, and where on earth it stands."""

from __future__ import annotations

from dataclasses import dataclass

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Hostnames, Text


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What clients and people know the server by."""

    hostname: str = define(
        Text("a host name", validators.hostname, empty=True),
        "",
        area="identity",
        meaning="The name that clients type, such as cal.example.org. Every machine needs one; an image doesn't.",
    )
    hostnames: tuple[str, ...] = define(
        Hostnames(),
        (),
        area="identity",
        meaning="Further names that clients may type; the certificate is for all of them.",
        raw_default=[],
    )
    timezone: str = define(
        Text("a time zone", validators.timezone),
        "UTC",
        area="identity",
        meaning="Time zone of the server, as Area/City.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """All names that clients may type, the main one first."""
        return tuple(name for name in (self.hostname, *self.hostnames) if name)
