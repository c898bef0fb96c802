"""What goes out in the place of what Baïkal hands over, read again as a mail program reads it."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime, timedelta

import pytest

from baikalctl.mail.itip import UnfitError
from baikalctl.mail.message import address, compose
from tests.unit.handover import BOB, ORGANISER, SENDER, TIMES, calendar, handover, mailbox, part, sent, words

LUNCH = calendar("SUMMARY:Lunch", *TIMES)


def test_an_invitation_goes_to_one_guest_from_the_server_and_answers_go_to_the_organiser() -> None:
    """The envelope and the header say the same."""
    made, message = sent(handover(LUNCH))
    assert (made.sender, made.recipient) == (SENDER, "bob@example.net")
    assert message["from"] == f"Jo <{SENDER}>"
    assert message["to"] == "Bob <bob@example.net>"
    assert message["reply-to"] == "Jo <jo@example.org>"
    assert message["subject"] == "Invitation: Lunch"


def test_every_message_has_a_date_and_an_identifier_of_its_own() -> None:
    """Spam filters miss them in what PHP hands over."""
    one, message = sent(handover(LUNCH))
    other, _ = sent(handover(LUNCH))
    assert one.identifier != other.identifier
    assert message["message-id"] == one.identifier
    assert re.fullmatch(r"<[^@<>\s]+@cal\.example\.org>", one.identifier)
    age = datetime.now(UTC) - email.utils.parsedate_to_datetime(message["date"])
    assert timedelta() <= age < timedelta(minutes=1)


def test_the_calendar_is_there_byte_for_byte_twice() -> None:
    """Among the alternatives, where programs look for it, and as a file to open; the line end is PHP's own."""
    body = calendar("SUMMARY:Käse und Brot 🎉", "DESCRIPTION:eins\\nzwei", "X-FOLDED:" + "x" * 60 + "\r\n " + "y" * 60)
    _, message = sent(handover(body))
    assert part(message, "text/calendar") == body
    assert part(message, "application/ics") == body


def test_the_parts_are_those_that_mail_programs_know_an_invitation_by() -> None:
    """Words or else a calendar with its method, and then a file (RFC 6047, section 2.4)."""
    made, message = sent(handover(LUNCH))
    kinds = [each.get_content_type() for each in message.walk()]
    assert kinds == ["multipart/mixed", "multipart/alternative", "text/plain", "text/calendar", "application/ics"]
    assert b"\nContent-Type: text/calendar; charset=UTF-8; method=REQUEST\n" in made.content
    file = list(message.walk())[-1]
    assert (file.get_content_disposition(), file.get_filename()) == ("attachment", "invite.ics")


def test_a_body_line_is_never_longer_than_mail_may_have() -> None:
    """Whatever the calendar has in one line."""
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
    "somebody else's address": "ann@example.com",
    "an address in brackets": "Ann <ann@example.com>",
    "a group": "friends: ann@example.com, joe@example.com;",
    "what looks encoded": "=?utf-8?q?Bob=0ABcc:_eve?=",
    "a dot": "Bob D. Doe",
    "an apostrophe": "Bob O'Neill",
    "60 letters": "A" * 60,
    "200 letters": "Bob " * 50,
    "200 letters without a space": "B" * 200,
    "200 letters of quotes": '"' * 200,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_one_mailbox_whatever_it_has_in_it(name: str) -> None:
    """It arrives as its owner wrote it, as the recipient's and as the organiser's."""
    given = handover(LUNCH, to=f"{name} <bob@example.net>")
    assert mailbox(sent(given)[1], "to").display_name == name.strip()
    quoted = name.replace('"', "^'")
    body = calendar("SUMMARY:Lunch", people=(f'ORGANIZER;CN="{quoted}":mailto:jo@example.org', BOB))
    _, message = sent(handover(body, sender=f"{name} <jo@example.org>", name=name))
    for header, bare in (("from", SENDER), ("reply-to", "jo@example.org")):
        found = mailbox(message, header)
        assert (found.display_name, found.addr_spec) == (name.strip(), bare)


