"""Asking an authority, and what is made of its refusals: every text here was said by certbot 2.1, most of it to pebble."""

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
"""What certbot said and what it wrote to its log, of which only the end is kept, without tracebacks and signatures."""
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
    """Return what is declared of a host that asks an authority."""
    assert host.is_dir()
    return declared(**LETSENCRYPT, acme_server=SERVER)


def asking(it: DesiredState, **changed: object) -> Acme:
    """Return how ``it`` asks."""
    assert it.asking is not None
    return dataclasses.replace(it.asking, **changed)  # type: ignore[arg-type]


def recorded(name: str) -> tuple[str, str]:
    """Return what certbot said, and its log."""
    said, _, log = (RECORDED / f"{name}.txt").read_text(encoding="utf-8").partition("\n=== letsencrypt.log\n")
    assert log
    return said, log


def understood(name: str, **changed: object) -> Refusal:
    """Return what is made of something that certbot said."""
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
def test_a_refusal_is_one_sentence_with_its_remedy(name: str, reason: str, remedy: str) -> None:
    """In the authority's own words, which name what it has found; nobody has to read a log."""
    found = understood(name)
    assert re.fullmatch(reason, found.reason)
    assert found.remedy == remedy
    assert not found.account
    assert not found.chance


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.txt")))
def test_a_sentence_is_one_line_without_anything_of_python_or_of_others(name: str) -> None:
    """Whatever was said around it, such as by a hook that shows its password."""
    found = understood(name)
    line = f"{found.reason}; {found.remedy}"
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
def test_what_lets_encrypt_finds_at_a_name_is_told_with_it(kind: str, detail: str, remedy: str) -> None:
    """In the form that its integration guide and its forum show; pebble has fewer words."""
    it = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    found = acme_errors.explain(DNS_PROBLEM.format(kind, detail), "", asking(it), it)
    assert found.reason == f"dav.example.org: {detail}"
    assert found.remedy.startswith(remedy)


def test_what_the_dns_lacks_is_a_matter_of_plugin_and_hook() -> None:
    """With DNS-01 nobody comes to port 80, whatever the type of the problem is called."""
    found = understood("no-record", by_dns=True)
    assert found == Refusal(reason="cal.example.org: No TXT records found for DNS challenge", remedy=BY_DNS)


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
def test_only_what_is_about_the_record_is_a_matter_of_plugin_and_hook(kind: str, detail: str, remedy: str) -> None:
    """What else an authority finds is the same with and without them."""
    it = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    found = acme_errors.explain(DNS_PROBLEM.format(kind, detail), "", asking(it, by_dns=True), it)
    assert found.reason == f"dav.example.org: {detail}"
    assert found.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("name", "expected_s"),
    [("limited-for-seconds", 86400), ("limited-until", 199_800), ("unauthorized", 0), ("account-gone", 0)],
)
def test_an_authority_says_how_long_not_to_ask(monkeypatch: pytest.MonkeyPatch, name: str, expected_s: int) -> None:
    """In seconds or as a date (RFC 9110, section 10.2.3), and only where it limits us."""
    monkeypatch.setattr(time, "time", lambda: 1_795_581_000.0)  # 2026-11-25 04:30 UTC
    assert understood(name).wait_s == expected_s


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
def test_what_an_authority_says_of_time_is_read_carefully(
    monkeypatch: pytest.MonkeyPatch, header: str, expected_s: int
) -> None:
    """What makes no sense is as if it had not been said."""
    monkeypatch.setattr(time, "time", lambda: 1_795_581_000.0)
    it = declared(**LETSENCRYPT)
    said, log = recorded("limited-for-seconds")
    changed = log.replace("Retry-After: 86400", header)
    assert changed != log
    assert acme_errors.explain(said, changed, asking(it), it).wait_s == expected_s


def test_only_the_last_answer_counts() -> None:
    """A header of an answer before it is about something else."""
    it = declared(**LETSENCRYPT)
    said, log = recorded("limited-for-seconds")
    earlier = log.replace("HTTP 201\n", "HTTP 201\nRetry-After: 5\n").replace("Retry-After: 86400\n", "")
    assert acme_errors.explain(said, earlier, asking(it), it).wait_s == 0


