"""Contradictions between settings: each value is valid, the combination isn't."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from baikalctl.errors import Fault
from baikalctl.settings import validators
from baikalctl.settings.areas.database import LOCAL
from baikalctl.settings.known_releases import KNOWN_RELEASES, numbers
from baikalctl.settings.secret import Secret
from baikalctl.settings.value_types import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.settings.model import Settings


Conflicts: TypeAlias = "Iterator[tuple[tuple[str, ...], Fault]]"
"""Each fault, with the names of the other settings that are involved."""
RELAY = ("relay_host", "relay_port", "relay_tls", "relay_user", "relay_password", "relay_ca")
SOCKET = ("database_port", "database_user", "database_password", "database_tls", "database_ca")
"""Settings that a database server on the same machine doesn't use: it is reached through its Unix socket."""
KEPT = ("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly")
MYSQL_TLS = (0, 11, 0)
"""The first release of Baïkal that has ``mysql_ca_cert``. Without it, PHP never uses TLS with MySQL."""


class Target(Enum):
    """What the settings are for. An image has neither a host name nor secrets; its containers have them."""

    MACHINE = auto()
    IMAGE = auto()
    CONTAINER = auto()


def conflicts(settings: Settings, target: Target) -> Conflicts:
    """Yield each contradiction between settings, or with the ``target``. An image may lack what only a server needs."""
    complete = target is not Target.IMAGE
    if complete and not settings.hostname:
        problem = 'is missing; set it to the name that clients connect to, such as "cal.example.org"'
        yield _fault(settings, "hostname", problem)
    for position, name in enumerate(settings.hostnames):
        if name == settings.hostname:
            problem = "is the same as hostname; list only additional names"
            yield ("hostname",), Fault(f"hostnames[{position}]", problem, describe(name))
    if settings.http_port == settings.https_port and settings.tls != "off":
        yield _fault(settings, "https_port", "is the same as http_port; set two different ports", "http_port", "tls")
    if not settings.caldav and not settings.carddav:
        problem = "and caldav are both off, so nothing would be served; turn one on"
        yield _fault(settings, "carddav", problem, "caldav")
    yield from _of_release(settings)
    yield from _of_files(settings)
    if complete and settings.tls == "letsencrypt":
        yield from _of_letsencrypt(settings)
    yield from _of_account(settings, complete=complete)
    yield from _of_dns(settings)
    yield from _of_mail(settings, target)
    yield from _of_database(settings, target)
    yield from _of_backup(settings, complete=complete)


def _fault(settings: Settings, name: str, problem: str, *involved: str) -> tuple[tuple[str, ...], Fault]:
    """Return the fault of a setting, with its value unless that is secret or missing."""
    value = getattr(settings, name)
    hidden = value is None or isinstance(value, Secret) or value == getattr(type(settings), name) == ""
    return involved, Fault(name, problem, "" if hidden else describe(value))


def _no_effect(settings: Settings, names: tuple[str, ...], problem: str, *involved: str) -> Conflicts:
    """Yield ``problem``, which ends with a remedy, for each of ``names`` whose value isn't the default."""
    for name in names:
        if getattr(settings, name) != getattr(type(settings), name):  # the class attribute is the default
            yield _fault(settings, name, f"has no effect {problem} remove {name}", *involved)


def _of_release(settings: Settings) -> Conflicts:
    archive, remote = settings.baikal_archive, "://" in settings.baikal_archive
    unknown_release = settings.baikal_version not in KNOWN_RELEASES
    if unknown_release and not archive:
        problem = (
            f"is not one of the known releases ({', '.join(KNOWN_RELEASES)}); "
            "set baikal_archive to its zip, and baikal_sha256 to the zip's checksum"
        )
        yield _fault(settings, "baikal_version", problem, "baikal_archive")
    if remote and unknown_release and not settings.baikal_sha256:
        problem = "is missing; set it, because the checksum of this release is not known"
        yield _fault(settings, "baikal_sha256", problem, "baikal_version", "baikal_archive")
    if archive and not remote and settings.baikal_download == "host":
        problem = "is not possible, because baikal_archive is a path on this machine; set it to here"
        yield _fault(settings, "baikal_download", problem, "baikal_archive")


