"""What mail needs of a machine: files, directories and services, whichever server it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import postfix_files, relay_files
from baikalctl.rendering import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.declared import Declared
    from baikalctl.rendering import Directory, File, Platform
    from baikalctl.settings import Settings


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:
    """Return the units that send mail, in the order in which they start."""
    if settings.mail == "relay":
        return (relay_files.UNIT,)
    return postfix_files.postfix_units(settings, platform.postfix)


def directories(settings: Settings) -> tuple[Directory, ...]:
    """Return what their files and keys are in."""
    if settings.mail == "relay":
        return relay_files.directories()
    return postfix_files.postfix_directories(settings)


def files(settings: Settings, text: Callable[[str], bytes]) -> Iterator[File]:
    """Yield what they read, and what the doctor does."""
    if settings.mail == "relay":
        yield from relay_files.nullmailer_files(settings, text)
        yield relay_files.drop_in(text)
    yield from postfix_files.postfix_files(settings, text)
    yield from relay_files.relay_password(settings)


def services(units: tuple[str, ...], declared: Declared, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the services of these ``units``, each with all that it reads among ``files``."""
    if units == (relay_files.UNIT,):
        reads = tuple(file.path for file in files if file.service == relay_files.UNIT)
        yield Service(name=units[0], unit=units[0], check=("/usr/bin/systemctl", "daemon-reload"), reads=reads)
    else:
        yield from postfix_files.postfix_services(units, declared, files)