def problem(kind: str, detail: str, **more: object) -> dict[str, object]:
    """Return a problem document (RFC 8555, section 6.7)."""
    return {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail} | more


def after(body: object, *, headers: str = "", **changed: object) -> Refusal:
    """Return what is made of an authority's last answer with this ``body``, after one that was good."""
    it = declared(**LETSENCRYPT, acme_server=SERVER)
    said, log = recorded("limited-for-seconds")
    earlier, mark, last = log.rpartition("Received response:\n")
    status, words = f"HTTP 400\n{headers}Server: nginx\n", last[last.index("\n}\n") + 3 :]
    text = body if isinstance(body, str) else json.dumps(body, indent=2)
    return acme_errors.explain(said, f"{earlier}{mark}{status}\n{text}\n{words}", asking(it, **changed), it)


def test_an_order_that_came_to_nothing_says_why() -> None:
    """In itself, and not as a problem (RFC 8555, section 7.1.3)."""
    detail = "Error finalizing order :: CA is rechecking CAA for cal.example.org"
    found = after({"status": "invalid", "error": problem("caa", detail), "identifiers": [{"type": "dns"}]})
    assert found == Refusal(reason=detail, remedy=REMEDIES["caa"].format(name="cal.example.org"))


def test_of_several_problems_the_inner_one_is_told() -> None:
    """The outer one only says that there are some (RFC 8555, section 6.7.1)."""
    inner = [problem("rejectedIdentifier", 'Domain "cal.example.org" is forbidden'), problem("caa", "another")]
    outer = problem("rejectedIdentifier", "Some of the identifiers were rejected", subproblems=inner)
    expected = Refusal(reason='Domain "cal.example.org" is forbidden', remedy=REMEDIES["rejectedIdentifier"])
    assert after(outer) == expected
    assert after({"status": "invalid", "error": outer}) == expected


@pytest.mark.parametrize("subproblems", [None, [], {}, [{}], [{"detail": ""}]])
def test_a_problem_without_inner_ones_speaks_for_itself(subproblems: object) -> None:
    """However an authority writes that there is none."""
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
def test_an_answer_that_is_no_problem_is_not_taken_for_one(body: object) -> None:
    """Not even where one came before it: that was about something else, and certbot got on."""
    found = after(body)
    assert (found.reason, found.wait_s, found.account) == ("AttributeError: can't set attribute", 0, False)
    assert found.remedy == UNFORESEEN


def test_an_answer_with_other_json_in_its_headers_is_understood() -> None:
    """Content delivery networks, which stand before authorities too, say there where to report to."""
    headers = 'NEL: {"success_fraction":0,"max_age":604800}\nRetry-After: 77\n'
    found = after(problem("rateLimited", "too many"), headers=headers)
    assert (found.reason, found.wait_s) == ("too many", 77)


def test_a_paused_account_is_to_be_opened_at_the_address_that_is_told() -> None:
    """Let's Encrypt's has a token in it, longer than any sentence, and is of use only as a whole."""
    address = f"https://portal.letsencrypt.org/sfe/v1/unpause?jwt={'x' * 700}"
    words = (
        "Your account is temporarily prevented from requesting certificates for cal.example.org and possibly others."
    )
    found = after(problem("rateLimited", f"{words} Please visit: {address}"), headers="Retry-After: 60\n")
    assert found.reason.startswith(f"{words} Please visit: https://portal.")
    assert found.reason.endswith(f"… {address}")
    assert (found.remedy, found.wait_s) == ("open that address and unpause the account", 60)
    assert not found.account


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
def test_a_sentence_is_shortened_but_no_address_in_it(text: str, short: str) -> None:
    """Somebody may have to open it."""
    assert after(problem("caa", text)).reason == short


