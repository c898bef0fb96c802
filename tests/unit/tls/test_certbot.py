"""Requests to an authority, and its refusals. All recorded texts were printed by certbot 2.1, most of them with pebble."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from baikalctl import paths
from baikalctl.host import atomic_write
from baikalctl.tls import acme_errors, selection
from baikalctl.tls import certbot as certbot_client
from baikalctl.tls.acme_errors import BY_DNS, REMEDIES, Refusal
from tests.unit.pairs import CA, CA_KEY, ROOT, issue, pem, put, secret
from tests.unit.samples import HOME, LETSENCRYPT, declared

if TYPE_CHECKING:
    from baikalctl.desired.state import Acme, DesiredState

RECORDED = HOME / "tests/unit/tls/certbot"
"""Recorded output and log of certbot. Of the log, only the end is kept, without tracebacks and signatures."""
SERVER = "https://localhost:14000/dir"
PORT_80 = REMEDIES["connection"].format(name="cal.example.org")
ELSEWHERE = REMEDIES["unauthorized"].format(name="cal.example.org")
EAB = REMEDIES["externalAccountRequired"]
REACH = "check DNS, firewall and proxy of this host"
LIMITED = (
    "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after "
    "2026-11-2{} 12:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/"
    "#new-certificates-per-exact-set-of-identifiers"
)
MORE = f"{paths.ACME}/letsencrypt.log has more"
UNFORESEEN = f"{MORE}; certbot also reads /etc/letsencrypt/cli.ini"
CHALLENGE = r"http://cal\.example\.org:5002/\.well-known/acme-challenge/[\w-]{43}"


@pytest.fixture
def it(host: Path) -> DesiredState:
    """Return the state of a host that requests certificates from an authority."""
    assert host.is_dir()
    return declared(**LETSENCRYPT, acme_server=SERVER)


def asking(it: DesiredState, **changed: object) -> Acme:
    """Return the ACME settings of ``it``."""
    assert it.asking is not None
    return dataclasses.replace(it.asking, **changed)  # type: ignore[arg-type]


def recorded(name: str) -> tuple[str, str]:
    """Return certbot's recorded output, and its log."""
    printed, _, log = (RECORDED / f"{name}.txt").read_text(encoding="utf-8").partition("\n=== letsencrypt.log\n")
    assert log
    return printed, log


def explained(name: str, **changed: object) -> Refusal:
    """Return the refusal for a recorded output of certbot."""
    it = declared(**LETSENCRYPT, acme_server=SERVER)
    return acme_errors.explain(*recorded(name), asking(it, **changed), it)


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("connection-refused", rf'cal\.example\.org: Get "{CHALLENGE}": dial tcp .+: connection refused', PORT_80),
        ("two-names", r"cal\.example\.org: .+: connection refused \(and 1 more\)", PORT_80),
        (
            "unauthorized",
            rf"cal\.example\.org: Non-200 status code from HTTP: {CHALLENGE} returned 404 \(and 1 more\)",
            ELSEWHERE,
        ),
        (
            "blocked",
            r'Order included an identifier for which issuance is forbidden by policy: "blocked\.example\.org"',
            REMEDIES["rejectedIdentifier"],
        ),
        ("contact", r'contact email "ops@" is invalid', REMEDIES["invalidContact"]),
        ("eab-required", r"Unable to register .+ Server requires external account binding\. .+", EAB),
        ("eab-wrong-id", "the field 'kid' references a key that is not known to the ACME server", EAB),
        ("eab-wrong-key", "external account binding JWS verification error: .+", EAB),
        (
            "untrusted",
            rf"this host doesn't trust the certificate of {SERVER}",
            "check the clock; for a private authority, set acme_ca to the file of its root certificate",
        ),
        ("down", rf"{SERVER} can't be reached: Requesting localhost/dir: Connection refused", REACH),
        ("no-such-name", rf"{SERVER} can't be reached: \[Errno -2\] Name or service not known", REACH),
        ("timeout", rf"{SERVER} can't be reached: Read timed out", REACH),
        ("503", rf"{SERVER} can't be reached: .*<Response \[503\]>", REACH),
        ("404", rf"{SERVER} is no ACME directory \(.*<Response \[404\]>\)", "fix acme_server"),
        ("limited-for-seconds", re.escape(LIMITED.format(5)), REMEDIES["rateLimited"]),
        ("limited-until", re.escape(LIMITED.format(7)), REMEDIES["rateLimited"]),
    ],
)
def test_a_refusal_has_one_sentence_and_its_remedy(name: str, reason: str, remedy: str) -> None:
    """The reason contains the authority's own text, so the operator need not read a log."""
    refusal = explained(name)
    assert re.fullmatch(reason, refusal.reason)
    assert refusal.remedy == remedy
    assert not refusal.account
    assert not refusal.chance


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.txt")))
def test_a_refusal_is_one_line_without_tracebacks_or_secrets(name: str) -> None:
    """Other output of certbot, for example a password that a hook prints, is left out."""
    refusal = explained(name)
    line = f"{refusal.reason}; {refusal.remedy}"
    assert len(line) < 500
    for alien in ("\n", "Traceback", "object at 0x", "AttributeError", "geheim", "certbot.eff.org", "community."):
        assert alien not in line


