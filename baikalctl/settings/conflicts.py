"""What is wrong between settings each of which is right by itself."""

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
"""Each with the names of the other settings involved."""
RELAY = ("relay_host", "relay_port", "relay_tls", "relay_user", "relay_password", "relay_ca")
SOCKET = ("database_port", "database_user", "database_password", "database_tls", "database_ca")
"""What a server on the same machine, reached by its Unix socket, has no use for."""
KEPT = ("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly")
MYSQL_TLS = (0, 11, 0)
"""The release in which Baïkal learned ``mysql_ca_cert``, without which its PHP never asks MySQL for TLS."""


class Target(Enum):
    """What the settings are for. An image becomes containers later: until then it has neither a name nor secrets."""

    MACHINE = auto()
    IMAGE = auto()
    CONTAINER = auto()


def conflicts(settings: Settings, target: Target) -> Conflicts:
    """Yield each contradiction, also with what the ``target`` is; an image isn't asked for what only a server needs."""
    complete = target is not Target.IMAGE
    if complete and not settings.hostname:
        yield (), Fault("hostname", 'is missing; give the name that clients type, such as "cal.example.org"')
    for position, name in enumerate(settings.hostnames):
        if name == settings.hostname:
            problem = "is hostname already; list only the further names"
            yield ("hostname",), Fault(f"hostnames[{position}]", problem, describe(name))
    if settings.http_port == settings.https_port and settings.tls != "off":
        problem = "is http_port as well; give the two different ports"
        yield ("http_port", "tls"), Fault("https_port", problem, str(settings.https_port))
    if not settings.caldav and not settings.carddav:
        problem = "and caldav are both off, so nothing would be served; turn one on"
        yield ("caldav",), Fault("carddav", problem, "false")
    yield from _of_release(settings)
    yield from _of_files(settings)
    if complete and settings.tls == "letsencrypt":
        yield from _of_letsencrypt(settings)
    yield from _of_account(settings, complete=complete)
    yield from _of_dns(settings)
    yield from _of_mail(settings, target)
    yield from _of_database(settings, target)
    yield from _of_backup(settings, complete=complete)


def _of_release(settings: Settings) -> Conflicts:
    archive, remote = settings.baikal_archive, "://" in settings.baikal_archive
    unknown_release = settings.baikal_version not in KNOWN_RELEASES
    if unknown_release and not archive:
        problem = (
            f"is not known here ({', '.join(KNOWN_RELEASES)} are); give its zip with baikal_archive and its sha256"
        )
        yield ("baikal_archive",), Fault("baikal_version", problem, describe(settings.baikal_version))
    if remote and unknown_release and not settings.baikal_sha256:
        problem = "is missing; an address with a release that isn't known here needs it"
        yield ("baikal_version", "baikal_archive"), Fault("baikal_sha256", problem)
    if archive and not remote and settings.baikal_download == "host":
        problem = "can't be, as baikal_archive is a path on this machine; set it to here"
        yield ("baikal_archive",), Fault("baikal_download", problem, '"host"')


def _of_files(settings: Settings) -> Conflicts:
    for name in ("tls_certificate", "tls_key"):
        value = getattr(settings, name)
        if settings.tls == "files" and not value:
            yield ("tls",), Fault(name, 'is missing; tls = "files" needs both tls_certificate and tls_key')
        elif settings.tls != "files" and value:
            problem = f'has no effect with tls = "{settings.tls}"; set tls = "files" or take it away'
            yield ("tls",), Fault(name, problem, describe(value))


def _of_letsencrypt(settings: Settings) -> Conflicts:
    if not settings.acme_email:
        problem = 'is missing; tls = "letsencrypt" needs the address where the CA may write to you'
        yield ("tls",), Fault("acme_email", problem)
    public = settings.acme_directory in validators.ACME_SERVERS.values()
    further = [(f"hostnames[{position}]", name) for position, name in enumerate(settings.hostnames)]
    for setting, name in [("hostname", settings.hostname), *further]:
        if validators.is_address(name):
            problem = "is an IP address, which gets no certificate here; give a name, or set tls to selfsigned or files"
        elif public and name and not validators.is_public(name):
            problem = (
                "is no name of the public DNS, so Let's Encrypt gives it no certificate; "
                "set tls to selfsigned or files, or acme_server to a CA of your own"
            )
        else:
            continue
        yield ("tls", "acme_server"), Fault(setting, problem, describe(name))