@pytest.mark.parametrize("letter", ["ü", "日", "🎉", "e\u0301"])
def test_a_very_long_name_and_title_fit_into_lines(letter: str) -> None:
    """Cut where nobody reads on, and folded between whole characters."""
    given = handover(
        LUNCH, to=f"{letter * 600} <bob@example.net>", subject=f"Invitation: {letter * 900}", name=letter * 600
    )
    made, message = sent(given)
    assert max(map(len, made.content.partition(b"\n\n")[0].splitlines())) <= 78
    # Python's own reading of names leaves spaces between encoded words, against RFC 2047, section 6.2.
    assert mailbox(message, "to").display_name.replace(" ", "") == (letter * 600)[:200]
    assert message["subject"] == f"Invitation: {letter * 900}"[:500]


TITLES = {
    "plain": "Invitation: Lunch",
    "umlauts and a comma": "Invitation: Käse, Brot 🎉",
    "long": "Invitation: " + "a word and " * 40,
    "what looks encoded": "Invitation: =?utf-8?q?x=0ABcc:_eve?= y",
    "empty": "",
}


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_a_title_arrives_as_it_was_written(title: str) -> None:
    """Also one that a program would take for something encoded."""
    assert sent(handover(LUNCH, subject=title))[1]["subject"] == title.strip()


def test_what_turns_writing_around_or_controls_a_terminal_is_left_out() -> None:
    """A title that reads otherwise than it is, is a trick."""
    _, message = sent(handover(LUNCH, subject="Invitation: a\u202eb\u2066c\x07d\x1be\x00f\u00a0g"))
    assert message["subject"] == "Invitation: abcdef g"


def test_a_guest_without_a_name_is_an_address() -> None:
    """Baïkal then gives nothing else."""
    body = calendar("SUMMARY:Lunch", people=("ORGANIZER:mailto:jo@example.org", "ATTENDEE:mailto:bob@example.net"))
    given = handover(body, to="bob@example.net", sender="jo@example.org", name="")
    message = sent(given)[1]
    for header, bare in (("to", "bob@example.net"), ("from", SENDER), ("reply-to", "jo@example.org")):
        assert (mailbox(message, header).display_name, message[header]) == ("", bare)


def test_a_name_that_is_the_address_is_said_once() -> None:
    """Some programs fill it in so."""
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
def test_nobody_gets_mail_by_what_somebody_calls_himself(name: str, title: str, organiser: str) -> None:
    """It is sent to the guest alone in the server's name, and nothing is added; or it isn't sent."""
    given = handover(
        LUNCH, to=f"{name} <bob@example.net>", subject=title, sender=f"{organiser} <jo@example.org>", name=organiser
    )
    try:
        made, message = sent(given)
    except UnfitError:
        return
    assert made.recipient == "bob@example.net"
    assert mailbox(message, "from").addr_spec == SENDER
    assert "bcc" not in message
    assert b"\nBcc:" not in made.content
    assert mailbox(message, "reply-to").addr_spec in {"jo@example.org", "eve@example.com"}


@pytest.mark.parametrize("title", ["x\u2028Content-Type: text/plain\u2028y", "x\x85To: eve@example.com", "a\x0bb\x1cc"])
def test_only_a_line_end_begins_a_header(title: str) -> None:
    """PHP takes the rest for letters; with such a title, a calendar would be sent as a text to anybody."""
    made, message = sent(handover(LUNCH, subject=title))
    assert made.recipient == "bob@example.net"
    assert part(message, "text/calendar") == LUNCH
    assert message["subject"] == " ".join(title.split())


