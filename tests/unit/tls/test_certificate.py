"""Certificates of operators: valid ones, and each way in which they can be wrong."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.tls import certificate, selection
from tests.unit.pairs import (
    CA,
    CA_KEY,
    DER,
    DNS,
    FURTHER,
    GOOD,
    GOOD_KEY,
    KEY,
    NAME,
    OLD_CA,
    OTHER_KEY,
    PEM,
    PLAIN,
    ROOT,
    ROOT_KEY,
    issue,
    operator_files,
    pem,
    put,
    secret,
    signed,
    take,
    trust,
)
from tests.unit.samples import LETSENCRYPT, declared

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState
    from baikalctl.tls.certificate import Pair

OLD_FORM_KEY = KEY.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN)
LOCKED_KEY = KEY.private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"passphrase")
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with an absolute path, as on a host."""
    path = tmp_path.resolve() / "tls"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def it(host: Path) -> DesiredState:
    """Return the state of a host with a self-signed certificate, which isn't created yet."""
    assert host.is_dir()
    return declared()


def read_files(it: DesiredState) -> Pair:
    """Return the pair in the operator's files."""
    return certificate.read_pair(Path(it.tls_certificate), Path(it.tls_key), it.names)


@pytest.fixture
def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the host trust only this root; return the folder of the operator's files."""
    trust(monkeypatch, folder, ROOT)
    return folder


@pytest.mark.parametrize("days", [0, 1, 29, 30, 397])
def test_days_left_counts_whole_days(folder: Path, days: int) -> None:
    """A certificate that ends in so many days and twelve hours has so many days left."""
    pair = read_files(operator_files(folder, pem(issue(DNS, days=days))))
    assert (pair.days_left, pair.fault()) == (days, "")


@pytest.mark.parametrize("key", [GOOD_KEY, OLD_FORM_KEY], ids=["PKCS 8", "SEC 1"])
def test_both_forms_of_a_private_key_are_accepted(folder: Path, key: bytes) -> None:
    """Old tools write SEC 1, new ones PKCS 8."""
    assert read_files(operator_files(folder, GOOD, key)).fault() == ""


def test_an_rsa_key_is_accepted(folder: Path) -> None:
    """Many authorities still issue certificates for RSA keys."""
    key = rsa.generate_private_key(65537, 2048)
    assert read_files(operator_files(folder, pem(issue(DNS, key=key)), secret(key))).fault() == ""


def test_text_around_a_certificate_is_ignored(folder: Path) -> None:
    """``openssl x509 -text`` writes such files, in any encoding. The text isn't served."""
    words = "Zertifikat für Jürgen\n".encode("latin-1")
    dhparam = b"-----BEGIN DH PARAMETERS-----\nMAYCAQcCAQI=\n-----END DH PARAMETERS-----\n"
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pair = read_files(operator_files(folder, words + GOOD + words + dhparam, parameters + words + GOOD_KEY + words))
    assert pair.fault() == ""
    assert pair.text == (GOOD + GOOD_KEY).decode()


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"], ids=["Windows", "old Mac"])
def test_all_line_ends_are_accepted(folder: Path, ends: bytes) -> None:
    """Such files are often sent by mail."""
    pair = read_files(operator_files(folder, GOOD.replace(b"\n", ends), GOOD_KEY.replace(b"\n", ends)))
    assert (pair.fault(), pair.text) == ("", (GOOD + GOOD_KEY).decode())


def test_the_first_of_several_keys_is_used(folder: Path) -> None:
    """A key in the certificate's file, or a certificate in the key's file, is ignored."""
    text = (GOOD + GOOD_KEY).decode()
    assert read_files(operator_files(folder, GOOD, GOOD_KEY + secret(OTHER_KEY))).text == text
    assert read_files(operator_files(folder, secret(OTHER_KEY) + GOOD, pem(CA) + GOOD_KEY)).text == text
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        read_files(operator_files(folder, GOOD, secret(OTHER_KEY) + GOOD_KEY))