DNS_PROBLEM = """\
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: dav.example.org
  Type:   {}
  Detail: {}

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.
"""


@pytest.mark.parametrize(
    ("kind", "detail", "remedy"),
    [
        (
            "dns",
            "DNS problem: NXDOMAIN looking up A for dav.example.org - check that a DNS record exists for this domain",
            "point the DNS name dav.example.org to this host",
        ),
        (
            "dns",
            "DNS problem: SERVFAIL looking up A for dav.example.org - the domain's nameservers may be malfunctioning",
            "fix the nameservers of dav.example.org, for example their DNSSEC: they don't answer the authority",
        ),
        (
            "tls",
            "192.0.2.7: Fetching https://dav.example.org/…: remote error: tls: handshake failure",
            "make port 80 of dav.example.org reach port 80 of this host, not port 443",
        ),
        (
            "caa",
            "CAA record for dav.example.org prevents issuance",
            "the CAA record of dav.example.org in the DNS forbids this authority; change the record",
        ),
        (
            "connection",
            "192.0.2.7: Fetching http://dav.example.org/…: Timeout during connect",
            "make port 80 of dav.example.org reach this host: ",
        ),
        (
            "unauthorized",
            "192.0.2.7: Invalid response from https://dav.example.org/…: 404",
            "port 80 of dav.example.org reaches another server",
        ),
        (
            "incorrectResponse",
            "The key authorization file from the server did not match",
            "port 80 of dav.example.org reaches another server",
        ),
        ("somethingNew", "words", MORE),
    ],
)
def test_a_problem_reported_for_a_name_has_that_name_and_a_remedy(kind: str, detail: str, remedy: str) -> None:
    """In the form of Let's Encrypt's integration guide and forum. pebble prints fewer details."""
    it = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    refusal = acme_errors.explain(DNS_PROBLEM.format(kind, detail), "", asking(it), it)
    assert refusal.reason == f"dav.example.org: {detail}"
    assert refusal.remedy.startswith(remedy)


def test_a_missing_txt_record_has_the_remedy_for_dns_challenges() -> None:
    """With DNS-01, the authority doesn't connect to port 80, whichever type the problem has."""
    refusal = explained("no-record", by_dns=True)
    assert refusal == Refusal(reason="cal.example.org: No TXT records found for DNS challenge", remedy=BY_DNS)


