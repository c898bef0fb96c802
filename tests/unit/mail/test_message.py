"""The messages that replace Baïkal's, parsed as a mail program does."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime, timedelta

import pytest

from baikalctl.mail.itip import UnfitError
from baikalctl.mail.message import address, compose
from tests.unit.handover import BOB, ORGANISER, SENDER, TIMES, calendar, handover, mailbox, part, sent, words

LUNCH = calendar("SUMMARY:Lunch", *TIMES)


def test_an_invitation_has_one_recipient_and_the_organizer_as_reply_to() -> None:
    """The envelope and the header agree."""
    made, message = sent(handover(LUNCH))
    assert (made.sender, made.recipient) == (SENDER, "bob@example.net")
    assert message["from"] == f"Jo <{SENDER}>"
    assert message["to"] == "Bob <bob@example.net>"
    assert message["reply-to"] == "Jo <jo@example.org>"
    assert message["subject"] == "Invitation: Lunch"


def test_every_message_has_a_date_and_its_own_message_id() -> None:
    """PHP's messages have neither, which spam filters penalise."""
    one, message = sent(handover(LUNCH))
    other, _ = sent(handover(LUNCH))
    assert one.identifier != other.identifier
    assert message["message-id"] == one.identifier
    assert re.fullmatch(r"<[^@<>\s]+@cal\.example\.org>", one.identifier)
    age = datetime.now(UTC) - email.utils.parsedate_to_datetime(message["date"])
    assert timedelta() <= age < timedelta(minutes=1)


def test_the_calendar_is_included_twice_unchanged() -> None:
    """As an alternative, where programs look for it, and as a file. The last line end is PHP's."""
    body = calendar("SUMMARY:Käse und Brot 🎉", "DESCRIPTION:eins\\nzwei", "X-FOLDED:" + "x" * 60 + "\r\n " + "y" * 60)
    _, message = sent(handover(body))
    assert part(message, "text/calendar") == body
    assert part(message, "application/ics") == body


def test_the_parts_are_those_that_mail_programs_recognise() -> None:
    """Text and calendar with its method as alternatives, then the file (RFC 6047, section 2.4)."""
    made, message = sent(handover(LUNCH))
    kinds = [each.get_content_type() for each in message.walk()]
    assert kinds == ["multipart/mixed", "multipart/alternative", "text/plain", "text/calendar", "application/ics"]
    assert b"\nContent-Type: text/calendar; charset=UTF-8; method=REQUEST\n" in made.content
    file = list(message.walk())[-1]
    assert (file.get_content_disposition(), file.get_filename()) == ("attachment", "invite.ics")


def test_body_lines_are_never_too_long() -> None:
    """Even if the calendar has long lines."""
    made, message = sent(handover(calendar("DESCRIPTION:" + "w" * 50_000)))
    body = made.content.partition(b"\n\n")[2]
    assert max(map(len, body.splitlines())) <= 78
    assert "w" * 50_000 in words(message)