def _of_files(settings: Settings) -> Conflicts:
    names = ("tls_certificate", "tls_key")
    if settings.tls != "files":
        yield from _no_effect(settings, names, f'with tls = "{settings.tls}"; set tls = "files", or', "tls")
        return
    for name in names:
        if not getattr(settings, name):
            problem = 'is missing; tls = "files" needs both tls_certificate and tls_key'
            yield _fault(settings, name, problem, "tls")


def _of_letsencrypt(settings: Settings) -> Conflicts:
    if not settings.acme_email:
        problem = 'is missing; tls = "letsencrypt" needs an e-mail address for messages from the CA'
        yield _fault(settings, "acme_email", problem, "tls")
    public = settings.acme_directory in validators.ACME_SERVERS.values()
    further = [(f"hostnames[{position}]", name) for position, name in enumerate(settings.hostnames)]
    for setting, name in [("hostname", settings.hostname), *further]:
        if validators.is_address(name):
            problem = (
                "is an IP address, and certificates are requested for names only; "
                "use a name, or set tls to selfsigned or files"
            )
        elif public and name and not validators.is_public(name):
            problem = (
                "is not a name of the public DNS, so Let's Encrypt issues no certificate for it; "
                "set tls to selfsigned or files, or acme_server to your own CA"
            )
        else:
            continue
        yield ("tls", "acme_server"), Fault(setting, problem, describe(name))


def _of_account(settings: Settings, *, complete: bool) -> Conflicts:
    # A CA issues both together. An image has no secrets.
    key_id, key = "acme_eab_key_id", "acme_eab_hmac_key"
    problem = "is missing; set it to the {} that the CA issued together with {}"
    if settings.acme_eab_hmac_key and not settings.acme_eab_key_id:
        yield _fault(settings, key_id, problem.format("key ID", key), key)
    if complete and settings.acme_eab_key_id and not settings.acme_eab_hmac_key:
        yield _fault(settings, key, problem.format("key", key_id), key_id)


def _of_dns(settings: Settings) -> Conflicts:
    if settings.acme_dns_plugin and settings.acme_dns_hook:
        problem = "replaces a plugin, but acme_dns_plugin is set too; remove one of the two"
        yield _fault(settings, "acme_dns_hook", problem, "acme_dns_plugin")
    if settings.acme_dns_plugin == "route53" and settings.acme_dns_credentials:
        problem = "is not used by route53; configure the keys as AWS documents it (a role, or /root/.aws/credentials)"
        yield _fault(settings, "acme_dns_credentials", problem, "acme_dns_plugin")
    if not settings.acme_dns_plugin:
        names = ("acme_dns_credentials", "acme_dns_propagation_s")
        problem = "without acme_dns_plugin; set acme_dns_plugin, such as to rfc2136, or"
        yield from _no_effect(settings, names, problem, "acme_dns_plugin")


def _of_mail(settings: Settings, target: Target) -> Conflicts:
    mail, complete = settings.mail, target is not Target.IMAGE
    if mail == "postfix" and target is not Target.MACHINE:
        problem = (
            'is for machines only, and a container sends through a relay: set mail = "relay", '
            "and BAIKAL_RELAY_HOST to a Postfix in another container or on the host"
        )
        yield _fault(settings, "mail", problem)
        return
    if mail != "postfix":
        problem = f'with mail = "{mail}"; set mail = "postfix" (machines only), or'
        yield from _no_effect(settings, ("dkim_selector",), problem, "mail")
    if mail == "off":
        problem = 'with mail = "off"; set mail = "relay", or'
        yield from _no_effect(settings, ("mail_from", *RELAY), problem, "mail")
        return
    if complete and settings.hostname and not settings.mail_from and not validators.is_full(settings.hostname):
        problem = "is missing; hostname is not a full domain, so set a sender address that has a full domain"
        yield _fault(settings, "mail_from", problem, "mail", "hostname")
    if mail == "postfix" and not settings.relay_host:
        problem = "without relay_host, because Postfix then delivers directly; set relay_host, or"
        yield from _no_effect(settings, RELAY, problem, "mail", "relay_host")
        return
    if complete and not settings.relay_host:
        problem = 'is missing; mail = "relay" needs the name of the SMTP server that sends the mail'
        yield _fault(settings, "relay_host", problem, "mail")
    yield from _of_relay(settings, complete=complete)