def _of_account(settings: Settings, *, complete: bool) -> Conflicts:
    # The CA gives the two together; an image has no secrets yet.
    if settings.acme_eab_hmac_key and not settings.acme_eab_key_id:
        problem = "is missing; give the id that the CA gave you with acme_eab_hmac_key"
        yield ("acme_eab_hmac_key",), Fault("acme_eab_key_id", problem)
    if complete and settings.acme_eab_key_id and not settings.acme_eab_hmac_key:
        problem = "is missing; give the key that the CA gave you with acme_eab_key_id"
        yield ("acme_eab_key_id",), Fault("acme_eab_hmac_key", problem)


def _of_dns(settings: Settings) -> Conflicts:
    if settings.acme_dns_plugin and settings.acme_dns_hook:
        problem = "is in place of a plugin, but acme_dns_plugin is set as well; keep one of the two"
        yield ("acme_dns_plugin",), Fault("acme_dns_hook", problem, describe(settings.acme_dns_hook))
    if settings.acme_dns_plugin == "route53" and settings.acme_dns_credentials:
        problem = "is nothing that route53 takes; give the keys as AWS wants them (a role, or /root/.aws/credentials)"
        yield ("acme_dns_plugin",), Fault("acme_dns_credentials", problem)
    if settings.acme_dns_plugin:
        return
    problem = "has no effect without acme_dns_plugin; name the plugin, such as rfc2136, or take it away"
    if settings.acme_dns_credentials:
        yield ("acme_dns_plugin",), Fault("acme_dns_credentials", problem)
    if settings.acme_dns_propagation_s:
        shown = str(settings.acme_dns_propagation_s)
        yield ("acme_dns_plugin",), Fault("acme_dns_propagation_s", problem, shown)


def _of_mail(settings: Settings, target: Target) -> Conflicts:
    mail, complete = settings.mail, target is not Target.IMAGE
    if mail == "postfix" and target is not Target.MACHINE:
        problem = (
            'is for machines, and a container sends through a relay: set mail = "relay", '
            "and name a Postfix beside it or on the host in BAIKAL_RELAY_HOST"
        )
        yield (), Fault("mail", problem, describe(mail))
        return
    if mail != "postfix":
        problem = (
            f'has no effect with mail = "{mail}"; set mail = "postfix", which only machines can have, or take it away'
        )
        yield from _of_no_effect(settings, ("dkim_selector",), problem, "mail")
    if mail == "off":
        problem = 'has no effect with mail = "off"; set mail = "relay" or take it away'
        yield from _of_no_effect(settings, ("mail_from", *RELAY), problem, "mail")
        return
    if complete and settings.hostname and not settings.mail_from and not validators.is_full(settings.hostname):
        problem = "is missing; hostname is no full domain that mail could come from: give an address that has one"
        yield ("mail", "hostname"), Fault("mail_from", problem)
    if mail == "postfix" and not settings.relay_host:
        problem = "has no effect without relay_host, as Postfix then delivers by itself; name the relay or take it away"
        yield from _of_no_effect(settings, RELAY, problem, "mail", "relay_host")
        return
    if complete and not settings.relay_host:
        problem = 'is missing; mail = "relay" needs the name of the SMTP server that takes the mail'
        yield ("mail",), Fault("relay_host", problem)
    yield from _of_relay(settings, complete=complete)


