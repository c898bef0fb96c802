"""Validation rules for texts: host names, time zones, paths, and others.

Each rule is for :class:`baikalctl.settings.value_types.Text`: it returns the text, normalised where that makes sense, or
raises ``ValueError`` with the problem and the remedy. Rules for secrets never repeat the text in an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ACME_SERVERS = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""ACME directories that have a short name (letsencrypt.org/docs/acme-protocol-updates)."""
NOT_PUBLIC = frozenset({"example", "home", "internal", "invalid", "lan", "local", "localhost", "test"})
"""Top-level names that the public DNS doesn't have: RFC 6761, RFC 6762, ICANN's internal, and names used by routers."""
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)


def matches(pattern: str, problem: str) -> Callable[[str], str]:
    """Return a rule: it returns a text that ``pattern`` matches as a whole, else raises ``ValueError`` with ``problem``."""

    def rule(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(problem)
        return text

    return rule


host_path = matches(
    r"(?!.*/\.\.(/|$))/[A-Za-z0-9._/@+-]+",
    "should be an absolute path on the host, of letters, digits and . _ - + @ only",
)
"""An absolute path on the host that needs no quoting in any file."""
email_address = matches(
    r"(?=.{1,80}\Z)[A-Za-z0-9_][A-Za-z0-9._+-]*@[A-Za-z0-9][A-Za-z0-9.-]*",
    'is not an e-mail address of plain letters, digits and . _ + - only; write only the address, such as "jo@example.org"',
)
"""An e-mail address that needs no quoting in a configuration file or a URL."""
key_id = matches(
    r"[A-Za-z0-9._~:/+=@-]+",
    "is not the id of a key: letters, digits and . _ ~ : / + = @ - only; copy it as the CA shows it",
)
"""The id of an external account's key (RFC 8555, section 7.3.4), in characters that need no quoting."""
dns_plugin = matches(
    r"[a-z0-9]+", 'is not a plugin of certbot; set the name that follows "dns-", such as rfc2136 or cloudflare'
)
"""The name of a DNS plugin of certbot, as in the name of its package."""
login = matches(
    r"[!-9;-~]+",
    "is not a login name: ASCII without spaces and colons only; copy it as the relay's provider shows it",
)
"""A login name. Postfix reads the text after a colon as the password."""
printable = matches(
    r"[!-~]([ -~]*[!-~])?",
    "has characters outside printable ASCII, or a space at an end; choose another password at the relay",
)
"""The relay's password. Postfix and nullmailer support only printable ASCII; Postfix removes spaces at the end of a line."""
selector = matches(
    LABEL.pattern, "is not a label of a DNS name: lower-case letters, digits and inner hyphens only, such as baikal"
)
"""A DKIM selector (RFC 6376, section 3.1) of one label."""
database_name = matches(
    r"[A-Za-z_][A-Za-z0-9_-]{0,62}",
    "is not a name for a database: at most 63 letters, digits, _ and - only, such as baikal",
)
"""The name of a database: no character has a meaning in a data source name, and MySQL and PostgreSQL allow the length."""
database_user = matches(
    r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,79}",
    "is not an account of a database: letters, digits and . _ - @ only; copy it as the provider of the server shows it",
)
"""An account of a database server. Some providers put the name of the server or project into it."""
database_password = matches(
    r"[ -~]+", "has characters outside printable ASCII; choose another password at the database server"
)
"""A password of ASCII, which PHP and Python encode in the same bytes."""
schedule = matches(r"hourly|([01]\d|2[0-3]):[0-5]\d", 'is not a time of day; write it as "03:15", or "hourly"')
"""A time of day with two digits each, or ``hourly``."""
_checksum = matches(r"[0-9a-fA-F]{64}", "is not a SHA-256: 64 hexadecimal digits, as sha256sum prints them")
_base64url = matches(
    r"[A-Za-z0-9_-]+={0,2}",
    "is not base64url: letters, digits, - and _ only (instead of + and /); copy it as the CA shows it",
)
_repository = matches(
    r"(/|(azure|b2|gs|rclone|rest|s3|sftp|swift):)[!-~]+",
    "is not a restic repository: an absolute path, or an address that starts with sftp:, rest:, s3:, b2:, azure:, "
    "gs:, swift: or rclone:",
)


def hostname(text: str) -> str:
    """Return a DNS name or IPv4 address in lower case (RFC 1123, section 2.1)."""
    if "://" in text or "/" in text:
        raise ValueError('has a scheme or a path; use only the name, such as "cal.example.org"')
    if ":" in text:
        raise ValueError("has a port; the ports are set with http_port and https_port")
    name = text.lower().removesuffix(".")
    if not name.isascii():
        raise ValueError(
            f"has characters that are not ASCII; write {_idna(name) or 'its IDNA form, which starts with xn--'}"
        )
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a host name: letters, digits, hyphens and dots only, such as cal.example.org")
    return name


def _idna(name: str) -> str:
    """Return the ASCII form of an internationalised host name, or nothing if it has none (RFC 3490).

    Python's codec implements IDNA 2003. IDNA 2008 (RFC 5891) differs for ß, ς and joiners: for these, no form is given.
    """
    if set(name) & set("ßς\u200c\u200d"):
        return ""
    try:
        ascii_name = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""
    return ascii_name if all(LABEL.fullmatch(label) for label in ascii_name.split(".")) else ""