def test_one_file_may_have_certificate_and_key(folder: Path) -> None:
    """In any order. It is served with the chain first, then the key."""
    for content in (GOOD + GOOD_KEY, GOOD_KEY + GOOD):
        (folder / "both.pem").write_bytes(content)
        pair = certificate.read_pair(folder / "both.pem", folder / "both.pem", [NAME])
        assert (pair.fault(), pair.text) == ("", (GOOD + GOOD_KEY).decode())


def test_a_file_without_a_last_newline_is_joined_correctly(folder: Path) -> None:
    """The key's first line must not be appended to the certificate's last."""
    pair = read_files(operator_files(folder, GOOD.rstrip(), GOOD_KEY))
    assert pair.text == (GOOD + GOOD_KEY).decode()
    put(folder / "both.pem", pair.text.encode(), b"")
    assert certificate.read_pair(folder / "both.pem", folder / "both.pem", [NAME]).fault() == ""


@pytest.mark.parametrize(
    ("names", "hostname"),
    [
        ([x509.DNSName("other.example.org"), DNS], NAME),
        ([x509.DNSName("*.example.org")], NAME),
        ([x509.DNSName("CAL.example.org")], NAME),
        ([x509.IPAddress(ipaddress.ip_address("192.0.2.7"))], "192.0.2.7"),
    ],
)
def test_a_certificate_that_covers_the_name_is_accepted(
    folder: Path, names: list[x509.GeneralName], hostname: str
) -> None:
    """One name among several, a wildcard, capital letters, an address."""
    pair = read_files(operator_files(folder, pem(issue(*names)), hostname=hostname))
    assert (pair.fault(), pair.uncovered) == ("", ())
    assert pair.covers(hostname)


@pytest.mark.parametrize(
    ("names", "hostname"),
    [
        ([x509.DNSName("example.org")], NAME),
        ([x509.DNSName("*.org")], NAME),
        ([x509.DNSName("cal.example.org.evil.example")], NAME),
        ([], NAME),
        ([x509.DNSName("192.0.2.7")], "192.0.2.7"),
        ([x509.IPAddress(ipaddress.ip_address("192.0.2.8"))], "192.0.2.7"),
        ([x509.DNSName("*.0.2.7")], "192.0.2.7"),
        ([x509.DNSName("*.cal.example.org")], NAME),
        ([x509.DNSName("*.example.org")], "jo.cal.example.org"),
        ([x509.DNSName("c*.example.org")], NAME),
        ([x509.DNSName("*.lan")], "cal.lan"),
        ([x509.DNSName("*")], "cal"),
        ([x509.RFC822Name(NAME), x509.UniformResourceIdentifier(f"https://{NAME}")], NAME),
    ],
    ids=[
        *("parent", "wide wildcard", "longer", "common name only", "address as name", "other address"),
        *("address by wildcard", "wildcard below", "wildcard for two labels", "half a wildcard"),
        *("wildcard for a whole zone", "wildcard for all", "name of another kind"),
    ],
)
def test_a_certificate_for_another_name_is_refused(folder: Path, names: list[x509.GeneralName], hostname: str) -> None:
    """Clients refuse it as well. The message has the name that isn't covered."""
    it = operator_files(folder, pem(issue(*names)), hostname=hostname)
    assert not read_files(it).covers(hostname)
    with pytest.raises(HostError, match=rf"cal\.pem doesn't cover {hostname}$"):
        selection.declared_pair(it)


@pytest.mark.parametrize(
    ("names", "uncovered"),
    [
        ([DNS, FURTHER, x509.DNSName("kalender.example.org")], []),
        ([x509.DNSName("*.example.org")], []),
        ([DNS, FURTHER], ["kalender.example.org"]),
        ([DNS], ["dav.example.org", "kalender.example.org"]),
        ([FURTHER], [NAME, "kalender.example.org"]),
    ],
)
def test_a_certificate_must_cover_all_names_of_the_host(
    folder: Path, names: list[x509.GeneralName], uncovered: list[str]
) -> None:
    """The message lists all names that aren't covered."""
    it = operator_files(folder, pem(issue(*names)), hostnames=["dav.example.org", "kalender.example.org"])
    pair = read_files(it)
    assert pair.uncovered == tuple(uncovered)
    assert [name for name in it.names if not pair.covers(name)] == uncovered
    expected = f"{it.tls_certificate} doesn't cover {' and '.join(uncovered)}" if uncovered else ""
    assert pair.fault() == expected


