"""The certificate that the web server shows: made here where none is given, and looked at either way."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from baikalctl.declared import Declared

SELF_SIGNED_DAYS = 397
"""What browsers and Apple's clients accept at most (CA/Browser Forum, since 2020)."""
RENEW_DAYS = 30
DAY_S = 86400
REASONS = {9: "is not valid yet; is the clock right?", 10: "has expired", 62: "doesn't cover", 64: "doesn't cover"}
"""OpenSSL's X509_V_ERR codes of what can be wrong with a certificate that is trusted as it stands."""


def needed(declared: Declared) -> str:
    """Return why a self-signed certificate must be made now, or nothing where it needn't."""
    if declared.tls != "selfsigned":
        return ""
    try:
        left = days_left(declared)
    except HostError as error:
        return str(error)
    return f"{declared.certificate} has {left} days left" if left < RENEW_DAYS else ""


def days_left(declared: Declared) -> int:
    """Return the whole days until the certificate ends; raises :class:`HostError` with the reason if it can't serve.

    Key and certificate are used against each other as in a connection, in memory: they must be PEM, belong together,
    cover the host name and be valid today.
    """
    certificate, key = Path(declared.certificate), Path(declared.key)
    for path in (certificate, key):
        if not path.is_file():
            message = f"{path} is not there"
            raise HostError(message)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate itself is what is trusted, whoever signed it.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # No client of today looks for the name anywhere but among the subject's alternative names.
    client.hostname_checks_common_name = False
    try:
        client.load_verify_locations(certificate)
        server.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        message = f"{key} is not the key of {certificate}" if mismatch else _no_pair(certificate, key)
        raise HostError(message) from None
    try:
        end = _end_of_peer(server, client, declared.hostname)
    except ssl.SSLCertVerificationError as error:
        reason = REASONS.get(error.verify_code, f"is refused: {error.verify_message}")
        name = f" {declared.hostname}" if reason == REASONS[62] else ""
        message = f"{certificate} {reason}{name}"
        raise HostError(message) from None
    return int((end - time.time()) // DAY_S)


def make_self_signed(declared: Declared) -> None:
    """Make key and certificate for the host name, each beside its place first; the key is root's alone from the start."""
    name = declared.hostname
    subject = f"IP:{name}" if _is_address(name) else f"DNS:{name}"
    key, certificate = Path(declared.key + ".new"), Path(declared.certificate + ".new")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(certificate), "-days", str(SELF_SIGNED_DAYS)),
        *("-subj", f"/CN={name[:64]}", "-addext", f"subjectAltName={subject}"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"),
    ]
    previous = os.umask(0o077)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    finally:
        os.umask(previous)
    if done.returncode:
        message = f"openssl could not make a self-signed certificate: {done.stderr.strip()}"
        raise HostError(message)
    if not (key.stat().st_size and certificate.stat().st_size):  # openssl ends well on a full disk
        message = f"the self-signed certificate could not be written; make room in {paths.DATA}, which is full"
        raise HostError(message)
    certificate.chmod(0o644)
    key.replace(declared.key)
    certificate.replace(declared.certificate)


def outlived(declared: Declared) -> list[Path]:
    """Return the self-signed pairs that earlier names or settings have left, none of which serves any more."""
    made = Path(paths.TLS).glob("selfsigned-*")
    return sorted(path for path in made if str(path) not in (declared.certificate, declared.key))


def _end_of_peer(server: ssl.SSLContext, client: ssl.SSLContext, hostname: str) -> float:
    """Return when the certificate that ``server`` shows to ``client`` ends, in seconds since the epoch."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    end = (asking.getpeercert() or {})["notAfter"]
    return ssl.cert_time_to_seconds(str(end))


def _no_pair(certificate: Path, key: Path) -> str:
    """Return which of the two isn't what it should be."""
    begins = {certificate: "-----BEGIN CERTIFICATE-----", key: "PRIVATE KEY-----"}
    for path, mark in begins.items():
        if mark not in path.read_text(encoding="utf-8", errors="replace"):
            return f"{path} is no {'certificate' if path == certificate else 'private key'} in PEM form"
    return f"{certificate} and {key} can't be used; is the key behind a passphrase, or one of them damaged?"


def _is_address(name: str) -> bool:
    try:
        import ipaddress

        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
