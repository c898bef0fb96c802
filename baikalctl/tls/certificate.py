"""A certificate and its key: what they say, whether they can serve, and a self-signed pair where nobody else signs."""

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
"""A year and a month. Apple's clients take no certificate for more than 825 days, whoever signed it (iOS 13, 2019)."""
RENEW_DAYS = 30
"""So long before its end a self-signed certificate is made anew."""
DAY_S = 86400
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----((?!-----BEGIN)[\x20-\x7e\s])+?-----END [A-Z ]*PRIVATE KEY-----")
LARGEST = 64 << 10
"""Bytes of a file with certificates or a key."""
"""PEM (RFC 7468); what stands around it is nobody's business but its author's."""
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the certificate's own dates are looked at here, where they can be told."""
UNKNOWN_SIGNER = (2, 20, 21)
EXPIRED = (9, 10)
"""OpenSSL's X509_V_ERR codes: the next certificate of a chain is nowhere to be found; it isn't valid today."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate with its chain, and its key, which belong together."""

    place: Path
    """The certificate's file."""
    text: str
    """Chain and key, PEM, as a web server reads them from one file."""
    begins: float
    ends: float
    """Since the epoch, in seconds."""
    uncovered: tuple[str, ...]
    """Which of the host's names it doesn't cover."""
    trusted: bool
    """Whether this host believes it, as clients do."""
    complete: bool
    """Whether its chain leads to a root: one that the host trusts, or its own."""
    chain_expired: bool
    """Whether the certificate is valid today, and one that signed it isn't."""
    self_signed: bool
    stapling: bool
    """Whether its authority answers by OCSP that it is still good."""

    @property
    def remaining(self) -> float:
        """The seconds until it ends, below zero once it has."""
        return self.ends - time.time()

    @property
    def days_left(self) -> int:
        """The whole days until it ends."""
        return int(self.remaining // DAY_S)

    def fault(self) -> str:
        """Return why it can't serve this host today, or nothing."""
        now = time.time()
        if self.uncovered:
            return f"{self.place} doesn't cover {' and '.join(self.uncovered)}"
        if now < self.begins:
            return f"{self.place} is not valid yet; is the clock right?"
        if now > self.ends:
            return f"{self.place} has expired"
        return (
            f"{self.place} has a chain that has expired; take the authority's newer one" if self.chain_expired else ""
        )

    def covers(self, name: str) -> bool:
        """Tell whether clients that look for ``name``, one of the host's, will find it."""
        return name not in self.uncovered


def read_pair(certificate: Path, key: Path, names: Sequence[str]) -> Pair:
    """Return what is in the two files (or in one, given twice); raises :class:`HostError` unless they belong together.

    They are read once, and used against each other as in a connection, in memory: what is returned is what was looked
    at, whoever replaces the files meanwhile. ``names`` are the host's.
    """
    chain = _read(certificate)
    return _looked(certificate, key, chain, chain if key == certificate else _read(key), names)


def fit(text: str, name: str) -> None:
    """Raise :class:`HostError` unless ``text``, the content of a file ``name``, is a certificate with its key."""
    _looked(Path(name), Path(name), text, text, ("localhost",))


def _looked(certificate: Path, key: Path, chain: str, secret: str, names: Sequence[str]) -> Pair:
    certificates, keys = CERTIFICATE.findall(chain), _keys(secret)
    if not (certificates and keys) or len(certificates) < chain.count("-----BEGIN CERTIFICATE-----"):
        raise HostError(_no_pair(certificate, key, chain, secret))
    text = _joined(certificates, keys[0])
    server, itself = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), _client()
    # The certificate itself is what is trusted here, whoever signed it.
    itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        itself.load_verify_locations(cadata="\n".join(certificates))
        _load(server, text)
    except ssl.SSLError as error:
        message = _no_pair(certificate, key, chain, secret)
        if error.reason == "KEY_VALUES_MISMATCH":
            other = f"{key} is not the key of {certificate}"
            message = other if key != certificate else f"{key} has a key that isn't its certificate's"
        raise HostError(message) from None
    try:
        code, reason, shown = _refusal(server, itself)
    except ssl.SSLError as error:
        message = (
            f"{certificate} can't be used with {key}: {error.reason}; take a key that every client knows: ECDSA P-256"
        )
        raise HostError(message) from None
    if code:
        message = f"{certificate} is refused: {reason}"
        raise HostError(message)
    begins, ends = (ssl.cert_time_to_seconds(str(shown[date])) for date in ("notBefore", "notAfter"))
    everybody = _client()
    everybody.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
    if begins <= time.time() <= ends:
        everybody.verify_flags &= ~NO_CHECK_TIME
    signed, _, _ = _refusal(server, everybody)
    return Pair(
        place=certificate,
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
    """Return a new pair for ``names``, PEM; raises :class:`HostError` if openssl can't make one."""
    subjects = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    made = openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"),
        *("-days", str(SELF_SIGNED_DAYS), "-subj", f"/CN={names[0][:64]}", "-addext", f"subjectAltName={subjects}"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"),
    )
    return _joined(CERTIFICATE.findall(made), _keys(made)[0])


def _keys(text: str) -> list[str]:
    return [found[0] for found in KEY.finditer(text)]


def _is_address(name: str) -> bool:
    """Tell whether ``name`` is an IP address."""
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
        message = f"{path} is larger than {LARGEST >> 10} KiB, which is too much for certificates and a key"
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
    """Have the server show the pair in ``text``, which OpenSSL reads from a file alone: from one in memory."""
    descriptor = os.memfd_create("pair")
    try:
        os.write(descriptor, text.encode())
        server.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)


def _refusal(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[int, str, dict[str, Any]]:
    """Return why ``client`` refuses what ``server`` shows: code and words; or what it says of itself."""
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
    """Tell whether clients find ``name`` among the subject's alternative names, where alone they look (RFC 9525)."""
    kind = "IP Address" if _is_address(name) else "DNS"
    covered = {value.lower() for of, value in shown.get("subjectAltName", ()) if of == kind}
    zone = name.partition(".")[2] if kind == "DNS" else ""
    # Clients take no wildcard for all of a top-level domain.
    return name in covered or ("." in zone and f"*.{zone}" in covered)


def _no_pair(certificate: Path, key: Path, chain: str, secret: str) -> str:
    """Return which of the two isn't what it should be."""
    for path, text, mark, what in (
        (certificate, chain, "-----BEGIN CERTIFICATE-----", "certificate"),
        (key, secret, "PRIVATE KEY-----", "private key"),
    ):
        if mark not in text:
            return f"{path} is no {what} in PEM form"
    return f"{certificate} and {key} can't be used; is the key behind a passphrase, or one of them damaged?"
