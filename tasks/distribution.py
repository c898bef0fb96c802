"""What the distribution calls things: the packages that we need of it, and the versions in their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baikalctl.settings import Settings

PACKAGES = (
    "ca-certificates",
    "nginx",
    "openssl",
    "php-fpm",
    "php-mbstring",
    "php-sqlite3",
    "php-xml",
    "python3",
    "python3-jinja2",
    "python3-yaml",
)
"""Everything from the distribution: PHP's extensions are those of Baïkal and sabre/dav, the rest is baikalctl's."""
MAIL_PACKAGES = ("python3-dnspython", "python3-icalendar")
"""What baikalctl looks at names in the DNS and reads invitations with."""
POSTFIX, SASL, OPENDKIM = "postfix", "libsasl2-modules", "opendkim"
"""A machine's own mail server, what it needs besides to log in to a relay, and what signs."""
MAIL_SERVERS = {"relay": "nullmailer", "postfix": POSTFIX}
"""What keeps mail until it is sent, by the setting."""
OTHER_MAIL_SERVERS = (
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
"""What else there is in Debian and Ubuntu of which a machine can have one alone: apt would take away the other."""
IMAGE_PACKAGES = ("certbot", "s6", "nullmailer", *MAIL_PACKAGES)
"""What an image needs besides: all that its containers may be told to use, and a supervisor in systemd's place."""
DNS_PLUGIN = "python3-certbot-dns-"
"""What the packages of certbot's DNS plugins begin with."""
TMPFILES = "systemd-standalone-tmpfiles"
"""What php-fpm needs of systemd, by itself: in an image, the rest would be 15 MB that nobody starts."""
KNOWN = (
    *PACKAGES,
    *IMAGE_PACKAGES,
    POSTFIX,
    SASL,
    OPENDKIM,
    *OTHER_MAIL_SERVERS,
    TMPFILES,
    "systemd",
    f"'{DNS_PLUGIN}*'",
)
"""The packages that a host is asked about."""
LEFT_OUT = (
    "--path-exclude=/usr/share/doc/*",
    "--path-include=/usr/share/doc/*/copyright",
    "--path-exclude=/usr/share/info/*",
    "--path-exclude=/usr/share/lintian/*",
    "--path-exclude=/usr/share/locale/*",
    "--path-exclude=/usr/share/man/*",
)
"""dpkg's options for what nobody reads in an image; the slim official images leave out the same."""


def needed(settings: Settings, *, booted: bool) -> tuple[str, ...]:
    """Return the packages that a machine, or an image, needs for what is declared."""
    certbot = booted and settings.tls == "letsencrypt"
    plugin = settings.acme_dns_plugin if certbot or not booted else ""
    mail = booted and settings.mail != "off"
    return (
        *PACKAGES,
        *(() if booted else IMAGE_PACKAGES),
        *((*_mail_server(settings), *MAIL_PACKAGES) if mail else ()),
        *(("certbot",) if certbot else ()),
        *((f"{DNS_PLUGIN}{plugin}",) if plugin else ()),
    )


def mail_servers(settings: Settings) -> tuple[str, ...]:
    """Return the packages that a machine's mail needs and that are one of a kind there: nobody else can have them too."""
    return tuple(package for package in _mail_server(settings) if package != SASL) if settings.mail != "off" else ()


def _mail_server(settings: Settings) -> tuple[str, ...]:
    if settings.mail == "relay":
        return (MAIL_SERVERS["relay"],)
    login = (SASL,) if settings.relay_user else ()
    signer = (OPENDKIM,) if settings.dkim_selector else ()
    return (POSTFIX, *login, *signer)


def php_version(package_version: str) -> str:
    """Return PHP's version from that of Debian's ``php-fpm``, such as ``8.2`` from ``2:8.2+93``."""
    found = re.match(r"(?:\d+:)?(\d+\.\d+)", package_version)
    return found[1] if found else ""


def nginx_version(package_version: str) -> tuple[int, int, int]:
    """Return nginx's version from that of its package, such as (1, 22, 1) from ``1.22.1-9+deb12u2``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (1, 18, 0)


def postfix_version(package_version: str) -> tuple[int, int, int]:
    """Return Postfix's version from that of its package, such as (3, 7, 11) from ``3.7.11-0+deb12u1``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
