"""Mail: one mail server keeps invitations until they are sent, nullmailer or Postfix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering import nullmailer, postfix
from baikalctl.rendering.model import Directory, File, Platform, Service
from baikalctl.rendering.subsystem import Context, secret_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from baikalctl.settings.model import Settings


BAIKALCTL_PACKAGES = ("python3-dnspython",)
"""Used by baikalctl to look up DNS records."""

CONFLICTING = (
    "citadel-server",
    "courier-mta",
    "dma",
    "esmtp-run",
    "exim4-daemon-heavy",
    "exim4-daemon-light",
    "masqmail",
    "msmtp-mta",
    "opensmtpd",
    "qmail-run",
    "sendmail-bin",
    "ssmtp",
)
"""Other mail servers of Debian and Ubuntu. A machine can have only one: apt would remove it to install ours."""


def packages(settings: Settings, *, image: bool) -> tuple[str, ...]:
    """Return the distribution's packages; in an image, nullmailer's, because containers have no Postfix."""
    if not image and settings.mail == "off":
        return ()
    return (*(nullmailer.PACKAGES if image else server_packages(settings)), *BAIKALCTL_PACKAGES)


def server_packages(settings: Settings) -> tuple[str, ...]:
    """Return the packages of a machine's mail server."""
    return {"off": (), "relay": nullmailer.PACKAGES, "postfix": postfix.packages(settings)}[settings.mail]


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:
    """Return the units that send mail, in the order in which they start."""
    if settings.mail == "relay":
        return (nullmailer.UNIT,)
    return postfix.units(settings, platform.postfix)


def directories(context: Context) -> Iterable[Directory]:
    """Return the directories of the mail server's files and keys."""
    if context.settings.mail == "relay":
        return nullmailer.directories(context)
    return postfix.directories(context.settings)


def files(context: Context) -> Iterator[File]:
    """Yield the mail server's files, and the password with which ``baikalctl check`` tries to log in to the relay."""
    settings = context.settings
    if settings.mail == "relay":
        yield from nullmailer.files(context)
    elif settings.mail == "postfix":
        yield from postfix.files(context)
    if settings.mail != "off":
        yield from secret_files(context, {paths.RELAY_PASSWORD: settings.relay_password})
    if context.layout.contained:
        yield File(path=f"{context.layout.root}/etc/mailname", content=f"{settings.hostname}\n".encode())


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the services, in the order in which they start."""
    if context.settings.mail == "relay":
        yield nullmailer.service_of(files)
    else:
        yield from postfix.services(context, files)