@pytest.mark.parametrize(
    ("kind", "detail", "remedy"),
    [
        ("dns", "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.dav.example.org", BY_DNS),
        ("unauthorized", "Incorrect TXT record found at _acme-challenge.dav.example.org", BY_DNS),
        ("incorrectResponse", "The record did not match", BY_DNS),
        ("dns", "DNS problem: SERVFAIL looking up TXT for _acme-challenge.dav.example.org", "fix the nameservers of "),
        ("caa", "CAA record for dav.example.org prevents issuance", "the CAA record of dav.example.org in the DNS "),
        ("rejectedIdentifier", "The ACME server refuses to issue", REMEDIES["rejectedIdentifier"]),
        ("somethingNew", "words", MORE),
    ],
)
def test_only_problems_of_the_record_have_the_remedy_for_dns_challenges(kind: str, detail: str, remedy: str) -> None:
    """Other problems have the same remedy for all challenges."""
    it = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    refusal = acme_errors.explain(DNS_PROBLEM.format(kind, detail), "", asking(it, by_dns=True), it)
    assert refusal.reason == f"dav.example.org: {detail}"
    assert refusal.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("name", "expected_s"),
    [("limited-for-seconds", 86400), ("limited-until", 199_800), ("unauthorized", 0), ("account-gone", 0)],
)
def test_the_delay_of_a_rate_limit_is_read(monkeypatch: pytest.MonkeyPatch, name: str, expected_s: int) -> None:
    """In seconds or as a date (RFC 9110, section 10.2.3), and only for rate limits."""
    monkeypatch.setattr(time, "time", lambda: 1_795_581_000.0)  # 2026-11-25 04:30 UTC
    assert explained(name).wait_s == expected_s


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("Retry-After: Wed, 25 Nov 2026 04:00:00 GMT", 0),
        ("Retry-After: soon", 0),
        ("Retry-After: -5", 0),
        ("retry-after: 60", 60),
        ("X-Retry-After: 60", 0),
        ("", 0),
    ],
    ids=["past", "no date", "negative", "lower case", "another header", "none"],
)
def test_an_invalid_retry_after_is_ignored(monkeypatch: pytest.MonkeyPatch, header: str, expected_s: int) -> None:
    """As if the header were missing."""
    monkeypatch.setattr(time, "time", lambda: 1_795_581_000.0)
    it = declared(**LETSENCRYPT)
    printed, log = recorded("limited-for-seconds")
    changed = log.replace("Retry-After: 86400", header)
    assert changed != log
    assert acme_errors.explain(printed, changed, asking(it), it).wait_s == expected_s


def test_only_the_last_response_counts() -> None:
    """A header of an earlier response is about something else."""
    it = declared(**LETSENCRYPT)
    printed, log = recorded("limited-for-seconds")
    earlier = log.replace("HTTP 201\n", "HTTP 201\nRetry-After: 5\n").replace("Retry-After: 86400\n", "")
    assert acme_errors.explain(printed, earlier, asking(it), it).wait_s == 0


def problem(kind: str, detail: str, **more: object) -> dict[str, object]:
    """Return a problem document (RFC 8555, section 6.7)."""
    return {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail} | more


def after(body: object, *, headers: str = "", **changed: object) -> Refusal:
    """Return the refusal if the authority's last response has this ``body``, after a good one."""
    it = declared(**LETSENCRYPT, acme_server=SERVER)
    printed, log = recorded("limited-for-seconds")
    earlier, mark, last = log.rpartition("Received response:\n")
    status, words = f"HTTP 400\n{headers}Server: nginx\n", last[last.index("\n}\n") + 3 :]
    text = body if isinstance(body, str) else json.dumps(body, indent=2)
    return acme_errors.explain(printed, f"{earlier}{mark}{status}\n{text}\n{words}", asking(it, **changed), it)


def test_the_problem_of_a_failed_order_is_reported() -> None:
    """The order contains it, and isn't a problem document itself (RFC 8555, section 7.1.3)."""
    detail = "Error finalizing order :: CA is rechecking CAA for cal.example.org"
    refusal = after({"status": "invalid", "error": problem("caa", detail), "identifiers": [{"type": "dns"}]})
    assert refusal == Refusal(reason=detail, remedy=REMEDIES["caa"].format(name="cal.example.org"))


