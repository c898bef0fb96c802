"""What makes a text a host name, a time zone, a path …: each rule returns it, perhaps normalised, or says what is wrong.

They are the rules of :class:`baikalctl.settings.value_types.Text`; each raises ``ValueError`` with a sentence and the remedy.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

ACME_SERVERS = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""The directories of the CA that has names of its own here (letsencrypt.org/docs/acme-protocol-updates)."""
NOT_PUBLIC = frozenset({"example", "home", "internal", "invalid", "lan", "local", "localhost", "test"})
"""Last labels that the public DNS doesn't have: RFC 6761, RFC 6762, ICANN's internal, and what routers use."""
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)


def hostname(text: str) -> str:
    """Return a DNS name or IPv4 address in lower case (RFC 1123, section 2.1)."""
    if "://" in text or "/" in text:
        message = 'has a scheme or a path; give the bare name, such as "cal.example.org"'
        raise ValueError(message)
    if ":" in text:
        message = "has a port; ports are settings of their own, http_port and https_port"
        raise ValueError(message)
    name = text.lower().removesuffix(".")
    if not name.isascii():
        message = "has letters outside ASCII; give its IDNA form, which starts with xn--"
        raise ValueError(message)
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in name.split(".")):
        message = "is no host name: letters, digits, hyphens and dots only, such as cal.example.org"
        raise ValueError(message)
    return name


def is_public(name: str) -> bool:
    """Tell whether the public DNS could have this name, so that a public CA could have a certificate for it."""
    labels = name.split(".")
    last = labels[-1]
    return len(labels) > 1 and last not in NOT_PUBLIC and labels[-2:] != ["home", "arpa"] and not last.isdigit()


def is_address(name: str) -> bool:
    """Tell whether a host name is an IPv4 address, or meant as one."""
    return name.replace(".", "").isdigit()


def is_full(name: str) -> bool:
    """Tell whether mail could come from a domain of this name: one of several labels, and no IP address."""
    labels = name.split(".")
    return len(labels) > 1 and all(LABEL.fullmatch(label) for label in labels) and not is_address(name)


def relay_host(text: str) -> str:
    """Return the name of an SMTP server as :func:`hostname` does; its port is a setting of its own."""
    if ":" in text and "://" not in text:
        message = 'has a port; give the bare name, such as "smtp.example.org", and the port as relay_port'
        raise ValueError(message)
    return hostname(text)


def timezone(text: str) -> str:
    """Return a time zone of the IANA database, as far as this machine has it."""
    import zoneinfo

    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", text):
        try:
            return zoneinfo.ZoneInfo(text).key
        except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
            if not zoneinfo.available_timezones():
                return text
    message = 'is no time zone of the IANA database; write it as "Europe/Berlin" or "UTC"'
    raise ValueError(message)


def release_version(text: str) -> str:
    """Return a version of Baïkal; those that are known to be broken are refused."""
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", text, re.ASCII):
        message = "is no release of Baïkal; write it with three numbers, such as 0.12.1"
        raise ValueError(message)
    if text in ("0.10.0", "0.11.0"):
        message = "is a release with a broken installer or upgrade; take the next one, 0.10.1 or 0.11.1"
        raise ValueError(message)
    if tuple(map(int, text.split("."))) < (0, 10, 0):
        message = "is too old: state moved out of the code with 0.10.0; take 0.10.1 or newer"
        raise ValueError(message)
    return text


def checksum(text: str) -> str:
    """Return a SHA-256 in lower-case hex."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text, re.ASCII):
        message = "is no SHA-256: 64 hexadecimal digits, as sha256sum prints them"
        raise ValueError(message)
    return text.lower()


def archive(text: str) -> str:
    """Return the path or https address of a release's zip."""
    if "://" in text and not text.startswith(("https://", "http://")):
        message = "has a scheme that is not http or https; give an address or the path of a local zip"
        raise ValueError(message)
    return text


def base_path(text: str) -> str:
    """Return a path prefix without trailing slash, or nothing for the root."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path, re.ASCII):
        message = "should start with a slash and have letters, digits, - and _ only, such as /calendars"
        raise ValueError(message)
    return path


def host_path(text: str) -> str:
    """Return an absolute path on the host, in plain characters that need no quoting anywhere."""
    if not re.fullmatch(r"/[A-Za-z0-9._/@+-]+", text, re.ASCII) or ".." in PurePosixPath(text).parts:
        message = "should be an absolute path on the host, of letters, digits and . _ - + @ only"
        raise ValueError(message)
    return text


def email_address(text: str) -> str:
    """Return an e-mail address, in characters that need no quoting in anybody's configuration or in an address."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*@[A-Za-z0-9][A-Za-z0-9.-]*", text, re.ASCII) or len(text) > 80:
        message = (
            'is no e-mail address of plain letters, digits and . _ + - only; write it bare, such as "jo@example.org"'
        )
        raise ValueError(message)
    return text


def sender(text: str) -> str:
    """Return an e-mail address that mail may come from: other servers want a full domain (RFC 5321, section 2.3.5)."""
    local, _, domain = email_address(text).partition("@")
    if not is_full(domain.lower()) or not all(local.split(".")):
        message = 'has no full domain, or a dot too many; write it as "noreply@example.org"'
        raise ValueError(message)
    return text