def test_an_account_that_is_gone_is_known_as_such() -> None:
    """Certbot 2.1 itself has no word for it: AttributeError."""
    found = understood("account-gone")
    assert found.account
    assert re.fullmatch(r"Account \S+ not found\.", found.reason)


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("unauthorized", 'Account is not valid, has status "deactivated"'),
        ("unauthorized", 'Account is not valid, has status "revoked"'),
        ("accountDoesNotExist", 'Account "https://acme-v02.api.letsencrypt.org/acme/acct/1" not found'),
    ],
)
def test_an_account_that_was_ended_is_known_as_such(kind: str, detail: str) -> None:
    """As Let's Encrypt says it; somebody may have ended it elsewhere."""
    it = declared(**LETSENCRYPT)
    said, log = recorded("account-gone")
    problem = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail})
    other = re.sub(r"^\{.+?^\}", lambda _: problem, log, flags=re.MULTILINE | re.DOTALL)
    assert problem in other
    found = acme_errors.explain(said, other, asking(it), it)
    assert (found.account, found.reason) == (True, detail)


@pytest.mark.parametrize(
    "answered",
    [
        problem("unauthorized", "External account binding: account is not valid"),
        problem("externalAccountRequired", "the account was not found or revoked"),
        problem("malformed", "the key id (kid) of the account was revoked"),
    ],
    ids=["words", "type", "kid"],
)
def test_an_account_elsewhere_is_not_ours(answered: dict[str, object]) -> None:
    """A new one of ours would have the same trouble with it."""
    found = after(answered)
    assert (found.account, found.remedy) == (False, EAB)


def test_an_unauthorized_request_is_not_always_an_accounts_end() -> None:
    """What was given up at once couldn't be had back."""
    assert not after(problem("unauthorized", "JWS verification error")).account


def test_a_nonce_that_was_too_old_is_chance() -> None:
    """Nobody has to do anything about it."""
    assert understood("nonce").chance
    assert understood("nonce").remedy == "wait"


@pytest.mark.parametrize(
    ("said", "log", "reason"),
    [
        ("", "", "certbot printed nothing"),
        ("Saving debug log\nSomething happened\n", "", "Something happened"),
        ("", "{ not json urn:ietf:params:acme:error:dns }", "certbot printed nothing"),
        ("x" * 1000, "", f"{'x' * 300}…"),
    ],
)
def test_what_nobody_has_foreseen_is_passed_on(said: str, log: str, reason: str) -> None:
    """Its last words, and where there are more."""
    it = declared(**LETSENCRYPT)
    found = acme_errors.explain(said, log, asking(it), it)
    assert found.reason == reason
    assert found.remedy == UNFORESEEN
    assert acme_errors.explain(said, log, asking(it, by_dns=True), it).remedy == f"{BY_DNS}; {UNFORESEEN}"


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("letsencrypt", "Let's Encrypt"),
        ("staging", "Let's Encrypt's staging"),
        ("https://ca.lan:8443/acme/dir", "ca.lan:8443"),
    ],
)
def test_people_know_an_authority_by_its_name(server: str, name: str) -> None:
    """Or else by its host."""
    assert certbot_client.authority_name(asking(declared(**LETSENCRYPT, acme_server=server))) == name


CERTBOT = """\
#!{python}
import pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
here = pathlib.Path(__file__).parent
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
bundle = pathlib.Path(__import__("os").environ.get("REQUESTS_CA_BUNDLE", "/not/there"))
if bundle.exists():
    (here / f"bundle-{{bundle.stat().st_mode & 0o777:o}}").write_bytes(bundle.read_bytes())
with (here / "asked").open("a") as asked:
    print(sys.argv[1:], file=asked)
(here / "environment").write_text("\\n".join(f"{{k}}={{v}}" for k, v in __import__("os").environ.items()))
answers = sorted(here.glob("answer-*"))
if answers:
    said, _, log = answers[0].read_text().partition("\\n=== letsencrypt.log\\n")
    answers[0].unlink()
    pathlib.Path({acme!r}, "letsencrypt.log").write_text(log)
    print(said)
    sys.exit(1)
request = x509.load_pem_x509_csr(pathlib.Path(words["--csr"]).read_bytes())
given = x509.load_pem_x509_certificate((here / "given.pem").read_bytes())
signing = serialization.load_pem_private_key((here / "ca.key").read_bytes(), None)
names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
if (here / "names").exists():
    names = x509.SubjectAlternativeName([x509.DNSName((here / "names").read_text())])
made = x509.CertificateBuilder(given.subject, x509.Name([]), request.public_key(), x509.random_serial_number(),
    given.not_valid_before, given.not_valid_after).add_extension(names, False).sign(signing, hashes.SHA256())
pem = serialization.Encoding.PEM
pathlib.Path(words["--fullchain-path"]).write_bytes(made.public_bytes(pem) + given.public_bytes(pem))
"""
"""Stands in for certbot: signs what it is asked for, or says what it was told to."""


