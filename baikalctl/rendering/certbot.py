"""Certificates: certbot with its configuration, if an ACME server is used, and the timer for renewals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, File, Platform, Service
from baikalctl.rendering.subsystem import secret_files
from baikalctl.rendering.timers import CERTIFICATE, timer_files, timer_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


DNS_PLUGIN = "python3-certbot-dns-"
"""Prefix of the packages of certbot's DNS plugins."""


def packages(settings: Settings, *, image: bool) -> Iterator[str]:
    """Yield the distribution's packages: certbot if it is used, and in every image."""
    if image or settings.tls == "letsencrypt":
        yield "certbot"
        if settings.acme_dns_plugin:
            yield f"{DNS_PLUGIN}{settings.acme_dns_plugin}"


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the timer: with certificates of other kinds, it starts to use replaced files."""
    return () if settings.tls == "off" else (CERTIFICATE,)


def directories(context: Context) -> tuple[Directory, ...]:  # noqa: ARG001 - as every subsystem's
    """Return nothing: the files are in a directory that exists."""
    return ()


def files(context: Context) -> Iterator[File]:
    """Yield certbot's configuration with the credentials for the DNS, and the timer."""
    root, settings = context.layout.root, context.settings
    if settings.tls == "letsencrypt":
        content = context.text("etc/baikal/certbot.ini")
        yield File(path=f"{root}{paths.CERTBOT}", content=content, mode=0o600, together=True)
        yield from secret_files(context, {paths.DNS_CREDENTIALS: settings.acme_dns_credentials})
    yield from timer_files(context, CERTIFICATE)


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the timer."""
    yield from timer_services(context, CERTIFICATE, files)
