r"""Convert the messages that Baïkal passes to PHP's ``mail()`` into valid e-mail (RFC 5322, RFC 6047).

Baïkal's messages (Sabre\\CalDAV\\Schedule\\IMipPlugin) have raw UTF-8 in their headers, unquoted names, no Date, no
Message-ID, and only a calendar as the body. Clients choose the names and addresses in them. So no header is copied: each
is parsed and written again.

The headers are not folded by ``email.policy.SMTP``: it decodes names such as ``=?utf-8?q?Bob=0ABcc:_eve?=``. Python
3.11.7 then writes the line break into the header (CVE-2024-6923); corrected versions raise an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.encoders import encode_base64
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, formataddr, make_msgid
from typing import TYPE_CHECKING
from urllib.parse import unquote

from baikalctl.mail.itip import UnfitError, read
from baikalctl.settings.validators import LABEL

if TYPE_CHECKING:
    from email.message import Message

LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
"""RFC 5322's dot-atom. Addresses that need a quoted string are refused."""
CALENDAR = b"BEGIN:VCALENDAR"
JOINERS = "\u200c\u200d"
"""Characters that Persian spelling and composed emoji need."""
LONGEST_NAME = 200
LONGEST_SUBJECT = 500
LONGEST_PATH = 254
"""Octets of an address (RFC 5321, section 4.5.3.1.3)."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message that is ready for a queue, with its envelope."""

    sender: str
    recipient: str
    organizer: str
    """The author's address in lower case: the organizer's, or that of the guest who answers."""
    identifier: str
    """The Message-ID."""
    content: bytes
    """Header and body in ASCII. Lines end with bare line feeds, as queues on Unix require."""


def compose(value: bytes, sender: str) -> Outgoing:
    """Return the valid message for ``value``, the message from PHP, with the address ``sender`` as its sender.

    It has one recipient. Raises :class:`UnfitError` if there is none, if it has no valid address, or if the calendar in
    the message doesn't name it.
    """
    head, body = _split(value)
    if body.endswith(b"\r\n\r\n"):
        body = body[:-2]  # PHP appends a line end
    headers = _headers(head)
    name, raw = _mailbox(headers.get("to", ""))
    recipient = address(raw)
    # The Content-Type alone isn't reliable: PHP allows line breaks in names, which can add an earlier one.
    calendar = "text/calendar" in headers.get("content-type", "").lower() or body.lstrip()[:15].upper() == CALENDAR
    invitation = read(body) if calendar else None
    if invitation and raw.lower() not in invitation.parties:
        message = f"the recipient {raw!r} is neither a guest nor the organizer in its calendar; its name may be forged"
        raise UnfitError(message)
    if invitation:
        message_ = _invitation(body, invitation.method, invitation.words())
        replies = invitation.from_ or ("", "")
    else:
        message_ = MIMEText(body.decode("utf-8", "replace"), "plain", "utf-8", policy=compat32)
        replies = _mailbox(headers.get("reply-to", ""))
    identifier = make_msgid(domain=sender.rpartition("@")[2])
    message_["From"] = _shown(replies[0], sender)
    message_["To"] = _shown(name if name != raw else "", recipient)
    reply_to = _or_nothing(replies[1])
    if reply_to:
        message_["Reply-To"] = _shown(replies[0], reply_to)
    message_["Subject"] = _encoded(_clean(headers.get("subject", ""))[:LONGEST_SUBJECT], "Subject")
    message_["Date"] = format_datetime(datetime.now(UTC))
    message_["Message-ID"] = identifier
    return Outgoing(
        sender=sender,
        recipient=recipient,
        organizer=(reply_to or _clean(replies[1])[:LONGEST_PATH]).lower(),
        identifier=identifier,
        content=message_.as_bytes(),
    )