@pytest.fixture
def certbot(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a certbot that signs; return its directory."""
    folder = host / "certbot"
    folder.mkdir()
    program = folder / "certbot"
    program.write_text(CERTBOT.format(python=sys.executable, acme=paths.ACME), encoding="utf-8")
    program.chmod(0o755)
    (folder / "given.pem").write_bytes(pem(CA))
    (folder / "ca.key").write_bytes(secret(CA_KEY))
    monkeypatch.setattr(certbot_client, "CERTBOT", str(program))
    return folder


def asked(certbot: Path) -> int:
    """Return how often certbot was called."""
    return len((certbot / "asked").read_text(encoding="utf-8").splitlines()) if (certbot / "asked").exists() else 0


def answer(certbot: Path, *names: str) -> None:
    """Have certbot say these recorded things, one after the other, before it signs."""
    for number, name in enumerate(names):
        (certbot / f"answer-{number}").write_bytes((RECORDED / f"{name}.txt").read_bytes())


def test_a_hook_that_others_can_change_by_now_is_not_run(certbot: Path, host: Path) -> None:
    """It is checked each time, not only at the deploy. certbot isn't called, and the reason is reported."""
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
def test_what_an_authority_gives_stands_with_its_key_in_one_file(
    certbot: Path, it: DesiredState, kind: str, key: type
) -> None:
    """Chain, then key, for root alone, below a line that says what was asked for; nothing else is left."""
    it = declared(**LETSENCRYPT, acme_server=SERVER, acme_key_type=kind, hostnames=["dav.example.org"])
    assert certbot_client.request_certificate(it, asking(it)) is None
    place = selection.issued_path(it)
    text = place.read_text(encoding="utf-8")
    assert text.startswith(
        f"# {kind} from {SERVER}, for cal.example.org dav.example.org\n-----BEGIN CERTIFICATE-----\n"
    )
    assert text.count("BEGIN CERTIFICATE") == 2
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert isinstance(x509.load_pem_x509_certificate(text.encode()).public_key(), key)
    pair = selection.read_pair(it, place)
    assert (pair.fault(), pair.uncovered, pair.self_signed) == ("", (), False)
    assert sorted(path.name for path in Path(paths.ACME).iterdir()) == ["issued"]
    assert asked(certbot) == 1


def test_a_new_certificate_has_a_new_key(certbot: Path, it: DesiredState) -> None:
    """Whoever got hold of the old one has nothing of it."""
    keys = set()
    for _ in range(2):
        assert certbot_client.request_certificate(it, asking(it)) is None
        keys.add(selection.issued_path(it).read_text(encoding="utf-8").partition("PRIVATE KEY")[2])
    assert len(keys) == 2
    assert asked(certbot) == 2


def test_certbot_is_told_nothing_secret_and_asks_nobody(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are files; its home is the caller's, where plugins look for what is theirs."""
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
    """A plugin talks to its provider, whose authority is none of ours; a file without a last newline is no hindrance."""
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
    assert bundle.read_bytes() == pem(ROOT), "where the system has none"


def test_a_declared_authority_that_is_not_there_is_told(certbot: Path, it: DesiredState) -> None:
    """As where it is no longer mounted; nobody is asked then."""
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


def test_nothing_is_issued_while_somebody_else_is_at_work(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that clears away must not find it half written; while the authority is asked, everybody may work."""
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


def test_a_refusal_leaves_what_was_issued(certbot: Path, it: DesiredState) -> None:
    """And nothing half done beside it; certbot's log of the attempt stays, for whoever wants to know more."""
    before = put(selection.issued_path(it), pem(issue(x509.DNSName("cal.example.org"))), first="# old\n").read_bytes()
    answer(certbot, "unauthorized")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.remedy == ELSEWHERE
    assert selection.issued_path(it).read_bytes() == before
    assert sorted(path.name for path in Path(paths.ACME).iterdir()) == ["issued", "letsencrypt.log"]
    assert [path.name for path in Path(paths.ISSUED).iterdir()] == ["localhost:14000_cal.example.org.pem"]
    assert asked(certbot) == 1


def test_a_log_of_an_earlier_attempt_says_nothing_of_this_one(certbot: Path, it: DesiredState) -> None:
    """Certbot may end before it writes one."""
    (Path(paths.ACME) / "letsencrypt.log").write_text(recorded("limited-for-seconds")[1], encoding="utf-8")
    program = certbot / "certbot"
    program.write_text(
        "#!/bin/sh\necho 'Another instance of Certbot is already running.' >&2\nexit 1\n", encoding="ascii"
    )
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert (refusal.reason, refusal.wait_s) == ("Another instance of Certbot is already running.", 0)


def test_an_account_that_is_gone_is_replaced_at_once(certbot: Path, it: DesiredState) -> None:
    """Those at other servers stay."""
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
    """An authority that refuses each new one isn't given one after the other."""
    answer(certbot, *["account-gone"] * 3)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.account
    assert asked(certbot) == 2


def test_a_new_account_gets_a_second_chance_as_well(certbot: Path, it: DesiredState) -> None:
    """The one trouble says nothing of the other."""
    answer(certbot, "nonce", "account-gone", "nonce")
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert asked(certbot) == 4


def test_an_account_stays_where_another_one_is_the_trouble(certbot: Path, it: DesiredState) -> None:
    """That of a customer, which an authority wants to know beside it."""
    account = Path(paths.ACME) / "accounts/localhost:14000/dir/1"
    account.mkdir(parents=True)
    answer(certbot, "eab-wrong-id")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert account.exists()
    assert asked(certbot) == 1


def test_a_nonce_that_was_too_old_is_tried_again_at_once(certbot: Path, it: DesiredState) -> None:
    """A few times; then it is a refusal as any other."""
    answer(certbot, "nonce", "nonce", "nonce")
    assert certbot_client.request_certificate(it, asking(it)) is None
    answer(certbot, *["nonce"] * 9)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.reason.startswith("JWS has an invalid anti-replay nonce")
    assert asked(certbot) == 4 + certbot_client.ATTEMPTS


def test_what_does_not_cover_our_names_is_told(certbot: Path, it: DesiredState) -> None:
    """An authority of somebody's own may give whatever it likes."""
    (certbot / "names").write_text("other.example.org", encoding="ascii")
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert (
        refusal.reason
        == f"the issued certificate can't be used: {selection.issued_path(it)} doesn't cover cal.example.org"
    )


def test_a_full_disk_is_told_before_anybody_is_asked(
    certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was issued counts against limits, so it must not be lost for want of room."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert "can't be written (No space left on device); make room in" in refusal.reason
    assert asked(certbot) == 0


def test_a_certbot_that_hangs_is_ended(certbot: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it had begun."""
    (certbot / "certbot").write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    monkeypatch.setattr(certbot_client, "LIMIT_S", 0.2)
    refusal = certbot_client.request_certificate(it, asking(it))
    assert refusal is not None
    assert refusal.reason == "certbot did not finish within 0.2 s"
    assert not (Path(paths.ACME) / "incoming").exists()


def test_a_certbot_that_is_not_there_is_for_the_deploy_to_mend(
    it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have removed it."""
    monkeypatch.setattr(certbot_client, "CERTBOT", "/not/there")
    assert certbot_client.request_certificate(it, asking(it)) == Refusal(
        reason="certbot is not installed", remedy="run the deploy"
    )


def test_what_a_killed_attempt_left_is_no_hindrance(certbot: Path, it: DesiredState) -> None:
    """Not even a key."""
    folder = Path(paths.ACME) / "incoming"
    folder.mkdir()
    (folder / "key.pem").write_bytes(b"half of a key")
    assert certbot_client.request_certificate(it, asking(it)) is None
    assert asked(certbot) == 1
    assert not folder.exists()
