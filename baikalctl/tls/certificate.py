"""Read a certificate with its key, check whether it can be served, and create self-signed ones."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl.errors import HostError
from baikalctl.host.openssl import openssl

if TYPE_CHECKING:
    from collections.abc import Sequence

SELF_SIGNED_DAYS = 397
"""A year and a month. Apple's clients accept no certificate for more than 825 days (iOS 13, 2019)."""
RENEW_DAYS = 30
"""A self-signed certificate is replaced so long before its end."""
DAY_S = 86400
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----((?!-----BEGIN)[\x20-\x7e\s])+?-----END [A-Z ]*PRIVATE KEY-----")
"""PEM (RFC 7468). Text around it is ignored."""
LARGEST = 64 << 10
"""Bytes of a file with certificates or a key."""
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the dates are checked in this module, which names them in its messages."""
UNKNOWN_SIGNER = (2, 20, 21)
EXPIRED = (9, 10)
"""OpenSSL's X509_V_ERR codes: the next certificate of the chain is missing; a certificate isn't valid today."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate with its chain, and the key that belongs to it."""

    path: Path
    """The certificate's file."""
    text: str
    """Chain and key in PEM form, as a web server reads them from one file."""
    begins: float
    ends: float
    """In seconds since the epoch."""
    uncovered: tuple[str, ...]
    """Which of the host's names it doesn't cover."""
    trusted: bool
    """Whether this host's store of authorities trusts it, as clients do."""
    complete: bool
    """Whether its chain ends at a root certificate: one that the host trusts, or one in the file."""
    chain_expired: bool
    """Whether the certificate is valid today, but one of the chain isn't."""
    self_signed: bool
    stapling: bool
    """Whether it names an OCSP responder."""

    @property
    def remaining(self) -> float:
        """The seconds until it ends, below zero once it has."""
        return self.ends - time.time()

    @property
    def days_left(self) -> int:
        """The whole days until it ends."""
        return int(self.remaining // DAY_S)

    def fault(self) -> str:
        """Return why it can't be served by this host today, or an empty text."""
        now = time.time()
        if self.uncovered:
            return f"{self.path} doesn't cover {' and '.join(self.uncovered)}"
        if now < self.begins:
            return f"{self.path} is not valid yet; is the clock right?"
        if now > self.ends:
            return f"{self.path} has expired"
        return f"the chain in {self.path} has expired; use the authority's newer chain" if self.chain_expired else ""

    def covers(self, name: str) -> bool:
        """Return whether it covers ``name``, one of the host's names."""
        return name not in self.uncovered


def read_pair(certificate: Path, key: Path, names: Sequence[str]) -> Pair:
    """Return what is in the two files (or in one, given twice); raises :class:`HostError` unless they belong together.

    Each file is read once, and certificate and key are tested with a TLS connection in memory. So the result is what was
    checked, even if another program replaces the files at the same time. ``names`` are the host's.
    """
    chain = _read(certificate)
    return _checked(certificate, key, chain, chain if key == certificate else _read(key), names)


def fit(text: str, name: str) -> None:
    """Raise :class:`HostError` unless ``text``, the content of a file ``name``, is a certificate with its key."""
    _checked(Path(name), Path(name), text, text, ("localhost",))


def _checked(certificate: Path, key: Path, chain: str, secret: str, names: Sequence[str]) -> Pair:
    certificates, keys = CERTIFICATE.findall(chain), _keys(secret)
    if not (certificates and keys) or len(certificates) < chain.count("-----BEGIN CERTIFICATE-----"):
        raise HostError(_no_pair(certificate, key, chain, secret))
    text = _joined(certificates, keys[0])
    server, itself = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), _client()
    # This client trusts the certificates of the file themselves, whichever authority signed them.
    itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        itself.load_verify_locations(cadata="\n".join(certificates))
        _load(server, text)
    except ssl.SSLError as error:
        message = _no_pair(certificate, key, chain, secret)
        if error.reason == "KEY_VALUES_MISMATCH":
            other = f"{key} is not the key of {certificate}"
            message = other if key != certificate else f"the key in {key} doesn't belong to its certificate"
        raise HostError(message) from None
    try:
        code, reason, shown = _refusal(server, itself)
    except ssl.SSLError as error:
        message = (
            f"{certificate} can't be used with {key}: {error.reason}; use a key that all clients support: ECDSA P-256"
        )
        raise HostError(message) from None
    if code:
        message = f"{certificate} is refused: {reason}"
        raise HostError(message)
    begins, ends = (ssl.cert_time_to_seconds(str(shown[date])) for date in ("notBefore", "notAfter"))
    client = _client()
    client.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
    if begins <= time.time() <= ends:
        client.verify_flags &= ~NO_CHECK_TIME
    signed, _, _ = _refusal(server, client)
    return Pair(
        path=certificate,
        text=text,
        begins=begins,
        ends=ends,
        uncovered=tuple(name for name in names if not _covers(shown, name)),
        trusted=not signed,
        complete=signed not in UNKNOWN_SIGNER,
        chain_expired=signed in EXPIRED,
        self_signed=shown["issuer"] == shown["subject"],
        stapling="OCSP" in shown,
    )


