"""Baïkal itself: its release, what it serves, and whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.users import User, UsersValue
from baikalctl.settings.value_types import Choice, Flag, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Baikal:
    """Which Baïkal there is, and for whom."""

    baikal_version: str = define(
        Text("a release", validators.release_version),
        "0.12.1",
        area="Baïkal",
        meaning="Which release of Baïkal to run.",
        machine_only=True,
    )
    baikal_archive: str = define(
        Text("a path or an address", validators.archive, empty=True),
        "",
        area="Baïkal",
        meaning="A release's zip of your own: a path on this machine or an address. Empty: the official one.",
        machine_only=True,
    )
    baikal_sha256: str = define(
        Text("a SHA-256", validators.checksum, empty=True),
        "",
        area="Baïkal",
        meaning="Checksum of the zip, if it isn't the official one. Needed for an address with an unknown release.",
        machine_only=True,
    )
    baikal_download: str = define(
        Choice("here", "host"),
        "here",
        area="Baïkal",
        meaning="Who downloads the release: this machine, once for all hosts, or every host by itself.",
        machine_only=True,
    )
    admin_password: Secret | None = define(
        SecretValue(),
        None,
        area="Baïkal",
        meaning="Password of `admin` on the /admin/ pages.",
        raw_default={"env": "BAIKAL_ADMIN_PASSWORD"},
    )
    dav_auth: str = define(
        Choice("basic", "digest"),
        "basic",
        area="Baïkal",
        meaning="How calendar clients log in. Several get digest wrong (DAVx⁵, Windows 10); keep basic with TLS.",
    )
    caldav: bool = define(Flag(), True, area="Baïkal", meaning="Serve calendars.")
    carddav: bool = define(Flag(), True, area="Baïkal", meaning="Serve address books.")
    users: tuple[User, ...] = define(
        UsersValue(),
        (),
        area="Baïkal",
        meaning="Accounts with their calendars, address books and shares; see docs/users.md.",
        raw_default=[],
    )