NAMES = {
    "plain": "Bob",
    "umlauts": "Jürgen Groß",
    "an emoji": "Bob 🎉",
    "an emoji of several characters": "Family 👨\u200d👩\u200d👧",
    "Persian with its joiner": "می\u200cخواهم",
    "a comma": "Doe, Bob",
    "a comma and umlauts": "Groß, Jürgen",
    "quotes": 'Bob "the Builder" Doe',
    "quotes and umlauts": 'Jürgen "der Große"',
    "a backslash": "Bob \\ Doe",
    "a backslash at the end": "Bob \\",
    "brackets": "Bob <the> [great] (one)",
    "another address": "ann@example.com",
    "an address in brackets": "Ann <ann@example.com>",
    "a group": "friends: ann@example.com, joe@example.com;",
    "text that looks encoded": "=?utf-8?q?Bob=0ABcc:_eve?=",
    "a dot": "Bob D. Doe",
    "an apostrophe": "Bob O'Neill",
    "60 letters": "A" * 60,
    "200 letters": "Bob " * 50,
    "200 letters without a space": "B" * 200,
    "200 letters of quotes": '"' * 200,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_gives_one_mailbox(name: str) -> None:
    """The recipient's and the organizer's names arrive unchanged."""
    message_in = handover(LUNCH, to=f"{name} <bob@example.net>")
    assert mailbox(sent(message_in)[1], "to").display_name == name.strip()
    quoted = name.replace('"', "^'")
    body = calendar("SUMMARY:Lunch", people=(f'ORGANIZER;CN="{quoted}":mailto:jo@example.org', BOB))
    _, message = sent(handover(body, sender=f"{name} <jo@example.org>", name=name))
    for header, bare in (("from", SENDER), ("reply-to", "jo@example.org")):
        result = mailbox(message, header)
        assert (result.display_name, result.addr_spec) == (name.strip(), bare)


@pytest.mark.parametrize("letter", ["ü", "日", "🎉", "e\u0301"])
def test_very_long_names_and_titles_are_cut_and_folded(letter: str) -> None:
    """Lines are folded between whole characters."""
    message_in = handover(
        LUNCH, to=f"{letter * 600} <bob@example.net>", subject=f"Invitation: {letter * 900}", name=letter * 600
    )
    made, message = sent(message_in)
    assert max(map(len, made.content.partition(b"\n\n")[0].splitlines())) <= 78
    # Python's own reading of names leaves spaces between encoded words, against RFC 2047, section 6.2.
    assert mailbox(message, "to").display_name.replace(" ", "") == (letter * 600)[:200]
    assert message["subject"] == f"Invitation: {letter * 900}"[:500]


TITLES = {
    "plain": "Invitation: Lunch",
    "umlauts and a comma": "Invitation: Käse, Brot 🎉",
    "long": "Invitation: " + "a word and " * 40,
    "text that looks encoded": "Invitation: =?utf-8?q?x=0ABcc:_eve?= y",
    "empty": "",
}


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_a_title_arrives_unchanged(title: str) -> None:
    """Also one that looks like encoded text."""
    assert sent(handover(LUNCH, subject=title))[1]["subject"] == title.strip()


def test_control_characters_in_a_title_are_removed() -> None:
    """Also those that change the direction of writing, which make a title look like another one."""
    _, message = sent(handover(LUNCH, subject="Invitation: a\u202eb\u2066c\x07d\x1be\x00f\u00a0g"))
    assert message["subject"] == "Invitation: abcdef g"


def test_a_guest_without_a_name_is_shown_by_the_address() -> None:
    """Baïkal then gives nothing else."""
    body = calendar("SUMMARY:Lunch", people=("ORGANIZER:mailto:jo@example.org", "ATTENDEE:mailto:bob@example.net"))
    message_in = handover(body, to="bob@example.net", sender="jo@example.org", name="")
    message = sent(message_in)[1]
    for header, bare in (("to", "bob@example.net"), ("from", SENDER), ("reply-to", "jo@example.org")):
        assert (mailbox(message, header).display_name, message[header]) == ("", bare)


def test_a_name_equal_to_the_address_is_omitted() -> None:
    """Some clients set the name so."""
    assert sent(handover(LUNCH, to="bob@example.net <bob@example.net>"))[1]["to"] == "bob@example.net"


ATTACKS = {
    "a line in the name": ("Bob\r\nBcc: eve@example.com", "x", "Jo"),
    "a bare line feed in the name": ("Bob\nBcc: eve@example.com", "x", "Jo"),
    "a folded line": ("Bob\r\n Bcc: eve@example.com", "x", "Jo"),
    "another separator of lines": (
        "Bob\u2028Bcc: eve@example.com\u2029To: eve@example.com\x85Cc: eve@x.org",
        "x",
        "Jo",
    ),
    "in the title": ("Bob", "x\r\nBcc: eve@example.com\r\nTo: eve@example.com", "Jo"),
    "a separator in the title": ("Bob", "x\u2028Bcc: eve@example.com\u2028Content-Type: text/html", "Jo"),
    "in the organiser's name": ("Bob", "x", "Jo\nBcc: eve@example.com\nFrom: eve@example.com\nTo: eve@example.com"),
    "an organiser's type": ("Bob", "x", "Jo\r\nContent-Type: text/plain\r\nX-Y: z"),
}


@pytest.mark.parametrize(("name", "title", "organiser"), ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_name_never_adds_a_recipient(name: str, title: str, organiser: str) -> None:
    """The message goes to the guest alone, in the server's name and without other headers; or it isn't sent."""
    message_in = handover(
        LUNCH, to=f"{name} <bob@example.net>", subject=title, sender=f"{organiser} <jo@example.org>", name=organiser
    )
    try:
        made, message = sent(message_in)
    except UnfitError:
        return
    assert made.recipient == "bob@example.net"
    assert mailbox(message, "from").addr_spec == SENDER
    assert "bcc" not in message
    assert b"\nBcc:" not in made.content
    assert mailbox(message, "reply-to").addr_spec in {"jo@example.org", "eve@example.com"}


@pytest.mark.parametrize("title", ["x\u2028Content-Type: text/plain\u2028y", "x\x85To: eve@example.com", "a\x0bb\x1cc"])
def test_only_line_ends_separate_headers(title: str) -> None:
    """PHP allows the other separators. With such a title, a calendar would be sent as text to any address."""
    made, message = sent(handover(LUNCH, subject=title))
    assert made.recipient == "bob@example.net"
    assert part(message, "text/calendar") == LUNCH
    assert message["subject"] == " ".join(title.split())


def test_the_first_of_duplicate_headers_is_used() -> None:
    """PHP writes To and Subject before the headers from Baïkal."""
    name = "Jo\r\nTo: eve@example.com\r\nSubject: Buy now\r\nX:"
    made, message = sent(handover(LUNCH, sender=f"{name} <jo@example.org>", name=name))
    assert (made.recipient, message["subject"]) == ("bob@example.net", "Invitation: Lunch")


def test_a_calendar_is_recognised_despite_a_forged_content_type() -> None:
    """A name with line breaks is before the Content-Type from Baïkal."""
    message_in = handover(LUNCH, sender="Jo\r\nContent-Type: text/plain\r\nX: <jo@example.org>")
    assert part(sent(message_in)[1], "text/calendar") == LUNCH
    with pytest.raises(UnfitError, match="neither a guest"):
        compose(message_in.replace(b"bob@example.net>\r\nSubject", b"eve@example.com>\r\nSubject"), SENDER)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (
            "Eve <eve@example.com>",
            "the recipient 'eve@example.com' is neither a guest nor the organizer in its calendar",
        ),
        ("bob@example.net, eve@example.com", "is no e-mail address"),
        ("Bob <bob@example.net>, Eve <eve@example.com>", "neither a guest"),
        ("bob@example.net>,<eve@example.com", "is no e-mail address"),
        ("Bob <bob@example.net,eve@example.com>", "is no e-mail address"),
        ("", "is no e-mail address"),
        ("Bob <>", "is no e-mail address"),
        ("Bob <bob>", "is no e-mail address"),
    ],
)
def test_recipients_that_are_not_in_the_calendar_are_refused(to: str, reason: str) -> None:
    """So no name becomes an address."""
    with pytest.raises(UnfitError, match=re.escape(reason)):
        compose(handover(LUNCH, to=to), SENDER)


