"""What PHP hands over for Baïkal's invitations, byte for byte as its ``mail()`` writes it, and what becomes of it."""

from __future__ import annotations

import email
import email.policy
from typing import TYPE_CHECKING, cast

from baikalctl.mail.message import Outgoing, compose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.headerregistry import Address
    from email.message import EmailMessage

SENDER = "noreply@cal.example.org"
ORGANISER = "ORGANIZER;CN=Jo:mailto:jo@example.org"
BOB = "ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION:mailto:bob@example.net"
TIMES = ("DTSTART;TZID=Europe/Berlin:20261124T100000", "DTEND;TZID=Europe/Berlin:20261124T113000")


def calendar(
    *lines: str, method: str = "REQUEST", component: str = "VEVENT", people: Sequence[str] = (ORGANISER, BOB)
) -> bytes:
    """Return a scheduling message as sabre/vobject writes it, with ``lines`` in its one component."""
    whole = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Sabre//Sabre VObject 4.5.6//EN",
        "CALSCALE:GREGORIAN",
        *([f"METHOD:{method}"] if method else []),
        f"BEGIN:{component}",
        "UID:1",
        "DTSTAMP:20261120T080000Z",
        *lines,
        *people,
        f"END:{component}",
        "END:VCALENDAR",
        "",
    ]
    return "\r\n".join(whole).encode()


def handover(  # noqa: PLR0913 - as many as the plugin gives
    body: bytes,
    *,
    to: str = "Bob <bob@example.net>",
    subject: str = "Invitation: Lunch",
    sender: str = "Jo <jo@example.org>",
    name: str = "Jo",
    method: str = "REQUEST",
) -> bytes:
    """Return what the plugin's call of ``mail()`` becomes on the standard input of PHP's ``sendmail_path``."""
    head = (
        f"To: {to}\r\nSubject: {subject}\r\nReply-To: {sender}\r\nFrom: {name} <{SENDER}>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/calendar; charset=UTF-8; method={method}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n"


def parsed(content: bytes) -> EmailMessage:
    """Return the message as a mail program understands it."""
    return email.message_from_bytes(content, policy=email.policy.default)


def sent(given: bytes) -> tuple[Outgoing, EmailMessage]:
    """Return what goes to the queue, and how a mail program understands that; every rule of form holds for it."""
    made = compose(given, SENDER)
    assert made.content.isascii(), "some server on the way may know nothing else"
    assert b"\r" not in made.content, "queues on Unix have bare line feeds"
    assert max(map(len, made.content.splitlines())) <= 998
    head = made.content.partition(b"\n\n")[0]
    assert all(line.strip() for line in head.split(b"\n"))
    message = parsed(made.content)
    assert not message.defects
    names = [name.lower() for name, _ in message.items()]
    allowed = {"content-type", "mime-version", "content-transfer-encoding"}
    allowed |= {"from", "to", "reply-to", "subject", "date", "message-id"}
    assert set(names) <= allowed
    assert len(set(names)) == len(names)
    assert mailbox(message, "from").addr_spec == made.sender == SENDER
    assert mailbox(message, "to").addr_spec == made.recipient
    return made, message


def mailbox(message: EmailMessage, header: str) -> Address:
    """Return the only mailbox of a header."""
    (found,) = message[header].addresses
    return cast("Address", found)


def part(message: EmailMessage, kind: str) -> bytes:
    """Return the content of the only part of a ``kind``, decoded."""
    (found,) = [each for each in message.walk() if each.get_content_type() == kind]
    content = found.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def words(message: EmailMessage) -> str:
    """Return what somebody reads whose program knows nothing of calendars."""
    return part(message, "text/plain").decode()
