"""Invitations by Postfix on the machine, and changes to nullmailer, to no mail, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.invitations import Event, Person
from tests.lab.machine import Machine
from tests.lab.mail import MailSink
from tests.lab.mail_machine import RELAY_PASSWORD, SENDER, MailMachine, mail_machine
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


JANE: Final = Person("jane@example.net", "Doe, Jäne")
VERIFY: Final = """
import sys, dkim
record = sys.argv[1].encode()
sys.exit(0 if dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: record) else 1)
"""


@pytest.fixture(scope="module")
def setup(engine: Engine, release: Release) -> Iterator[MailMachine]:
    """Yield the machine, after one deploy, and its relay."""
    with mail_machine(engine, release, "debian:12", "postfix") as machine:
        yield machine


def test_a_second_run_changes_nothing(setup: MailMachine) -> None:
    """With mail configured, a second run has no changes."""
    again = setup.server.deploy()
    assert again.status == 0, again.output
    assert again.changed == []


def test_an_invitation_arrives_signed(setup: MailMachine) -> None:
    """Over TLS, after a login, in 7-bit encoding; and the printed DNS record verifies its signature."""
    setup.relay.rules(smtputf8=False, eight_bit=False)
    setup.organiser.invite(Event((JANE,), summary="Bücher, 🎉 lesen"))
    (received,) = setup.relay.wait_for(1)
    assert (received.mail_from, received.rcpt_tos, received.user) == (SENDER, [JANE.address], setup.relay.user)
    assert received.tls
    assert received.message["to"].addresses[0].display_name == "Doe, Jäne"
    machine = setup.server.machine
    status, records = setup.mail("dns")
    assert status == 0
    record = next(line for line in records.splitlines() if line.startswith("baikal._domainkey.lab.test"))
    value = "".join(record.split('"')[1::2])
    machine.run("apt-get install --yes --no-install-recommends python3-dkim >/dev/null")
    verify = ("exec", "-i", machine.name, "python3", "-c", VERIFY, value)
    machine.engine.docker(*verify, input=received.raw)
    setup.relay.rules()


def test_no_mail_server_listens(setup: MailMachine) -> None:
    """Not even on loopback, where every local account could have mail signed."""
    listening = setup.server.machine.run("ss -Hltn | awk '{print $4}'").split()
    assert "127.0.0.1:8891" in listening, "the signer"
    ports = {address.rpartition(":")[2] for address in listening}
    assert not {"25", "465", "587"} & ports, listening
    setup.server.machine.run("postfix status")


def test_message_refused_by_the_relay_is_returned_to_the_sender(setup: MailMachine) -> None:
    """With the relay's answer, which ``mail test`` reports too."""
    setup.relay.forget()
    setup.relay.rules(refuse_recipients=["gone@example.net"])
    status, output = setup.mail("test", "gone@example.net")
    assert status == 1
    assert "refused permanently" in output
    assert "550" in output
    (bounce,) = setup.relay.wait_for(1)
    assert (bounce.mail_from, bounce.rcpt_tos) == ("", [SENDER])
    setup.relay.rules()
    status, output = setup.mail("test", JANE.address)
    assert (status, "relay.lab.test says 250" in output) == (0, True), output


def test_mail_waits_for_the_relay(setup: MailMachine) -> None:
    """Nothing is lost or sent twice while the relay is down, also after kills."""
    setup.relay.forget()
    setup.relay.stop()
    people = [Person(f"guest{number}@example.net") for number in range(5)]
    for person in people:
        setup.organiser.invite(Event((person,)))
    machine = setup.server.machine
    assert wait_until(lambda: setup.mail("queue")[1].count("onnection refused") >= 1, 20), setup.mail("queue")
    machine.kill()
    machine.power_on()
    setup.relay.resume()
    setup.mail("retry")
    setup.relay.wait_for(5)
    assert wait_until(lambda: setup.mail("queue")[1] == "the queue is empty", 10)
    assert sorted(each.rcpt_tos[0] for each in setup.relay.messages()) == sorted(person.address for person in people)


