"""Backups: restic if a repository is set, its secrets, and the timer that makes archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.subsystem import secret_files
from baikalctl.rendering.timers import BACKUP, timer_files, timer_services
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.model import Directory, File, Platform, Service
    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


RESTIC = "restic"
RESTIC_NEEDS = {"sftp": "openssh-client", "rclone": "rclone"}
"""The package that restic needs for a repository, by the start of its address."""


def packages(settings: Settings, *, image: bool) -> Iterator[str]:
    """Yield the distribution's packages; an image has only restic, because its containers set the repository."""
    if settings.restic_repository:
        yield RESTIC
        kind = settings.restic_repository.partition(":")[0]
        if not image and kind in RESTIC_NEEDS:
            yield RESTIC_NEEDS[kind]


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the timer."""
    return (BACKUP,) if settings.backup else ()


def directories(context: Context) -> tuple[Directory, ...]:  # noqa: ARG001 - as every subsystem's
    """Return nothing: the files are in a directory that exists."""
    return ()


def files(context: Context) -> Iterator[File]:
    """Yield the secrets of the repository, and the timer."""
    settings = context.settings
    secrets = {paths.RESTIC_PASSWORD: settings.restic_password, paths.RESTIC_CREDENTIALS: settings.restic_credentials}
    yield from secret_files(context, secrets)
    times = schedule.on_calendar(settings.backup_schedule, settings.timezone)
    yield from timer_files(context, BACKUP, backup_times=times)


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the timer."""
    yield from timer_services(context, BACKUP, files)
