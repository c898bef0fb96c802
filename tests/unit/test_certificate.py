"""Certificates as people bring them: right ones, and every way in which they are wrong."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from baikalctl import certificate, paths
from baikalctl.faults import HostError
from tests.unit.samples import declared

if TYPE_CHECKING:
    from baikalctl.declared import Declared

NAME = "cal.example.org"
NOW = dt.datetime.now(dt.UTC)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PLAIN = serialization.NoEncryption()
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
CA_KEY = ec.generate_private_key(ec.SECP256R1())


def issue(  # noqa: PLR0913 - what certificates differ in
    *names: x509.GeneralName,
    days: float = 100,
    starts: float = -1,
    key: ec.EllipticCurvePrivateKey = KEY,
    ca: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    signer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
) -> x509.Certificate:
    """Return a certificate for ``names``, from ``starts`` to ``days`` from now, self-signed unless by ``signer``."""

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    issuer, signing = signer or (NAME, key)
    built = (
        x509.CertificateBuilder()
        .subject_name(named("an authority" if ca else NAME))
        .issuer_name(named("an authority" if ca else issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=starts))
        .not_valid_after(NOW + dt.timedelta(days=days, hours=12))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage:
        built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return built.sign(signing, hashes.SHA256())


DNS = x509.DNSName(NAME)
GOOD = issue(DNS).public_bytes(PEM)
GOOD_KEY = KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN)
OLD_FORM_KEY = KEY.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN)
LOCKED_KEY = KEY.private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"passphrase")
)
AUTHORITY = issue(key=CA_KEY, ca=True)
SIGNED = issue(DNS, signer=("an authority", CA_KEY), days=89, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def own(folder: Path, pem: bytes, key: bytes = GOOD_KEY, hostname: str = NAME) -> Declared:
    """Return what is declared of a host with its own certificate and key, written to ``folder``."""
    (folder / "cal.pem").write_bytes(pem)
    (folder / "cal.key").write_bytes(key)
    return declared(
        hostname=hostname, tls="files", tls_certificate=str(folder / "cal.pem"), tls_key=str(folder / "cal.key")
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory whose path passes for one on a host."""
    place = tmp_path.resolve() / "tls"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def it(host: Path) -> Declared:
    """Return what is declared of a host with a self-signed certificate, which isn't made yet."""
    assert host.is_dir()
    return declared()


@pytest.mark.parametrize("days", [0, 1, 29, 30, 397])
def test_the_days_that_are_left_are_whole_ones(folder: Path, days: int) -> None:
    """A certificate that ends in so many days and five minutes has so many days left."""
    assert certificate.days_left(own(folder, issue(DNS, days=days).public_bytes(PEM))) == days


@pytest.mark.parametrize("key", [GOOD_KEY, OLD_FORM_KEY], ids=["PKCS 8", "SEC 1"])
def test_both_forms_of_a_private_key_are_taken(folder: Path, key: bytes) -> None:
    """Old tools write one, new ones the other."""
    assert certificate.days_left(own(folder, GOOD, key)) == 100


def test_a_certificate_with_its_chain_is_taken(folder: Path) -> None:
    """The first certificate counts; the authority need not be known here."""
    chain = SIGNED.public_bytes(PEM) + AUTHORITY.public_bytes(PEM)
    assert certificate.days_left(own(folder, chain)) == 89


def test_a_certificate_without_its_chain_is_taken(folder: Path) -> None:
    """Whether clients trust it is theirs to say; here it is whole, covers the name, and is valid."""
    assert certificate.days_left(own(folder, SIGNED.public_bytes(PEM))) == 89


def test_text_around_a_certificate_is_no_hindrance(folder: Path) -> None:
    """``openssl x509 -text`` writes such files."""
    assert certificate.days_left(own(folder, "Zertifikat für Jürgen\n".encode() + GOOD)) == 100


@pytest.mark.parametrize(
    ("names", "hostname"),
    [
        ([x509.DNSName("other.example.org"), DNS], NAME),
        ([x509.DNSName("*.example.org")], NAME),
        ([x509.DNSName("CAL.example.org")], NAME),
        ([x509.IPAddress(ipaddress.ip_address("192.0.2.7"))], "192.0.2.7"),
    ],
)
def test_a_certificate_that_covers_the_name_is_taken(
    folder: Path, names: list[x509.GeneralName], hostname: str
) -> None:
    """One name among several, a wildcard, capitals, an address."""
    assert certificate.days_left(own(folder, issue(*names).public_bytes(PEM), hostname=hostname)) == 100