def test_an_expired_certificate_is_refused(folder: Path) -> None:
    """Also if it expired less than a day ago."""
    it = operator_files(folder, pem(issue(DNS, starts=-90, days=-0.51)))
    assert read_files(it).remaining < 0
    assert read_files(it).days_left == -1
    with pytest.raises(HostError, match=r"cal\.pem has expired$"):
        selection.declared_pair(it)


def test_a_certificate_that_is_not_valid_yet_is_refused(folder: Path) -> None:
    """Most often the clock is wrong."""
    with pytest.raises(HostError, match=r"cal\.pem is not valid yet; is the clock right\?$"):
        selection.declared_pair(operator_files(folder, pem(issue(DNS, starts=1))))


def test_a_certificate_for_clients_only_is_refused(folder: Path) -> None:
    """Its extended key usage doesn't include servers."""
    with pytest.raises(HostError, match=r"cal\.pem is refused: unsuitable certificate purpose"):
        read_files(operator_files(folder, pem(issue(DNS, usage=ExtendedKeyUsageOID.CLIENT_AUTH))))


def test_the_key_of_another_certificate_is_refused(folder: Path) -> None:
    """For example after a renewal that replaced only one file."""
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        read_files(operator_files(folder, GOOD, secret(OTHER_KEY)))


def test_a_chain_in_the_wrong_order_is_refused(folder: Path) -> None:
    """The server's certificate must be first (RFC 8446, section 4.4.2); the key doesn't belong to the authority's."""
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        read_files(operator_files(folder, pem(CA, signed())))


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        (b"", GOOD_KEY, r"cal\.pem is no certificate in PEM form"),
        (b"garbage", GOOD_KEY, r"cal\.pem is no certificate in PEM form"),
        (issue(DNS).public_bytes(DER), GOOD_KEY, r"cal\.pem is no certificate in PEM form"),
        (GOOD_KEY, GOOD, r"cal\.pem is no certificate in PEM form"),
        (GOOD, b"", r"cal\.key is no private key in PEM form"),
        (GOOD, b"garbage", r"cal\.key is no private key in PEM form"),
        (GOOD, GOOD, r"cal\.key is no private key in PEM form"),
        (GOOD, GOOD_KEY[:100], "one of them damaged"),
        (GOOD[:300], GOOD_KEY, "one of them damaged"),
        (GOOD[:300] + b"!!!!" + GOOD[304:], GOOD_KEY, "one of them damaged"),
        (pem(signed(), CA)[:-300], GOOD_KEY, "one of them damaged"),
        (GOOD, LOCKED_KEY, "has the key a passphrase"),
    ],
    ids=[
        *("empty certificate", "garbage", "DER", "swapped", "empty key", "garbage as key", "certificate as key"),
        *("cut key", "cut certificate", "overwritten certificate", "cut chain", "passphrase"),
    ],
)
def test_wrong_or_damaged_files_are_named(folder: Path, chain: bytes, key: bytes, words: str) -> None:
    """The message has the file that is wrong. No passphrase is asked for."""
    with pytest.raises(HostError, match=words):
        read_files(operator_files(folder, chain, key))


def test_a_key_with_an_unsupported_curve_is_refused(folder: Path) -> None:
    """Any TLS error becomes a message, not a stack trace."""
    key = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(HostError, match=r"cal\.pem can't be used with .*cal\.key: .+; use a key that all clients"):
        read_files(operator_files(folder, pem(issue(DNS, key=key)), secret(key)))