def test_an_invalid_address_in_the_calendar_is_refused() -> None:
    """A client may write any text after mailto:."""
    for bare in ("bob@example.net>,<eve@example.com", "bob@example.net,eve@example.com", "bob"):
        body = calendar("SUMMARY:x", people=(ORGANISER, f"ATTENDEE;CN=x:mailto:{bare}"))
        for to in (f"x <{bare}>", bare):
            with pytest.raises(UnfitError, match=r"is no e-mail address|neither a guest"):
                compose(handover(body, to=to), SENDER)


def test_addresses_are_compared_without_case() -> None:
    """sabre/dav converts addresses to lower case; the calendar may have capitals."""
    body = calendar("SUMMARY:x", people=(ORGANISER, "ATTENDEE;CN=Bob:MAILTO:Bob@Example.NET"))
    assert sent(handover(body))[0].recipient == "bob@example.net"


ADDRESSES = {
    "bob@example.net": "bob@example.net",
    " bob@example.net ": "bob@example.net",
    "Bob.Doe@EXAMPLE.net": "Bob.Doe@example.net",
    "bob%2Btag@example.net": "bob+tag@example.net",
    "bob+tag@example.net": "bob+tag@example.net",
    "bob@b%C3%BCcher.example": "bob@xn--bcher-kva.example",
    "bob@bücher.example": "bob@xn--bcher-kva.example",
    "o'neill@example.net": "o'neill@example.net",
    "bob@xn--bcher-kva.example": "bob@xn--bcher-kva.example",
}


