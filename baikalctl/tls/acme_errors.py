"""Why a certificate authority refused, from certbot's output and log, and what to do about it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths

if TYPE_CHECKING:
    from baikalctl.desired.state import Acme, DesiredState

SENTENCE_LENGTH = 300


LONGEST_S = 8 * 86400
"""Let's Encrypt's longest limit counts a week."""


REPORTED = re.compile(r"Domain: +(\S+)\s+Type: +(\w+)\s+Detail: +(.+)")
"""How certbot tells what the authority found at a name (certbot/_internal/auth_handler.py)."""


RETRY_AFTER = re.compile(r"^Retry-After: *(\S.*)$", re.IGNORECASE | re.MULTILINE)


LAST_WORDS = re.compile(
    r":ERROR:[\w.]+:(?!An unexpected error occurred)(?:Encountered exception during recovery: )?(?:[\w.]+\.errors\.)?(.+)"
)


ACCOUNT_GONE = re.compile(r"account.*(deactivated|revoked|not valid|not found)", re.IGNORECASE)


ACCOUNT_DAMAGED = re.compile(r"DeserializationError|AccountStorageError|choose an account")
"""What certbot says if it can't use what it keeps of its account, as after a power cut, or has several."""


EXTERNAL_ACCOUNT = re.compile(r"external account|\bkid\b|\beab\b", re.IGNORECASE)


CAUSE = re.compile(r"\[Errno [^]]+\] [^')]+|Read timed out|Requesting .+")
"""What it comes down to, at the end of what Python's libraries say of a connection."""


REMEDIES = {
    "dns": "let the DNS name {name} lead to this host",
    "connection": "let port 80 of {name} lead to this host: firewall, port forwarding, and what its AAAA record says",
    "unauthorized": "{name} leads to another server, or one stands before this one; let its port 80 lead here",
    "caa": "the CAA record of {name} in the DNS forbids this authority; allow it there",
    "rateLimited": 'wait; for trials there is acme_server = "staging"',
    "externalAccountRequired": "set acme_eab_key_id and acme_eab_hmac_key, which this authority gives its customers",
    "badNonce": "wait",
    "tls": "let port 80 of {name} lead to this host and not to port 443",
    "invalidContact": "set acme_email to an address that exists",
    "rejectedIdentifier": "this authority gives none for that name; take another name, or another acme_server",
}
"""What to do, by the type of the authority's problem (RFC 8555, section 6.7)."""


NAMESERVERS = "mend the nameservers of {name} (DNSSEC?): the authority gets no answer of theirs"


PAUSED = "open that address, and have it go on for this account"