def _of_relay(settings: Settings, *, complete: bool) -> Conflicts:
    if settings.relay_password and not settings.relay_user:
        problem = "is missing; set it to the login name for relay_password"
        yield _fault(settings, "relay_user", problem, "mail", "relay_password")
    if complete and settings.relay_user and not settings.relay_password:
        problem = "is missing; set it to the password of relay_user"
        yield _fault(settings, "relay_password", problem, "mail", "relay_user")
    if settings.relay_tls != "none":
        return
    problem = 'with relay_tls = "none"; set relay_tls to starttls or tls, or'
    if settings.relay_password:
        sent = f"would be sent unencrypted {problem} remove relay_password"
        yield _fault(settings, "relay_password", sent, "mail", "relay_tls")
    yield from _no_effect(settings, ("relay_ca",), problem, "mail", "relay_tls")


def _of_database(settings: Settings, target: Target) -> Conflicts:
    host, complete = settings.database_host, target is not Target.IMAGE
    if settings.database == "sqlite":
        problem = 'with database = "sqlite"; set database = "mysql" or "pgsql", or'
        yield from _no_effect(settings, ("database_host", "database_name", *SOCKET), problem, "database")
        return
    if host == LOCAL and target is not Target.MACHINE:
        problem = (
            "is for machines only, and a container has no database server; "
            "set BAIKAL_DATABASE_HOST to another container or host"
        )
        yield _fault(settings, "database_host", problem, "database")
        return
    if host == LOCAL:
        problem = 'with database_host = "local", whose Unix socket identifies the client;'
        yield from _no_effect(settings, SOCKET, problem, "database", "database_host")
        return
    if complete and not host:
        own = ', or "local" for a server on this machine' if target is Target.MACHINE else ""
        problem = f'is missing; database = "{settings.database}" needs the name of the database server{own}'
        yield _fault(settings, "database_host", problem, "database")
    elif complete and not settings.database_password:
        problem = "is missing; set it to the password of database_user"
        yield _fault(settings, "database_password", problem, "database", "database_host")
    if settings.database_tls == "off":
        problem = 'with database_tls = "off"; set database_tls = "verify", or'
        yield from _no_effect(settings, ("database_ca",), problem, "database", "database_tls")
    yield from of_old_release(settings)


def of_old_release(settings: Settings) -> Conflicts:
    """Yield what the release doesn't support. A container checks this when it starts: its image decides the release."""
    remote = settings.database == "mysql" and settings.database_host != LOCAL
    if remote and settings.database_tls != "off" and numbers(settings.baikal_version) < MYSQL_TLS:
        problem = (
            f"is not possible, because Baïkal {settings.baikal_version} doesn't support TLS with MySQL: "
            'use 0.11.1 or newer, or set database_tls = "off" if you trust the network between the two'
        )
        yield _fault(settings, "database_tls", problem, "database", "database_host", "baikal_version")


def _of_backup(settings: Settings, *, complete: bool) -> Conflicts:
    if not settings.backup:
        problem = "with backup = false; turn backup on, or"
        yield from _no_effect(settings, ("backup_schedule",), problem, "backup")
    if not any(getattr(settings, name) for name in KEPT):
        problem = f"and {KEPT[0]} and {KEPT[1]} are all 0, so no archive would be kept; keep at least one"
        yield _fault(settings, KEPT[2], problem, *KEPT)
    if not settings.restic_repository:
        problem = "without restic_repository; set restic_repository, or"
        yield from _no_effect(settings, ("restic_password", "restic_credentials"), problem, "restic_repository")
    elif complete and not settings.restic_password:
        problem = "is missing; set the password that encrypts restic_repository, and keep a copy of it elsewhere"
        yield _fault(settings, "restic_password", problem, "restic_repository")
