"""Backup settings: when archives are made, how many are kept, and restic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Flag, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

MAX_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Backup:
    """When archives are made, how many of them are kept, and the restic repository that receives copies."""

    AREA: ClassVar[str] = "backup"

    backup: bool = define(Flag(), True, "Make archives on a schedule. `baikalctl backup` always works by hand.")
    backup_schedule: str = define(
        Text('a time such as "03:15", or "hourly"', validators.schedule),
        "03:15",
        'When archives are made: a time of day in the time zone of `timezone`, such as "03:15", or "hourly".',
    )
    backup_keep_daily: int = define(
        Number(0, MAX_KEPT), 7, "Number of days for which the last archive of the day is kept."
    )
    backup_keep_weekly: int = define(
        Number(0, MAX_KEPT), 4, "Number of weeks for which the last archive of the week is kept."
    )
    backup_keep_monthly: int = define(
        Number(0, MAX_KEPT), 12, "Number of months for which the last archive of the month is kept."
    )
    restic_repository: str = define(
        Text("a restic repository", validators.repository, empty=True, confidential=True),
        "",
        "Restic repository that also receives each archive, such as sftp:user@host:/srv/baikal. Empty: none.",
    )
    restic_password: Secret | None = define(
        SecretValue(optional=True),
        None,
        "Password that encrypts the restic repository. Keep a copy elsewhere: without it the repository can't be read.",
    )
    restic_credentials: Secret | None = define(
        SecretValue(validators.environment, optional=True, lines=True),
        None,
        "Environment variables for restic, one NAME=value per line, such as AWS_ACCESS_KEY_ID=….",
    )