BY_DNS = (
    "see to it that acme_dns_credentials or acme_dns_hook sets the record, and give it time (acme_dns_propagation_s)"
)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no certificate: who says what, what to do, and how long not to ask again, in seconds."""

    reason: str
    remedy: str
    wait_s: float = 0
    account: bool = False
    """Whether our account is of no use any more, to the authority or here."""
    chance: bool = False
    """Whether the same question may be answered the next time: a nonce of ours was too old (RFC 8555, section 6.5)."""


def explain(output: str, log: str, asking: Acme, declared: DesiredState) -> Refusal:
    """Return why certbot got no certificate, from its ``output`` and ``log``."""
    found = REPORTED.findall(output)
    if found:
        name, kind, detail = found[0]
        others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Refusal(reason=f"{name}: {_short(detail)}{others}", remedy=_remedy(kind, detail, name, asking))
    headers, problem = _last_response(log)
    if problem:
        kind, detail = str(problem["type"]).rpartition(":")[2], str(problem.get("detail", ""))
        external = bool(EXTERNAL_ACCOUNT.search(detail)) or kind == "externalAccountRequired"
        # What stands at a name is reported with the name; this is about the account.
        matter = "externalAccountRequired" if external else "account" if kind == "unauthorized" else kind
        gone = kind == "accountDoesNotExist" or bool(ACCOUNT_GONE.search(detail))
        return Refusal(
            reason=_short(detail) or kind,
            remedy=_remedy(matter, detail, declared.hostname, asking),
            wait_s=_retry_after(headers) if kind in ("rateLimited", "serverInternal") else 0,
            chance=kind == "badNonce",
            account=gone and not external,
        )
    if ACCOUNT_DAMAGED.search(output):
        return Refusal(
            reason="certbot can't read what it keeps of the account", remedy=f"look at {log_file()}", account=True
        )
    words = LAST_WORDS.findall(log)[:1] or [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
    return _from_last_line(_short(words[-1]), asking)


def _from_last_line(last: str, asking: Acme) -> Refusal:
    """Return why certbot failed where the authority itself has said nothing of it."""
    if "CERTIFICATE_VERIFY_FAILED" in last:
        return Refusal(
            reason=f"{asking.server} shows a certificate that this host doesn't believe",
            remedy="is the clock right? If it is an authority of your own, name the file with its root in acme_ca",
        )
    if "Response [4" in last:
        return Refusal(reason=f"{asking.server} is no ACME directory ({last})", remedy="look at acme_server")
    if re.search(r"Requesting|Connection|Timeout|Max retries|Name or service|Response \[5", last):
        remedy = "let this host reach it (DNS, firewall, proxy)"
        cause = CAUSE.search(last)
        return Refusal(reason=f"{asking.server} can't be reached: {cause[0] if cause else last}", remedy=remedy)
    if EXTERNAL_ACCOUNT.search(last):
        return Refusal(reason=last, remedy=REMEDIES["externalAccountRequired"])
    more = f"{log_file()} has more, and what stands in /etc/letsencrypt/cli.ini counts as well"
    return Refusal(reason=last, remedy=f"{BY_DNS}; {more}" if asking.by_dns else more)


def _remedy(kind: str, detail: str, name: str, asking: Acme) -> str:
    """Return what to do about a problem of this ``kind`` (RFC 8555, section 6.7) with ``name``."""
    if "unpause" in detail:
        return PAUSED
    if kind == "dns" and "SERVFAIL" in detail:
        return NAMESERVERS.format(name=name)
    if asking.by_dns and kind in ("dns", "unauthorized", "incorrectResponse"):
        return BY_DNS
    return REMEDIES.get(kind, f"{log_file()} has more").format(name=name)


def _last_response(log: str) -> tuple[str, dict[str, Any]]:
    """Return the headers of the last answer in certbot's ``log``, and its problem document if it is one.

    What certbot says itself won't do: 2.1 fails to repeat what the authority has said.
    """
    headers, _, body = log.rpartition("Received response:")[2].partition("\n\n")  # headers may have JSON as well
    try:
        found, _ = json.JSONDecoder().raw_decode(body.lstrip())
        problem = found.get("error", found)  # an order that came to nothing tells why in itself
        if not str(problem.get("type")).startswith("urn:ietf:params:acme:error:"):
            return "", {}
        details = [str(inner["detail"]) for inner in problem.get("subproblems") or () if inner.get("detail")]
    except (ValueError, TypeError, AttributeError):
        return "", {}
    return headers, problem | ({"detail": details[0]} if details else {})


def _retry_after(headers: str) -> float:
    """Return in how many seconds the authority wants to be asked again."""
    header = "".join(RETRY_AFTER.findall(headers)[-1:]).strip()
    if not header.isdecimal():
        import email.utils

        try:
            header = str(int(email.utils.parsedate_to_datetime(header).timestamp() - time.time()))
        except (ValueError, TypeError):
            return 0
    return min(max(0.0, float(header)), LONGEST_S)


def log_file() -> Path:
    """Return where certbot writes what it did, of the last attempt alone."""
    return Path(paths.ACME) / "letsencrypt.log"


def _short(text: str) -> str:
    """Return one line that isn't too long for a finding; an address in it stays whole, for somebody may have to open it."""
    line = " ".join(text.split())
    if len(line) <= SENTENCE_LENGTH:
        return line
    addresses = [word for word in re.findall(r"https?://[^\s\"<>]+", line) if word not in line[:SENTENCE_LENGTH]]
    return " ".join([f"{line[:SENTENCE_LENGTH]}…", *addresses])