@pytest.mark.parametrize(("written", "meant"), ADDRESSES.items())
def test_addresses_are_converted_for_mail_servers(written: str, meant: str) -> None:
    """Percent encoding of a mailto: (RFC 6068) is decoded, and international domains are encoded (RFC 5891)."""
    assert address(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "bob", "@example.net", "bob@", "bob@example", "bob@@example.net", "a b@example.net", "bob@exa mple.net"),
        *(".bob@example.net", "bob.@example.net", "bo..b@example.net", "bob@example..net", "bob@-example.net"),
        *('"bob"@example.net', "bob@[192.0.2.1]", "bob@example.net\nBcc: eve@example.com", "bob\n@example.net"),
        *("bob@example.net%0ABcc:%20eve@example.com", "bob@example.net%3E%2C%3Ceve@example.com"),
        *("bob%0D%0ARCPT@example.net", "<bob@example.net>", "bob@example.net?subject=x", "bob@example.net,eve@x.org"),
        *("bob@" + "a" * 64 + ".net", "b" * 250 + "@example.net", "bob@" + "ü" * 300 + ".net", "bob@example.net."),
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    """The message shows it."""
    with pytest.raises(UnfitError, match=r"is no e-mail address|is longer than an e-mail address can be"):
        address(text)


def test_letters_outside_ascii_before_the_at_are_refused_with_the_reason() -> None:
    """Few mail servers accept them."""
    for text in ("jürgen@example.net", "j%C3%BCrgen@example.net"):
        with pytest.raises(UnfitError, match=r"outside ASCII before the @, which few mail servers accept \(SMTPUTF8\)"):
            address(text)