def self_signed(names: Sequence[str]) -> str:
    """Return a new pair for ``names`` in PEM form; raises :class:`HostError` if openssl fails."""
    subjects = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    made = openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"),
        *("-days", str(SELF_SIGNED_DAYS), "-subj", f"/CN={names[0][:64]}", "-addext", f"subjectAltName={subjects}"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"),
    )
    return _joined(CERTIFICATE.findall(made), _keys(made)[0])


def _keys(text: str) -> list[str]:
    return [match[0] for match in KEY.finditer(text)]


def _is_address(name: str) -> bool:
    """Return whether ``name`` is an IP address."""
    import ipaddress

    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except PermissionError:
        message = f"{path} can't be read by uid {os.geteuid()}; give that account the file"
        raise HostError(message) from None
    except OSError:
        message = f"{path} is not there"
        raise HostError(message) from None
    if len(content) > LARGEST:
        message = f"{path} is larger than {LARGEST >> 10} KiB, too large for certificates and a key"
        raise HostError(message)
    return content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _joined(certificates: Sequence[str], key: str) -> str:
    return "\n".join([*certificates, key, ""])


def _client() -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= NO_CHECK_TIME
    return client


def _load(server: ssl.SSLContext, text: str) -> None:
    """Load the pair in ``text`` into the server. OpenSSL reads pairs only from files, so this writes one in memory."""
    descriptor = os.memfd_create("pair")
    try:
        os.write(descriptor, text.encode())
        server.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)


def _refusal(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[int, str, dict[str, Any]]:
    """Return why ``client`` refuses the certificate of ``server``: code and text; or the certificate's fields."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (asking, answering, asking):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message, {}
    return 0, "", dict(asking.getpeercert() or {})


def _covers(shown: dict[str, Any], name: str) -> bool:
    """Return whether ``name`` is among the subject's alternative names, the only ones that clients check (RFC 9525)."""
    kind = "IP Address" if _is_address(name) else "DNS"
    covered = {value.lower() for of, value in shown.get("subjectAltName", ()) if of == kind}
    zone = name.partition(".")[2] if kind == "DNS" else ""
    # Clients accept no wildcard for a whole top-level domain.
    return name in covered or ("." in zone and f"*.{zone}" in covered)


def _no_pair(certificate: Path, key: Path, chain: str, secret: str) -> str:
    """Return which of the two files is wrong."""
    for path, text, mark, what in (
        (certificate, chain, "-----BEGIN CERTIFICATE-----", "certificate"),
        (key, secret, "PRIVATE KEY-----", "private key"),
    ):
        if mark not in text:
            return f"{path} is no {what} in PEM form"
    return f"{certificate} and {key} can't be used; has the key a passphrase, or is one of them damaged?"
