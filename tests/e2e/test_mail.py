"""Invitations from a machine through a relay: delivery, outages of the relay, refusals, and reports about them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.engine import Engine, wait_until
from tests.lab.invitations import Event, Person
from tests.lab.mail_machine import RELAY_PASSWORD, SENDER, MailMachine, mail_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


JANE: Final = Person("jane@example.net", "Doe, Jane")
RETRIED_S: Final = 90
"""nullmailer waits half a minute after the first attempt."""


@dataclass
class Setup(MailMachine):
    """A machine that sends through the lab's relay, with nullmailer."""

    def findings(self) -> list[dict[str, Any]]:
        """Return the findings of check on mail."""
        return [finding for finding in self.server.check()["findings"] if finding["subject"] == "mail"]

    def messages(self) -> str:
        """Return the findings as text."""
        return json.dumps(self.findings(), ensure_ascii=False)

    def queued(self) -> int:
        """Return the number of queued messages."""
        return int(self.server.machine.run("ls /var/spool/nullmailer/queue | wc -l"))

    def restore(self) -> None:
        """Restore the relay's normal behaviour, and remove all earlier messages."""
        self.relay.rules()
        self.relay.resume()
        assert self.server.deploy().status == 0
        self.server.machine.run(
            "rm -f /var/spool/nullmailer/queue/* /var/spool/nullmailer/failed/* /var/lib/baikal/mail/kept/*"
        )
        self.relay.forget()


@pytest.fixture(scope="module")
def machine_with_relay(engine: Engine, release: Release) -> Iterator[Setup]:
    """Yield the machine, after one deploy, and its relay."""
    with mail_machine(engine, release, "debian:13", "relay") as machine:
        yield Setup(machine.server, machine.relay, machine.organiser)


@pytest.fixture
def setup(machine_with_relay: Setup) -> Setup:
    """Return it without messages of an earlier test."""
    setup = machine_with_relay
    if setup.relay.messages() or setup.relay.sessions() or setup.queued():
        setup.restore()
    return setup


def test_a_second_run_changes_nothing(setup: Setup) -> None:
    """With mail configured, a second run has no changes."""
    again = setup.server.deploy()
    assert again.status == 0, again.output
    assert again.changed == []


def test_invitation_update_and_cancellation_arrive(setup: Setup) -> None:
    """REQUEST, REQUEST and CANCEL in the usual format, from the declared address, with Reply-To the organiser."""
    event = setup.organiser.invite(Event((JANE,), Person("jo@example.org", "Möller, Jo"), summary="Bücher, 🎉 lesen"))
    assert setup.organiser.statuses(event)[JANE.uri].startswith("1.")
    event = setup.organiser.update(event, lines=("LOCATION:Küche",), start=dt.datetime(2030, 6, 3, 11))  # noqa: DTZ001
    setup.organiser.cancel(event)
    received = setup.relay.wait_for(3)
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


def test_seventy_attendees_get_one_message_each(setup: Setup) -> None:
    """One message for each, also for a large event."""
    people = tuple(Person(f"guest{number}@example.net", f"Gast, {number} ü") for number in range(70))
    setup.organiser.invite(Event(people, description="Lorem ipsum dolor sit amet, ünd so weiter.\n" * 200))
    received = setup.relay.wait_for(70, 120)
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
def test_client_data_adds_no_recipients(setup: Setup, person: Person) -> None:
    """Neither by a name nor by an address; messages to malformed addresses are kept, and check reports them."""
    organizer = Person("jo@example.org", "Jo\nBcc: victim@example.com")
    setup.organiser.invite(Event((person, JANE), organizer))
    received = setup.relay.wait_for(1)
    wait_until(lambda: len(setup.relay.messages()) > 1, 2)
    received = setup.relay.messages()
    assert {each.rcpt_tos[0] for each in received} <= {"jane@example.net", "kim@example.net"}
    assert "jane@example.net" in {each.rcpt_tos[0] for each in received}
    for each in received:
        assert each.message["bcc"] is None
        assert [address.addr_spec for address in each.message["from"].addresses] == [SENDER]
        assert len(each.message["to"].addresses) == 1


def test_relay_outage_loses_and_duplicates_nothing(setup: Setup) -> None:
    """Twenty invitations, a killed sender, a power cut: each arrives once, when the relay is back."""
    setup.relay.stop()
    for number in range(20):
        setup.organiser.invite(Event((Person(f"guest{number}@example.net"),)))
        if number == 10:
            setup.server.machine.run("kill -9 $(systemctl show -P MainPID nullmailer)")
    assert setup.queued() == 20
    assert "refuses the connection" in setup.messages()
    status, output = setup.mail("queue")
    assert status == 0
    assert output.count("Connect failed") >= 10, output
    setup.server.machine.kill()
    setup.server.machine.power_on()
    setup.relay.resume()
    received = setup.relay.wait_for(20, RETRIED_S)
    assert wait_until(lambda: setup.queued() == 0, 10)
    assert sorted(each.rcpt_tos[0] for each in setup.relay.messages()) == sorted(
        f"guest{n}@example.net" for n in range(20)
    )
    assert len(received) == 20


