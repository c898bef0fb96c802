"""The DNS records of the sender's domain: a correct zone, and each possible error."""

from __future__ import annotations

import base64
import builtins
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.resolver
import dns.rrset
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.mail import dns_records
from tests.unit.pairs import DER, secret
from tests.unit.relays import mailing, relay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from baikalctl.mail.dns_records import Lookup


KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()
SPF, DMARC, DKIM = "example.org", "_dmarc.example.org", "baikal._domainkey.example.org"
RIGHT = {
    SPF: ["v=spf1 a:cal.example.org -all", "some other text"],
    DKIM: [f"v=DKIM1; k=rsa; p={PUBLIC}"],
    DMARC: ["v=DMARC1; p=none; rua=mailto:noreply@example.org"],
}
SPF_LINE = 'example.org. TXT "v=spf1 a:cal.example.org -all"'
DMARC_LINE = '_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:noreply@example.org"'
DKIM_TEXT = f"v=DKIM1; k=rsa; p={PUBLIC}"
DKIM_LINE = f'{DKIM}. TXT "{DKIM_TEXT[:255]}" "{DKIM_TEXT[255:]}"'
SIGNING = mailing("postfix", selector="baikal")
PLAIN = mailing("postfix")


def lookup(records: Mapping[str, list[str]]) -> Lookup:
    """Return a function that looks up these records."""
    return lambda name: records.get(name, [])


def one(records: Mapping[str, list[str]], *, signing: bool = False) -> Finding:
    """Return the only finding."""
    (finding,) = dns_records.findings(SIGNING if signing else PLAIN, lookup(records))
    assert finding.subject == "mail"
    return finding


@pytest.fixture
def key(host: Path) -> Path:
    """Create the key that signs mail; return its path."""
    assert host.is_dir()
    path = Path(paths.DKIM) / "baikal.example.org.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(secret(KEY))
    return path


@pytest.mark.usefixtures("key")
def test_a_domain_with_all_records_is_ok() -> None:
    """Other TXT records are ignored."""
    assert one(RIGHT, signing=True) == Finding("mail", OK, "example.org has SPF, DKIM and DMARC in DNS")
    assert one(RIGHT) == Finding("mail", OK, "example.org has SPF and DMARC in DNS")


@pytest.mark.usefixtures("key")
def test_missing_records_are_reported_with_the_line_to_add() -> None:
    """All at once."""
    findings = dns_records.findings(SIGNING, lookup({}))
    assert [(finding.status, finding.remedy) for finding in findings] == [
        (WARNING, f"add to DNS: {line}") for line in (SPF_LINE, DKIM_LINE, DMARC_LINE)
    ]


@pytest.mark.usefixtures("key")
def test_lines_returns_the_records_that_are_needed(tmp_path: Path) -> None:
    """For the administrator of the zone. With a relay, its provider has the SPF terms and signs the mail."""
    assert dns_records.lines(SIGNING) == [SPF_LINE, DKIM_LINE, DMARC_LINE]
    assert dns_records.lines(PLAIN) == [SPF_LINE, DMARC_LINE]
    through = mailing("relay", relay(tmp_path, 587))
    assert dns_records.lines(through) == ['example.org. TXT "v=spf1 include:… -all"', DMARC_LINE]
    assert dns_records.lines(mailing("off")) == []


@pytest.mark.usefixtures("key")
def test_the_check_accepts_the_lines() -> None:
    """Put there, they are found right."""
    records = {}
    for line in dns_records.lines(SIGNING):
        name, _, strings = line.partition(". TXT ")
        records[name] = ["".join(strings.strip('"').split('" "'))]
        assert all(len(string) <= 255 for string in strings.strip('"').split('" "'))
    assert one(records, signing=True).status == OK


def test_with_a_relay_the_spf_terms_are_its_providers(tmp_path: Path) -> None:
    """Baikalctl can't know them."""
    (spf, _) = dns_records.findings(mailing("relay", relay(tmp_path, 587)), lookup({}))
    expected = 'add to DNS, with the terms of the relay\'s provider: example.org. TXT "v=spf1 include:… -all"'
    assert spf.remedy == expected