def test_queued_mail_moves_to_the_next_mail_server(setup: MailMachine) -> None:
    """From Postfix to nullmailer and back: the old server is removed, and its mail arrives once."""
    machine = setup.server.machine
    for mode, left in (("relay", "postfix opendkim"), ("postfix", "nullmailer")):
        setup.relay.forget()
        setup.relay.stop()
        setup.organiser.invite(Event((Person(f"{mode}@example.net"),)))
        assert wait_until(lambda: f"{mode}@example.net" in setup.mail("queue")[1], 10)  # noqa: B023 - called at once
        done = setup.server.deploy(mail=mode)
        assert done.status == 0, done.output
        assert setup.server.deploy(mail=mode).changed == []
        assert (
            machine.run(f"dpkg-query -W -f '${{db:Status-Status}}\\n' {left} 2>/dev/null || true").count("installed")
            == 0
        )
        setup.relay.resume()
        setup.mail("retry")
        assert [each.rcpt_tos for each in setup.relay.wait_for(1)] == [[f"{mode}@example.net"]]
    # Queued mail is kept when mail is turned off, and check reports it.
    setup.relay.forget()
    setup.relay.stop()
    setup.organiser.invite(Event((JANE,)))
    assert wait_until(lambda: JANE.address in setup.mail("queue")[1], 10)
    off: dict[str, object] = dict.fromkeys(("mail_from", "relay_host", "relay_user", "relay_ca"), "")
    done = setup.server.deploy(mail="off", relay_password=None, **off)
    assert done.status == 0, done.output
    assert "1 message is kept" in json.dumps(setup.server.check()["findings"])
    assert machine.run("ls -d /etc/postfix/main.cf /etc/opendkim.conf /usr/sbin/postfix 2>/dev/null || true") == ""
    setup.relay.resume()
    assert setup.server.deploy().status == 0
    setup.mail("retry")
    (received,) = setup.relay.wait_for(1)
    assert received.rcpt_tos == [JANE.address]


def test_mail_is_delivered_without_a_relay(setup: MailMachine) -> None:
    """Without a relay, to the mail server of the recipient's domain."""
    setup.relay.forget()
    alone: dict[str, object] = dict.fromkeys(("relay_host", "relay_user", "relay_ca"), "")
    done = setup.server.deploy(relay_password=None, **alone)
    assert done.status == 0, done.output
    setup.organiser.invite(Event((Person("jane@relay.lab.test"),)))
    (received,) = setup.relay.wait_for(1)
    assert (received.port, received.rcpt_tos) == (25, ["jane@relay.lab.test"])


def test_postfix_of_debian_13_sends_mail(engine: Engine, release: Release) -> None:
    """Debian 13 has other units: a second run changes nothing, and mail is sent."""
    image = machine_image(engine, "debian:13", PACKAGES)
    with (
        Network(engine) as network,
        MailSink.start(engine, network, Signer.root(), password=RELAY_PASSWORD) as relay,
        Machine.start(engine, image, options=["--network", network.name]) as machine,
    ):
        server = Server(machine, release, data={"mail": "postfix", "mail_from": SENDER})
        assert server.deploy().status == 0
        assert server.deploy().changed == []
        machine.run("baikalctl mail test jane@relay.lab.test")
        (received,) = relay.wait_for(1)
        assert "d=lab.test; s=baikal;" in received.raw.decode()


def test_existing_mail_server_is_not_replaced(engine: Engine, release: Release) -> None:
    """It isn't replaced: the run reports it before any change."""
    with Machine.start(engine, machine_image(engine, "debian:13", PACKAGES)) as machine:
        machine.run("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q nullmailer")
        server = Server(machine, release)
        refused = server.deploy(mail="relay", mail_from=SENDER, relay_host="relay.lab.test")
        assert refused.status == 1
        assert "nullmailer is this machine's mail server" in refused.output
        assert "nothing was changed on any host" in refused.output
