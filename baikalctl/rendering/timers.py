"""systemd timers: certificates are renewed and archives are made on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.host.install import UNITS
from baikalctl.rendering.model import File, Service, service

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


CERTIFICATE, BACKUP = "baikal-certificate.timer", "baikal-backup.timer"


def timers(settings: Settings) -> tuple[str, ...]:
    """Return the timers that a machine with these settings has."""
    certificate = () if settings.tls == "off" else (CERTIFICATE,)
    return (*certificate, BACKUP) if settings.backup else certificate


def timer_files(context: Context, timer: str, **values: object) -> Iterator[File]:
    """Yield the ``timer`` and the service that it starts; a container has neither. ``values`` are for the templates."""
    if context.layout.contained or timer not in timers(context.settings):
        return
    for name in (timer.replace(".timer", ".service"), timer):
        yield File(path=f"{UNITS}/{name}", content=context.text(f"{UNITS[1:]}/{name}", **values), service=timer)


def timer_services(context: Context, timer: str, files: Iterable[File]) -> Iterator[Service]:
    """Yield the ``timer`` as a service; its check has systemd read its units."""
    if timer in timers(context.settings):
        yield service(timer, timer, "/usr/bin/systemctl daemon-reload", files)