@pytest.mark.parametrize(
    ("names", "hostname"),
    [
        ([x509.DNSName("example.org")], NAME),
        ([x509.DNSName("*.org")], NAME),
        ([x509.DNSName("cal.example.org.evil.example")], NAME),
        ([], NAME),
        ([x509.DNSName("192.0.2.7")], "192.0.2.7"),
        ([x509.IPAddress(ipaddress.ip_address("192.0.2.8"))], "192.0.2.7"),
    ],
    ids=["parent", "wide wildcard", "longer", "common name only", "address as name", "other address"],
)
def test_a_certificate_for_another_name_is_refused(folder: Path, names: list[x509.GeneralName], hostname: str) -> None:
    """Clients refuse it as well; the sentence says which name it doesn't cover."""
    with pytest.raises(HostError, match=rf"cal\.pem doesn't cover {hostname}$"):
        certificate.days_left(own(folder, issue(*names).public_bytes(PEM), hostname=hostname))


def test_an_expired_certificate_is_refused(folder: Path) -> None:
    """However short ago."""
    with pytest.raises(HostError, match=r"cal\.pem has expired$"):
        certificate.days_left(own(folder, issue(DNS, starts=-90, days=-1).public_bytes(PEM)))


def test_a_certificate_of_tomorrow_is_refused(folder: Path) -> None:
    """Most often the clock is wrong."""
    with pytest.raises(HostError, match=r"cal\.pem is not valid yet; is the clock right\?$"):
        certificate.days_left(own(folder, issue(DNS, starts=1).public_bytes(PEM)))


def test_a_certificate_for_clients_is_refused(folder: Path) -> None:
    """One that may not stand for a server is no server's."""
    with pytest.raises(HostError, match=r"cal\.pem is refused: unsuitable certificate purpose"):
        certificate.days_left(own(folder, issue(DNS, usage=ExtendedKeyUsageOID.CLIENT_AUTH).public_bytes(PEM)))


def test_the_key_of_another_certificate_is_refused(folder: Path) -> None:
    """As after a renewal that replaced one file only."""
    key = OTHER_KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN)
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        certificate.days_left(own(folder, GOOD, key))


