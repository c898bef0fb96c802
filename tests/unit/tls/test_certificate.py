"""Certificates as people bring them: right ones, and every way in which they are wrong."""

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
    brought,
    issue,
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
    """Return a directory whose path passes for one on a host."""
    place = tmp_path.resolve() / "tls"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def it(host: Path) -> DesiredState:
    """Return what is declared of a host with a self-signed certificate, which isn't made yet."""
    assert host.is_dir()
    return declared()


def look(it: DesiredState) -> Pair:
    """Return what is in the files of somebody's own."""
    return certificate.read_pair(Path(it.tls_certificate), Path(it.tls_key), it.names)


@pytest.fixture
def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the host believe the root, and nobody else; return where people put their files."""
    trust(monkeypatch, folder, ROOT)
    return folder


@pytest.mark.parametrize("days", [0, 1, 29, 30, 397])
def test_the_days_that_are_left_are_whole_ones(folder: Path, days: int) -> None:
    """A certificate that ends in so many days and twelve hours has so many days left."""
    pair = look(brought(folder, pem(issue(DNS, days=days))))
    assert (pair.days_left, pair.fault()) == (days, "")


@pytest.mark.parametrize("key", [GOOD_KEY, OLD_FORM_KEY], ids=["PKCS 8", "SEC 1"])
def test_both_forms_of_a_private_key_are_taken(folder: Path, key: bytes) -> None:
    """Old tools write one, new ones the other."""
    assert look(brought(folder, GOOD, key)).fault() == ""


def test_rsa_is_taken_as_well(folder: Path) -> None:
    """Many authorities still give it."""
    key = rsa.generate_private_key(65537, 2048)
    assert look(brought(folder, pem(issue(DNS, key=key)), secret(key))).fault() == ""


def test_text_around_a_certificate_is_no_hindrance(folder: Path) -> None:
    """``openssl x509 -text`` writes such files, in whatever encoding; nothing of that is served."""
    words = "Zertifikat für Jürgen\n".encode("latin-1")
    dhparam = b"-----BEGIN DH PARAMETERS-----\nMAYCAQcCAQI=\n-----END DH PARAMETERS-----\n"
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pair = look(brought(folder, words + GOOD + words + dhparam, parameters + words + GOOD_KEY + words))
    assert pair.fault() == ""
    assert pair.text == (GOOD + GOOD_KEY).decode()


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"], ids=["Windows", "old Mac"])
def test_any_line_ends_will_do(folder: Path, ends: bytes) -> None:
    """People send such files by mail."""
    pair = look(brought(folder, GOOD.replace(b"\n", ends), GOOD_KEY.replace(b"\n", ends)))
    assert (pair.fault(), pair.text) == ("", (GOOD + GOOD_KEY).decode())


def test_of_several_keys_the_first_counts(folder: Path) -> None:
    """And of what stands beside it in the certificate's file, or the other way round, nothing."""
    text = (GOOD + GOOD_KEY).decode()
    assert look(brought(folder, GOOD, GOOD_KEY + secret(OTHER_KEY))).text == text
    assert look(brought(folder, secret(OTHER_KEY) + GOOD, pem(CA) + GOOD_KEY)).text == text
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        look(brought(folder, GOOD, secret(OTHER_KEY) + GOOD_KEY))


def test_one_file_may_have_both(folder: Path) -> None:
    """In any order; chain first, then key, is what serves."""
    for content in (GOOD + GOOD_KEY, GOOD_KEY + GOOD):
        (folder / "both.pem").write_bytes(content)
        pair = certificate.read_pair(folder / "both.pem", folder / "both.pem", [NAME])
        assert (pair.fault(), pair.text) == ("", (GOOD + GOOD_KEY).decode())


