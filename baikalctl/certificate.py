"""The certificate that the web server shows: made here where none is given, and looked at either way."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.declared import HostError

if TYPE_CHECKING:
    from baikalctl.declared import Declared

SELF_SIGNED_DAYS = 397
"""What browsers and Apple's clients accept at most (CA/Browser Forum, since 2020)."""
RENEW_DAYS = 30
DAY_S = 86400


def needed(declared: Declared) -> str:
    """Return why a self-signed certificate must be made now, or nothing where it needn't."""
    if declared.tls != "selfsigned":
        return ""
    return problem(declared)


def problem(declared: Declared, *, days: int = RENEW_DAYS) -> str:
    """Return what is wrong with the certificate, in words, or nothing: there, a pair, covers the name, ``days`` left."""
    certificate, key = Path(declared.certificate), Path(declared.key)
    for path in (certificate, key):
        if not path.is_file():
            return f"{path} is not there"
    # One process answers all: dates, names and the public key. This runs on every check.
    shown = _openssl("x509", "-in", declared.certificate, "-noout", "-checkend", str(days * DAY_S), _covers(declared), "-pubkey")
    if "BEGIN PUBLIC KEY" not in shown:
        return f"{certificate} is no certificate in PEM form"
    if "does NOT match" in shown:
        return f"{certificate} doesn't cover {declared.hostname}"
    if "will expire" in shown:
        return f"{certificate} has less than {days} days left" if days else f"{certificate} has expired"
    if _public_key(shown) != _public_key(_openssl("pkey", "-in", declared.key, "-pubout", "-passin", "pass:")):
        return f"{key} is not the key of {certificate}"
    return ""


def days_left(declared: Declared) -> int:
    """Return the days until the certificate ends, rounded down; raises :class:`HostError` if it can't be read."""
    text = _openssl("x509", "-in", declared.certificate, "-noout", "-enddate", "-dateopt", "iso_8601")
    try:
        end = time.strptime(text.strip().removeprefix("notAfter="), "%Y-%m-%d %H:%M:%SZ")
    except ValueError:
        message = f"{declared.certificate} is no certificate in PEM form"
        raise HostError(message) from None
    return int((_utc(end) - time.time()) // DAY_S)


def make_self_signed(declared: Declared) -> None:
    """Make key and certificate for the host name, each beside its place first; the key is root's alone from the start."""
    name = declared.hostname
    subject = f"IP:{name}" if _is_address(name) else f"DNS:{name}"
    key, certificate = Path(paths.SELF_SIGNED_KEY + ".new"), Path(paths.SELF_SIGNED + ".new")
    previous = os.umask(0o077)
    try:
        message = _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-days", str(SELF_SIGNED_DAYS)),
            *("-subj", f"/CN={name[:64]}", "-addext", f"subjectAltName={subject}"),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"),
        )
    finally:
        os.umask(previous)
    if not certificate.is_file() or not key.is_file():
        problem_text = f"openssl could not make a self-signed certificate: {message.strip()}"
        raise HostError(problem_text)
    certificate.chmod(0o644)
    key.replace(paths.SELF_SIGNED_KEY)
    certificate.replace(paths.SELF_SIGNED)


def _covers(declared: Declared) -> str:
    how = "-checkip" if _is_address(declared.hostname) else "-checkhost"
    return f"{how}={declared.hostname}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _public_key(text: str) -> str:
    start, end = text.find("-----BEGIN PUBLIC KEY-----"), text.find("-----END PUBLIC KEY-----")
    return text[start:end] if 0 <= start < end else text[:0] + "none"


def _openssl(*arguments: str) -> str:
    """Return all that ``openssl`` prints; it says most of what matters with status 1."""
    flat = [part for argument in arguments for part in _split(argument)]
    done = subprocess.run(["openssl", *flat], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def _split(argument: str) -> list[str]:
    """Part ``-checkhost=NAME`` into two words: one argument keeps the pair together where it is chosen."""
    return argument.split("=", 1) if argument.startswith(("-checkhost=", "-checkip=")) else [argument]


def _utc(moment: time.struct_time) -> float:
    import calendar  # noqa: PLC0415 - only where a date is read

    return calendar.timegm(moment)
