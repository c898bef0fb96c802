"""Identity settings: the server's names and its time zone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Hostnames, Text


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The names of the server, and its time zone."""

    AREA: ClassVar[str] = "identity"

    hostname: str = define(
        Text("a host name", validators.hostname, empty=True),
        "",
        "Host name that clients connect to, such as cal.example.org. Required, except for an image.",
    )
    hostnames: tuple[str, ...] = define(
        Hostnames(),
        (),
        'Additional host names of the server, such as ["dav.example.org"]. The certificate includes them.',
        raw_default=[],
    )
    timezone: str = define(
        Text("a time zone", validators.timezone),
        "UTC",
        "Time zone of the server, as Area/City, such as Europe/Berlin.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """All host names of the server, the main one first."""
        return tuple(name for name in (self.hostname, *self.hostnames) if name)
