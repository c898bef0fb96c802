"""Check the DNS records of the sender's domain: SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489).

Without them, other servers refuse mail or treat it as spam.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.host.runtime import apply_remedy
from baikalctl.settings import validators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState


SUBJECT = "mail"
LIFETIME_S = 3
STRING = 255
"""Octets of one string of a TXT record (RFC 1035, section 3.3); a longer text is split into several."""
SPF, DMARC = "v=spf1", "v=DMARC1"
HINT = "include:…"
"""Stands for the terms that the relay's provider documents."""
TERM = re.compile(
    r"[+?~-]?(all|(a|mx)(:[^/\s]+)?(/\d+)?(//\d+)?|(include|exists):\S+|ptr(:\S+)?|ip[46]:[0-9a-f:./]+)|[a-z][\w.-]*=\S*",
    re.ASCII | re.IGNORECASE,
)
"""A mechanism or a modifier (RFC 7208, section 4.6.1)."""

Lookup: TypeAlias = Callable[[str], list[str]]
"""Returns the TXT records of a name, each as one text."""


class NoAnswerError(Exception):
    """DNS can't be queried from this host; the message has the reason."""


def findings(declared: DesiredState, lookup: Lookup | None = None) -> list[Finding]:
    """Return what is wrong with the records of the sender's domain. Private domains aren't checked."""
    domain = declared.mail.domain
    if declared.mail.mode == "off" or not validators.is_public(domain):
        return []
    look = lookup or texts
    try:
        problems = [*_spf(declared, domain, look), *_dkim(declared, domain, look), *_dmarc(declared, domain, look)]
    except NoAnswerError as error:
        message = f"the DNS records of {domain} can't be checked: {error}"
        return [
            Finding(
                SUBJECT,
                WARNING,
                message,
                "until this is fixed, missing records go unnoticed and mail may be treated as spam",
            )
        ]
    if problems:
        return problems
    proofs = "SPF, DKIM and DMARC" if declared.mail.selector else "SPF and DMARC"
    return [Finding(SUBJECT, OK, f"{domain} has {proofs} in DNS")]


def lines(declared: DesiredState) -> list[str]:
    """Return the records that the sender's domain needs, one per line; raises :class:`HostError` without the key.

    With a relay, replace :data:`HINT` by what its provider documents.
    """
    if declared.mail.mode == "off":
        return []
    dkim = [_dkim_line(declared, _public_key(Path(declared.mail.key)))] if declared.mail.selector else []
    return [_spf_line(declared), *dkim, _dmarc_line(declared)]


def texts(name: str) -> list[str]:
    """Return the TXT records of ``name``; raises :class:`NoAnswerError` if DNS can't be queried."""
    try:
        import dns.exception
        import dns.resolver
    except ImportError:
        message = "python3-dnspython is missing; run the deploy, or apt-get install python3-dnspython"
        raise NoAnswerError(message) from None

    def ask() -> list[str]:
        try:
            answer = dns.resolver.Resolver().resolve(f"{name}.", "TXT", lifetime=LIFETIME_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise HostError(" ".join(str(error).split()).rstrip(".")) from None
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]

    try:
        return [str(text) for text in confined(ask)]
    except HostError as error:
        raise NoAnswerError(str(error)) from None


def _spf(declared: DesiredState, domain: str, look: Lookup) -> Iterator[Finding]:
    records = [text for text in look(domain) if re.match(rf"{SPF}(\s|$)", text, re.IGNORECASE)]
    line = _spf_line(declared)
    hint = ", with the terms of the relay's provider" if declared.mail.relay else ""
    if not records:
        message = f"{domain} has no SPF record, so receivers can't tell its mail from forged mail"
        yield Finding(SUBJECT, WARNING, message, f"add to DNS{hint}: {line}")
    elif len(records) > 1:
        # Receivers treat two records as an error of the domain (RFC 7208, sections 3.2 and 4.5).
        yield Finding(
            SUBJECT, WARNING, f"{domain} has {len(records)} SPF records, so receivers ignore all", "merge them into one"
        )
    elif wrong := [term for term in records[0].split()[1:] if not TERM.fullmatch(term)]:
        message = f"the SPF record of {domain} has an invalid term, {wrong[0]!r}, so receivers ignore all of it"
        yield Finding(SUBJECT, WARNING, message, f"correct it{hint}; for this server alone: {line}")


