"""What mail needs of a machine: files, directories and services, whichever server it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.rendering import nullmailer, postfix
from baikalctl.rendering.model import Directory, File, Platform, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.desired.state import DesiredState
    from baikalctl.settings.model import Settings


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:
    """Return the units that send mail, in the order in which they start."""
    if settings.mail == "relay":
        return (nullmailer.UNIT,)
    return postfix.postfix_units(settings, platform.postfix)


def directories(settings: Settings) -> tuple[Directory, ...]:
    """Return what their files and keys are in."""
    if settings.mail == "relay":
        return nullmailer.directories()
    return postfix.postfix_directories(settings)


def files(settings: Settings, text: Callable[[str], bytes]) -> Iterator[File]:
    """Yield what they read, and what the doctor does."""
    if settings.mail == "relay":
        yield from nullmailer.nullmailer_files(settings, text)
        yield nullmailer.drop_in(text)
    yield from postfix.postfix_files(settings, text)
    yield from nullmailer.relay_password(settings)


def services(units: tuple[str, ...], declared: DesiredState, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the services of these ``units``, each with all that it reads among ``files``."""
    if units == (nullmailer.UNIT,):
        reads = tuple(file.path for file in files if file.service == nullmailer.UNIT)
        yield Service(name=units[0], unit=units[0], check=("/usr/bin/systemctl", "daemon-reload"), reads=reads)
    else:
        yield from postfix.postfix_services(units, declared, files)