@pytest.mark.parametrize("missing", ["cal.pem", "cal.key"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    """Also if the path is a directory, which Docker creates for a missing mount."""
    it = operator_files(folder, GOOD)
    (folder / missing).unlink()
    with pytest.raises(HostError, match=rf"{missing} is not there"):
        read_files(it)
    (folder / missing).mkdir()
    with pytest.raises(HostError, match=rf"{missing} is not there"):
        read_files(it)


@pytest.mark.parametrize("closed", ["cal.pem", "cal.key"])
def test_an_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """For example in a container with another account, after the file was replaced."""
    it = operator_files(folder, GOOD)
    true_open = Path.open

    def refuse(path: Path, *words: object, **more: object) -> object:
        if path.name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return true_open(path, *words, **more)  # type: ignore[call-overload]

    # Root may read everything, and these tests may run as root.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HostError, match=rf"{closed} can't be read by uid \d+.*; give that account the file$"):
        read_files(it)


def test_a_chain_that_leads_to_a_known_root_is_trusted(known: Path) -> None:
    """The file has the intermediate; this host's store has the root."""
    pair = read_files(operator_files(known, pem(signed(), CA)))
    assert (pair.trusted, pair.complete, pair.self_signed, pair.days_left) == (True, True, False, 89)
    assert (pair.chain_expired, pair.fault()) == (False, "")


def test_a_certificate_without_its_intermediate_is_refused(folder: Path) -> None:
    """Clients with the root can't connect the certificate to it, and most don't fetch missing intermediates."""
    it = operator_files(folder, pem(signed()))
    pair = read_files(it)
    assert (pair.trusted, pair.complete, pair.fault()) == (False, False, "")
    with pytest.raises(
        HostError,
        match=r"cal\.pem lacks its chain: the certificate of its issuer is neither in the file nor known to this host; "
        r"add the authority's intermediate certificates below it \(for a private authority, its root\)$",
    ):
        selection.declared_pair(it)


def test_a_chain_without_its_root_needs_a_known_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host can't tell a private authority from a forgotten file, so the file must have the root."""
    it = operator_files(folder, pem(signed(), CA))
    assert not read_files(it).complete
    with pytest.raises(HostError, match="for a private authority, its root"):
        selection.declared_pair(it)
    trust(monkeypatch, folder, ROOT)
    assert selection.declared_pair(it).complete


def test_a_wrong_intermediate_makes_the_chain_incomplete(known: Path) -> None:
    """For example after an authority has changed its intermediate, with the same name or another."""
    other = issue(key=OTHER_KEY, subject="another authority", ca=True, signer=(ROOT, ROOT_KEY))
    pair = read_files(operator_files(known, pem(signed(), other)))
    assert (pair.trusted, pair.complete) == (False, False)
    namesake = issue(key=OTHER_KEY, subject="an authority", ca=True, signer=(ROOT, ROOT_KEY))
    with pytest.raises(HostError, match=r"cal\.pem is refused: certificate signature failure"):
        read_files(operator_files(known, pem(signed(), namesake)))


def test_a_chain_with_its_own_root_is_accepted(folder: Path) -> None:
    """For a private authority that this host doesn't know."""
    it = operator_files(folder, pem(signed(), CA, ROOT))
    pair = read_files(it)
    assert (pair.trusted, pair.complete, pair.self_signed) == (False, True, False)
    assert selection.declared_pair(it).days_left == 89


def test_a_self_signed_certificate_of_the_operator_is_accepted(folder: Path) -> None:
    """It is its own root."""
    it = operator_files(folder, GOOD)
    pair = read_files(it)
    assert (pair.trusted, pair.complete, pair.self_signed) == (False, True, True)
    assert selection.declared_pair(it).days_left == 100


def test_a_self_signed_certificate_in_the_hosts_store_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator has added it to the store."""
    own = issue(DNS)
    trust(monkeypatch, folder, own)
    assert read_files(operator_files(folder, GOOD)).trusted is False, (
        "a certificate with the same fields isn't the same"
    )
    assert read_files(operator_files(folder, pem(own))).trusted


def test_a_declared_authority_is_not_trusted_automatically(folder: Path) -> None:
    """Only the host's store decides, because other clients may not know the authority. So HSTS isn't sent."""
    (folder / "ca.pem").write_bytes(pem(ROOT))
    settings = LETSENCRYPT | {"acme_server": "https://ca.lan/acme", "acme_ca": str(folder / "ca.pem")}
    path = put(folder / "both.pem", pem(signed(), CA))
    assert not selection.read_pair(declared(**settings), path).trusted


def test_a_host_without_a_store_trusts_no_certificate(known: Path) -> None:
    """Nothing else changes."""
    shutil.rmtree(known / "trusted")
    pair = read_files(operator_files(known, pem(signed(), CA)))
    assert (pair.trusted, pair.complete, pair.fault()) == (False, False, "")


@pytest.mark.parametrize(("starts", "days"), [(-90, -1), (1, 90)], ids=["expired", "not valid yet"])
def test_a_certificate_with_wrong_dates_is_still_checked(known: Path, starts: float, days: float) -> None:
    """Its chain is checked as well."""
    pair = read_files(operator_files(known, pem(signed(starts=starts, days=days), CA)))
    assert pair.complete
    assert pair.trusted
    assert pair.fault()
    assert not pair.chain_expired


def test_a_certificate_with_an_expired_authority_is_refused(known: Path) -> None:
    """Clients refuse such certificates, even new ones."""
    it = operator_files(known, pem(issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA))
    pair = read_files(it)
    assert (pair.trusted, pair.complete, pair.chain_expired) == (False, True, True)
    expected = f"the chain in {it.tls_certificate} has expired; use the authority's newer chain"
    assert pair.fault() == expected
    with pytest.raises(HostError, match=re.escape(expected)):
        selection.declared_pair(it)
    assert selection.declared_pair(operator_files(known, pem(signed(), CA))).trusted


def test_a_chain_with_an_expired_root_has_expired(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As IdenTrust's in September 2021, which broke old clients. The host's store may have a newer one."""
    old = issue(key=ROOT_KEY, subject="a root", ca=True, starts=-900, days=-1)
    trust(monkeypatch, folder, old)
    pair = read_files(operator_files(folder, pem(signed(), CA)))
    assert (pair.trusted, pair.chain_expired) == (False, True)


def test_faults_of_the_certificate_are_reported_before_those_of_its_chain(known: Path) -> None:
    """The message has one fault, the one that must be fixed first."""
    late = read_files(operator_files(known, pem(issue(DNS, starts=-90, days=-1, signer=(OLD_CA, CA_KEY)), OLD_CA)))
    assert late.fault().endswith("cal.pem has expired")
    elsewhere = read_files(operator_files(known, pem(issue(FURTHER, signer=(OLD_CA, CA_KEY)), OLD_CA)))
    assert elsewhere.fault().endswith("cal.pem doesn't cover cal.example.org")


PAIRS = [(pem(issue(DNS, key=key)), secret(key)) for key in (KEY, OTHER_KEY)]


def replaced(path: Path, content: bytes) -> None:
    """Replace a file atomically, as good renewal programs do."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def loads(path: Path, text: str) -> None:
    """Load this text into a server; raises :class:`ssl.SSLError` if that fails."""
    path.write_text(text, encoding="ascii")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


@pytest.mark.parametrize("single", [True, False], ids=["one file", "two files"])
def test_files_replaced_during_a_check_never_give_a_wrong_pair(folder: Path, *, single: bool) -> None:
    """An accepted pair matches, even if the files change afterwards; others are refused."""
    it = operator_files(folder, *PAIRS[0])
    path, key = Path(it.tls_certificate), Path(it.tls_key)
    ended = threading.Event()

    def renew() -> None:
        while not ended.is_set():
            for chain, secret_ in PAIRS:
                replaced(path, chain + secret_ if single else chain)
                replaced(key, secret_)

    if single:
        replaced(path, b"".join(PAIRS[0]))
    renewing = threading.Thread(target=renew)
    renewing.start()
    accepted, refused = [], []
    try:
        for _ in range(400):
            try:
                accepted.append(certificate.read_pair(path, path if single else key, [NAME]).text)
            except HostError as error:
                refused.append(str(error))
    finally:
        ended.set()
        renewing.join()
    assert len(accepted) == 400 or not single, "a file that is replaced atomically is always complete"
    assert set(refused) <= {f"{key} is not the key of {path}"}
    assert accepted
    for text in set(accepted):
        assert text in {(chain + secret_).decode() for chain, secret_ in PAIRS}
        loads(folder / "accepted", text)


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is what was checked; a second read could give another content."""
    it = operator_files(folder, *PAIRS[0])
    read: list[str] = []
    true_read = certificate._read

    def read_once(path: Path) -> str:
        read.append(path.name)
        text = true_read(path)
        replaced(path, b"another")
        return text

    both = put(folder / "both.pem", *PAIRS[0])
    monkeypatch.setattr(certificate, "_read", read_once)
    assert read_files(it).text == certificate.read_pair(both, both, [NAME]).text == b"".join(PAIRS[0]).decode()
    assert read == ["cal.pem", "cal.key", "both.pem"]


@pytest.mark.parametrize(("ocsp", "stapling"), [("", False), ("http://ocsp.example.org", True)])
def test_stapling_is_possible_if_the_certificate_names_a_responder(folder: Path, ocsp: str, *, stapling: bool) -> None:
    """Let's Encrypt's have named none since May 2025; others do."""
    assert read_files(operator_files(folder, pem(signed(ocsp=ocsp), CA))).stapling is stapling


@pytest.mark.parametrize("hostname", ["cal.example.org", "192.0.2.7", "a" * 63 + "." + "b" * 63 + ".example.org"])
def test_a_self_signed_certificate_covers_its_name(host: Path, hostname: str) -> None:
    """A DNS name, an address, and a name longer than a subject can hold, for as long as browsers accept."""
    assert host.is_dir()
    it = declared(hostname=hostname)
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} is not there"]
    pair = selection.read_pair(it, selection.serving_pair(it))
    assert (pair.days_left, pair.fault(), pair.self_signed) == (396, "", True)
    assert take(it) == []


def test_a_self_signed_certificate_covers_further_names(host: Path) -> None:
    """If the names change, a new one is made."""
    assert host.is_dir()
    one, more = declared(), declared(hostnames=["dav.example.org", "192.0.2.7"])
    take(one)
    reason = f"{selection.serving_pair(one)} doesn't cover dav.example.org and 192.0.2.7"
    assert take(more) == [f"make a self-signed certificate: {reason}"]
    assert selection.read_pair(more, selection.serving_pair(more)).uncovered == ()
    assert take(one) == [], "a certificate with more names is still valid"


def test_only_the_owner_can_read_the_key_of_a_self_signed_certificate(it: DesiredState) -> None:
    """With any umask. No other files are left."""
    previous = os.umask(0)
    try:
        take(it)
        assert os.umask(0) == 0, "the umask is unchanged"
    finally:
        os.umask(previous)
    assert stat.S_IMODE(Path(f"{it.served}.pem").stat().st_mode) == 0o600
    assert sorted(str(path) for path in Path(paths.TLS).iterdir()) == [f"{it.served}.conf", f"{it.served}.pem"]


def test_a_self_signed_certificate_is_for_servers_only(it: DesiredState) -> None:
    """It is no authority: a device that trusts it doesn't trust other certificates signed by its key."""
    made = x509.load_pem_x509_certificate(certificate.self_signed(it.names).encode())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_each_self_signed_certificate_has_a_new_key(it: DesiredState) -> None:
    """An attacker with the old key can't use it for the new certificate."""
    one, other = (certificate.self_signed(it.names).partition("-----BEGIN PRIVATE KEY-----")[2] for _ in range(2))
    assert one
    assert one != other


def test_a_self_signed_certificate_is_replaced_29_days_before_its_end(it: DesiredState) -> None:
    """Not with 30 days left."""
    put(selection.serving_pair(it), pem(issue(DNS, days=30)))
    assert [sentence for sentence, _ in selection.steps(it) if sentence.startswith("make")] == []
    put(selection.serving_pair(it), pem(issue(DNS, days=29)))
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} has 29 days left"]
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 396


