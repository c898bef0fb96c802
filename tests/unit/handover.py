"""Baïkal's invitations, byte for byte as PHP's ``mail()`` writes them, and the messages that are sent instead."""

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
    """Return a scheduling message in the form of sabre/vobject, with ``lines`` in its only component."""
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


def handover(  # noqa: PLR0913 - the arguments of the plugin
    body: bytes,
    *,
    to: str = "Bob <bob@example.net>",
    subject: str = "Invitation: Lunch",
    sender: str = "Jo <jo@example.org>",
    name: str = "Jo",
    method: str = "REQUEST",
) -> bytes:
    """Return what PHP writes to the standard input of ``sendmail_path`` when the plugin calls ``mail()``."""
    head = (
        f"To: {to}\r\nSubject: {subject}\r\nReply-To: {sender}\r\nFrom: {name} <{SENDER}>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/calendar; charset=UTF-8; method={method}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n"


def parsed(content: bytes) -> EmailMessage:
    """Return the message as a mail program parses it."""
    return email.message_from_bytes(content, policy=email.policy.default)


def sent(value: bytes) -> tuple[Outgoing, EmailMessage]:
    """Return the message for the queue, and as a mail program parses it; check that it has a valid form."""
    made = compose(value, SENDER)
    assert made.content.isascii(), "some mail servers accept only ASCII"
    assert b"\r" not in made.content, "queues on Unix need bare line feeds"
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
    (address,) = message[header].addresses
    return cast("Address", address)


def part(message: EmailMessage, kind: str) -> bytes:
    """Return the content of the only part of a ``kind``, decoded."""
    (message_part,) = [each for each in message.walk() if each.get_content_type() == kind]
    content = message_part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def words(message: EmailMessage) -> str:
    """Return the text for programs without calendars."""
    return part(message, "text/plain").decode()