def test_a_subproblem_is_reported_instead_of_the_outer_problem() -> None:
    """The outer one only says that there are some (RFC 8555, section 6.7.1)."""
    inner = [problem("rejectedIdentifier", 'Domain "cal.example.org" is forbidden'), problem("caa", "another")]
    outer = problem("rejectedIdentifier", "Some of the identifiers were rejected", subproblems=inner)
    expected = Refusal(reason='Domain "cal.example.org" is forbidden', remedy=REMEDIES["rejectedIdentifier"])
    assert after(outer) == expected
    assert after({"status": "invalid", "error": outer}) == expected


@pytest.mark.parametrize("subproblems", [None, [], {}, [{}], [{"detail": ""}]])
def test_a_problem_without_subproblems_is_reported_itself(subproblems: object) -> None:
    """In each form that an authority may use for "none"."""
    assert after(problem("caa", "words", subproblems=subproblems)).reason == "words"


@pytest.mark.parametrize(
    "body",
    [
        {"status": "valid"},
        {"status": "invalid", "error": None},
        {"error": "words"},
        {"type": "urn:ietf:params:acme:error", "detail": "not quite"},
        {"type": 7},
        problem("caa", "words", subproblems=["text"]),
        problem("caa", "words", subproblems=7),
        [problem("caa", "words")],
        "{ not json urn:ietf:params:acme:error:dns }",
        "<html>502</html>",
        "",
    ],
    ids=[
        *("good", "no error", "another error", "another type", "a number", "texts within", "a number within", "a list"),
        *("damaged", "a proxy's page", "nothing"),
    ],
)
def test_a_last_response_without_a_problem_is_not_reported(body: object) -> None:
    """Also if an earlier response had one: that was about something else, and certbot continued."""
    refusal = after(body)
    assert (refusal.reason, refusal.wait_s, refusal.account) == ("AttributeError: can't set attribute", 0, False)
    assert refusal.remedy == UNFORESEEN


def test_a_response_with_json_in_its_headers_is_read() -> None:
    """Content delivery networks in front of authorities add headers with JSON (NEL)."""
    headers = 'NEL: {"success_fraction":0,"max_age":604800}\nRetry-After: 77\n'
    refusal = after(problem("rateLimited", "too many"), headers=headers)
    assert (refusal.reason, refusal.wait_s) == ("too many", 77)


def test_a_paused_account_has_the_whole_address_to_unpause_it() -> None:
    """Let's Encrypt's address contains a token that is longer than a finding and can't be cut."""
    address = f"https://portal.letsencrypt.org/sfe/v1/unpause?jwt={'x' * 700}"
    words = (
        "Your account is temporarily prevented from requesting certificates for cal.example.org and possibly others."
    )
    refusal = after(problem("rateLimited", f"{words} Please visit: {address}"), headers="Retry-After: 60\n")
    assert refusal.reason.startswith(f"{words} Please visit: https://portal.")
    assert refusal.reason.endswith(f"… {address}")
    assert (refusal.remedy, refusal.wait_s) == ("open that address and unpause the account", 60)
    assert not refusal.account


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (f"see https://a.example/b {'x' * 400}", f"see https://a.example/b {'x' * 276}…"),
        (
            f"{'x' * 299} https://a.example/b and\nhttp://c.example",
            f"{'x' * 299} … https://a.example/b http://c.example",
        ),
        (f"{'x' * 290} <https://a.example/b>", f"{'x' * 290} <https://… https://a.example/b"),
        (f"{'x' * 100}\n  {'y' * 199}", f"{'x' * 100} {'y' * 199}"),
    ],
    ids=["in front", "behind", "across", "short enough"],
)
def test_a_long_reason_is_cut_but_addresses_stay_whole(text: str, short: str) -> None:
    """The operator may have to open them."""
    assert after(problem("caa", text)).reason == short