def test_deferred_message_is_retried(setup: Setup) -> None:
    """A relay that answers 451 gets the message again, and `mail queue` shows its answer until then."""
    # Twice: a second attempt may follow immediately, when both opening and closing of the queue's trigger are seen.
    setup.relay.rules(defer_recipients=2)
    status, output = setup.mail("test", "jane@example.net")
    assert status == 1
    assert "waits in the queue" in output
    assert "451" in setup.mail("queue")[1]
    setup.relay.wait_for(1, 2 * RETRIED_S)


def test_refused_message_is_reported_to_the_administrator(setup: Setup) -> None:
    """550: a message to the sender's address and a finding, with the relay's answer; it can be retried or dropped."""
    setup.relay.rules(refuse_recipients=["gone@example.net"])
    setup.organiser.invite(Event((Person("gone@example.net"),)))
    (bounce,) = setup.relay.wait_for(1)
    assert (bounce.mail_from, bounce.rcpt_tos) == ("", [SENDER])
    assert "550" in bounce.raw.decode()
    finding = next(each for each in setup.findings() if "refused permanently" in each["message"])
    assert finding["status"] == "warning"
    assert "gone@example.net" in finding["message"]
    assert "550" in setup.mail("queue")[1]
    setup.relay.rules()
    setup.mail("retry")
    setup.relay.wait_for(2)
    assert setup.mail("queue")[1] == "the queue is empty"


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
def test_wrong_relay_gets_no_message_and_no_password(
    setup: Setup, changes: dict[str, object], rules: dict[str, object], words: str
) -> None:
    """No message and no password is sent; the message is kept, and the deploy and check report the reason."""
    setup.relay.rules(**rules)
    done = setup.server.deploy(**changes)
    assert done.status == 1
    failed = [each["message"] for each in setup.findings() if each["status"] == "failed"]
    assert failed
    assert words.lower() in failed[0].lower()
    setup.organiser.invite(Event((JANE,)))
    assert wait_until(lambda: "not tried yet" not in setup.mail("queue")[1], 10)
    assert f"to {JANE.address}" in setup.mail("queue")[1]
    assert setup.relay.messages() == []
    for session in setup.relay.sessions():
        assert not [verb for verb in session.verbs(tls=False) if verb in {"AUTH", "MAIL", "RCPT", "DATA"}]
    setup.restore()


@pytest.mark.parametrize(
    "rules", [{"smtputf8": False, "eight_bit": False}, {"mechanisms": ["LOGIN"]}], ids=["7 bit", "LOGIN"]
)
def test_old_relay_is_supported(setup: Setup, rules: dict[str, object]) -> None:
    """Umlauts arrive without SMTPUTF8 and 8BITMIME, and with AUTH LOGIN only."""
    setup.relay.rules(**rules)
    setup.organiser.invite(Event((Person("uwe@bücher.example", "Müller, Üwe"),), summary="Öl"))
    (received,) = setup.relay.wait_for(1)
    assert received.rcpt_tos == ["uwe@xn--bcher-kva.example"]
    assert received.message["to"].addresses[0].display_name == "Müller, Üwe"


def test_password_is_readable_only_where_needed(setup: Setup) -> None:
    """It is not in a process's arguments, the journal, or a file that others may read."""
    machine = setup.server.machine
    setup.relay.stop()
    setup.organiser.invite(Event((JANE,)))
    seen = machine.run(
        "for _ in $(seq 20); do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.05; done 2>/dev/null | tr '\\0' ' '"
    )
    assert RELAY_PASSWORD not in seen
    assert RELAY_PASSWORD not in machine.run("journalctl --no-pager")
    files = machine.run(
        f"grep -rlF -- {json.dumps('quoted')} /etc /var/lib /var/spool /var/log /tmp 2>/dev/null || true"
    ).split()
    open_to_all = machine.run(f"find {' '.join(files)} -perm /004 -type f 2>/dev/null || true").split()
    leaking = [path for path in open_to_all if "HOME #1" in machine.read(path)]
    assert leaking == []


def test_mail_off_sends_nothing_and_clients_see_it(setup: Setup) -> None:
    """Clients see that no invitation was sent; the mail server is removed, and its queue is sent by the next one."""
    setup.relay.stop()
    setup.organiser.invite(Event((JANE,)))
    assert setup.queued() == 1
    off = dict.fromkeys(("mail_from", "relay_host", "relay_user", "relay_ca"), "") | {
        "mail": "off",
        "relay_password": None,
    }
    done = setup.server.deploy(**off)
    assert done.status == 0, done.output
    assert "1 message" in setup.messages()
    assert setup.server.deploy(**off).changed == []
    event = setup.organiser.invite(Event((Person("lee@example.net"),)))
    # "Could not find principal": the address has no account here, and no invitation was sent.
    assert setup.organiser.statuses(event)["mailto:lee@example.net"] == "3.7"
    machine = setup.server.machine
    assert (
        machine.run("ls -d /etc/baikal/nullmailer /etc/nullmailer /usr/sbin/nullmailer-send 2>/dev/null || true") == ""
    )
    setup.relay.resume()
    assert setup.server.deploy().status == 0
    setup.mail("retry")
    (received,) = setup.relay.wait_for(1)
    assert received.rcpt_tos == [JANE.address]
