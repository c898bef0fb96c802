"""What is wrong between settings that are each right by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.faults import Fault
from baikalctl.kinds import describe
from baikalctl.release import KNOWN_RELEASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.settings import Settings


def contradictions(settings: Settings, *, complete: bool) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """Yield each contradiction with the names of the other settings involved; ``complete`` ones need a host name."""
    if complete and not settings.hostname:
        yield (), Fault("hostname", 'is missing; give the name that clients type, such as "cal.example.org"')
    if settings.http_port == settings.https_port and settings.tls != "off":
        problem = "is http_port as well; give the two different ports"
        yield ("http_port", "tls"), Fault("https_port", problem, str(settings.https_port))
    for name in ("tls_certificate", "tls_key"):
        given = getattr(settings, name)
        if settings.tls == "files" and not given:
            yield ("tls",), Fault(name, 'is missing; tls = "files" needs both tls_certificate and tls_key')
        elif settings.tls != "files" and given:
            problem = f'has no effect with tls = "{settings.tls}"; set tls = "files" or take it away'
            yield ("tls",), Fault(name, problem, describe(given))
    if not settings.caldav and not settings.carddav:
        problem = "and caldav are both off, so nothing would be served; turn one on"
        yield ("caldav",), Fault("carddav", problem, "false")
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
