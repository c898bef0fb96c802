"""What the doctor says of the certificate: each finding, with what to do."""

from __future__ import annotations

import dataclasses
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import output, paths
from baikalctl.checks import certificate
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.tls import attempts, certbot, renewal, selection
from baikalctl.tls.acme_errors import Refusal
from baikalctl.tls.renewal import Options
from tests.unit.pairs import (
    CA,
    CA_KEY,
    DNS,
    FURTHER,
    GOOD_KEY,
    OLD_CA,
    OTHER_KEY,
    ROOT,
    issue,
    pem,
    put,
    secret,
    signed,
    take,
    trust,
)
from tests.unit.pairs import (
    operator_files as brought,
)
from tests.unit.samples import LETSENCRYPT, declared
from tests.unit.serving import serving

if TYPE_CHECKING:
    from cryptography import x509

    from baikalctl.desired.state import DesiredState


CLOSED: dict[str, object] = {"https_port": 9}
"""Nobody shows anything there, which is told by another examination."""
FURTHERS: dict[str, object] = {"hostnames": ["dav.example.org"]}
ASKING = LETSENCRYPT | CLOSED
REFUSAL = Refusal(reason="cal.example.org: connection refused", remedy="let port 80 lead here")
OWN = pem(signed(), CA, ROOT)


def one(it: DesiredState) -> Finding:
    """Return the only finding."""
    (finding,) = certificate.findings(it)
    assert finding.subject == "certificate"
    return finding


def serve(it: DesiredState, *chain: x509.Certificate) -> None:
    """Have this chain serve, whatever else there is."""
    put(selection.serving_pair(it), pem(*chain))


def issued(it: DesiredState, *chain: x509.Certificate) -> None:
    """Have an authority have issued this chain, for what is declared."""
    assert it.asking is not None
    put(selection.issued_path(it), pem(*chain), first=certbot.first_line(it, it.asking))


def refuse(it: DesiredState, monkeypatch: pytest.MonkeyPatch, refusal: Refusal = REFUSAL) -> str:
    """Have an authority refuse somebody in a hurry, and return until when."""
    monkeypatch.setattr(certbot, "request_certificate", lambda *_: refusal)
    renewal.maintain(it, lambda _: None, Options(skip_delay=True))
    assert it.asking is not None
    refused = attempts.last_attempts(it, it.asking)
    assert refused is not None
    return output.utc(refused.until)


@pytest.fixture
def container(host: Path) -> Path:
    """Have a container that has started; return its root."""
    Path(paths.SERVICES).mkdir(parents=True)
    return host


@pytest.mark.usefixtures("host")
def test_without_tls_there_is_nothing_to_say() -> None:
    """Another server has the certificate."""
    assert list(certificate.findings(declared(tls="off"))) == []


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("changed", [{}, LETSENCRYPT], ids=["self-signed", "Let's Encrypt"])
def test_what_is_not_there_or_damaged_is_a_failure(changed: dict[str, object]) -> None:
    """With it, nginx would not start; the deploy mends it."""
    it = declared(**CLOSED | changed)
    assert one(it) == Finding("certificate", FAILED, f"{it.served}.pem is not there", "run the deploy")
    put(selection.serving_pair(it), pem(issue(DNS)), secret(OTHER_KEY))
    assert one(it).status == FAILED
    assert one(it).message == f"the key in {it.served}.pem doesn't belong to its certificate"


@pytest.mark.usefixtures("container")
def test_in_a_container_a_start_mends_it() -> None:
    """There is no deploy."""
    assert one(declared(**CLOSED)).remedy == "restart the container"


@pytest.mark.usefixtures("host")
def test_a_self_signed_one_is_told_with_its_names_and_days() -> None:
    """All is well."""
    it = declared(**CLOSED | FURTHERS)
    take(it)
    expected = "self-signed, for cal.example.org, dav.example.org, 396 days left"
    assert one(it) == Finding("certificate", OK, expected)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("chain", "status", "message"),
    [
        (issue(DNS, FURTHER, days=30), OK, "self-signed, for cal.example.org, dav.example.org, 30 days left"),
        (issue(DNS, FURTHER, days=29), WARNING, "it has 29 days left"),
        (issue(DNS, FURTHER, starts=-90, days=-1), FAILED, "{} has expired"),
        (issue(DNS, FURTHER, starts=1), FAILED, "{} is not valid yet; is the clock right?"),
        (issue(DNS), FAILED, "{} doesn't cover dav.example.org"),
    ],
    ids=["good", "short", "expired", "not valid yet", "further name"],
)
def test_a_self_signed_one_that_is_wrong_is_made_anew(chain: x509.Certificate, status: str, message: str) -> None:
    """A warning where there is time, a failure where clients refuse it."""
    it = declared(**CLOSED | FURTHERS)
    serve(it, chain)
    remedy = "" if status == OK else "run the deploy: that makes a new one"
    assert one(it) == Finding("certificate", status, message.format(f"{it.served}.pem"), remedy)


