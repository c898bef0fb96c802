"""Certificates and keys of all kinds, and their files: the operator's, the authority's and the served one."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from baikalctl.host import openssl
from baikalctl.host.atomic_write import write
from baikalctl.tls import selection
from tests.unit.samples import declared

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from baikalctl.desired.state import DesiredState


NAME = "cal.example.org"
DNS = x509.DNSName(NAME)
FURTHER = x509.DNSName("dav.example.org")
NOW = dt.datetime.now(dt.UTC)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PLAIN = serialization.NoEncryption()
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEY, OTHER_KEY, ROOT_KEY, CA_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))


def issue(  # noqa: PLR0913 - what certificates differ in
    *names: x509.GeneralName,
    days: float = 100,
    starts: float = -1,
    key: Key = KEY,
    subject: str = NAME,
    ca: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    signer: tuple[x509.Certificate, Key] | None = None,
    ocsp: str = "",
) -> x509.Certificate:
    """Return a certificate for ``names``, from ``starts`` to ``days`` from now, self-signed unless by ``signer``."""
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    built = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(signer[0].subject if signer else named)
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
    if ocsp:
        address = x509.UniformResourceIdentifier(ocsp)
        answers = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, address)
        built = built.add_extension(x509.AuthorityInformationAccess([answers]), critical=False)
    return built.sign(signer[1] if signer else key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    """Return a chain in the form of a file."""
    return b"".join(each.public_bytes(PEM) for each in certificates)


def secret(key: Key) -> bytes:
    """Return a key in the form of a file."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN)


ROOT = issue(key=ROOT_KEY, subject="a root", ca=True, days=3650)
CA = issue(key=CA_KEY, subject="an authority", ca=True, days=1000, signer=(ROOT, ROOT_KEY))
"""The intermediate, which the chain must contain."""
OLD_CA = issue(key=CA_KEY, subject="an authority", ca=True, starts=-900, days=-1, signer=(ROOT, ROOT_KEY))
"""The same intermediate, expired."""
GOOD, GOOD_KEY = pem(issue(DNS)), secret(KEY)


def signed(
    *names: x509.GeneralName, days: float = 89, starts: float = -1, key: Key = KEY, ocsp: str = ""
) -> x509.Certificate:
    """Return a certificate of the authority."""
    return issue(*(names or (DNS,)), days=days, starts=starts, key=key, signer=(CA, CA_KEY), ocsp=ocsp)


def operator_files(folder: Path, chain: bytes, key: bytes = GOOD_KEY, **changed: object) -> DesiredState:
    """Write the operator's files to ``folder``; return the state of a host that uses them."""
    (folder / "cal.pem").write_bytes(chain)
    (folder / "cal.key").write_bytes(key)
    files = {"tls": "files", "tls_certificate": str(folder / "cal.pem"), "tls_key": str(folder / "cal.key")}
    return declared(**files | changed)


def put(path: Path, chain: bytes, key: bytes = GOOD_KEY, *, first: str = "") -> Path:
    """Write a pair to one file, below the line ``first``; return its path."""
    write(path, first + (chain + key).decode())
    return path


def trust(monkeypatch: pytest.MonkeyPatch, folder: Path, *roots: x509.Certificate) -> None:
    """Let the host trust these roots alone. A store is a directory with links named by the hashes of the subjects."""
    store = folder / "trusted"
    store.mkdir(exist_ok=True)
    for number, root in enumerate(roots):
        path = store / f"{number}.pem"
        path.write_bytes(pem(root))
        subject = openssl.openssl("x509", "-in", str(path), "-noout", "-hash").strip()
        (store / f"{subject}.0").symlink_to(path.name)
    defaults = ssl.get_default_verify_paths()._replace(openssl_capath=str(store))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: defaults)


def take(it: DesiredState) -> list[str]:
    """Execute all steps to serve the best pair; return their descriptions."""
    sentences = []
    for sentence, act in selection.steps(it):
        sentences.append(sentence)
        act()
    return sentences
