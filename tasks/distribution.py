"""What the distribution calls things: the packages that we need of it, and the versions in their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from baikalctl.rendering.model import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.settings.model import Settings
    from tasks.facts import Machine


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
    "tzdata",
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
DRIVERS = {"mysql": ("php-mysql", "python3-pymysql"), "pgsql": ("php-pgsql", "python3-psycopg2")}
"""What PHP and baikalctl speak to a database server with; SQLite's is among PACKAGES, as archives are such files."""
DATABASE_SERVERS = {"mysql": "mariadb-server", "pgsql": "postgresql"}
"""A machine's own database server."""
MYSQL_ITSELF = ("mysql-server-", "mysql-community-server", "percona-server-server")
"""What the packages of a server begin with that can't be there beside MariaDB's."""
RESTIC = "restic"
"""What brings archives to a repository."""
RESTIC_NEEDS = {"sftp": "openssh-client", "rclone": "rclone"}
"""What restic needs besides for repositories of some kinds."""
IMAGE_PACKAGES = ("certbot", "s6", "nullmailer", *MAIL_PACKAGES, *DRIVERS["mysql"], *DRIVERS["pgsql"])
"""What an image needs besides: all that its containers may be told to use, and a supervisor in systemd's place."""
DNS_PLUGIN = "python3-certbot-dns-"
"""What the packages of certbot's DNS plugins begin with."""
TMPFILES = "systemd-standalone-tmpfiles"
"""What php-fpm needs of systemd, by itself: in an image, the rest would be 15 MB that nobody starts."""
KNOWN = (
    *PACKAGES,
    *IMAGE_PACKAGES,
    *DATABASE_SERVERS.values(),
    *(f"'{name}*'" for name in MYSQL_ITSELF),
    "'postgresql-[0-9]*'",
    RESTIC,
    *RESTIC_NEEDS.values(),
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
    server = database_server(settings) if booted else ""
    return (
        *PACKAGES,
        *(DRIVERS.get(settings.database, ()) if booted else IMAGE_PACKAGES),
        *((server,) if server else ()),
        *_restic(settings, booted=booted),
        *((*_mail_server(settings), *MAIL_PACKAGES) if mail else ()),
        *(("certbot",) if certbot else ()),
        *((f"{DNS_PLUGIN}{plugin}",) if plugin else ()),
    )


def database_server(settings: Settings) -> str:
    """Return the package of the machine's own database server, or nothing."""
    return DATABASE_SERVERS[settings.database] if settings.local_server else ""


def _restic(settings: Settings, *, booted: bool) -> tuple[str, ...]:
    """Return what a repository needs; an image has none yet, so it gets restic itself where any is declared."""
    if not settings.restic_repository:
        return ()
    kind = settings.restic_repository.partition(":")[0]
    return (RESTIC, *((RESTIC_NEEDS[kind],) if booted and kind in RESTIC_NEEDS else ()))


def owned(settings: Settings, machine: Machine) -> bool:
    """Tell whether the machine's database server is ours, or will be: then it serves nobody else."""
    server = database_server(settings)
    return bool(server) and (server in machine.database_servers or server not in machine.installed)


def mail_servers(settings: Settings) -> tuple[str, ...]:
    """Return the packages that a machine's mail needs and that are one of a kind there: nobody else can have them too."""
    return tuple(package for package in _mail_server(settings) if package != SASL) if settings.mail != "off" else ()


def _mail_server(settings: Settings) -> tuple[str, ...]:
    if settings.mail == "relay":
        return (MAIL_SERVERS["relay"],)
    login = (SASL,) if settings.relay_user else ()
    signer = (OPENDKIM,) if settings.dkim_selector else ()
    return (POSTFIX, *login, *signer)


def platform(settings: Settings, machine: Machine, versions: Mapping[str, str]) -> Platform:
    """Return what the files of ``machine`` depend on, with ``versions`` of its packages, installed or to be."""
    server = database_server(settings)
    return Platform(
        php=php_version(versions["php-fpm"]),
        nginx=nginx_version(versions["nginx"]),
        cores=machine.cores,
        memory_mb=machine.memory_mb,
        ipv6=machine.ipv6,
        postfix=postfix_version(versions.get(POSTFIX, "")),
        postgresql=postgresql_version(versions.get(server, "")) if settings.database == "pgsql" else "",
        own_database=owned(settings, machine),
    )


def php_version(package_version: str) -> str:
    """Return PHP's version from that of Debian's ``php-fpm``, such as ``8.2`` from ``2:8.2+93``."""
    found = re.match(r"(?:\d+:)?(\d+\.\d+)", package_version)
    return found[1] if found else ""


def postgresql_version(package_version: str) -> str:
    """Return PostgreSQL's version, which its units and paths have, such as ``15`` from ``15+248``."""
    found = re.match(r"(?:\d+:)?(\d+)", package_version)
    return found[1] if found else ""


def nginx_version(package_version: str) -> tuple[int, int, int]:
    """Return nginx's version from that of its package, such as (1, 22, 1) from ``1.22.1-9+deb12u2``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (1, 18, 0)


def postfix_version(package_version: str) -> tuple[int, int, int]:
    """Return Postfix's version from that of its package, such as (3, 7, 11) from ``3.7.11-0+deb12u1``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
