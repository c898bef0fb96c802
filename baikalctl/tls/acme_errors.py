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
"""Let's Encrypt's longest rate limit counts a week."""
REPORTED = re.compile(r"Domain: +(\S+)\s+Type: +(\w+)\s+Detail: +(.+)")
"""How certbot prints what the authority reports for a name (certbot/_internal/auth_handler.py)."""
RETRY_AFTER = re.compile(r"^Retry-After: *(\S.*)$", re.IGNORECASE | re.MULTILINE)
LAST_ERROR = re.compile(
    r":ERROR:[\w.]+:(?!An unexpected error occurred)(?:Encountered exception during recovery: )?(?:[\w.]+\.errors\.)?(.+)"
)
ACCOUNT_GONE = re.compile(r"account.*(deactivated|revoked|not valid|not found)", re.IGNORECASE)
ACCOUNT_DAMAGED = re.compile(r"DeserializationError|AccountStorageError|choose an account")
"""What certbot prints if its account files are damaged, for example after a power cut, or if it has several accounts."""
EXTERNAL_ACCOUNT = re.compile(r"external account|\bkid\b|\beab\b", re.IGNORECASE)
UNREACHABLE = re.compile(r"Requesting|Connection|Timeout|Max retries|Name or service|Response \[5")
CAUSE = re.compile(r"\[Errno [^]]+\] [^')]+|Read timed out|Requesting .+")
"""The cause at the end of a connection error from Python's libraries."""

ELSEWHERE = "port 80 of {name} reaches another server or a proxy; forward it to this host"
REMEDIES = {
    "dns": "point the DNS name {name} to this host",
    "connection": "make port 80 of {name} reach this host: check firewall, port forwarding and AAAA record",
    "unauthorized": ELSEWHERE,
    "incorrectResponse": ELSEWHERE,
    "caa": "the CAA record of {name} in the DNS forbids this authority; change the record",
    "rateLimited": 'wait; for tests, set acme_server = "staging"',
    "externalAccountRequired": "set acme_eab_key_id and acme_eab_hmac_key to the values from this authority",
    "badNonce": "wait",
    "tls": "make port 80 of {name} reach port 80 of this host, not port 443",
    "invalidContact": "set acme_email to an address that exists",
    "rejectedIdentifier": "this authority issues no certificate for that name; use another name or another acme_server",
}
"""What to do, by the type of the authority's problem (RFC 8555, section 6.7)."""
NAMESERVERS = "fix the nameservers of {name}, for example their DNSSEC: they don't answer the authority"
PAUSED = "open that address and unpause the account"
BY_DNS = (
    "check that acme_dns_credentials or acme_dns_hook sets the record, and that acme_dns_propagation_s is long enough"
)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no certificate, what to do, and how many seconds to wait before the next request."""

    reason: str
    remedy: str
    wait_s: float = 0
    account: bool = False
    """Whether the account can't be used any more: the authority has closed it, or its files are damaged."""
    chance: bool = False
    """Whether the same request may succeed at once: its nonce was too old (RFC 8555, section 6.5)."""


def explain(output: str, log: str, asking: Acme, declared: DesiredState) -> Refusal:
    """Return why certbot got no certificate, from its ``output`` and ``log``."""
    if reports := REPORTED.findall(output):
        name, kind, detail = reports[0]
        others = f" (and {len(reports) - 1} more)" if len(reports) > 1 else ""
        return Refusal(reason=f"{name}: {_short(detail)}{others}", remedy=_remedy(kind, detail, name, asking))
    headers, problem = _last_response(log)
    if problem:
        kind, detail = str(problem["type"]).rpartition(":")[2], str(problem.get("detail", ""))
        external = bool(EXTERNAL_ACCOUNT.search(detail)) or kind == "externalAccountRequired"
        # Here, unauthorized is about the account: problems of a name are reported with the name.
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
        return Refusal(reason="certbot can't read its account files", remedy=f"see {log_file()}", account=True)
    errors = LAST_ERROR.findall(log)[:1] or [line for line in output.splitlines() if line.strip()]
    return _from_last_line(_short(errors[-1]) if errors else "certbot printed nothing", asking)


def _from_last_line(last: str, asking: Acme) -> Refusal:
    """Return why certbot failed if the authority itself has reported no problem."""
    more = f"{log_file()} has more; certbot also reads /etc/letsencrypt/cli.ini"
    reason, remedy = last, f"{BY_DNS}; {more}" if asking.by_dns else more
    if "CERTIFICATE_VERIFY_FAILED" in last:
        reason = f"this host doesn't trust the certificate of {asking.server}"
        remedy = "check the clock; for a private authority, set acme_ca to the file of its root certificate"
    elif "Response [4" in last:
        reason, remedy = f"{asking.server} is no ACME directory ({last})", "fix acme_server"
    elif UNREACHABLE.search(last):
        cause = CAUSE.search(last)
        reason = f"{asking.server} can't be reached: {cause[0] if cause else last}"
        remedy = "check DNS, firewall and proxy of this host"
    elif EXTERNAL_ACCOUNT.search(last):
        remedy = REMEDIES["externalAccountRequired"]
    return Refusal(reason=reason, remedy=remedy)


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
    """Return the headers of the last response in certbot's ``log``, and its problem document if it has one.

    The log is read because certbot 2.1 doesn't always print the authority's problem.
    """
    headers, _, body = log.rpartition("Received response:")[2].partition("\n\n")  # headers may have JSON as well
    try:
        document, _ = json.JSONDecoder().raw_decode(body.lstrip())
        problem = document.get("error", document)  # a failed order contains its problem
        if not str(problem.get("type")).startswith("urn:ietf:params:acme:error:"):
            return "", {}
        details = [str(inner["detail"]) for inner in problem.get("subproblems") or () if inner.get("detail")]
    except (ValueError, TypeError, AttributeError):
        return "", {}
    return headers, problem | ({"detail": details[0]} if details else {})


def _retry_after(headers: str) -> float:
    """Return how many seconds the authority wants us to wait (RFC 9110, section 10.2.3): seconds or a date."""
    header = "".join(RETRY_AFTER.findall(headers)[-1:]).strip()
    if not header.isdecimal():
        import email.utils

        try:
            header = str(int(email.utils.parsedate_to_datetime(header).timestamp() - time.time()))
        except (ValueError, TypeError):
            return 0
    return min(max(0.0, float(header)), LONGEST_S)


def log_file() -> Path:
    """Return certbot's log, which has the last attempt only."""
    return Path(paths.ACME) / "letsencrypt.log"


def _short(text: str) -> str:
    """Return one line, cut for a finding. Addresses are kept whole, because the operator may have to open one."""
    line = " ".join(text.split())
    if len(line) <= SENTENCE_LENGTH:
        return line
    addresses = [word for word in re.findall(r"https?://[^\s\"<>]+", line) if word not in line[:SENTENCE_LENGTH]]
    return " ".join([f"{line[:SENTENCE_LENGTH]}…", *addresses])
