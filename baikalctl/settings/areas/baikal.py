"""Baïkal settings: the release, the services, and the accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.users import User, UsersValue
from baikalctl.settings.value_types import Choice, Flag, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Baikal:
    """Which release of Baïkal is installed, what it serves, and its accounts."""

    AREA: ClassVar[str] = "Baïkal"

    baikal_version: str = define(
        Text("a release", validators.release_version), "0.12.1", "Release of Baïkal to install.", machine_only=True
    )
    baikal_archive: str = define(
        Text("a path or an address", validators.archive, empty=True),
        "",
        "Your own copy of the release's zip: a path on this machine, or a web address. Empty: the official zip.",
        machine_only=True,
    )
    baikal_sha256: str = define(
        Text("a SHA-256", validators.checksum, empty=True),
        "",
        "SHA-256 of the zip. Required if baikal_archive is an address and the release is not one of the known ones.",
        machine_only=True,
    )
    baikal_download: str = define(
        Choice("here", "host"),
        "here",
        "Where the zip is downloaded: here (by this machine, once for all hosts) or host (by each host itself).",
        machine_only=True,
    )
    admin_password: Secret | None = define(
        SecretValue(),
        None,
        "Password of the user `admin` on the /admin/ pages.",
        raw_default={"env": "BAIKAL_ADMIN_PASSWORD"},
    )
    dav_auth: str = define(
        Choice("basic", "digest"),
        "basic",
        "HTTP authentication of clients. Some clients implement digest wrongly (DAVx⁵, Windows 10); use basic with TLS.",
    )
    caldav: bool = define(Flag(), True, "Serve calendars (CalDAV).")
    carddav: bool = define(Flag(), True, "Serve address books (CardDAV).")
    users: tuple[User, ...] = define(
        UsersValue(),
        (),
        "Accounts with their calendars, address books and shares; see docs/users.md.",
        raw_default=[],
    )