def test_a_file_without_a_last_newline_is_joined_well(folder: Path) -> None:
    """Or else the key's first line would hang on the certificate's last."""
    pair = look(brought(folder, GOOD.rstrip(), GOOD_KEY))
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
def test_a_certificate_that_covers_the_name_is_taken(
    folder: Path, names: list[x509.GeneralName], hostname: str
) -> None:
    """One name among several, a wildcard, capitals, an address."""
    pair = look(brought(folder, pem(issue(*names)), hostname=hostname))
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
    """Clients refuse it as well; the sentence says which name it doesn't cover."""
    it = brought(folder, pem(issue(*names)), hostname=hostname)
    assert not look(it).covers(hostname)
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
def test_every_name_of_the_host_must_be_covered(
    folder: Path, names: list[x509.GeneralName], uncovered: list[str]
) -> None:
    """And those that aren't are named, all at once."""
    it = brought(folder, pem(issue(*names)), hostnames=["dav.example.org", "kalender.example.org"])
    pair = look(it)
    assert pair.uncovered == tuple(uncovered)
    assert [name for name in it.names if not pair.covers(name)] == uncovered
    expected = f"{it.tls_certificate} doesn't cover {' and '.join(uncovered)}" if uncovered else ""
    assert pair.fault() == expected


def test_an_expired_certificate_is_refused(folder: Path) -> None:
    """However short ago."""
    it = brought(folder, pem(issue(DNS, starts=-90, days=-0.51)))
    assert look(it).remaining < 0
    assert look(it).days_left == -1
    with pytest.raises(HostError, match=r"cal\.pem has expired$"):
        selection.declared_pair(it)


def test_a_certificate_of_tomorrow_is_refused(folder: Path) -> None:
    """Most often the clock is wrong."""
    with pytest.raises(HostError, match=r"cal\.pem is not valid yet; is the clock right\?$"):
        selection.declared_pair(brought(folder, pem(issue(DNS, starts=1))))


def test_a_certificate_for_clients_is_refused(folder: Path) -> None:
    """One that may not stand for a server is no server's."""
    with pytest.raises(HostError, match=r"cal\.pem is refused: unsuitable certificate purpose"):
        look(brought(folder, pem(issue(DNS, usage=ExtendedKeyUsageOID.CLIENT_AUTH))))


def test_the_key_of_another_certificate_is_refused(folder: Path) -> None:
    """As after a renewal that replaced one file only."""
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        look(brought(folder, GOOD, secret(OTHER_KEY)))


