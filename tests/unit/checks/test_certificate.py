"""The findings of the check about the certificate, with their remedies."""

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
"""No server answers there, which another check reports."""
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
    """Use this chain."""
    put(selection.serving_pair(it), pem(*chain))


def issued(it: DesiredState, *chain: x509.Certificate) -> None:
    """Have an authority have issued this chain, for what is declared."""
    assert it.asking is not None
    put(selection.issued_path(it), pem(*chain), first=certbot.first_line(it, it.asking))


def refuse(it: DesiredState, monkeypatch: pytest.MonkeyPatch, refusal: Refusal = REFUSAL) -> str:
    """Store a refusal of an authority, and return until when it is valid."""
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
def test_without_tls_there_is_no_finding() -> None:
    """Another server has the certificate."""
    assert list(certificate.findings(declared(tls="off"))) == []


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("changed", [{}, LETSENCRYPT], ids=["self-signed", "Let's Encrypt"])
def test_a_missing_or_damaged_certificate_is_a_failure(changed: dict[str, object]) -> None:
    """Without it, nginx would not start; the deploy fixes it."""
    it = declared(**CLOSED | changed)
    assert one(it) == Finding("certificate", FAILED, f"{it.served}.pem is not there", "run the deploy")
    put(selection.serving_pair(it), pem(issue(DNS)), secret(OTHER_KEY))
    assert one(it).status == FAILED
    assert one(it).message == f"the key in {it.served}.pem doesn't belong to its certificate"


@pytest.mark.usefixtures("container")
def test_in_a_container_the_remedy_is_a_restart() -> None:
    """There is no deploy."""
    assert one(declared(**CLOSED)).remedy == "restart the container"


@pytest.mark.usefixtures("host")
def test_a_self_signed_certificate_is_reported_with_its_names_and_days() -> None:
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
def test_a_wrong_self_signed_certificate_is_replaced(chain: x509.Certificate, status: str, message: str) -> None:
    """A warning where there is time, a failure where clients refuse it."""
    it = declared(**CLOSED | FURTHERS)
    serve(it, chain)
    remedy = "" if status == OK else "run the deploy; this creates a new one"
    assert one(it) == Finding("certificate", status, message.format(f"{it.served}.pem"), remedy)


@pytest.mark.parametrize(
    ("chain", "status", "message"),
    [
        (pem(signed(days=30), CA, ROOT), OK, "not trusted by this host, for cal.example.org, 30 days left"),
        (pem(issue(DNS, days=30)), OK, "self-signed, for cal.example.org, 30 days left"),
        (
            pem(signed(starts=-90, days=29), CA, ROOT),
            WARNING,
            "not trusted by this host, for cal.example.org, 29 days left",
        ),
        (
            pem(signed(starts=-335, days=30), CA, ROOT),
            OK,
            "not trusted by this host, for cal.example.org, 30 days left",
        ),
        (pem(signed(days=29), CA, ROOT), OK, "not trusted by this host, for cal.example.org, 29 days left"),
        (
            pem(signed(starts=-68, days=21), CA, ROOT),
            WARNING,
            "not trusted by this host, for cal.example.org, 21 days left",
        ),
        (
            pem(signed(starts=-67, days=22), CA, ROOT),
            OK,
            "not trusted by this host, for cal.example.org, 22 days left",
        ),
        (
            pem(signed(starts=-4.9, days=1), CA, ROOT),
            WARNING,
            "not trusted by this host, for cal.example.org, 1 day left",
        ),
        (
            pem(signed(starts=-4, days=2), CA, ROOT),
            OK,
            "not trusted by this host, for cal.example.org, 2 days left",
        ),
    ],
    ids=[
        *("good", "self-signed", "short", "a year, a month left", "a month, new", "90 days, too little left"),
        *("90 days, enough left", "6 days, too little left", "6 days, enough left"),
    ],
)
def test_an_own_certificate_is_reported_with_its_trust(host: Path, chain: bytes, status: str, message: str) -> None:
    """With a warning a month before its end, or long after ACME clients would have renewed it."""
    it = brought(host, chain, https_port=9)
    take(it)
    remedy = "" if status == OK else f"renew it in {host}/cal.pem; the new one is used automatically"
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
def test_an_own_certificate_that_cannot_be_used_is_a_failure(
    host: Path, chain: bytes, key: bytes, message: str
) -> None:
    """The old one is used, and its remaining days are reported."""
    take(brought(host, OWN, https_port=9))
    finding = one(brought(host, chain, key, https_port=9))
    assert finding.status == FAILED
    assert finding.message.startswith(message.format(host))
    assert finding.message.endswith(
        "; until this is fixed, this one is used: not trusted by this host, for cal.example.org, 89 days left"
    )
    assert finding.remedy == "put a valid certificate and its key there; they are then used automatically"


@pytest.mark.usefixtures("host")
def test_a_certificate_of_an_authority_is_reported_with_its_renewal() -> None:
    """By itself, so there is nothing to do."""
    it = declared(**ASKING)
    issued(it, signed(), CA)
    take(it)
    at = output.utc(renewal.renewal_time(selection.read_pair(it, selection.issued_path(it))))
    assert one(it) == Finding(
        "certificate",
        OK,
        f"from Let's Encrypt, not trusted by this host, for cal.example.org, 89 days left, renewed automatically from {at}",
    )