def _dkim(declared: DesiredState, domain: str, look: Lookup) -> Iterator[Finding]:
    if not declared.mail.selector:
        return
    try:
        key = _public_key(Path(declared.mail.key))
    except HostError as error:
        yield Finding(SUBJECT, FAILED, f"mail can't be signed: {' '.join(str(error).split())}", apply_remedy())
        return
    name = f"{declared.mail.selector}._domainkey.{domain}"
    records, line = look(name), _dkim_line(declared, key)
    if not records:
        message = f"{name} is not in DNS, so receivers can't verify the signature"
    elif len(records) > 1:
        message = f"{name} has {len(records)} TXT records, so receivers can't tell which is the key"
    elif not (tags := _tags(records[0])).get("p"):
        message = f"{name} has no key"
    elif tags.get("v", "DKIM1") != "DKIM1" or tags.get("k", "rsa") != "rsa":
        message = f"{name} is not a DKIM1 record with an rsa key"
    elif "".join(tags["p"].split()) != key:
        message = f"{name} has another key than this host, so receivers treat the signature as forged"
    else:
        return
    yield Finding(SUBJECT, WARNING, message, f"add to DNS: {line}")


def _dmarc(declared: DesiredState, domain: str, look: Lookup) -> Iterator[Finding]:
    """Check the domain and its parents, down to two labels: a parent's record applies to all names below it."""
    labels = domain.split(".")
    for above in range(len(labels) - 1):
        name = "_dmarc." + ".".join(labels[above:])
        records = [text for text in look(name) if re.match(rf"{DMARC}\s*(;|$)", text)]
        if len(records) > 1:
            yield Finding(
                SUBJECT, WARNING, f"{name} has {len(records)} DMARC records, so receivers ignore all", "keep one"
            )
        elif records and _tags(records[0]).get("p", "").lower() not in {"none", "quarantine", "reject"}:
            message = f"{name} has no policy (p=none, p=quarantine or p=reject)"
            yield Finding(SUBJECT, WARNING, message, f"correct it; for this server alone: {_dmarc_line(declared)}")
        if records:
            return
    message = f"{domain} has no DMARC record, which some servers require before they accept mail"
    yield Finding(SUBJECT, WARNING, message, f"add to DNS: {_dmarc_line(declared)}")


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a DKIM or DMARC record (RFC 6376, section 3.2)."""
    parts = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in parts}


def _public_key(key: Path) -> str:
    """Return the public half of a private key as DNS needs it: DER in base64."""
    from baikalctl.host.openssl import openssl

    if not key.is_file():
        message = f"{key} is missing"
        raise HostError(message)
    printed = openssl("rsa", "-in", str(key), "-pubout").splitlines()
    return "".join(line for line in printed if not line.startswith("-----"))


def _spf_line(declared: DesiredState) -> str:
    sender = HINT if declared.mail.relay else f"a:{declared.hostname}"
    return _line(declared.mail.domain, f"{SPF} {sender} -all")


def _dkim_line(declared: DesiredState, key: str) -> str:
    return _line(f"{declared.mail.selector}._domainkey.{declared.mail.domain}", f"v=DKIM1; k=rsa; p={key}")


def _dmarc_line(declared: DesiredState) -> str:
    return _line(f"_dmarc.{declared.mail.domain}", f"{DMARC}; p=none; rua=mailto:{declared.mail.sender}")


def _line(name: str, text: str) -> str:
    """Return a TXT record in the form of a zone file."""
    strings = (text[start : start + STRING] for start in range(0, len(text), STRING))
    return f"{name}. TXT " + " ".join(f'"{string}"' for string in strings)
