"""Invitations from a machine, through a relay: what arrives, what happens while it can't, and what is told of that."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.engine import Engine, wait_until
from tests.lab.inviting import Event, Person
from tests.lab.relayed import RELAY_PASSWORD, SENDER, Relayed, relayed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


JANE: Final = Person("jane@example.net", "Doe, Jane")
RETRIED_S: Final = 90
"""nullmailer waits half a minute after its first attempt."""


@dataclass
class Place(Relayed):
    """A machine that sends through the lab's relay, with nullmailer."""

    def findings(self) -> list[dict[str, Any]]:
        """Return what the doctor finds about mail."""
        return [finding for finding in self.server.check()["findings"] if finding["subject"] == "mail"]

    def said(self) -> str:
        """Return the same as text."""
        return json.dumps(self.findings(), ensure_ascii=False)

    def queued(self) -> int:
        """Return how many messages wait."""
        return int(self.server.machine.run("ls /var/spool/nullmailer/queue | wc -l"))

    def restore(self) -> None:
        """Have the relay as it should be, and nothing left of before."""
        self.relay.rules()
        self.relay.resume()
        assert self.server.deploy().status == 0
        self.server.machine.run(
            "rm -f /var/spool/nullmailer/queue/* /var/spool/nullmailer/failed/* /var/lib/baikal/mail/kept/*"
        )
        self.relay.forget()


@pytest.fixture(scope="module")
def machine_with_relay(engine: Engine, release: Release) -> Iterator[Place]:
    """Give the machine, deployed to once, and the relay beside it."""
    with relayed(engine, release, "debian:13", "relay") as found:
        yield Place(found.server, found.relay, found.organiser)


@pytest.fixture
def place(machine_with_relay: Place) -> Place:
    """Give it without anything left of the test before."""
    place = machine_with_relay
    if place.relay.messages() or place.relay.sessions() or place.queued():
        place.restore()
    return place


def test_a_second_run_changes_nothing(place: Place) -> None:
    """Nothing, with all that mail needs in place."""
    again = place.server.deploy()
    assert again.status == 0, again.output
    assert again.changed == []


def test_an_invitation_its_update_and_its_end_arrive(place: Place) -> None:
    """REQUEST, REQUEST and CANCEL, each as mail programs know it, from the declared address, to answer to the organiser."""
    event = place.organiser.invite(Event((JANE,), Person("jo@example.org", "Möller, Jo"), summary="Bücher, 🎉 lesen"))
    assert place.organiser.statuses(event)[JANE.uri].startswith("1.")
    event = place.organiser.update(event, lines=("LOCATION:Küche",), start=dt.datetime(2030, 6, 3, 11))  # noqa: DTZ001
    place.organiser.cancel(event)
    received = place.relay.wait_for(3)
    methods = []
    for each in received:
        message = each.message
        assert (each.mail_from, each.rcpt_tos) == (SENDER, [JANE.address])
        assert each.tls
        assert each.raw.isascii()
        (to,), (sender,), (answers,) = (message[name].addresses for name in ("to", "from", "reply-to"))
        assert (to.display_name, to.addr_spec) == ("Doe, Jane", JANE.address)
        assert (sender.display_name, sender.addr_spec) == ("Möller, Jo", SENDER)
        assert answers.addr_spec == "jo@example.org"
        assert message["date"].datetime
        assert message["message-id"].endswith("@lab.test>")
        assert "Bücher, 🎉 lesen" in message["subject"]
        calendar = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
        methods.append(calendar.get_param("method"))
        assert f"METHOD:{methods[-1]}" in calendar.get_content()
        plain = message.get_body(("plain",))
        assert plain is not None
        assert "Bücher, 🎉 lesen" in plain.get_content()
        assert [part.get_filename() for part in message.iter_attachments()] == ["invite.ics"]
    assert methods == ["REQUEST", "REQUEST", "CANCEL"]
    assert len({each.message["message-id"] for each in received}) == 3


def test_everybody_of_seventy_is_asked_once(place: Place) -> None:
    """One message for each, whatever else is in the event."""
    people = tuple(Person(f"guest{number}@example.net", f"Gast, {number} ü") for number in range(70))
    place.organiser.invite(Event(people, description="Lorem ipsum dolor sit amet, ünd so weiter.\n" * 200))
    received = place.relay.wait_for(70, 120)
    assert sorted(each.rcpt_tos[0] for each in received) == sorted(person.address for person in people)
    assert all(len(each.rcpt_tos) == 1 for each in received)