@pytest.mark.parametrize(
    ("spf", "message"),
    [
        (["v=spf10 all"], "example.org has no SPF record, so receivers can't tell its mail from forged mail"),
        (["v=spf1 -all", "V=SPF1 mx"], "example.org has 2 SPF records, so receivers ignore all"),
        (["v=spf1 ipv4:192.0.2.1 -all"], "has an invalid term, 'ipv4:192.0.2.1', so receivers ignore all of it"),
        (["v=spf1 include -all"], "has an invalid term, 'include', so receivers ignore all of it"),
    ],
    ids=["another version", "two", "unknown", "incomplete"],
)
def test_a_wrong_spf_record_is_reported(spf: list[str], message: str) -> None:
    """Receivers treat it as an error of the domain."""
    finding = one(RIGHT | {SPF: spf})
    assert finding.status == WARNING
    assert finding.message.endswith(message)
    assert finding.remedy


@pytest.mark.parametrize(
    "spf",
    [
        *("v=spf1", "v=spf1 -all", "V=SPF1 +MX/24 a:x.example.org/24//64 ~all", "v=spf1 ip6:2001:db8::/32 ?all"),
        *("v=spf1 include:_spf.example.net exists:%{i}.x.example.org ptr -all", "v=spf1 redirect=_spf.example.net"),
        "v=spf1 ip4:192.0.2.0/24 exp=why.example.org unknown-modifier=x -all",
    ],
)
def test_every_valid_spf_record_is_accepted(spf: str) -> None:
    """With all mechanisms and modifiers of RFC 7208."""
    assert one(RIGHT | {SPF: [spf]}).status == OK


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("dkim", "message"),
    [
        (["v=DKIM1; k=rsa; p=AAAA"], "has another key than this host, so receivers treat the signature as forged"),
        (["v=DKIM1; k=rsa; p="], "has no key"),
        (["what"], "has no key"),
        (["v=DKIM1; k=ed25519; p=AAAA"], "is not a DKIM1 record with an rsa key"),
        ([DKIM_TEXT, "v=DKIM1; p="], "has 2 TXT records, so receivers can't tell which is the key"),
        ([], "is not in DNS, so receivers can't verify the signature"),
    ],
    ids=["another", "revoked", "no record", "another kind", "two", "none"],
)
def test_a_wrong_dkim_record_is_reported(dkim: list[str], message: str) -> None:
    """With the right record."""
    finding = one(RIGHT | {DKIM: dkim}, signing=True)
    assert finding == Finding("mail", WARNING, f"{DKIM} {message}", f"add to DNS: {DKIM_LINE}")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("text", [f"p={PUBLIC}", f"v=DKIM1;p={PUBLIC[:40]} {PUBLIC[40:]} ; t=y"])
def test_a_dkim_record_may_omit_defaults_and_contain_spaces(text: str) -> None:
    """Tags have defaults, and spaces don't count."""
    assert one(RIGHT | {DKIM: [text]}, signing=True).status == OK


def test_a_missing_or_damaged_key_has_the_deploy_as_its_remedy(host: Path) -> None:
    """Nothing can be signed."""
    path = Path(paths.DKIM) / "baikal.example.org.pem"
    message = f"mail can't be signed: {path} is missing"
    assert one(RIGHT, signing=True) == Finding("mail", FAILED, message, "run the deploy")
    with pytest.raises(HostError, match="is missing"):
        dns_records.lines(SIGNING)
    path.parent.mkdir(parents=True)
    path.write_text("no key", encoding="ascii")
    assert one(RIGHT, signing=True).message.startswith("mail can't be signed: openssl rsa failed: ")
    assert host.is_dir()


@pytest.mark.parametrize(
    ("dmarc", "message"),
    [
        (["v=DMARC1; rua=mailto:x@example.org"], f"{DMARC} has no policy (p=none, p=quarantine or p=reject)"),
        (["v=DMARC1; p=nothing"], f"{DMARC} has no policy (p=none, p=quarantine or p=reject)"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], f"{DMARC} has 2 DMARC records, so receivers ignore all"),
        (["v=DMARC2; p=none"], "example.org has no DMARC record, which some servers require before they accept mail"),
    ],
    ids=["no policy", "unknown policy", "two", "another version"],
)
def test_a_wrong_dmarc_record_is_reported(dmarc: list[str], message: str) -> None:
    """As if it weren't there."""
    finding = one(RIGHT | {DMARC: dmarc})
    assert (finding.status, finding.message) == (WARNING, message)
    assert finding.remedy