def _of_relay(settings: Settings, *, complete: bool) -> Conflicts:
    if settings.relay_password and not settings.relay_user:
        problem = "is missing; give the name that relay_password belongs to"
        yield ("mail", "relay_password"), Fault("relay_user", problem)
    if complete and settings.relay_user and not settings.relay_password:
        problem = "is missing; give the password that belongs to relay_user"
        yield ("mail", "relay_user"), Fault("relay_password", problem)
    if settings.relay_tls != "none":
        return
    remedy = "set relay_tls to starttls or tls, or take it away"
    if settings.relay_password:
        problem = f'would be sent in the clear with relay_tls = "none"; {remedy}'
        yield ("mail", "relay_tls"), Fault("relay_password", problem)
    problem = f'has no effect with relay_tls = "none"; {remedy}'
    yield from _of_no_effect(settings, ("relay_ca",), problem, "mail", "relay_tls")


def _of_database(settings: Settings, target: Target) -> Conflicts:
    host, complete = settings.database_host, target is not Target.IMAGE
    if settings.database == "sqlite":
        problem = 'has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or take it away'
        yield from _of_no_effect(settings, ("database_host", "database_name", *SOCKET), problem, "database")
        return
    if host == LOCAL and target is not Target.MACHINE:
        problem = "is for machines, and a container has no database server; name one beside it in BAIKAL_DATABASE_HOST"
        yield ("database",), Fault("database_host", problem, describe(host))
        return
    if host == LOCAL:
        problem = 'has no effect with database_host = "local", whose socket knows who asks; take it away'
        yield from _of_no_effect(settings, SOCKET, problem, "database", "database_host")
        return
    if complete and not host:
        own = ', or "local" for one on this machine' if target is Target.MACHINE else ""
        problem = f'is missing; database = "{settings.database}" needs the name of the database server{own}'
        yield ("database",), Fault("database_host", problem)
    elif complete and not settings.database_password:
        problem = "is missing; give the password that belongs to database_user"
        yield ("database", "database_host"), Fault("database_password", problem)
    if settings.database_tls == "off":
        problem = 'has no effect with database_tls = "off"; set database_tls = "verify" or take it away'
        yield from _of_no_effect(settings, ("database_ca",), problem, "database", "database_tls")
    yield from of_old_release(settings)


def of_old_release(settings: Settings) -> Conflicts:
    """Yield what the release can't do: in a container, only its image says which that is."""
    remote = settings.database == "mysql" and settings.database_host != LOCAL
    if remote and settings.database_tls != "off" and numbers(settings.baikal_version) < MYSQL_TLS:
        problem = (
            f"can't be, as Baïkal {settings.baikal_version} speaks no TLS with MySQL: take 0.11.1 or newer, or set "
            'database_tls = "off" if the network between the two is your own'
        )
        shown = describe(settings.database_tls)
        yield ("database", "database_host", "baikal_version"), Fault("database_tls", problem, shown)


def _of_backup(settings: Settings, *, complete: bool) -> Conflicts:
    if not settings.backup:
        problem = "has no effect with backup = false; turn it on, or take it away"
        yield from _of_no_effect(settings, ("backup_schedule",), problem, "backup")
    if not any(getattr(settings, name) for name in KEPT):
        problem = f"and {KEPT[0]} and {KEPT[1]} are all 0, so no archive would be kept; keep at least one"
        yield KEPT, Fault(KEPT[2], problem, "0")
    if not settings.restic_repository:
        problem = "has no effect without restic_repository; name the repository, or take it away"
        yield from _of_no_effect(settings, ("restic_password", "restic_credentials"), problem, "restic_repository")
    elif complete and not settings.restic_password:
        problem = "is missing; restic_repository needs a password to encrypt with, which you keep elsewhere as well"
        yield ("restic_repository",), Fault("restic_password", problem)


def _of_no_effect(settings: Settings, names: tuple[str, ...], problem: str, *involved: str) -> Conflicts:
    """Yield the ``problem`` of each of ``names`` that somebody has set: to anything but its default."""
    for name in names:
        value = getattr(settings, name)
        if value != getattr(type(settings), name):  # where a dataclass keeps the default
            yield involved, Fault(name, problem, "" if isinstance(value, Secret) else describe(value))