def test_an_account_that_does_not_exist_is_recognised() -> None:
    """Certbot 2.1 itself prints only an AttributeError."""
    refusal = explained("account-gone")
    assert refusal.account
    assert re.fullmatch(r"Account \S+ not found\.", refusal.reason)


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("unauthorized", 'Account is not valid, has status "deactivated"'),
        ("unauthorized", 'Account is not valid, has status "revoked"'),
        ("accountDoesNotExist", 'Account "https://acme-v02.api.letsencrypt.org/acme/acct/1" not found'),
    ],
)
def test_a_deactivated_or_revoked_account_is_recognised(kind: str, detail: str) -> None:
    """In Let's Encrypt's words; the operator may have deactivated it from another host."""
    it = declared(**LETSENCRYPT)
    printed, log = recorded("account-gone")
    problem = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail})
    other = re.sub(r"^\{.+?^\}", lambda _: problem, log, flags=re.MULTILINE | re.DOTALL)
    assert problem in other
    refusal = acme_errors.explain(printed, other, asking(it), it)
    assert (refusal.account, refusal.reason) == (True, detail)


@pytest.mark.parametrize(
    "answered",
    [
        problem("unauthorized", "External account binding: account is not valid"),
        problem("externalAccountRequired", "the account was not found or revoked"),
        problem("malformed", "the key id (kid) of the account was revoked"),
    ],
    ids=["words", "type", "kid"],
)
def test_a_problem_of_the_external_account_keeps_our_account(answered: dict[str, object]) -> None:
    """A new ACME account would have the same problem."""
    refusal = after(answered)
    assert (refusal.account, refusal.remedy) == (False, EAB)


def test_an_unauthorized_request_alone_keeps_the_account() -> None:
    """A deleted account can't be restored."""
    assert not after(problem("unauthorized", "JWS verification error")).account


def test_an_old_nonce_is_a_temporary_problem() -> None:
    """The operator need not do anything."""
    assert explained("nonce").chance
    assert explained("nonce").remedy == "wait"


@pytest.mark.parametrize(
    ("printed", "log", "reason"),
    [
        ("", "", "certbot printed nothing"),
        ("Saving debug log\nSomething happened\n", "", "Something happened"),
        ("", "{ not json urn:ietf:params:acme:error:dns }", "certbot printed nothing"),
        ("x" * 1000, "", f"{'x' * 300}…"),
    ],
)
def test_unknown_errors_are_reported_with_their_last_line(printed: str, log: str, reason: str) -> None:
    """The remedy names the log, which has more."""
    it = declared(**LETSENCRYPT)
    refusal = acme_errors.explain(printed, log, asking(it), it)
    assert refusal.reason == reason
    assert refusal.remedy == UNFORESEEN
    assert acme_errors.explain(printed, log, asking(it, by_dns=True), it).remedy == f"{BY_DNS}; {UNFORESEEN}"


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("letsencrypt", "Let's Encrypt"),
        ("staging", "Let's Encrypt's staging"),
        ("https://ca.lan:8443/acme/dir", "ca.lan:8443"),
    ],
)
def test_an_authority_is_shown_by_its_name(server: str, name: str) -> None:
    """By its host if it has no known name."""
    assert certbot_client.authority_name(asking(declared(**LETSENCRYPT, acme_server=server))) == name


CERTBOT = """\
#!{python}
import pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
folder = pathlib.Path(__file__).parent
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
bundle = pathlib.Path(__import__("os").environ.get("REQUESTS_CA_BUNDLE", "/not/there"))
if bundle.exists():
    (folder / f"bundle-{{bundle.stat().st_mode & 0o777:o}}").write_bytes(bundle.read_bytes())
with (folder / "asked").open("a") as asked:
    print(sys.argv[1:], file=asked)
(folder / "environment").write_text("\\n".join(f"{{k}}={{v}}" for k, v in __import__("os").environ.items()))
answers = sorted(folder.glob("answer-*"))
if answers:
    printed, _, log = answers[0].read_text().partition("\\n=== letsencrypt.log\\n")
    answers[0].unlink()
    pathlib.Path({acme!r}, "letsencrypt.log").write_text(log)
    print(printed)
    sys.exit(1)
request = x509.load_pem_x509_csr(pathlib.Path(options["--csr"]).read_bytes())
issuer = x509.load_pem_x509_certificate((folder / "issuer.pem").read_bytes())
signing = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
if (folder / "names").exists():
    names = x509.SubjectAlternativeName([x509.DNSName((folder / "names").read_text())])
made = x509.CertificateBuilder(issuer.subject, x509.Name([]), request.public_key(), x509.random_serial_number(),
    issuer.not_valid_before, issuer.not_valid_after).add_extension(names, False).sign(signing, hashes.SHA256())
pem = serialization.Encoding.PEM
pathlib.Path(options["--fullchain-path"]).write_bytes(made.public_bytes(pem) + issuer.public_bytes(pem))
"""
"""A fake certbot: it signs the request, or prints a recorded answer."""