@pytest.mark.parametrize(
    ("chain", "status", "message"),
    [
        (pem(signed(days=30), CA, ROOT), OK, "a chain that isn't known here, for cal.example.org, 30 days left"),
        (pem(issue(DNS, days=30)), OK, "self-signed, for cal.example.org, 30 days left"),
        (
            pem(signed(starts=-90, days=29), CA, ROOT),
            WARNING,
            "a chain that isn't known here, for cal.example.org, 29 days left",
        ),
        (
            pem(signed(starts=-335, days=30), CA, ROOT),
            OK,
            "a chain that isn't known here, for cal.example.org, 30 days left",
        ),
        (pem(signed(days=29), CA, ROOT), OK, "a chain that isn't known here, for cal.example.org, 29 days left"),
        (
            pem(signed(starts=-68, days=21), CA, ROOT),
            WARNING,
            "a chain that isn't known here, for cal.example.org, 21 days left",
        ),
        (
            pem(signed(starts=-67, days=22), CA, ROOT),
            OK,
            "a chain that isn't known here, for cal.example.org, 22 days left",
        ),
        (
            pem(signed(starts=-4.9, days=1), CA, ROOT),
            WARNING,
            "a chain that isn't known here, for cal.example.org, 1 days left",
        ),
        (
            pem(signed(starts=-4, days=2), CA, ROOT),
            OK,
            "a chain that isn't known here, for cal.example.org, 2 days left",
        ),
    ],
    ids=[
        *("good", "self-signed", "short", "a year, a month left", "a month, new", "90 days, too little left"),
        *("90 days, enough left", "6 days, too little left", "6 days, enough left"),
    ],
)
def test_ones_own_is_told_with_whose_it_is(host: Path, chain: bytes, status: str, message: str) -> None:
    """And somebody is to renew it in time: a month before, or when clients of an authority would have done so for long."""
    it = brought(host, chain, https_port=9)
    take(it)
    remedy = "" if status == OK else f"renew it in {host}/cal.pem: it is taken into service by itself"
    assert one(it) == Finding("certificate", status, message, remedy)


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        (OWN, secret(OTHER_KEY), "{0}/cal.key is not the key of {0}/cal.pem"),
        (b"", GOOD_KEY, "{0}/cal.pem is no certificate in PEM form"),
        (pem(signed(starts=-90, days=-1), CA, ROOT), GOOD_KEY, "{0}/cal.pem has expired"),
        (pem(signed()), GOOD_KEY, "{0}/cal.pem lacks its chain: "),
        (pem(signed(FURTHER), CA, ROOT), GOOD_KEY, "{0}/cal.pem doesn't cover cal.example.org"),
    ],
    ids=["other key", "empty", "expired", "without chain", "other name"],
)
def test_ones_own_that_cannot_serve_is_a_failure(host: Path, chain: bytes, key: bytes, message: str) -> None:
    """While the old one serves, of which it is told for how long."""
    take(brought(host, OWN, https_port=9))
    finding = one(brought(host, chain, key, https_port=9))
    assert finding.status == FAILED
    assert finding.message.startswith(message.format(host))
    assert finding.message.endswith(
        "; until then this one serves: a chain that isn't known here, for cal.example.org, 89 days left"
    )
    assert finding.remedy == "put a pair there that is right: it is taken into service by itself"


@pytest.mark.usefixtures("host")
def test_one_of_an_authority_is_told_with_when_it_is_renewed() -> None:
    """By itself, so there is nothing to do."""
    it = declared(**ASKING)
    issued(it, signed(), CA)
    take(it)
    at = output.utc(renewal.renewal_time(selection.read_pair(it, selection.issued_path(it))))
    assert one(it) == Finding(
        "certificate",
        OK,
        f"of Let's Encrypt, a chain that isn't known here, for cal.example.org, 89 days left, renewed by itself from {at}",
    )