def is_public(name: str) -> bool:
    """Tell whether the public DNS can contain this name, so that a public CA can issue a certificate for it."""
    labels = name.split(".")
    last = labels[-1]
    return len(labels) > 1 and last not in NOT_PUBLIC and labels[-2:] != ["home", "arpa"] and not last.isdigit()


def is_address(name: str) -> bool:
    """Tell whether a host name is an IPv4 address, or looks like one."""
    return name.replace(".", "").isdigit()


def is_full(name: str) -> bool:
    """Tell whether mail servers accept this domain in a sender address: several labels, and not an IP address."""
    labels = name.split(".")
    return len(labels) > 1 and all(LABEL.fullmatch(label) for label in labels) and not is_address(name)


def _without_port(text: str, example: str, setting: str) -> str:
    if ":" in text and "://" not in text:
        raise ValueError(f'has a port; use only the name, such as "{example}", and set the port with {setting}')
    return hostname(text)


def relay_host(text: str) -> str:
    """Return the name of an SMTP server as :func:`hostname` does; its port is a separate setting."""
    return _without_port(text, "smtp.example.org", "relay_port")


def database_host(text: str) -> str:
    """Return the name of a database server as :func:`hostname` does, or ``local``; its port is a separate setting."""
    name = _without_port(text, "db.example.org", "database_port")
    if name == "localhost":  # MySQL's clients connect to the Unix socket then
        raise ValueError(
            'means a Unix socket to MySQL and the network to PostgreSQL; write "local" for a server that the deploy '
            'installs on this machine, or "127.0.0.1" for a server that you installed'
        )
    return name


def timezone(text: str) -> str:
    """Return a time zone of the IANA database. It must exist if this machine has the database."""
    import zoneinfo

    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", text):
        try:
            return zoneinfo.ZoneInfo(text).key
        except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
            if not zoneinfo.available_timezones():
                return text
    raise ValueError('is not a time zone of the IANA database; write it as "Europe/Berlin" or "UTC"')


def release_version(text: str) -> str:
    """Return a version of Baïkal; versions that are known to be broken are refused."""
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", text, re.ASCII):
        raise ValueError("is not a release of Baïkal; write it with three numbers, such as 0.12.1")
    if text in ("0.10.0", "0.11.0"):
        raise ValueError("is a release with a broken installer or upgrade; use the next one, 0.10.1 or 0.11.1")
    if tuple(map(int, text.split("."))) < (0, 10, 0):
        raise ValueError("is too old: releases before 0.10.0 keep their data within the code; use 0.10.1 or newer")
    return text


def checksum(text: str) -> str:
    """Return a SHA-256 in lower-case hex."""
    return _checksum(text).lower()


def archive(text: str) -> str:
    """Return the path or web address of a release's zip."""
    if "://" in text and not text.startswith(("https://", "http://")):
        raise ValueError("has a scheme that is not http or https; use a web address or the path of a local zip")
    return text


def base_path(text: str) -> str:
    """Return a path prefix without trailing slash, or an empty text for the root."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path, re.ASCII):
        raise ValueError("should start with a slash and have letters, digits, - and _ only, such as /calendars")
    return path


def sender(text: str) -> str:
    """Return an e-mail address that other mail servers accept as sender: with a full domain (RFC 5321, section 2.3.5)."""
    local, _, domain = email_address(text).partition("@")
    if not is_full(domain.lower()) or not all(local.split(".")):
        raise ValueError('has no full domain, or a dot too many; write it as "noreply@example.org"')
    return text


def acme_server(text: str) -> str:
    """Return a name in :data:`ACME_SERVERS`, or the https address of an ACME directory (RFC 8555, section 7.1.1)."""
    if text in ACME_SERVERS:
        return text
    if text.startswith("http://"):
        raise ValueError("is not encrypted, which ACME forbids; use the https:// address")
    host = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
    url = re.fullmatch(rf"https://{host}(:(?P<port>\d{{1,5}}))?(/[A-Za-z0-9._~%/?&=+:@,-]*)?", text, re.ASCII)
    if not url or not 1 <= int(url["port"] or 443) <= 65535:
        raise ValueError(
            "is not an ACME server: letsencrypt, staging, or the address of a directory, such as https://ca.lan/acme"
        )
    return text


def base64url(text: str) -> str:
    """Return a key in base64url (RFC 4648, section 5), padded or not."""
    # No base64 has 4n + 1 characters: the pattern that matches nothing gives the same error.
    return _base64url(text if len(text.rstrip("=")) % 4 != 1 else "")


def repository(text: str) -> str:
    """Return a restic repository. Other users could read a password in it, so that is refused."""
    if re.search(r"://[^/@\s]*:[^/\s]*@", text):
        raise ValueError(
            "has a password in it, which isn't kept secret there; remove it, and put the whole address into "
            "restic_credentials, as a line RESTIC_REPOSITORY=… (with restic 0.16 or newer, RESTIC_REST_USERNAME and "
            "RESTIC_REST_PASSWORD work too)"
        )
    return _repository(text)


def environment(text: str) -> str:
    """Return lines of ``NAME=value`` unchanged."""
    for number, line in enumerate(text.split("\n"), 1):
        if line and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.+", line, re.ASCII):
            raise ValueError(f"has a line that is not NAME=value: line {number}; write one variable per line")
    return text