def test_a_changed_host_name_gets_a_new_certificate(it: DesiredState) -> None:
    """The old pair is served until the change has passed every check, and is removed afterwards."""
    take(it)
    other = declared(hostname="other.example.org")
    assert len(take(other)) == 1
    assert take(it) == take(other) == []


def test_a_pair_for_another_name_is_replaced(it: DesiredState) -> None:
    """The operator may have copied it there."""
    put(selection.serving_pair(it), pem(issue(x509.DNSName("other.example.org"))))
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} doesn't cover cal.example.org"]


def test_a_damaged_pair_is_replaced(it: DesiredState) -> None:
    """A cut file, or a file with another key."""
    put(selection.serving_pair(it), GOOD, secret(OTHER_KEY))
    assert "doesn't belong to its certificate" in take(it)[0]
    put(selection.serving_pair(it), GOOD[:300])
    assert "can't be used" in take(it)[0]
    assert take(it) == []


def test_a_key_is_never_readable_for_other_accounts(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any umask. The temporary file has its mode before it has any content."""
    modes: list[int] = []
    true_replace = Path.replace

    def replace(path: Path, target: Path) -> Path:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        return true_replace(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    previous = os.umask(0)
    try:
        take(it)
    finally:
        os.umask(previous)
    assert modes == [0o600, 0o600]


def fake_openssl(host: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Replace openssl by a shell script."""
    program = host / "bin" / "openssl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_no_key_is_an_argument_of_openssl(host: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """All accounts can see arguments. openssl also writes no file, so none can be readable for other accounts."""
    fake_openssl(host, monkeypatch, f'echo "$@" >> {host}/words; exec {real_openssl()} "$@"')
    take(it)
    words = (host / "words").read_text(encoding="utf-8").split()
    assert words[words.index("-keyout") + 1] == "-"
    assert "-out" not in words


def real_openssl() -> str:
    """Return the path of the real program."""
    return subprocess.run(["sh", "-c", "command -v openssl"], capture_output=True, text=True, check=True).stdout.strip()


def test_an_error_of_openssl_is_reported(host: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present pair is kept."""
    path = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = path.read_bytes()
    fake_openssl(host, monkeypatch, "echo no entropy today >&2; exit 3")
    with pytest.raises(HostError, match=r"openssl req failed: no entropy today$"):
        take(it)
    assert path.read_bytes() == before


def test_a_full_disk_replaces_nothing(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file is removed, the old pair stays in use, and the message has a remedy."""
    path = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    expected = rf"can't be written \(No space left on device\).* {re.escape(paths.DATA)}"
    with pytest.raises(HostError, match=expected):
        take(it)
    assert path.read_bytes() == before
    assert not [path for path in Path(paths.TLS).iterdir() if path.name.startswith(".")]


def test_a_write_that_the_kernel_refuses_replaces_nothing(it: DesiredState) -> None:
    """With a limit for the size of this process's files."""
    path = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = path.read_bytes()
    program = (
        "import resource, signal, sys; from pathlib import Path; from baikalctl.host.atomic_write import write;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "write(Path(sys.argv[1]), 'x' * 5000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "can't be written (File too large)" in done.stderr
    assert path.read_bytes() == before
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def test_temporary_files_of_an_interrupted_run_are_removed(it: DesiredState) -> None:
    """They are never served."""
    temporary = Path(f"{paths.TLS}/.{Path(it.served).name}.pem.new")
    temporary.write_text("half of a", encoding="ascii")
    take(it)
    assert not temporary.exists()
    assert selection.read_pair(it, selection.serving_pair(it)).fault() == ""


def test_openssl_accepts_a_self_signed_certificate(it: DesiredState) -> None:
    """Another program than ours checks name and key."""
    take(it)
    pair = f"{it.served}.pem"
    command = ["openssl", "x509", "-in", pair, "-noout", "-checkhost", NAME, "-pubkey"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    key = subprocess.run(["openssl", "pkey", "-in", pair, "-pubout"], capture_output=True, text=True, check=True)
    assert f"Hostname {NAME} does match certificate" in output
    assert key.stdout in output
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair)
