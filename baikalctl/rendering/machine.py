"""All packages and files of a machine, from the descriptions of its subsystems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.desired.build import desired_state
from baikalctl.rendering import backup, baikal, certbot, database, mail, nginx, php
from baikalctl.rendering.model import FileSet, Platform
from baikalctl.rendering.subsystem import Context, Layout, Subsystem

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

SUBSYSTEMS: tuple[Subsystem, ...] = (baikal, database, php, nginx, mail, certbot, backup)
"""In the order in which their services start: nginx needs PHP's socket."""


def packages(settings: Settings, *, image: bool = False) -> tuple[str, ...]:
    """Return all packages of the distribution that a machine, or an ``image``, needs with these settings."""
    return tuple(sorted({package for each in SUBSYSTEMS for package in each.packages(settings, image=image)}))


def render(settings: Settings, platform: Platform) -> FileSet:
    """Return all files and services of a machine."""
    units = tuple(unit for each in SUBSYSTEMS for unit in each.units(settings, platform))
    context = Context(
        settings=settings,
        platform=platform,
        declared=desired_state(settings, units),
        layout=Layout(socket=php.socket(platform), access_log="/var/log/nginx/access.log"),
    )
    files = tuple(file for each in SUBSYSTEMS for file in each.files(context))
    return FileSet(
        directories=tuple(directory for each in SUBSYSTEMS for directory in each.directories(context)),
        files=files,
        services=tuple(service for each in SUBSYSTEMS for service in each.services(context, files)),
        displaced=nginx.DISPLACED,
    )