@pytest.mark.parametrize(
    ("pem", "key", "words"),
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
        (GOOD, LOCKED_KEY, "is the key behind a passphrase"),
    ],
    ids=[
        *("empty certificate", "garbage", "DER", "swapped", "empty key", "garbage as key", "certificate as key"),
        *("cut key", "cut certificate", "overwritten certificate", "passphrase"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(folder: Path, pem: bytes, key: bytes, words: str) -> None:
    """Nobody is asked for a passphrase, and each sentence names the file that is wrong."""
    with pytest.raises(HostError, match=words):
        certificate.days_left(own(folder, pem, key))


@pytest.mark.parametrize("missing", ["cal.pem", "cal.key"])
def test_a_file_that_is_not_there_is_named(folder: Path, missing: str) -> None:
    """Before anything else is said of it."""
    it = own(folder, GOOD)
    (folder / missing).unlink()
    with pytest.raises(HostError, match=rf"{missing} is not there"):
        certificate.days_left(it)


@pytest.mark.parametrize("hostname", ["cal.example.org", "192.0.2.7", "a" * 63 + "." + "b" * 63 + ".example.org"])
def test_a_self_signed_certificate_serves_its_name(host: Path, hostname: str) -> None:
    """For names and addresses, also for longer names than a subject can hold, as long as browsers accept."""
    assert host.is_dir()
    it = declared(hostname=hostname)
    assert "is not there" in certificate.needed(it)
    certificate.make_self_signed(it)
    assert certificate.days_left(it) == 396
    assert certificate.needed(it) == ""


def test_the_key_of_a_self_signed_certificate_is_its_owners_alone(it: Declared) -> None:
    """Whatever the umask is; and nothing stays beside the two."""
    previous = os.umask(0)
    try:
        certificate.make_self_signed(it)
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(previous)
    assert stat.S_IMODE(Path(it.key).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(it.certificate).stat().st_mode) == 0o644
    assert sorted(str(path) for path in Path(paths.TLS).iterdir()) == [it.certificate, it.key]


def test_a_self_signed_certificate_is_a_servers_and_no_authority(it: Declared) -> None:
    """A device that trusts it doesn't trust whatever else its key might sign."""
    certificate.make_self_signed(it)
    made = x509.load_pem_x509_certificate(Path(it.certificate).read_bytes())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_self_signed_certificate_is_made_anew_before_it_ends(it: Declared) -> None:
    """Not a day earlier than need be, and in time."""
    Path(it.key).write_bytes(GOOD_KEY)
    Path(it.certificate).write_bytes(issue(DNS, days=30).public_bytes(PEM))
    assert certificate.needed(it) == ""
    Path(it.certificate).write_bytes(issue(DNS, days=29).public_bytes(PEM))
    assert certificate.needed(it).endswith("has 29 days left")


def test_another_name_gets_a_certificate_of_its_own(it: Declared) -> None:
    """The old pair serves until the change of name has passed every check, and goes when it no longer serves."""
    certificate.make_self_signed(it)
    other = declared(hostname="other.example.org")
    assert "is not there" in certificate.needed(other)
    certificate.make_self_signed(other)
    assert certificate.needed(it) == certificate.needed(other) == ""
    assert certificate.outlived(it) == [Path(other.certificate), Path(other.key)]
    assert certificate.outlived(other) == [Path(it.certificate), Path(it.key)]
    assert len(certificate.outlived(declared(tls="off"))) == 4


def test_a_pair_for_another_name_in_its_place_is_made_anew(it: Declared) -> None:
    """As somebody may have copied it there."""
    Path(it.key).write_bytes(GOOD_KEY)
    Path(it.certificate).write_bytes(issue(x509.DNSName("other.example.org")).public_bytes(PEM))
    assert certificate.needed(it).endswith("doesn't cover cal.example.org")


@pytest.mark.parametrize("tls", ["files", "off"])
def test_no_certificate_is_made_where_none_is_declared(folder: Path, tls: str) -> None:
    """A certificate of one's own is never replaced by ours, however wrong it is."""
    it = own(folder, b"garbage") if tls == "files" else declared(tls="off")
    assert certificate.needed(it) == ""


def test_an_interrupted_run_between_key_and_certificate_is_mended(it: Declared) -> None:
    """The new key beside the old certificate is a pair that can't serve, so a new one is made."""
    certificate.make_self_signed(it)
    Path(it.key).write_bytes(GOOD_KEY)
    assert "is not the key of" in certificate.needed(it)
    certificate.make_self_signed(it)
    assert certificate.needed(it) == ""


def test_a_key_is_closed_to_others_whatever_openssl_does(
    host: Path, it: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An openssl that creates its files as everybody does still can't open the key to them, not for a moment."""
    program = host / "openssl"
    text = """#!/bin/sh
        for word; do
            case $last in -keyout | -out) echo x > "$word"; stat -c %a "$word" >> "$0.modes" ;; esac
            last=$word
        done
    """
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    previous = os.umask(0)
    try:
        certificate.make_self_signed(it)
    finally:
        os.umask(previous)
    assert (host / "openssl.modes").read_text(encoding="ascii").split() == ["600", "600"]
    assert stat.S_IMODE(Path(it.key).stat().st_mode) == 0o600


def test_what_openssl_says_is_passed_on(host: Path, it: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure names its reason, and the pair that was there still is."""
    certificate.make_self_signed(it)
    before = Path(it.certificate).read_bytes(), Path(it.key).read_bytes()
    program = host / "openssl"
    program.write_text("#!/bin/sh\necho no entropy today >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    with pytest.raises(HostError, match="openssl could not make a self-signed certificate: no entropy today"):
        certificate.make_self_signed(it)
    assert (Path(it.certificate).read_bytes(), Path(it.key).read_bytes()) == before


def test_an_empty_pair_replaces_nothing(host: Path, it: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk openssl says that all went well."""
    certificate.make_self_signed(it)
    before = Path(it.certificate).read_bytes(), Path(it.key).read_bytes()
    program = host / "openssl"
    program.write_text(f"#!/bin/sh\n: > {it.key}.new; : > {it.certificate}.new\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    with pytest.raises(HostError, match=r"could not be written; make room in .*, which is full"):
        certificate.make_self_signed(it)
    assert (Path(it.certificate).read_bytes(), Path(it.key).read_bytes()) == before


def test_openssl_agrees_with_what_was_made(it: Declared) -> None:
    """Another program than ours finds name and key in order."""
    certificate.make_self_signed(it)
    command = ["openssl", "x509", "-in", it.certificate, "-noout", "-checkhost", NAME, "-pubkey"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    key = subprocess.run(["openssl", "pkey", "-in", it.key, "-pubout"], capture_output=True, text=True, check=True)
    assert f"Hostname {NAME} does match certificate" in said
    assert key.stdout in said
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(it.certificate, it.key)
