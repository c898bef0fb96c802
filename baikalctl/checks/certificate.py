"""Findings about the certificate: its issuer, names and lifetime, and why a better one is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.errors import HostError
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.host.runtime import apply_remedy, in_container
from baikalctl.output import counted
from baikalctl.tls import certificate, selection
from baikalctl.tls.nginx_reload import is_shown, is_stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import Acme, DesiredState
    from baikalctl.tls.certificate import Pair


SUBJECT = "certificate"
MOMENT_S = 2
"""Seconds that nginx's old workers may still answer after a reload."""
SOON = 1 / 4
"""The operator's own certificate gets a warning when this part of its life is left, or less than a month: ACME clients
renew theirs when a third is left."""
LATE = 1 / 10
"""When this part of its life is left, a certificate that can't be renewed is a failure."""


def findings(declared: DesiredState) -> Iterator[Finding]:
    """Check the certificate in use, its renewal, and what nginx shows to clients."""
    if not declared.served:
        return
    try:
        pair = selection.read_pair(declared, selection.serving_pair(declared))
    except HostError as error:
        yield Finding(SUBJECT, FAILED, str(error), apply_remedy())
        return
    if declared.asking:
        yield _of_authority(declared, declared.asking, pair)
    elif declared.tls == "files":
        yield _of_own_files(declared, pair)
    else:
        fault = pair.fault() or (
            f"it has {counted(pair.days_left, 'day')} left" if pair.days_left < certificate.RENEW_DAYS else ""
        )
        remedy = f"{apply_remedy()}; this creates a new one" if fault else ""
        yield Finding(
            SUBJECT, FAILED if pair.fault() else WARNING if fault else OK, fault or _words(declared, pair), remedy
        )
    try:
        stale = is_stale(declared) and not is_shown(declared, MOMENT_S)
    except OSError:
        return  # the check "answer" reports a server that doesn't answer
    if stale:
        reload = "restart the container" if in_container() else "systemctl reload nginx, or run the deploy"
        yield Finding(SUBJECT, WARNING, "nginx still serves the previous certificate", reload)


def _of_own_files(declared: DesiredState, pair: Pair) -> Finding:
    """Check the operator's own certificate and key."""
    try:
        selection.declared_pair(declared)
    except HostError as error:
        message = f"{error}; until this is fixed, this one is used: {_words(declared, pair)}"
        return Finding(
            SUBJECT, FAILED, message, "put a valid certificate and its key there; they are then used automatically"
        )
    if pair.remaining < min(certificate.RENEW_DAYS * certificate.DAY_S, SOON * (pair.ends - pair.begins)):
        remedy = f"renew it in {declared.tls_certificate}; the new one is used automatically"
        return Finding(SUBJECT, WARNING, _words(declared, pair), remedy)
    return Finding(SUBJECT, OK, _words(declared, pair))


def _of_authority(declared: DesiredState, asking: Acme, pair: Pair) -> Finding:
    """Check the certificate from an authority, or report why there is none."""
    from baikalctl import output
    from baikalctl.tls import attempts, certbot, renewal

    who = certbot.authority_name(asking)
    due = renewal.due(declared, asking)
    if not due:
        fault = pair.fault()
        until = f"renewed automatically from {output.utc(renewal.renewal_time(pair))}"
        message = fault or f"from {who}, {_words(declared, pair)}, {until}"
        return Finding(SUBJECT, FAILED if fault else OK, message, "set the clock (timedatectl)" if fault else "")
    refused = attempts.last_attempts(declared, asking)
    serves = f"this one is used: {_words(declared, pair)}"
    if refused is None:
        return Finding(
            SUBJECT,
            WARNING,
            f"a certificate will be requested from {who} soon ({due}); until then {serves}",
            "wait a few minutes",
        )
    sooner = (
        "docker exec … baikalctl certificate --now" if in_container() else "baikalctl certificate --now or the deploy"
    )
    hint = f", or now with {sooner}" if renewal.may_request(declared) else ""
    late = not pair.covers(declared.hostname) or (
        not pair.self_signed and pair.remaining < LATE * (pair.ends - pair.begins)
    )
    return Finding(
        SUBJECT,
        FAILED if late else WARNING,
        f"no certificate from {who}: {refused.reason}; until then {serves}",
        f"{refused.remedy}; the next request is after {output.utc(refused.until)}{hint}",
    )


def _words(declared: DesiredState, pair: Pair) -> str:
    """Return the trust, the names and the remaining days of a certificate."""
    chain = "trusted by this host" if pair.trusted else "not trusted by this host"
    covered = [name for name in declared.names if pair.covers(name)]
    left = f"{counted(pair.days_left, 'day')} left" if pair.remaining > 0 else "expired"
    return f"{'self-signed' if pair.self_signed else chain}, for {', '.join(covered) or 'another name'}, {left}"