def test_of_headers_that_are_there_twice_the_first_is_phps() -> None:
    """It writes To and Subject before all that Baïkal gives it."""
    name = "Jo\r\nTo: eve@example.com\r\nSubject: Buy now\r\nX:"
    made, message = sent(handover(LUNCH, sender=f"{name} <jo@example.org>", name=name))
    assert (made.recipient, message["subject"]) == ("bob@example.net", "Invitation: Lunch")


def test_a_calendar_is_one_whatever_a_name_claims() -> None:
    """A name that begins lines comes before the type that Baïkal gives."""
    given = handover(LUNCH, sender="Jo\r\nContent-Type: text/plain\r\nX: <jo@example.org>")
    assert part(sent(given)[1], "text/calendar") == LUNCH
    with pytest.raises(UnfitError, match="neither a guest"):
        compose(given.replace(b"bob@example.net>\r\nSubject", b"eve@example.com>\r\nSubject"), SENDER)


@pytest.mark.parametrize(
    ("to", "said"),
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
def test_whom_the_calendar_does_not_name_gets_nothing(to: str, said: str) -> None:
    """So no name becomes an address."""
    with pytest.raises(UnfitError, match=re.escape(said)):
        compose(handover(LUNCH, to=to), SENDER)


def test_an_address_that_the_calendar_names_must_still_be_one() -> None:
    """A client may write anything after mailto:."""
    for bare in ("bob@example.net>,<eve@example.com", "bob@example.net,eve@example.com", "bob"):
        body = calendar("SUMMARY:x", people=(ORGANISER, f"ATTENDEE;CN=x:mailto:{bare}"))
        for to in (f"x <{bare}>", bare):
            with pytest.raises(UnfitError, match=r"is no e-mail address|neither a guest"):
                compose(handover(body, to=to), SENDER)


def test_case_does_not_part_a_guest_from_his_address() -> None:
    """sabre/dav hands over small letters whatever the calendar has."""
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
def test_an_address_becomes_what_servers_take(written: str, meant: str) -> None:
    """Percent signs of a mailto: (RFC 6068) and letters of a domain (RFC 5891) are undone."""
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
def test_what_is_no_address_is_refused(text: str) -> None:
    """In a sentence that shows it."""
    with pytest.raises(UnfitError, match=r"is no e-mail address|is longer than an e-mail address can be"):
        address(text)


def test_letters_outside_ascii_before_the_at_are_refused_with_the_reason() -> None:
    """Few servers take them."""
    for text in ("jürgen@example.net", "j%C3%BCrgen@example.net"):
        with pytest.raises(UnfitError, match=r"outside ASCII before the @, which few mail servers accept \(SMTPUTF8\)"):
            address(text)


def test_a_guest_with_an_encoded_address_or_a_foreign_domain_is_found_in_the_calendar() -> None:
    """As it stands there, and sent to what it means."""
    for written, meant in (
        ("b%2Bx@example.net", "b+x@example.net"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
    ):
        body = calendar("SUMMARY:x", people=(ORGANISER, f"ATTENDEE;CN=Bob:mailto:{written}"))
        made, message = sent(handover(body, to=f"Bob <{written}>"))
        assert made.recipient == meant
        assert mailbox(message, "to").addr_spec == meant


def test_an_organiser_with_a_plus_gets_the_answers() -> None:
    """As many providers tag addresses."""
    body = calendar("SUMMARY:x", people=("ORGANIZER;CN=Jo:mailto:jo+cal@example.org", BOB))
    assert sent(handover(body))[1]["reply-to"] == "Jo <jo+cal@example.org>"


def test_an_organiser_whom_nobody_can_write_to_is_no_reason_to_keep_it() -> None:
    """The guest is told all the same; an answer goes to the server's own address."""
    body = calendar("SUMMARY:x", people=("ORGANIZER;CN=Jö:mailto:jö@example.org", BOB))
    message = sent(handover(body))[1]
    assert "reply-to" not in message
    assert mailbox(message, "from").display_name == "Jö"


def test_an_answer_comes_from_the_guest_and_goes_to_the_organiser() -> None:
    """Whoever answers it, answers the guest."""
    body = calendar("SUMMARY:Lunch", method="REPLY", people=(ORGANISER, BOB.replace("NEEDS-ACTION", "ACCEPTED")))
    given = handover(
        body, to="Jo <jo@example.org>", subject="Re: Lunch", sender="Bob <bob@example.net>", name="Bob", method="REPLY"
    )
    made, message = sent(given)
    assert made.recipient == "jo@example.org"
    assert message["reply-to"] == "Bob <bob@example.net>"
    assert message["from"] == f"Bob <{SENDER}>"
    assert b"text/calendar; charset=UTF-8; method=REPLY\n" in made.content


def test_a_cancellation_says_so_in_its_type() -> None:
    """Programs take the event away by it; the calendar's own word counts."""
    made, message = sent(handover(calendar("SUMMARY:x", method="CANCEL"), method="REQUEST"))
    assert b"text/calendar; charset=UTF-8; method=CANCEL\n" in made.content
    assert "cancelled" in words(message)


@pytest.mark.parametrize("method", ["", "LUNCH", "request\r\nX-A: b"])
def test_a_calendar_that_asks_for_nothing_is_not_sent(method: str) -> None:
    """Or a client would show it as nobody's event."""
    body = calendar("SUMMARY:x", method=method)
    if method.startswith("request"):
        assert b"X-A" not in sent(handover(body))[0].content
        return
    with pytest.raises(UnfitError, match="has no METHOD of RFC 5546"):
        compose(handover(body), SENDER)


def test_seventy_guests_are_one_letter_to_each() -> None:
    """Twenty stand in the words, all in the calendar."""
    guests = tuple(f"ATTENDEE;CN=Guest {number}:mailto:guest{number}@example.net" for number in range(70))
    body = calendar("SUMMARY:Party", people=(ORGANISER, *guests))
    made, message = sent(handover(body, to="Guest 69 <guest69@example.net>"))
    assert made.recipient == "guest69@example.net"
    assert part(message, "text/calendar").count(b"ATTENDEE") == 70
    assert words(message).count("Invited: ") == 20
    assert "… and 50 more" in words(message)


def test_a_text_that_is_no_calendar_is_sent_as_a_text() -> None:
    """As baikalctl mail test does; umlauts arrive, and bytes that are no UTF-8 are no reason to keep it."""
    head = b"To: bob@example.net\r\nSubject: A test\r\nReply-To: cal@example.org\r\n\r\n"
    made, message = sent(head + "Grüße\r\n".encode() + b"\xff\r\n")
    assert (made.recipient, message["reply-to"]) == ("bob@example.net", "cal@example.org")
    assert message.get_content_type() == "text/plain"
    assert part(message, "text/plain").decode().split() == ["Grüße", "\ufffd"]


def test_bytes_that_are_no_utf8_reach_the_guest_as_they_are() -> None:
    """In the calendar; in the header, something stands in their place."""
    body = calendar("SUMMARY:Lunch").replace(b"Lunch", b"L\xfcnch")
    given = handover(body).replace(b"Invitation: Lunch", b"Invitation: L\xfcnch")
    _, message = sent(given)
    assert part(message, "text/calendar") == body
    assert part(message, "application/ics") == body
    assert message["subject"] == "Invitation: L\ufffdnch"


def test_bare_line_feeds_in_what_is_given_are_line_ends() -> None:
    """As other versions of PHP write them."""
    given = handover(LUNCH).replace(b"\r\n", b"\n")
    assert sent(given)[0].recipient == "bob@example.net"


def test_a_message_of_nothing_is_refused() -> None:
    """It is kept, then; nobody is asked to send it."""
    for given in (b"", b"\r\n\r\n", b"no header at all", b"\x00\xff"):
        with pytest.raises(UnfitError, match="is no e-mail address"):
            compose(given, SENDER)
