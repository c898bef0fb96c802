"""Postfix, the mail server of a machine's own, with OpenDKIM where mail is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, EarlyUnit, File, Service, service, upstream_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


POSTFIX, OPENDKIM = "postfix", "opendkim"
SASL = "libsasl2-modules"
"""What Postfix needs to log in to a relay; a recommendation of its package, so not installed by itself."""
EARLY = (
    EarlyUnit(package=POSTFIX, unit="postfix", waits_for=paths.POSTFIX_ALIASES),
    EarlyUnit(package=POSTFIX, unit="postfix@", waits_for=paths.POSTFIX_ALIASES),
    EarlyUnit(package=OPENDKIM, unit="opendkim", waits_for=paths.POSTFIX_ALIASES),
)
"""Unconfigured, Postfix would answer the whole network, or fail on Debian 12. OpenDKIM would listen on another socket, and
a reload moves no socket."""
PRESEED = "postfix postfix/main_mailer_type select No configuration"
"""For debconf: the package writes no main.cf, now or at an upgrade, so it starts nothing of its own."""
ONE_UNIT = (3, 9, 1)
"""Since this version of Postfix, Debian's postfix.service is Postfix. Before, it stands for all instances and is active
whether or not they run; the instance that counts is postfix@-.service."""


def packages(settings: Settings) -> tuple[str, ...]:
    """Return the distribution's packages."""
    login = (SASL,) if settings.relay_user else ()
    signer = (OPENDKIM,) if settings.dkim_selector else ()
    return (POSTFIX, *login, *signer)


def units(settings: Settings, version: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the units with this ``version`` of Postfix, in the order in which they start."""
    if settings.mail != "postfix":
        return ()
    signer = (OPENDKIM,) if _signs(settings) else ()
    return (*signer, "postfix", *(("postfix@-",) if version < ONE_UNIT else ()))


def directories(settings: Settings) -> tuple[Directory, ...]:
    """Return the directory of the signer's keys, which it can read and not write."""
    if not _signs(settings):
        return ()
    return (Directory(path=paths.DKIM, mode=0o750, group=paths.DKIM_USER),)


def files(context: Context) -> Iterator[File]:
    """Yield the files that Postfix and OpenDKIM read, but for the key."""
    settings = context.settings
    for path in (paths.POSTFIX, paths.POSTFIX_ALIASES):
        yield File(path=path, content=context.text(path[1:]), service="postfix")
    if settings.relay_password:
        # Postfix opens it as root, before it changes to its own account.
        content = context.text(paths.POSTFIX_LOGIN[1:])
        yield File(path=paths.POSTFIX_LOGIN, content=content, mode=0o600, service="postfix")
    if _signs(settings):
        yield File(path=paths.OPENDKIM, content=context.text(paths.OPENDKIM[1:]), service="opendkim")


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the services, each with all that it reads among ``files``."""
    postfix = service("postfix", "postfix", "/usr/sbin/postfix check", files)
    for unit in units(context.settings, context.platform.postfix):
        if unit == OPENDKIM:
            check = ("/usr/sbin/opendkim", "-n", "-x", paths.OPENDKIM)
            reads = (*service(unit, unit, "", files).reads, context.declared.mail.key)
            # A reload moves no socket.
            yield Service(name=unit, unit=unit, check=check, reads=reads, reloads=False)
        else:
            yield Service(name=unit, unit=unit, check=postfix.check, reads=postfix.reads)


def version(package_version: str) -> tuple[int, int, int]:
    """Return Postfix's version from that of its package, such as (3, 7, 11) from ``3.7.11-0+deb12u1``."""
    return upstream_version(package_version, otherwise=(0, 0, 0))


def _signs(settings: Settings) -> bool:
    return settings.mail == "postfix" and bool(settings.dkim_selector)