def test_a_chain_in_the_wrong_order_is_refused(folder: Path) -> None:
    """The certificate comes first (RFC 8446, section 4.4.2); the key is none of an authority's."""
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        look(brought(folder, pem(CA, signed())))


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
        (GOOD, LOCKED_KEY, "is the key behind a passphrase"),
    ],
    ids=[
        *("empty certificate", "garbage", "DER", "swapped", "empty key", "garbage as key", "certificate as key"),
        *("cut key", "cut certificate", "overwritten certificate", "cut chain", "passphrase"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(folder: Path, chain: bytes, key: bytes, words: str) -> None:
    """Nobody is asked for a passphrase, and each sentence names the file that is wrong."""
    with pytest.raises(HostError, match=words):
        look(brought(folder, chain, key))


def test_a_key_that_no_client_of_today_takes_is_refused(folder: Path) -> None:
    """Whatever a handshake stumbles over is a sentence, and not a stack trace."""
    key = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(HostError, match=r"cal\.pem can't be used with .*cal\.key: .+; take a key that every client"):
        look(brought(folder, pem(issue(DNS, key=key)), secret(key)))


@pytest.mark.parametrize("missing", ["cal.pem", "cal.key"])
def test_a_file_that_is_not_there_is_named(folder: Path, missing: str) -> None:
    """Before anything else is said of it; a directory, as Docker makes one, is none."""
    it = brought(folder, GOOD)
    (folder / missing).unlink()
    with pytest.raises(HostError, match=rf"{missing} is not there"):
        look(it)
    (folder / missing).mkdir()
    with pytest.raises(HostError, match=rf"{missing} is not there"):
        look(it)


@pytest.mark.parametrize("closed", ["cal.pem", "cal.key"])
def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """As where a container runs as somebody else, and the file was replaced."""
    it = brought(folder, GOOD)
    true_open = Path.open

    def refuse(path: Path, *words: object, **more: object) -> object:
        if path.name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return true_open(path, *words, **more)  # type: ignore[call-overload]

    # Root may read everything, and these tests may run as root.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HostError, match=rf"{closed} can't be read by uid \d+.*; give that account the file$"):
        look(it)


def test_a_chain_that_leads_to_a_known_root_is_trusted(known: Path) -> None:
    """With the intermediate in the file, as this host's system knows the root."""
    pair = look(brought(known, pem(signed(), CA)))
    assert (pair.trusted, pair.complete, pair.self_signed, pair.days_left) == (True, True, False, 89)
    assert (pair.chain_expired, pair.fault()) == (False, "")


def test_of_an_unknown_authority_nobody_is_expected_to_know_the_intermediate(folder: Path) -> None:
    """Clients that have its root can't get from the certificate to it, and most don't fetch what is missing."""
    it = brought(folder, pem(signed()))
    pair = look(it)
    assert (pair.trusted, pair.complete, pair.fault()) == (False, False, "")
    with pytest.raises(
        HostError,
        match=r"cal\.pem lacks its chain: who signed it is neither in the file nor known to this host; add the "
        r"authority's intermediate certificates below it \(or, of an authority of your own, its root\)$",
    ):
        selection.declared_pair(it)


def test_a_chain_that_stops_before_its_root_is_incomplete_unless_the_root_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host can't tell a private authority from a forgotten file, so the root is to be added."""
    it = brought(folder, pem(signed(), CA))
    assert not look(it).complete
    with pytest.raises(HostError, match="or, of an authority of your own, its root"):
        selection.declared_pair(it)
    trust(monkeypatch, folder, ROOT)
    assert selection.declared_pair(it).complete


def test_the_wrong_intermediate_is_as_bad_as_none(known: Path) -> None:
    """As after an authority has changed its own, whether that is called the same or not."""
    other = issue(key=OTHER_KEY, subject="another authority", ca=True, signer=(ROOT, ROOT_KEY))
    pair = look(brought(known, pem(signed(), other)))
    assert (pair.trusted, pair.complete) == (False, False)
    namesake = issue(key=OTHER_KEY, subject="an authority", ca=True, signer=(ROOT, ROOT_KEY))
    with pytest.raises(HostError, match=r"cal\.pem is refused: certificate signature failure"):
        look(brought(known, pem(signed(), namesake)))


def test_a_chain_up_to_its_own_root_is_taken(folder: Path) -> None:
    """Of an authority of one's own, which this host need not know."""
    it = brought(folder, pem(signed(), CA, ROOT))
    pair = look(it)
    assert (pair.trusted, pair.complete, pair.self_signed) == (False, True, False)
    assert selection.declared_pair(it).days_left == 89


def test_a_self_signed_certificate_of_ones_own_is_taken(folder: Path) -> None:
    """It is its own root."""
    it = brought(folder, GOOD)
    pair = look(it)
    assert (pair.trusted, pair.complete, pair.self_signed) == (False, True, True)
    assert selection.declared_pair(it).days_left == 100


def test_a_self_signed_certificate_can_be_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody has told this host so."""
    own = issue(DNS)
    trust(monkeypatch, folder, own)
    assert look(brought(folder, GOOD)).trusted is False, "one that only looks like it"
    assert look(brought(folder, pem(own))).trusted


def test_nobody_is_trusted_but_whom_the_host_trusts(folder: Path) -> None:
    """An authority of one's own is known to those whom somebody has told; of it no browser may insist on HTTPS."""
    (folder / "ca.pem").write_bytes(pem(ROOT))
    settings = LETSENCRYPT | {"acme_server": "https://ca.lan/acme", "acme_ca": str(folder / "ca.pem")}
    place = put(folder / "both.pem", pem(signed(), CA))
    assert not selection.read_pair(declared(**settings), place).trusted


def test_a_host_without_a_store_trusts_nobody(known: Path) -> None:
    """It says less, and no more than that."""
    shutil.rmtree(known / "believed")
    pair = look(brought(known, pem(signed(), CA)))
    assert (pair.trusted, pair.complete, pair.fault()) == (False, False, "")


@pytest.mark.parametrize(("starts", "days"), [(-90, -1), (1, 90)], ids=["expired", "not valid yet"])
def test_dates_are_told_and_hide_nothing_else(known: Path, starts: float, days: float) -> None:
    """Whether the chain is whole is known all the same."""
    pair = look(brought(known, pem(signed(starts=starts, days=days), CA)))
    assert pair.complete
    assert pair.trusted
    assert pair.fault()
    assert not pair.chain_expired


def test_an_authority_that_has_expired_is_not_trusted(known: Path) -> None:
    """Clients refuse its certificates, however young; no browser may be told to insist on one."""
    it = brought(known, pem(issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA))
    pair = look(it)
    assert (pair.trusted, pair.complete, pair.chain_expired) == (False, True, True)
    expected = f"{it.tls_certificate} has a chain that has expired; take the authority's newer one"
    assert pair.fault() == expected
    with pytest.raises(HostError, match=re.escape(expected)):
        selection.declared_pair(it)
    assert selection.declared_pair(brought(known, pem(signed(), CA))).trusted


def test_an_expired_root_is_an_expired_chain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As IdenTrust's in September 2021, which broke old clients; the host's newer one may stand for it."""
    old = issue(key=ROOT_KEY, subject="a root", ca=True, starts=-900, days=-1)
    trust(monkeypatch, folder, old)
    pair = look(brought(folder, pem(signed(), CA)))
    assert (pair.trusted, pair.chain_expired) == (False, True)


def test_what_is_wrong_with_the_certificate_itself_is_said_before_its_chain(known: Path) -> None:
    """One sentence, and the one that helps."""
    late = look(brought(known, pem(issue(DNS, starts=-90, days=-1, signer=(OLD_CA, CA_KEY)), OLD_CA)))
    assert late.fault().endswith("cal.pem has expired")
    elsewhere = look(brought(known, pem(issue(FURTHER, signer=(OLD_CA, CA_KEY)), OLD_CA)))
    assert elsewhere.fault().endswith("cal.pem doesn't cover cal.example.org")


PAIRS = [(pem(issue(DNS, key=key)), secret(key)) for key in (KEY, OTHER_KEY)]


def replaced(path: Path, content: bytes) -> None:
    """Replace a file at once, as whoever renews certificates well does."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def loads(place: Path, text: str) -> None:
    """Have a server take this text, by itself; raises :class:`ssl.SSLError` if it doesn't."""
    place.write_text(text, encoding="ascii")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place)


@pytest.mark.parametrize("single", [True, False], ids=["one file", "two files"])
def test_whoever_replaces_files_meanwhile_gets_no_half_of_them_served(folder: Path, *, single: bool) -> None:
    """What is accepted fits, whatever the files are by then; what doesn't is refused."""
    it = brought(folder, *PAIRS[0])
    place, key = Path(it.tls_certificate), Path(it.tls_key)
    ended = threading.Event()

    def renew() -> None:
        while not ended.is_set():
            for chain, secret_ in PAIRS:
                replaced(place, chain + secret_ if single else chain)
                replaced(key, secret_)

    if single:
        replaced(place, b"".join(PAIRS[0]))
    renewing = threading.Thread(target=renew)
    renewing.start()
    accepted, refused = [], []
    try:
        for _ in range(400):
            try:
                accepted.append(certificate.read_pair(place, place if single else key, [NAME]).text)
            except HostError as error:
                refused.append(str(error))
    finally:
        ended.set()
        renewing.join()
    assert len(accepted) == 400 or not single, "a file that is replaced at once is always whole"
    assert set(refused) <= {f"{key} is not the key of {place}"}
    assert accepted
    for text in set(accepted):
        assert text in {(chain + secret_).decode() for chain, secret_ in PAIRS}
        loads(folder / "accepted", text)


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is returned: a second look would be at something else."""
    it = brought(folder, *PAIRS[0])
    read: list[str] = []
    true_read = certificate._read

    def read_once(path: Path) -> str:
        read.append(path.name)
        found = true_read(path)
        replaced(path, b"another")
        return found

    both = put(folder / "both.pem", *PAIRS[0])
    monkeypatch.setattr(certificate, "_read", read_once)
    assert look(it).text == certificate.read_pair(both, both, [NAME]).text == b"".join(PAIRS[0]).decode()
    assert read == ["cal.pem", "cal.key", "both.pem"]


@pytest.mark.parametrize(("ocsp", "stapling"), [("", False), ("http://ocsp.example.org", True)])
def test_whether_an_authority_answers_for_it_is_known(folder: Path, ocsp: str, *, stapling: bool) -> None:
    """Let's Encrypt's no longer does (since May 2025); others do."""
    assert look(brought(folder, pem(signed(ocsp=ocsp), CA))).stapling is stapling


@pytest.mark.parametrize("hostname", ["cal.example.org", "192.0.2.7", "a" * 63 + "." + "b" * 63 + ".example.org"])
def test_a_self_signed_certificate_serves_its_name(host: Path, hostname: str) -> None:
    """For names and addresses, also for longer names than a subject can hold, as long as browsers accept."""
    assert host.is_dir()
    it = declared(hostname=hostname)
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} is not there"]
    pair = selection.read_pair(it, selection.serving_pair(it))
    assert (pair.days_left, pair.fault(), pair.self_signed) == (396, "", True)
    assert take(it) == []


def test_a_self_signed_certificate_serves_further_names(host: Path) -> None:
    """All that clients may type, and another one when that changes."""
    assert host.is_dir()
    one, more = declared(), declared(hostnames=["dav.example.org", "192.0.2.7"])
    take(one)
    reason = f"{selection.serving_pair(one)} doesn't cover dav.example.org and 192.0.2.7"
    assert take(more) == [f"make a self-signed certificate: {reason}"]
    assert selection.read_pair(more, selection.serving_pair(more)).uncovered == ()
    assert take(one) == [], "one that covers more is as good"


def test_the_key_of_a_self_signed_certificate_is_its_owners_alone(it: DesiredState) -> None:
    """Whatever the umask is; and nothing stays beside it."""
    previous = os.umask(0)
    try:
        take(it)
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(previous)
    assert stat.S_IMODE(Path(f"{it.served}.pem").stat().st_mode) == 0o600
    assert sorted(str(path) for path in Path(paths.TLS).iterdir()) == [f"{it.served}.conf", f"{it.served}.pem"]


def test_a_self_signed_certificate_is_a_servers_and_no_authority(it: DesiredState) -> None:
    """A device that trusts it doesn't trust whatever else its key might sign."""
    made = x509.load_pem_x509_certificate(certificate.self_signed(it.names).encode())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_each_self_signed_certificate_has_a_key_of_its_own(it: DesiredState) -> None:
    """Whoever got hold of the old one has nothing of the new one."""
    one, other = (certificate.self_signed(it.names).partition("-----BEGIN PRIVATE KEY-----")[2] for _ in range(2))
    assert one
    assert one != other


def test_a_self_signed_certificate_is_made_anew_before_it_ends(it: DesiredState) -> None:
    """Not a day earlier than need be, and in time."""
    put(selection.serving_pair(it), pem(issue(DNS, days=30)))
    assert [sentence for sentence, _ in selection.steps(it) if sentence.startswith("make")] == []
    put(selection.serving_pair(it), pem(issue(DNS, days=29)))
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} has 29 days left"]
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 396