def test_one_that_clients_believe_is_told_as_such(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host's system knows the root; that it is declared tells certbot, and nobody's clients."""
    (host / "ca.pem").write_bytes(pem(ROOT))
    it = declared(**ASKING, acme_server="https://ca.lan/acme", acme_ca=str(host / "ca.pem"))
    issued(it, signed(), CA)
    take(it)
    left = "for cal.example.org, 89 days left, "
    assert one(it).message.startswith(f"of ca.lan, a chain that isn't known here, {left}")
    trust(monkeypatch, host, ROOT)
    assert one(it).message.startswith(f"of ca.lan, a chain that is trusted here, {left}")


def test_a_chain_that_has_expired_is_a_failure(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients refuse it; of an authority, another one is asked for."""
    trust(monkeypatch, host, ROOT)
    late = issue(DNS, signer=(OLD_CA, CA_KEY))
    take(brought(host, OWN, https_port=9))
    finding = one(brought(host, pem(late, OLD_CA), https_port=9))
    expected = f"the chain in {host}/cal.pem has expired; use the authority's newer chain"
    assert (finding.status, finding.message.partition("; until then")[0]) == (FAILED, expected)
    it = declared(**ASKING)
    issued(it, late, OLD_CA)
    refuse(it, monkeypatch)
    assert one(it).message.startswith("there is none of Let's Encrypt: cal.example.org: connection refused; until then")


@pytest.mark.usefixtures("host")
def test_a_clock_that_is_wrong_is_to_be_set() -> None:
    """Another certificate would be of tomorrow as well."""
    it = declared(**ASKING)
    issued(it, signed(starts=1), CA)
    serve(it, signed(starts=1), CA)
    message = f"{it.served}.pem is not valid yet; is the clock right?"
    assert one(it) == Finding("certificate", FAILED, message, "set the clock (timedatectl)")


@pytest.mark.usefixtures("host")
def test_before_anybody_was_asked_there_is_only_to_be_waited() -> None:
    """As between the deploy's steps."""
    it = declared(**ASKING)
    take(it)
    assert one(it) == Finding(
        "certificate",
        WARNING,
        "Let's Encrypt is about to be asked (Let's Encrypt has issued none yet); until then this one serves: "
        "self-signed, for cal.example.org, 396 days left",
        "that takes minutes",
    )


@pytest.mark.usefixtures("host")
def test_a_refusal_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, because the server serves; reason and remedy are the authority's, and when it is asked again."""
    it = declared(**ASKING)
    until = refuse(it, monkeypatch)
    assert one(it) == Finding(
        "certificate",
        WARNING,
        "there is none of Let's Encrypt: cal.example.org: connection refused; until then this one serves: self-signed, "
        "for cal.example.org, 396 days left",
        f"let port 80 lead here; it is asked again after {until}, or by baikalctl certificate --now or the deploy",
    )


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("limit", ["the authority's", "ours"])
def test_nobody_is_sent_to_a_command_that_would_only_wait(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Where the authority has said how long, or was asked often enough."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    assert "--now" in one(it).remedy
    if limit == "ours":
        for _ in range(attempts.PATIENCE):
            until = refuse(it, monkeypatch)
    else:
        until = refuse(it, monkeypatch, dataclasses.replace(REFUSAL, wait_s=50_000))
    assert one(it).remedy == f"let port 80 lead here; it is asked again after {until}"


@pytest.mark.usefixtures("container")
def test_in_a_container_somebody_in_a_hurry_uses_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no deploy."""
    (Path(paths.STATE).parents[3] / "programs/s6-svstat").write_text("#!/bin/sh\n", encoding="ascii")
    (Path(paths.STATE).parents[3] / "programs/s6-svstat").chmod(0o755)
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    assert one(it).remedy.endswith(", or by docker exec … baikalctl certificate --now")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("chain", "status"),
    [
        (signed(starts=-78, days=11.5), WARNING),
        (signed(starts=-82, days=7.5), FAILED),
        (signed(starts=-5.5, days=0.2 - 0.5), FAILED),
        (signed(starts=-90, days=-1), FAILED),
        (issue(DNS, starts=-394, days=2), WARNING),
        (signed(FURTHER), FAILED),
    ],
    ids=["time enough", "a tenth left", "a tenth of six days left", "expired", "self-signed", "another name"],
)
def test_what_is_refused_for_too_long_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, chain: x509.Certificate, status: str
) -> None:
    """When clients are about to refuse what serves, somebody has to be woken; a self-signed one they refused anyway."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    serve(it, chain, CA)
    assert one(it).status == status
    assert "there is none of Let's Encrypt: cal.example.org: connection refused" in one(it).message


@pytest.mark.usefixtures("host")
def test_what_serves_for_another_name_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an expired one as well."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    serve(it, signed(FURTHER, starts=-90, days=-1), CA)
    assert one(it).message.endswith("a chain that isn't known here, for another name, expired")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("shows", [True, False])
def test_what_nginx_shows_must_be_what_serves(monkeypatch: pytest.MonkeyPatch, *, shows: bool) -> None:
    """A warning of its own, beside the finding about the files; a file below a line of ours is read as well."""
    monkeypatch.setattr(certificate, "MOMENT_S", 0.2)
    it = declared(**LETSENCRYPT)
    issued(it, signed(), CA)
    take(it)
    shown = selection.serving_pair(it)
    if not shows:
        shown = put(Path(paths.TLS) / "old.pem", pem(signed(), CA))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    with serving(context) as web:
        found = list(certificate.findings(declared(**LETSENCRYPT, https_port=web.port)))
    assert found[0].status == OK
    remedy = "systemctl reload nginx, or run the deploy"
    stale = Finding("certificate", WARNING, "nginx shows another one than it should", remedy)
    assert found[1:] == ([] if shows else [stale])


@pytest.mark.usefixtures("host")
def test_what_nginx_shows_while_it_reloads_is_no_finding() -> None:
    """The workers of before answer for a moment."""
    it = declared(**LETSENCRYPT)
    issued(it, signed(), CA)
    take(it)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(put(Path(paths.TLS) / "old.pem", pem(signed(), CA)))
    reload = threading.Timer(0.3, context.load_cert_chain, [selection.serving_pair(it)])
    with serving(context) as web:
        reload.start()
        found = list(certificate.findings(declared(**LETSENCRYPT, https_port=web.port)))
    reload.join()
    assert [finding.status for finding in found] == [OK]