@pytest.mark.parametrize(
    "person",
    [
        Person("kim@example.net", "Kim\nBcc: victim@example.com"),
        Person("kim@example.net", "Kim <victim@example.com>, Lee"),
        Person("kim@example.net>,<victim@example.com", ""),
        Person("kim@example.net\nBcc: victim@example.com", ""),
    ],
    ids=["header in a name", "address in a name", "two addresses in one", "header in an address"],
)
def test_nobody_else_is_written_to_by_what_a_client_sends(place: Place, person: Person) -> None:
    """Neither by a name nor by an address; what was no address is kept, and the doctor tells of it."""
    organizer = Person("jo@example.org", "Jo\nBcc: victim@example.com")
    place.organiser.invite(Event((person, JANE), organizer))
    received = place.relay.wait_for(1)
    wait_until(lambda: len(place.relay.messages()) > 1, 2)
    received = place.relay.messages()
    assert {each.rcpt_tos[0] for each in received} <= {"jane@example.net", "kim@example.net"}
    assert "jane@example.net" in {each.rcpt_tos[0] for each in received}
    for each in received:
        assert each.message["bcc"] is None
        assert [address.addr_spec for address in each.message["from"].addresses] == [SENDER]
        assert len(each.message["to"].addresses) == 1


def test_nothing_is_lost_or_sent_twice_while_the_relay_is_down(place: Place) -> None:
    """Twenty invitations, a killed sender, a power cut: each arrives once, as soon as the relay is back."""
    place.relay.stop()
    for number in range(20):
        place.organiser.invite(Event((Person(f"guest{number}@example.net"),)))
        if number == 10:
            place.server.machine.run("kill -9 $(systemctl show -P MainPID nullmailer)")
    assert place.queued() == 20
    assert "refuses the connection" in place.said()
    status, told = place.mail("queue")
    assert status == 0
    assert told.count("Connect failed") >= 10, told
    place.server.machine.kill()
    place.server.machine.power_on()
    place.relay.resume()
    received = place.relay.wait_for(20, RETRIED_S)
    assert wait_until(lambda: place.queued() == 0, 10)
    assert sorted(each.rcpt_tos[0] for each in place.relay.messages()) == sorted(
        f"guest{n}@example.net" for n in range(20)
    )
    assert len(received) == 20


def test_what_is_asked_to_wait_is_tried_again(place: Place) -> None:
    """A relay that says 451 gets the message once more, and its words stand in the queue until then."""
    # Twice: a second attempt may come at once, when the queue's trigger is seen both as it is pulled and as it is let go.
    place.relay.rules(defer_recipients=2)
    status, told = place.mail("test", "jane@example.net")
    assert status == 1
    assert "waits in the queue" in told
    assert "451" in place.mail("queue")[1]
    place.relay.wait_for(1, 2 * RETRIED_S)


def test_the_administrator_learns_of_what_is_refused(place: Place) -> None:
    """550: a message to the sender's address, a finding, and the words of the relay; it can be tried again or dropped."""
    place.relay.rules(refuse_recipients=["gone@example.net"])
    place.organiser.invite(Event((Person("gone@example.net"),)))
    (bounce,) = place.relay.wait_for(1)
    assert (bounce.mail_from, bounce.rcpt_tos) == ("", [SENDER])
    assert "550" in bounce.raw.decode()
    finding = next(each for each in place.findings() if "refused permanently" in each["message"])
    assert finding["status"] == "warning"
    assert "gone@example.net" in finding["message"]
    assert "550" in place.mail("queue")[1]
    place.relay.rules()
    place.mail("retry")
    place.relay.wait_for(2)
    assert place.mail("queue")[1] == "the queue is empty"


