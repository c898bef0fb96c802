"""The mail server of a machine's own: Postfix, and OpenDKIM beside it where mail is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, File, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.desired.state import DesiredState
    from baikalctl.settings.model import Settings


ONE_UNIT = (3, 9, 1)
"""Since this version of Postfix, Debian's postfix.service is Postfix. Before, it is a name for all instances, which runs
whether or not they do; the one that is meant is postfix@-.service."""


def postfix_directories(settings: Settings) -> tuple[Directory, ...]:
    """Return where the signer's keys are: it reads them, and makes none."""
    if not _signs(settings):
        return ()
    return (Directory(path=paths.DKIM, mode=0o750, group=paths.DKIM_USER),)


def postfix_files(settings: Settings, text: Callable[[str], bytes]) -> tuple[File, ...]:
    """Return what Postfix and OpenDKIM read of ours, besides the key; nothing where there is no Postfix."""
    return tuple(_files(settings, text)) if settings.mail == "postfix" else ()


def postfix_units(settings: Settings, version: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the units that send mail, with this ``version`` of Postfix, in the order in which they start."""
    if settings.mail != "postfix":
        return ()
    signer = ("opendkim",) if _signs(settings) else ()
    return (*signer, "postfix", *(("postfix@-",) if version < ONE_UNIT else ()))


def postfix_services(units: tuple[str, ...], declared: DesiredState, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the services of these ``units``, each with all that it reads among ``files``."""
    for unit in units:
        if unit == "opendkim":
            check = ("/usr/sbin/opendkim", "-n", "-x", paths.OPENDKIM)
            reads = (*_read_by(unit, files), declared.mail.key)
            # A reload moves no socket: it would go on listening where the package's own configuration has it.
            yield Service(name=unit, unit=unit, check=check, reads=reads, reloads=False)
        else:
            reads = _read_by("postfix", files)
            yield Service(name=unit, unit=unit, check=("/usr/sbin/postfix", "check"), reads=reads)


def _files(settings: Settings, text: Callable[[str], bytes]) -> Iterator[File]:
    for path in (paths.POSTFIX, paths.POSTFIX_ALIASES):
        yield File(path=path, content=text(path[1:]), service="postfix")
    if settings.relay_password:
        # Postfix opens it as root, before it is anybody else.
        yield File(path=paths.POSTFIX_LOGIN, content=text(paths.POSTFIX_LOGIN[1:]), mode=0o600, service="postfix")
    if _signs(settings):
        yield File(path=paths.OPENDKIM, content=text(paths.OPENDKIM[1:]), service="opendkim")


def _signs(settings: Settings) -> bool:
    return settings.mail == "postfix" and bool(settings.dkim_selector)


def _read_by(service: str, files: tuple[File, ...]) -> tuple[str, ...]:
    return tuple(file.path for file in files if file.service == service)
