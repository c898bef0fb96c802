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
IMAGE_PACKAGES = ("certbot", "s6")
"""What an image needs besides: all that its containers may be told to use, and a supervisor in systemd's place."""
DNS_PLUGIN = "python3-certbot-dns-"
"""What the packages of certbot's DNS plugins begin with."""
TMPFILES = "systemd-standalone-tmpfiles"
"""What php-fpm needs of systemd, by itself: in an image, the rest would be 15 MB that nobody starts."""
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
    return (
        *PACKAGES,
        *(() if booted else IMAGE_PACKAGES),
        *(("certbot",) if certbot else ()),
        *((f"{DNS_PLUGIN}{plugin}",) if plugin else ()),
    )


def php_version(package_version: str) -> str:
    """Return PHP's version from that of Debian's ``php-fpm``, such as ``8.2`` from ``2:8.2+93``."""
    found = re.match(r"(?:\d+:)?(\d+\.\d+)", package_version)
    return found[1] if found else ""


def nginx_version(package_version: str) -> tuple[int, int, int]:
    """Return nginx's version from that of its package, such as (1, 22, 1) from ``1.22.1-9+deb12u2``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (1, 18, 0)