def test_a_dmarc_record_of_a_parent_applies() -> None:
    """Down to a domain of two labels. The first record counts."""
    it = mailing("postfix", sender="noreply@Cal.Office.Example.org")
    records = {"cal.office.example.org": ["v=spf1 -all"], DMARC: ["v=DMARC1;p=reject"]}
    (finding,) = dns_records.findings(it, lookup(records))
    assert finding.status == OK
    records["_dmarc.office.example.org"] = ["v=DMARC1"]
    (finding,) = dns_records.findings(it, lookup(records))
    assert finding.message.startswith("_dmarc.office.example.org has no policy")
    (finding,) = dns_records.findings(
        it, lookup({"cal.office.example.org": ["v=spf1 -all"], "_dmarc.org": ["v=DMARC1"]})
    )
    assert finding.message.startswith("cal.office.example.org has no DMARC record")


@pytest.mark.parametrize("sender", ["noreply@cal.lan", "noreply@calendars.internal"])
def test_a_private_domain_is_not_checked(sender: str) -> None:
    """Other servers accept no mail from it."""

    def fail(name: str) -> list[str]:
        raise AssertionError(name)

    assert dns_records.findings(mailing("postfix", sender=sender), fail) == []
    assert dns_records.findings(mailing("off"), fail) == []


def test_a_missing_package_gives_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works without it."""
    true_import = builtins.__import__

    def lacking(name: str, *words: object, **more: object) -> object:
        if name.startswith("dns"):
            raise ImportError(name)
        return true_import(name, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", lacking)
    (finding,) = dns_records.findings(PLAIN)
    assert finding.status == WARNING
    reason = "python3-dnspython is missing; run the deploy, or apt-get install python3-dnspython"
    assert finding.message == f"the DNS records of example.org can't be checked: {reason}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[list[str]] | None]]:
    """Start a DNS server for this host; return its zone: the strings of each text, or None for no answer."""
    records: dict[str, list[list[str]] | None] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (received := bound.recvfrom(4096))[0] != b"end":
                query = dns.message.from_wire(received[0])
                name = query.question[0].name.to_text(omit_final_dot=True)
                answer = dns.message.make_response(query)
                texts = records.get(name, [])
                if texts is None:
                    continue
                quoted = [" ".join(f'"{string}"' for string in strings) for strings in texts]
                if quoted:
                    answer.answer.append(dns.rrset.from_text_list(f"{name}.", 60, "IN", "TXT", quoted))
                elif name not in records:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                bound.sendto(answer.to_wire(), received[1])

        thread = threading.Thread(target=serve)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], bound.getsockname()[1]
        monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver)
        yield records
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", bound.getsockname())
        thread.join()


def test_records_are_read_from_the_hosts_resolver(server: dict[str, list[list[str]] | None]) -> None:
    """The strings of a text are joined. A name with other records has no text, like an unknown name."""
    server |= {SPF: [["v=spf1 a:cal.exam", "ple.org -all"]], DMARC: [["v=DMARC1; p=none"]], DKIM: []}
    assert dns_records.texts(SPF) == ["v=spf1 a:cal.example.org -all"]
    assert dns_records.texts(DKIM) == []
    assert dns_records.texts("nothing.example.org") == []
    assert [finding.status for finding in dns_records.findings(PLAIN)] == [OK]


def test_a_resolver_that_does_not_answer_gives_one_warning(
    server: dict[str, list[list[str]] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one per record."""
    monkeypatch.setattr(dns_records, "LIFETIME_S", 0.1)
    server |= {SPF: None, DMARC: None}
    (finding,) = dns_records.findings(PLAIN)
    assert finding.status == WARNING
    assert finding.message.startswith(
        "the DNS records of example.org can't be checked: The resolution lifetime expired"
    )
