"""Backup: which copies of the data are kept, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Flag, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

MOST_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Backup:
    """When archives are made, how many of them stay, and whether a restic repository has them too."""

    backup: bool = define(
        Flag(), True, area="backup", meaning="Whether archives are made by the clock; by hand they always can be."
    )
    backup_schedule: str = define(
        Text('a time such as "03:15", or "hourly"', validators.schedule),
        "03:15",
        area="backup",
        meaning="When: a time of day in the server's time zone, or hourly.",
    )
    backup_keep_daily: int = define(
        Number(0, MOST_KEPT), 7, area="backup", meaning="Of how many days the last archive is kept."
    )
    backup_keep_weekly: int = define(
        Number(0, MOST_KEPT), 4, area="backup", meaning="Of how many weeks the last archive is kept."
    )
    backup_keep_monthly: int = define(
        Number(0, MOST_KEPT), 12, area="backup", meaning="Of how many months the last archive is kept."
    )
    restic_repository: str = define(
        Text("a restic repository", validators.repository, empty=True, confidential=True),
        "",
        area="backup",
        meaning="Where restic keeps the archives as well, such as sftp:user@host:/srv/baikal. Empty: nowhere.",
    )
    restic_password: Secret | None = define(
        SecretValue(optional=True),
        None,
        area="backup",
        meaning="What the repository is encrypted with; without it, nobody reads it again.",
    )
    restic_credentials: Secret | None = define(
        SecretValue(validators.environment, optional=True, lines=True),
        None,
        area="backup",
        meaning="What restic is told besides, a line NAME=value each, such as AWS_ACCESS_KEY_ID=….",
    )