def test_a_trusted_certificate_is_reported_as_trusted(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the host's system knows the root; the setting only makes certbot trust it."""
    (host / "ca.pem").write_bytes(pem(ROOT))
    it = declared(**ASKING, acme_server="https://ca.lan/acme", acme_ca=str(host / "ca.pem"))
    issued(it, signed(), CA)
    take(it)
    left = "for cal.example.org, 89 days left, "
    assert one(it).message.startswith(f"from ca.lan, not trusted by this host, {left}")
    trust(monkeypatch, host, ROOT)
    assert one(it).message.startswith(f"from ca.lan, trusted by this host, {left}")


def test_a_chain_that_has_expired_is_a_failure(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients refuse it; of an authority, another one is asked for."""
    trust(monkeypatch, host, ROOT)
    late = issue(DNS, signer=(OLD_CA, CA_KEY))
    take(brought(host, OWN, https_port=9))
    finding = one(brought(host, pem(late, OLD_CA), https_port=9))
    expected = f"the chain in {host}/cal.pem has expired; use the authority's newer chain"
    assert (finding.status, finding.message.partition("; until this")[0]) == (FAILED, expected)
    it = declared(**ASKING)
    issued(it, late, OLD_CA)
    refuse(it, monkeypatch)
    assert one(it).message.startswith(
        "no certificate from Let's Encrypt: cal.example.org: connection refused; until then"
    )


@pytest.mark.usefixtures("host")
def test_with_a_wrong_clock_the_remedy_is_to_set_it() -> None:
    """Another certificate would be of tomorrow as well."""
    it = declared(**ASKING)
    issued(it, signed(starts=1), CA)
    serve(it, signed(starts=1), CA)
    message = f"{it.served}.pem is not valid yet; is the clock right?"
    assert one(it) == Finding("certificate", FAILED, message, "set the clock (timedatectl)")


@pytest.mark.usefixtures("host")
def test_before_the_first_request_the_remedy_is_to_wait() -> None:
    """As between the deploy's steps."""
    it = declared(**ASKING)
    take(it)
    assert one(it) == Finding(
        "certificate",
        WARNING,
        "a certificate will be requested from Let's Encrypt soon (Let's Encrypt has issued none yet); until then "
        "this one is used: self-signed, for cal.example.org, 396 days left",
        "wait a few minutes",
    )


@pytest.mark.usefixtures("host")
def test_a_refusal_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, because the server serves; reason and remedy are the authority's, and when it is asked again."""
    it = declared(**ASKING)
    until = refuse(it, monkeypatch)
    assert one(it) == Finding(
        "certificate",
        WARNING,
        "no certificate from Let's Encrypt: cal.example.org: connection refused; until then this one is used: self-signed, "
        "for cal.example.org, 396 days left",
        f"let port 80 lead here; the next request is after {until}, or now with baikalctl certificate --now or the deploy",
    )


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("limit", ["the authority's", "ours"])
def test_a_command_that_would_only_wait_is_not_suggested(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """If the authority has named a time, or has had enough requests."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    assert "--now" in one(it).remedy
    if limit == "ours":
        for _ in range(attempts.PATIENCE):
            until = refuse(it, monkeypatch)
    else:
        until = refuse(it, monkeypatch, dataclasses.replace(REFUSAL, wait_s=50_000))
    assert one(it).remedy == f"let port 80 lead here; the next request is after {until}"


@pytest.mark.usefixtures("container")
def test_in_a_container_the_remedy_is_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no deploy."""
    (Path(paths.STATE).parents[3] / "programs/s6-svstat").write_text("#!/bin/sh\n", encoding="ascii")
    (Path(paths.STATE).parents[3] / "programs/s6-svstat").chmod(0o755)
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    assert one(it).remedy.endswith(", or now with docker exec … baikalctl certificate --now")


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
def test_repeated_refusals_become_a_failure(
    monkeypatch: pytest.MonkeyPatch, chain: x509.Certificate, status: str
) -> None:
    """When clients will soon refuse the certificate; clients refuse a self-signed one anyway."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    serve(it, chain, CA)
    assert one(it).status == status
    assert "no certificate from Let's Encrypt: cal.example.org: connection refused" in one(it).message


@pytest.mark.usefixtures("host")
def test_a_certificate_for_another_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an expired one as well."""
    it = declared(**ASKING)
    refuse(it, monkeypatch)
    serve(it, signed(FURTHER, starts=-90, days=-1), CA)
    assert one(it).message.endswith("not trusted by this host, for another name, expired")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("shows", [True, False])
def test_nginx_must_show_the_current_certificate(monkeypatch: pytest.MonkeyPatch, *, shows: bool) -> None:
    """A separate warning, in addition to the finding about the files."""
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
        results = list(certificate.findings(declared(**LETSENCRYPT, https_port=web.port)))
    assert results[0].status == OK
    remedy = "systemctl reload nginx, or run the deploy"
    stale = Finding("certificate", WARNING, "nginx still serves the previous certificate", remedy)
    assert results[1:] == ([] if shows else [stale])


@pytest.mark.usefixtures("host")
def test_an_old_certificate_during_a_reload_is_no_finding() -> None:
    """The workers of before answer for a moment."""
    it = declared(**LETSENCRYPT)
    issued(it, signed(), CA)
    take(it)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(put(Path(paths.TLS) / "old.pem", pem(signed(), CA)))
    reload = threading.Timer(0.3, context.load_cert_chain, [selection.serving_pair(it)])
    with serving(context) as web:
        reload.start()
        results = list(certificate.findings(declared(**LETSENCRYPT, https_port=web.port)))
    reload.join()
    assert [finding.status for finding in results] == [OK]
