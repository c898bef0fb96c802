r"""What Baïkal hands to PHP's ``mail()`` becomes a message that any mail program understands (RFC 5322, RFC 6047).

Baïkal's own (Sabre\\CalDAV\\Schedule\\IMipPlugin) has raw UTF-8 in its headers, unquoted names, neither Date nor
Message-ID, and a calendar as its whole body. Names and addresses in it are what clients wrote, so nothing of it reaches
a header unless it was taken apart and put together again here.
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
"""RFC 5322's dot-atom; what only quoted strings could hold is nobody's address."""
CALENDAR = b"BEGIN:VCALENDAR"
JOINERS = "\u200c\u200d"
"""What Persian is spelled with, and emoji are put together with."""
LONGEST_NAME = 200
LONGEST_SUBJECT = 500
LONGEST_PATH = 254
"""Of an address, in octets (RFC 5321, section 4.5.3.1.3)."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message that is ready for a queue, and its envelope."""

    sender: str
    recipient: str
    organizer: str
    """The address of the person whose message it is, in lower case: who organizes, or who answers."""
    identifier: str
    """Its Message-ID."""
    content: bytes
    """Header and body, in ASCII, with bare line feeds as queues on Unix want them."""


def compose(value: bytes, sender: str) -> Outgoing:
    """Return the message that ``value``, what PHP hands over, is meant to be, from the address ``sender``.

    It goes to one recipient. Raises :class:`UnfitError` where there is none, or one that is no address, or one whom the
    calendar in it doesn't name.
    """
    head, body = _split(value)
    if body.endswith(b"\r\n\r\n"):
        body = body[:-2]  # PHP puts a line end after what it is given
    headers = _headers(head)
    name, raw = _mailbox(headers.get("to", ""))
    recipient = address(raw)
    # Not by its Content-Type alone, since PHP lets names in the header before that begin lines of their own.
    calendar = "text/calendar" in headers.get("content-type", "").lower() or body.lstrip()[:15].upper() == CALENDAR
    invitation = read(body) if calendar else None
    if invitation and raw.lower() not in invitation.parties:
        message = f"{raw!r} is neither invited by the calendar in it nor its organiser, so it was made up from a name"
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
    """Return a bare e-mail address in ASCII; raises :class:`UnfitError` where it is none, or none that relays take."""
    local, _, domain = (unquote(text) if "%" in text else text).strip().rpartition("@")
    if not local.isascii():
        message = f"{text!r} has letters outside ASCII before the @, which few mail servers take (SMTPUTF8)"
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
    """Return the body that mail programs know an invitation by: words, or else a calendar, and the same as a file.

    Outlook, Gmail, Apple and Thunderbird take the calendar among the alternatives (RFC 6047, section 2.4); programs that
    know nothing of it show the words, and offer the file.
    """
    whole = MIMEMultipart("mixed", policy=compat32)
    alternatives = MIMEMultipart("alternative", policy=compat32)
    alternatives.attach(MIMEText(words, "plain", "utf-8", policy=compat32))
    # Without the quotes that the library would add: not every program takes them off.
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
    found = re.search(rb"\r?\n\r?\n", value)
    head, body = (value[: found.start()], value[found.end() :]) if found else (value, b"")
    return head.decode("utf-8", "replace"), body


def _headers(head: str) -> dict[str, str]:
    """Return the headers by name in lower case, unfolded; of those that are there twice the first, which is PHP's own."""
    headers: dict[str, str] = {}
    # Line ends alone part them: to splitlines, so does U+2028, which PHP lets through in a title.
    for line in re.split(r"\r?\n", re.sub(r"\r?\n[ \t]+", " ", head)):
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


def _mailbox(text: str) -> tuple[str, str]:
    """Return name and address of ``name <address>``, as Baïkal writes it: without quotes, whatever the name has in it."""
    if text.endswith(">") and "<" in text:
        name, _, bare = text[:-1].rpartition("<")
        return name.strip(), bare.strip()
    return "", text.strip()


def _clean(text: str) -> str:
    """Return the text in one line, without characters that control anything (directions of writing among them)."""
    kept = (letter for letter in text if letter.isprintable() or letter.isspace() or letter in JOINERS)
    return " ".join("".join(kept).split())


def _shown(name: str, bare: str) -> str:
    """Return a mailbox as a header has it: encoded where it has to be (RFC 2047), quoted where it has to be."""
    name = _clean(name)[:LONGEST_NAME]
    if not _plain(name):
        return f"{_encoded(name, 'Reply-To')}\n <{bare}>"
    if len(name) > 60:
        return formataddr((name, "")).removesuffix(" <>") + f"\n <{bare}>"
    return formataddr((name, bare))


def _plain(text: str) -> bool:
    """Tell whether a header can have the text as it is, which programs don't take for something encoded (RFC 2047)."""
    return text.isascii() and "=?" not in text


def _encoded(text: str, header: str) -> str:
    charset = "us-ascii" if _plain(text) else "utf-8"
    return Header(text, charset, header_name=header, maxlinelen=74).encode()