def test_an_encoded_address_or_an_international_domain_is_found_in_the_calendar() -> None:
    """It is compared as written, and the mail goes to the converted address."""
    for written, meant in (
        ("b%2Bx@example.net", "b+x@example.net"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
    ):
        body = calendar("SUMMARY:x", people=(ORGANISER, f"ATTENDEE;CN=Bob:mailto:{written}"))
        made, message = sent(handover(body, to=f"Bob <{written}>"))
        assert made.recipient == meant
        assert mailbox(message, "to").addr_spec == meant


def test_an_organizer_with_a_plus_in_the_address_gets_the_answers() -> None:
    """Many providers allow tags after a plus."""
    body = calendar("SUMMARY:x", people=("ORGANIZER;CN=Jo:mailto:jo+cal@example.org", BOB))
    assert sent(handover(body))[1]["reply-to"] == "Jo <jo+cal@example.org>"


def test_an_organizer_with_an_unusable_address_does_not_stop_the_message() -> None:
    """The guest is invited; answers go to the server's own address."""
    body = calendar("SUMMARY:x", people=("ORGANIZER;CN=Jö:mailto:jö@example.org", BOB))
    message = sent(handover(body))[1]
    assert "reply-to" not in message
    assert mailbox(message, "from").display_name == "Jö"


def test_an_answer_goes_to_the_organizer_with_the_guest_as_reply_to() -> None:
    """The guest is the author, and the organizer the recipient."""
    body = calendar("SUMMARY:Lunch", method="REPLY", people=(ORGANISER, BOB.replace("NEEDS-ACTION", "ACCEPTED")))
    message_in = handover(
        body, to="Jo <jo@example.org>", subject="Re: Lunch", sender="Bob <bob@example.net>", name="Bob", method="REPLY"
    )
    made, message = sent(message_in)
    assert made.recipient == "jo@example.org"
    assert message["reply-to"] == "Bob <bob@example.net>"
    assert message["from"] == f"Bob <{SENDER}>"
    assert b"text/calendar; charset=UTF-8; method=REPLY\n" in made.content


def test_the_method_of_the_calendar_is_in_the_content_type() -> None:
    """Programs remove a cancelled event because of it. The method in PHP's header doesn't count."""
    made, message = sent(handover(calendar("SUMMARY:x", method="CANCEL"), method="REQUEST"))
    assert b"text/calendar; charset=UTF-8; method=CANCEL\n" in made.content
    assert "cancelled" in words(message)


@pytest.mark.parametrize("method", ["", "LUNCH", "request\r\nX-A: b"])
def test_a_calendar_without_a_valid_method_is_refused(method: str) -> None:
    """Otherwise clients would show it as an event without an organizer."""
    body = calendar("SUMMARY:x", method=method)
    if method.startswith("request"):
        assert b"X-A" not in sent(handover(body))[0].content
        return
    with pytest.raises(UnfitError, match="has no METHOD of RFC 5546"):
        compose(handover(body), SENDER)


def test_with_seventy_guests_the_text_names_twenty() -> None:
    """The calendar has all."""
    guests = tuple(f"ATTENDEE;CN=Guest {number}:mailto:guest{number}@example.net" for number in range(70))
    body = calendar("SUMMARY:Party", people=(ORGANISER, *guests))
    made, message = sent(handover(body, to="Guest 69 <guest69@example.net>"))
    assert made.recipient == "guest69@example.net"
    assert part(message, "text/calendar").count(b"ATTENDEE") == 70
    assert words(message).count("Invited: ") == 20
    assert "… and 50 more" in words(message)


def test_a_message_without_a_calendar_is_sent_as_text() -> None:
    """As from baikalctl mail test. Umlauts arrive; bytes that aren't UTF-8 are replaced."""
    head = b"To: bob@example.net\r\nSubject: A test\r\nReply-To: cal@example.org\r\n\r\n"
    made, message = sent(head + "Grüße\r\n".encode() + b"\xff\r\n")
    assert (made.recipient, message["reply-to"]) == ("bob@example.net", "cal@example.org")
    assert message.get_content_type() == "text/plain"
    assert part(message, "text/plain").decode().split() == ["Grüße", "\ufffd"]


def test_invalid_utf8_in_the_calendar_stays_unchanged() -> None:
    """In the header, it is replaced."""
    body = calendar("SUMMARY:Lunch").replace(b"Lunch", b"L\xfcnch")
    message_in = handover(body).replace(b"Invitation: Lunch", b"Invitation: L\xfcnch")
    _, message = sent(message_in)
    assert part(message, "text/calendar") == body
    assert part(message, "application/ics") == body
    assert message["subject"] == "Invitation: L\ufffdnch"


def test_bare_line_feeds_are_accepted_as_line_ends() -> None:
    """Other versions of PHP write them."""
    message_in = handover(LUNCH).replace(b"\r\n", b"\n")
    assert sent(message_in)[0].recipient == "bob@example.net"


def test_a_message_without_a_recipient_is_refused() -> None:
    """It is kept then."""
    for message_in in (b"", b"\r\n\r\n", b"no header at all", b"\x00\xff"):
        with pytest.raises(UnfitError, match="is no e-mail address"):
            compose(message_in, SENDER)
