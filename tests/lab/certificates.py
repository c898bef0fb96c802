"""Certificates of a small test CA, valid and invalid ones, as PEM."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PEM = serialization.Encoding.PEM
USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    chain: str
    """The certificate, followed by its intermediates."""
    key: str
    serial: int
    ends: dt.datetime


@dataclass(frozen=True)
class Signer:
    """A CA: a root, or an intermediate."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @classmethod
    def root(cls, name: str = "Lab Root") -> Self:
        """Return a new root."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_built(name, key, None, (), (-1, 3650), ""), key)

    def intermediate(self, name: str = "Lab Intermediate") -> Signer:
        """Return an intermediate CA that this one has signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Signer(_built(name, key, self, (), (-1, 3650), ""), key)

    @property
    def pem(self) -> str:
        """The CA's own certificate."""
        return self.certificate.public_bytes(PEM).decode()

    @property
    def key_pem(self) -> str:
        """Its key."""
        return _key_pem(self.key)

    def issue(self, *names: str, days: tuple[float, float] = (-1, 60), responder: str = "") -> Pair:
        """Return a certificate for ``names`` from ``days[0]`` to ``days[1]`` from now; ``responder`` answers by OCSP."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _built("", key, self, names, days, responder)
        certificate = built.public_bytes(PEM).decode()
        return Pair(certificate, certificate + self.pem, _key_pem(key), built.serial_number, built.not_valid_after_utc)


def self_signed(*names: str) -> Pair:
    """Return a certificate for ``names`` that is self-signed and otherwise valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = _built(names[0], key, None, names, (-1, 60), "")
    certificate = built.public_bytes(PEM).decode()
    return Pair(certificate, certificate, _key_pem(key), built.serial_number, built.not_valid_after_utc)


def _key_pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _built(  # noqa: PLR0913, PLR0917 - what certificates differ in
    name: str,
    key: EllipticCurvePrivateKey,
    signer: Signer | None,
    names: tuple[str, ...],
    days: tuple[float, float],
    responder: str,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    signing = signer.key if signer else key
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if not names:  # Python 3.13 rejects a CA without it
        usages = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        built = built.add_extension(x509.KeyUsage(**usages), critical=True)
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
        built = built.add_extension(alternatives, critical=not name)
        built = built.add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if responder:
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder))
        built = built.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return built.sign(signing, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    """Return a host's name or address in the form of a certificate (RFC 5280, section 4.2.1.6)."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