def address(text: str) -> str:
    """Return a bare e-mail address in ASCII; raises :class:`UnfitError` if it isn't valid or relays don't accept it."""
    local, _, domain = (unquote(text) if "%" in text else text).strip().rpartition("@")
    if not local.isascii():
        message = f"{text!r} has letters outside ASCII before the @, which few mail servers accept (SMTPUTF8)"
        raise UnfitError(message)
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    labels = domain.split(".")
    whole = f"{local}@{domain}"
    if len(labels) < 2 or not all(map(LABEL.fullmatch, labels)) or not LOCAL_PART.fullmatch(local):
        message = f"{text!r} is no e-mail address"
        raise UnfitError(message)
    if len(whole) > LONGEST_PATH:
        message = f"{text[:40]!r}… is longer than an e-mail address can be"
        raise UnfitError(message)
    return whole


def _or_nothing(text: str) -> str:
    try:
        return address(text)
    except UnfitError:
        return ""


def _invitation(calendar: bytes, method: str, words: str) -> Message:
    """Return the body of an invitation: plain text with the calendar as its alternative, and the calendar as a file.

    Outlook, Gmail, Apple and Thunderbird use the alternative (RFC 6047, section 2.4). Programs without calendars show the
    text and offer the file.
    """
    whole = MIMEMultipart("mixed", policy=compat32)
    alternatives = MIMEMultipart("alternative", policy=compat32)
    alternatives.attach(MIMEText(words, "plain", "utf-8", policy=compat32))
    # Set as text, because the library would add quotation marks, which not every program removes.
    alternatives.attach(_calendar(calendar, f"text/calendar; charset=UTF-8; method={method}"))
    whole.attach(alternatives)
    file = _calendar(calendar, "application/ics; name=invite.ics")
    file.add_header("Content-Disposition", "attachment", filename="invite.ics")
    whole.attach(file)
    return whole


def _calendar(content: bytes, kind: str) -> Message:
    part = MIMEBase("text", "calendar", policy=compat32)
    part.replace_header("Content-Type", kind)
    part.set_payload(content)
    encode_base64(part)
    return part


def _split(value: bytes) -> tuple[str, bytes]:
    """Return header and body."""
    end = re.search(rb"\r?\n\r?\n", value)
    head, body = (value[: end.start()], value[end.end() :]) if end else (value, b"")
    return head.decode("utf-8", "replace"), body


def _headers(head: str) -> dict[str, str]:
    """Return the headers by name in lower case, unfolded. Of duplicates, the first counts: PHP writes its own first."""
    headers: dict[str, str] = {}
    # Not splitlines: it also splits at U+2028, which PHP allows in a title.
    for line in re.split(r"\r?\n", re.sub(r"\r?\n[ \t]+", " ", head)):
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


def _mailbox(text: str) -> tuple[str, str]:
    """Return name and address of ``name <address>``. Baïkal never quotes the name, even if it has special characters."""
    if text.endswith(">") and "<" in text:
        name, _, bare = text[:-1].rpartition("<")
        return name.strip(), bare.strip()
    return "", text.strip()


def _clean(text: str) -> str:
    """Return the text in one line, without control characters (also those that change the direction of writing)."""
    kept = (letter for letter in text if letter.isprintable() or letter.isspace() or letter in JOINERS)
    return " ".join("".join(kept).split())


def _shown(name: str, bare: str) -> str:
    """Return a mailbox for a header, encoded (RFC 2047) or quoted if necessary."""
    name = _clean(name)[:LONGEST_NAME]
    if not _plain(name):
        return f"{_encoded(name, 'Reply-To')}\n <{bare}>"
    if len(name) > 60:
        return formataddr((name, "")).removesuffix(" <>") + f"\n <{bare}>"
    return formataddr((name, bare))


def _plain(text: str) -> bool:
    """Return whether a header can contain the text unencoded, and programs won't decode it (RFC 2047)."""
    return text.isascii() and "=?" not in text


def _encoded(text: str, header: str) -> str:
    charset = "us-ascii" if _plain(text) else "utf-8"
    return Header(text, charset, header_name=header, maxlinelen=74).encode()