def acme_server(text: str) -> str:
    """Return the name of a CA that has one here, or the https address of an ACME directory (RFC 8555, section 7.1.1)."""
    if text in ACME_SERVERS:
        return text
    if text.startswith("http://"):
        message = "would be spoken to in the clear, which ACME forbids; give its https:// address"
        raise ValueError(message)
    host = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
    found = re.fullmatch(rf"https://{host}(:(?P<port>\d{{1,5}}))?(/[A-Za-z0-9._~%/?&=+:@,-]*)?", text, re.ASCII)
    if not found or not 1 <= int(found["port"] or 443) <= 65535:
        message = "is no ACME server: letsencrypt, staging, or the address of a directory, such as https://ca.lan/acme"
        raise ValueError(message)
    return text


def key_id(text: str) -> str:
    """Return the id of an external account's key (RFC 8555, section 7.3.4), in characters that need no quoting."""
    if not re.fullmatch(r"[A-Za-z0-9._~:/+=@-]+", text, re.ASCII):
        message = "is no id of a key: letters, digits and . _ ~ : / + = @ - only; copy it as the CA shows it"
        raise ValueError(message)
    return text


def base64url(text: str) -> str:
    """Return a key in base64url (RFC 4648, section 5), padded or not; it is a secret, so no error repeats it."""
    bare = text.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", text, re.ASCII) or len(bare) % 4 == 1:
        message = "is not base64url: letters, digits, - and _ only (in place of + and /); copy it as the CA shows it"
        raise ValueError(message)
    return text


def dns_plugin(text: str) -> str:
    """Return the name of one of certbot's DNS plugins, as it stands in the name of its package."""
    if not re.fullmatch(r"[a-z0-9]+", text, re.ASCII):
        message = 'is no plugin of certbot; give the name that follows "dns-", such as rfc2136 or cloudflare'
        raise ValueError(message)
    return text


def login(text: str) -> str:
    """Return a name to log in with, of ASCII without spaces; Postfix would take what follows a colon for the password."""
    if not re.fullmatch(r"[!-9;-~]+", text, re.ASCII):
        message = "is no login name: ASCII without spaces and colons only; copy it as the relay's provider shows it"
        raise ValueError(message)
    return text


def printable(text: str) -> str:
    """Return a password of printable ASCII, the same in every encoding; it is a secret, so no error repeats it.

    Postfix and nullmailer can't be told any other, and Postfix drops spaces at the end of a line.
    """
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text, re.ASCII):
        message = "has characters outside printable ASCII, or a space at an end; choose another password at the relay"
        raise ValueError(message)
    return text


def selector(text: str) -> str:
    """Return a DKIM selector (RFC 6376, section 3.1) of one label."""
    if not LABEL.fullmatch(text):
        message = "is no label of a DNS name: lower-case letters, digits and inner hyphens only, such as baikal"
        raise ValueError(message)
    return text


def database_host(text: str) -> str:
    """Return the name of a database server as :func:`hostname` does, or ``local``; its port is a setting of its own."""
    if ":" in text and "://" not in text:
        message = 'has a port; give the bare name, such as "db.example.org", and the port as database_port'
        raise ValueError(message)
    name = hostname(text)
    if name == "localhost":  # for MySQL's clients, not a name but the Unix socket
        message = (
            'is a socket to one database and a network to the other; write "local" for a server that the deploy '
            'installs on this machine, or "127.0.0.1" for one of your own'
        )
        raise ValueError(message)
    return name


def database_name(text: str) -> str:
    """Return the name of a database, in characters that no data source name takes apart, and as long as both allow."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", text, re.ASCII):
        message = "is no name for a database: at most 63 letters, digits, _ and - only, such as baikal"
        raise ValueError(message)
    return text


def database_user(text: str) -> str:
    """Return an account of a database server; some providers want the server's or the project's name in it."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,79}", text, re.ASCII):
        message = (
            "is no account of a database: letters, digits and . _ - @ only; copy it as the server's owner shows it"
        )
        raise ValueError(message)
    return text


def database_password(text: str) -> str:
    """Return a password of ASCII, which PHP and Python send in the same bytes; no error repeats it."""
    if not re.fullmatch(r"[ -~]+", text, re.ASCII):
        message = "has characters outside printable ASCII; choose another password at the database server"
        raise ValueError(message)
    return text


def schedule(text: str) -> str:
    """Return a time of day with two digits each, or ``hourly``."""
    if text != "hourly" and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
        message = 'is no time of day; write it as "03:15", or "hourly"'
        raise ValueError(message)
    return text


def repository(text: str) -> str:
    """Return restic's name of a repository; a password in it would be seen by everybody, so no error repeats it."""
    if re.search(r"://[^/@\s]*:[^/\s]*@", text):
        message = (
            "has a password in it, which isn't kept secret there; take it out, and give the whole address to "
            "restic_credentials, as a line RESTIC_REPOSITORY=… (with restic 0.16 or newer, RESTIC_REST_USERNAME and "
            "RESTIC_REST_PASSWORD will do)"
        )
        raise ValueError(message)
    if not re.fullmatch(r"(/|(azure|b2|gs|rclone|rest|s3|sftp|swift):)[!-~]+", text, re.ASCII):
        message = (
            "is no repository of restic: an absolute path, or an address that starts with sftp:, rest:, s3:, b2:, azure:, "
            "gs:, swift: or rclone:"
        )
        raise ValueError(message)
    return text


def environment(text: str) -> str:
    """Return lines of ``NAME=value`` as they stand; they are secret, so no error repeats them."""
    for number, line in enumerate(text.split("\n"), 1):
        if line and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.+", line, re.ASCII):
            message = f"has a line that is not NAME=value, the {number}. one; write one variable a line"
            raise ValueError(message)
    return text