@pytest.fixture
def certbot(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a certbot that signs; return its directory."""
    folder = host / "certbot"
    folder.mkdir()
    program = folder / "certbot"
    program.write_text(CERTBOT.format(python=sys.executable, acme=paths.ACME), encoding="utf-8")
    program.chmod(0o755)
    (folder / "issuer.pem").write_bytes(pem(CA))
    (folder / "ca.key").write_bytes(secret(CA_KEY))
    monkeypatch.setattr(certbot_client, "CERTBOT", str(program))
    return folder


def asked(certbot: Path) -> int:
    """Return how often certbot was called."""
    return len((certbot / "asked").read_text(encoding="utf-8").splitlines()) if (certbot / "asked").exists() else 0


def answer(certbot: Path, *names: str) -> None:
    """Let certbot print these recorded answers, one per call, before it signs."""
    for number, name in enumerate(names):
        (certbot / f"answer-{number}").write_bytes((RECORDED / f"{name}.txt").read_bytes())


def test_a_hook_that_other_accounts_can_change_is_not_run(certbot: Path, host: Path) -> None:
    """It is checked at each request, not only at the deploy. certbot isn't called, and the reason is reported."""
    hook = host / "hook"
    hook.touch(mode=0o755)
    it = declared(**LETSENCRYPT, acme_server=SERVER, acme_dns_hook=str(hook))
    hook.chmod(0o757)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal
    assert f"{hook} can be changed by others" in refusal.reason
    assert asked(certbot) == 0
    hook.chmod(0o755)
    assert certbot_client.request_certificate(it, asking(it)) is None


@pytest.mark.parametrize(
    ("kind", "key"), [("ecdsa", ec.EllipticCurvePublicKey), ("rsa", rsa.RSAPublicKey)], ids=["ecdsa", "rsa"]
)
def test_an_issued_certificate_is_stored_with_its_key_in_one_file(
    certbot: Path, it: DesiredState, kind: str, key: type
) -> None:
    """Chain, then key, readable for root alone, below a line with the request. No other file is left."""
    it = declared(**LETSENCRYPT, acme_server=SERVER, acme_key_type=kind, hostnames=["dav.example.org"])
    assert certbot_client.request_certificate(it, asking(it)) is None
    path = selection.issued_path(it)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(
        f"# {kind} from {SERVER}, for cal.example.org dav.example.org\n-----BEGIN CERTIFICATE-----\n"
    )
    assert text.count("BEGIN CERTIFICATE") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert isinstance(x509.load_pem_x509_certificate(text.encode()).public_key(), key)
    pair = selection.read_pair(it, path)
    assert (pair.fault(), pair.uncovered, pair.self_signed) == ("", (), False)
    assert sorted(path.name for path in Path(paths.ACME).iterdir()) == ["issued"]
    assert asked(certbot) == 1


def test_a_new_certificate_has_a_new_key(certbot: Path, it: DesiredState) -> None:
    """An attacker who has the old key can't use it for the new certificate."""
    keys = set()
    for _ in range(2):
        assert certbot_client.request_certificate(it, asking(it)) is None
        keys.add(selection.issued_path(it).read_text(encoding="utf-8").partition("PRIVATE KEY")[2])
    assert len(keys) == 2
    assert asked(certbot) == 2


def test_certbot_gets_no_secret_arguments_and_no_terminal(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments are names of files. Its home is the caller's, where plugins look for their files."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", "/root")
    assert certbot_client.request_certificate(it, asking(it)) is None
    words = (certbot / "asked").read_text(encoding="utf-8")
    assert words.startswith(f"['certonly', '--config', '{paths.CERTBOT}', '--csr', '{paths.ACME}/incoming/")
    environment = (certbot / "environment").read_text(encoding="utf-8").splitlines()
    for line in ("HOME=/root", "LC_ALL=C.UTF-8", f"TMPDIR={paths.ACME}/incoming"):
        assert line in environment
    assert not [line for line in environment if line.startswith("REQUESTS_CA_BUNDLE")]


def test_certbot_trusts_the_declared_authority_and_the_systems(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DNS plugin connects to its provider, which has a public certificate. A file without a last newline works."""
    system, own = certbot / "system.pem", certbot / "own.pem"
    system.write_bytes(pem(CA).rstrip())
    own.write_bytes(pem(ROOT))
    monkeypatch.setattr(certbot_client, "SYSTEM", str(system))
    it = dataclasses.replace(it, authority=str(own))
    assert certbot_client.request_certificate(it, asking(it)) is None
    bundle = certbot / "bundle-600"
    assert bundle.read_bytes() == pem(CA, ROOT)
    assert len(x509.load_pem_x509_certificates(bundle.read_bytes())) == 2
    assert not (Path(paths.ACME) / "incoming").exists()
    system.unlink()
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert bundle.read_bytes() == pem(ROOT), "if the system has none"


def test_a_missing_file_of_the_declared_authority_is_reported(certbot: Path, it: DesiredState) -> None:
    """For example if it is no longer mounted. No authority is asked."""
    refusal = certbot_client.request_certificate(dataclasses.replace(it, authority="/not/there.pem"), asking(it))
    assert refusal is not None
    assert refusal.reason == "/not/there.pem can't be read: No such file or directory (see acme_ca)"
    assert asked(certbot) == 0
    assert not (Path(paths.ACME) / "incoming").exists()


def test_further_names_are_the_same_in_any_order() -> None:
    """Another certificate for the same names would count against the authority's limits."""
    one, other = (declared(**LETSENCRYPT, hostnames=names) for names in (["b.org", "a.org"], ["a.org", "b.org"]))
    assert certbot_client.first_line(one, asking(one)) == certbot_client.first_line(other, asking(other))
    assert certbot_client.first_line(one, asking(one)).endswith(", for cal.example.org a.org b.org\n")
    swapped = declared(**LETSENCRYPT | {"hostname": "a.org", "hostnames": ["b.org", "cal.example.org"]})
    assert certbot_client.first_line(swapped, asking(swapped)) != certbot_client.first_line(one, asking(one))


def test_a_certificate_is_stored_only_while_the_data_is_locked(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run that removes old files must not see a partial file. The lock is free while the authority is asked."""
    held: dict[str, bool] = {}
    true_write = atomic_write.write

    def write(path: Path, text: str) -> None:
        with Path(paths.LOCK).open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held[path.name] = True
            else:
                held[path.name] = False
        true_write(path, text)

    monkeypatch.setattr(certbot_client, "write", write)
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert held == {"key.pem": False, "request.pem": False, selection.issued_path(it).name: True}
    assert asked(certbot) == 1


def test_a_refusal_keeps_the_issued_certificate(certbot: Path, it: DesiredState) -> None:
    """Partial files are removed; certbot's log of the attempt is kept."""
    before = put(selection.issued_path(it), pem(issue(x509.DNSName("cal.example.org"))), first="# old\n").read_bytes()
    answer(certbot, "unauthorized")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.remedy == ELSEWHERE
    assert selection.issued_path(it).read_bytes() == before
    assert sorted(path.name for path in Path(paths.ACME).iterdir()) == ["issued", "letsencrypt.log"]
    assert [path.name for path in Path(paths.ISSUED).iterdir()] == ["localhost:14000_cal.example.org.pem"]
    assert asked(certbot) == 1


def test_a_log_of_an_earlier_attempt_is_ignored(certbot: Path, it: DesiredState) -> None:
    """Certbot may fail before it writes a log."""
    (Path(paths.ACME) / "letsencrypt.log").write_text(recorded("limited-for-seconds")[1], encoding="utf-8")
    program = certbot / "certbot"
    program.write_text(
        "#!/bin/sh\necho 'Another instance of Certbot is already running.' >&2\nexit 1\n", encoding="ascii"
    )
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert (refusal.reason, refusal.wait_s) == ("Another instance of Certbot is already running.", 0)


def test_an_account_that_is_gone_is_replaced_at_once(certbot: Path, it: DesiredState) -> None:
    """Accounts at other servers are kept."""
    accounts = Path(paths.ACME) / "accounts"
    gone, other = accounts / "localhost:14000/dir/1", accounts / "acme-v02.api.letsencrypt.org/directory/2"
    for folder in (gone, other):
        folder.mkdir(parents=True)
    answer(certbot, "account-gone")
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert not gone.exists()
    assert other.exists()
    assert asked(certbot) == 2


def test_an_account_is_replaced_once(certbot: Path, it: DesiredState) -> None:
    """If an authority refuses each new account, no more are created."""
    answer(certbot, *["account-gone"] * 3)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.account
    assert asked(certbot) == 2


def test_a_new_account_may_have_an_old_nonce_too(certbot: Path, it: DesiredState) -> None:
    """The two problems are independent."""
    answer(certbot, "nonce", "account-gone", "nonce")
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert asked(certbot) == 4


def test_the_account_is_kept_if_the_external_account_is_wrong(certbot: Path, it: DesiredState) -> None:
    """The external account is the customer's account, which some authorities require in addition."""
    account = Path(paths.ACME) / "accounts/localhost:14000/dir/1"
    account.mkdir(parents=True)
    answer(certbot, "eab-wrong-id")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert account.exists()
    assert asked(certbot) == 1


def test_a_request_with_an_old_nonce_is_repeated_at_once(certbot: Path, it: DesiredState) -> None:
    """A few times; then it counts as a refusal."""
    answer(certbot, "nonce", "nonce", "nonce")
    assert certbot_client.request_certificate(it, asking(it)) is None
    answer(certbot, *["nonce"] * 9)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.reason.startswith("JWS has an invalid anti-replay nonce")
    assert asked(certbot) == 4 + certbot_client.ATTEMPTS


def test_a_certificate_that_does_not_cover_our_names_is_reported(certbot: Path, it: DesiredState) -> None:
    """A private authority may issue anything."""
    (certbot / "names").write_text("other.example.org", encoding="ascii")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert (
        refusal.reason
        == f"the issued certificate can't be used: {selection.issued_path(it)} doesn't cover cal.example.org"
    )


def test_a_full_disk_is_reported_before_the_authority_is_asked(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issued certificates count against limits, so they must not be lost because the disk is full."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert "can't be written (No space left on device)" in refusal.reason
    assert asked(certbot) == 0


def test_a_certbot_that_hangs_is_killed(certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partial files are removed."""
    (certbot / "certbot").write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    monkeypatch.setattr(certbot_client, "LIMIT_S", 0.2)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.reason == "certbot did not finish within 0.2 s"
    assert not (Path(paths.ACME) / "incoming").exists()


def test_a_missing_certbot_has_the_deploy_as_its_remedy(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator may have removed the package."""
    monkeypatch.setattr(certbot_client, "CERTBOT", "/not/there")
    assert certbot_client.request_certificate(it, asking(it)) == Refusal(
        reason="certbot is not installed", remedy="run the deploy"
    )


def test_files_of_a_killed_attempt_are_removed(certbot: Path, it: DesiredState) -> None:
    """Also a partial key."""
    folder = Path(paths.ACME) / "incoming"
    folder.mkdir()
    (folder / "key.pem").write_bytes(b"half of a key")
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert asked(certbot) == 1
    assert not folder.exists()