def test_another_name_gets_a_certificate_of_its_own(it: DesiredState) -> None:
    """The old pair serves until the change of name has passed every check, and goes when it no longer serves."""
    take(it)
    other = declared(hostname="other.example.org")
    assert len(take(other)) == 1
    assert take(it) == take(other) == []


def test_a_pair_for_another_name_in_its_place_is_made_anew(it: DesiredState) -> None:
    """As somebody may have copied it there."""
    put(selection.serving_pair(it), pem(issue(x509.DNSName("other.example.org"))))
    assert take(it) == [f"make a self-signed certificate: {selection.serving_pair(it)} doesn't cover cal.example.org"]


def test_a_damaged_pair_is_made_anew(it: DesiredState) -> None:
    """A file that somebody has cut, or the key of another in it."""
    put(selection.serving_pair(it), GOOD, secret(OTHER_KEY))
    assert "has a key that isn't its certificate's" in take(it)[0]
    put(selection.serving_pair(it), GOOD[:300])
    assert "can't be used" in take(it)[0]
    assert take(it) == []


def test_a_key_is_closed_to_others_whatever_the_umask_is(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a moment is it open: the file that takes its place has its mode before it has any content."""
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
    """Have a shell script for openssl."""
    program = host / "bin" / "openssl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_no_key_is_among_what_openssl_is_called_with(
    host: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody sees the words of a command; and openssl writes no file, so none can be open to others."""
    fake_openssl(host, monkeypatch, f'echo "$@" >> {host}/words; exec {openssl_here()} "$@"')
    take(it)
    words = (host / "words").read_text(encoding="utf-8").split()
    assert words[words.index("-keyout") + 1] == "-"
    assert "-out" not in words


def openssl_here() -> str:
    """Return the true program."""
    return subprocess.run(["sh", "-c", "command -v openssl"], capture_output=True, text=True, check=True).stdout.strip()


def test_what_openssl_says_is_passed_on(host: Path, it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure names its reason, and the pair that was there still is."""
    place = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = place.read_bytes()
    fake_openssl(host, monkeypatch, "echo no entropy today >&2; exit 3")
    with pytest.raises(HostError, match=r"openssl req failed: no entropy today$"):
        take(it)
    assert place.read_bytes() == before


def test_a_full_disk_replaces_nothing(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """What doesn't fit leaves no trace, what serves goes on serving, and the sentence says what to do."""
    place = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = place.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    expected = rf"can't be written \(No space left on device\); make room in {re.escape(paths.DATA)}, or fix that$"
    with pytest.raises(HostError, match=expected):
        take(it)
    assert place.read_bytes() == before
    assert not [path for path in Path(paths.TLS).iterdir() if path.name.startswith(".")]


def test_a_really_full_disk_replaces_nothing(it: DesiredState) -> None:
    """With the kernel's own refusal: files of this process may not grow beyond nothing."""
    place = put(selection.serving_pair(it), pem(issue(DNS, days=3)))
    before = place.read_bytes()
    program = (
        "import resource, signal, sys; from pathlib import Path; from baikalctl.host.atomic_write import write;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "write(Path(sys.argv[1]), 'x' * 5000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "can't be written (File too large)" in done.stderr
    assert place.read_bytes() == before
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_what_an_interrupted_run_left_is_no_hindrance(it: DesiredState) -> None:
    """Whatever it is, it is not used, and it goes."""
    beside = Path(f"{paths.TLS}/.{Path(it.served).name}.pem.new")
    beside.write_text("half of a", encoding="ascii")
    take(it)
    assert not beside.exists()
    assert selection.read_pair(it, selection.serving_pair(it)).fault() == ""


def test_openssl_agrees_with_what_was_made(it: DesiredState) -> None:
    """Another program than ours finds name and key in order."""
    take(it)
    pair = f"{it.served}.pem"
    command = ["openssl", "x509", "-in", pair, "-noout", "-checkhost", NAME, "-pubkey"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    key = subprocess.run(["openssl", "pkey", "-in", pair, "-pubout"], capture_output=True, text=True, check=True)
    assert f"Hostname {NAME} does match certificate" in said
    assert key.stdout in said
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair)