@pytest.mark.parametrize(
    ("changes", "rules", "words"),
    [
        ({"relay_port": 1587}, {}, "name"),
        ({"relay_port": 1465, "relay_tls": "tls"}, {}, "name"),
        ({"relay_port": 2587}, {}, "certificate"),
        ({"relay_port": 2465, "relay_tls": "tls"}, {}, "certificate"),
        ({}, {"starttls": False}, "STARTTLS"),
        ({}, {"accept_credentials": False}, "password"),
        ({}, {"accept_credentials": False, "mechanisms": ["PLAIN"]}, "password"),
    ],
    ids=[
        "wrong name",
        "wrong name, TLS",
        "self-signed",
        "self-signed, TLS",
        "STARTTLS taken away",
        "password",
        "PLAIN",
    ],
)
def test_a_relay_that_is_not_right_gets_nothing(
    place: Place, changes: dict[str, object], rules: dict[str, object], words: str
) -> None:
    """No message and no password, least of all in clear: it is kept, and the deploy and the doctor say why."""
    place.relay.rules(**rules)
    done = place.server.deploy(**changes)
    assert done.status == 1
    failed = [each["message"] for each in place.findings() if each["status"] == "failed"]
    assert failed
    assert words.lower() in failed[0].lower()
    place.organiser.invite(Event((JANE,)))
    assert wait_until(lambda: "not tried yet" not in place.mail("queue")[1], 10)
    assert f"to {JANE.address}" in place.mail("queue")[1]
    assert place.relay.messages() == []
    for session in place.relay.sessions():
        assert not [verb for verb in session.verbs(tls=False) if verb in {"AUTH", "MAIL", "RCPT", "DATA"}]
    place.restore()


@pytest.mark.parametrize(
    "rules", [{"smtputf8": False, "eight_bit": False}, {"mechanisms": ["LOGIN"]}], ids=["7 bit", "LOGIN"]
)
def test_an_old_relay_will_do(place: Place, rules: dict[str, object]) -> None:
    """Without SMTPUTF8 and 8BITMIME, umlauts arrive all the same; and so they do with AUTH LOGIN alone."""
    place.relay.rules(**rules)
    place.organiser.invite(Event((Person("uwe@bücher.example", "Müller, Üwe"),), summary="Öl"))
    (received,) = place.relay.wait_for(1)
    assert received.rcpt_tos == ["uwe@xn--bcher-kva.example"]
    assert received.message["to"].addresses[0].display_name == "Müller, Üwe"


def test_the_password_is_nowhere_but_with_those_who_need_it(place: Place) -> None:
    """Not in a process's arguments, the journal, or a file that others may read."""
    machine = place.server.machine
    place.relay.stop()
    place.organiser.invite(Event((JANE,)))
    seen = machine.run(
        "for _ in $(seq 20); do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.05; done 2>/dev/null | tr '\\0' ' '"
    )
    assert RELAY_PASSWORD not in seen
    assert RELAY_PASSWORD not in machine.run("journalctl --no-pager")
    found = machine.run(
        f"grep -rlF -- {json.dumps('quoted')} /etc /var/lib /var/spool /var/log /tmp 2>/dev/null || true"
    ).split()
    open_to_all = machine.run(f"find {' '.join(found)} -perm /004 -type f 2>/dev/null || true").split()
    leaking = [path for path in open_to_all if "HOME #1" in machine.read(path)]
    assert leaking == []


def test_off_sends_nothing_and_says_so(place: Place) -> None:
    """Clients are told that nobody was asked; the mail server goes, and what waited in it comes back with the next."""
    place.relay.stop()
    place.organiser.invite(Event((JANE,)))
    assert place.queued() == 1
    off = dict.fromkeys(("mail_from", "relay_host", "relay_user", "relay_ca"), "") | {
        "mail": "off",
        "relay_password": None,
    }
    done = place.server.deploy(**off)
    assert done.status == 0, done.output
    assert "1 message" in place.said()
    assert place.server.deploy(**off).changed == []
    event = place.organiser.invite(Event((Person("lee@example.net"),)))
    # "Could not find principal": nobody of that address has an account here, and nobody else was asked.
    assert place.organiser.statuses(event)["mailto:lee@example.net"] == "3.7"
    machine = place.server.machine
    assert (
        machine.run("ls -d /etc/baikal/nullmailer /etc/nullmailer /usr/sbin/nullmailer-send 2>/dev/null || true") == ""
    )
    place.relay.resume()
    assert place.server.deploy().status == 0
    place.mail("retry")
    (received,) = place.relay.wait_for(1)
    assert received.rcpt_tos == [JANE.address]
