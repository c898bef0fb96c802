"""What is wrong between settings each of which is right by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from baikalctl import rules
from baikalctl.faults import Fault
from baikalctl.kinds import describe
from baikalctl.release import KNOWN_RELEASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.settings import Settings

Contradictions: TypeAlias = "Iterator[tuple[tuple[str, ...], Fault]]"
"""Each with the names of the other settings involved."""


def contradictions(settings: Settings, *, complete: bool) -> Contradictions:
    """Yield each contradiction; what only a running server needs is asked for of ``complete`` ones, not of images."""
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


def _of_release(settings: Settings) -> Contradictions:
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


def _of_files(settings: Settings) -> Contradictions:
    for name in ("tls_certificate", "tls_key"):
        given = getattr(settings, name)
        if settings.tls == "files" and not given:
            yield ("tls",), Fault(name, 'is missing; tls = "files" needs both tls_certificate and tls_key')
        elif settings.tls != "files" and given:
            problem = f'has no effect with tls = "{settings.tls}"; set tls = "files" or take it away'
            yield ("tls",), Fault(name, problem, describe(given))


def _of_letsencrypt(settings: Settings) -> Contradictions:
    if not settings.acme_email:
        problem = 'is missing; tls = "letsencrypt" needs the address where the CA may write to you'
        yield ("tls",), Fault("acme_email", problem)
    public = settings.acme_directory in rules.ACME_SERVERS.values()
    further = [(f"hostnames[{position}]", name) for position, name in enumerate(settings.hostnames)]
    for setting, name in [("hostname", settings.hostname), *further]:
        if name.replace(".", "").isdigit():  # or meant as one
            problem = "is an IP address, which gets no certificate here; give a name, or set tls to selfsigned or files"
        elif public and name and not rules.is_public(name):
            problem = (
                "is no name of the public DNS, so Let's Encrypt gives it no certificate; "
                "set tls to selfsigned or files, or acme_server to a CA of your own"
            )
        else:
            continue
        yield ("tls", "acme_server"), Fault(setting, problem, describe(name))


def _of_account(settings: Settings, *, complete: bool) -> Contradictions:
    # The CA gives the two together; an image has no secrets yet.
    if settings.acme_eab_hmac_key and not settings.acme_eab_key_id:
        problem = "is missing; give the id that the CA gave you with acme_eab_hmac_key"
        yield ("acme_eab_hmac_key",), Fault("acme_eab_key_id", problem)
    if complete and settings.acme_eab_key_id and not settings.acme_eab_hmac_key:
        problem = "is missing; give the key that the CA gave you with acme_eab_key_id"
        yield ("acme_eab_key_id",), Fault("acme_eab_hmac_key", problem)


def _of_dns(settings: Settings) -> Contradictions:
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
