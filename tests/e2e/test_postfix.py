"""Invitations by a Postfix of the machine's own, and the way from it to a relay, to nothing, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.inviting import Event, Person
from tests.lab.machine import Machine
from tests.lab.mail import MailSink
from tests.lab.relayed import RELAY_PASSWORD, SENDER, Relayed, relayed
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
def place(engine: Engine, release: Release) -> Iterator[Relayed]:
    """Give the machine, deployed to once, and the relay beside it."""
    with relayed(engine, release, "debian:12", "postfix") as found:
        yield found


def test_a_second_run_changes_nothing(place: Relayed) -> None:
    """Nothing, with all that mail needs in place."""
    again = place.server.deploy()
    assert again.status == 0, again.output
    assert again.changed == []


def test_an_invitation_arrives_signed(place: Relayed) -> None:
    """Over TLS, logged in, in seven bits whatever the relay can; and what the DNS should have verifies it."""
    place.relay.rules(smtputf8=False, eight_bit=False)
    place.organiser.invite(Event((JANE,), summary="Bücher, 🎉 lesen"))
    (received,) = place.relay.wait_for(1)
    assert (received.mail_from, received.rcpt_tos, received.user) == (SENDER, [JANE.address], place.relay.user)
    assert received.tls
    assert received.message["to"].addresses[0].display_name == "Doe, Jäne"
    machine = place.server.machine
    status, records = place.mail("dns")
    assert status == 0
    record = next(line for line in records.splitlines() if line.startswith("baikal._domainkey.lab.test"))
    value = "".join(record.split('"')[1::2])
    machine.run("apt-get install --yes --no-install-recommends python3-dkim >/dev/null")
    verify = ("exec", "-i", machine.name, "python3", "-c", VERIFY, value)
    machine.engine.docker(*verify, input=received.raw)
    place.relay.rules()


def test_no_mail_server_listens(place: Relayed) -> None:
    """Not even on loopback, where any account and any program that can be made to ask there would have mail signed."""
    listening = place.server.machine.run("ss -Hltn | awk '{print $4}'").split()
    assert "127.0.0.1:8891" in listening, "the signer"
    ports = {address.rpartition(":")[2] for address in listening}
    assert not {"25", "465", "587"} & ports, listening
    place.server.machine.run("postfix status")


def test_what_the_relay_refuses_comes_back_to_the_sender(place: Relayed) -> None:
    """With the relay's words, and ``mail test`` says the same."""
    place.relay.forget()
    place.relay.rules(refuse_recipients=["gone@example.net"])
    status, told = place.mail("test", "gone@example.net")
    assert status == 1
    assert "refused for good" in told
    assert "550" in told
    (bounce,) = place.relay.wait_for(1)
    assert (bounce.mail_from, bounce.rcpt_tos) == ("", [SENDER])
    place.relay.rules()
    status, told = place.mail("test", JANE.address)
    assert (status, "relay.lab.test says 250" in told) == (0, True), told


def test_it_waits_for_the_relay(place: Relayed) -> None:
    """Nothing is lost or sent twice while that is down, whatever is killed."""
    place.relay.forget()
    place.relay.stop()
    people = [Person(f"guest{number}@example.net") for number in range(5)]
    for person in people:
        place.organiser.invite(Event((person,)))
    machine = place.server.machine
    assert wait_until(lambda: place.mail("queue")[1].count("onnection refused") >= 1, 20), place.mail("queue")
    machine.kill()
    machine.power_on()
    place.relay.resume()
    place.mail("retry")
    place.relay.wait_for(5)
    assert wait_until(lambda: place.mail("queue")[1] == "nothing waits", 10)
    assert sorted(each.rcpt_tos[0] for each in place.relay.messages()) == sorted(person.address for person in people)


def test_what_waits_goes_along_from_one_server_to_the_next(place: Relayed) -> None:
    """From Postfix to nullmailer and back: the one left behind is gone, and its mail arrives once."""
    machine = place.server.machine
    for mode, left in (("relay", "postfix opendkim"), ("postfix", "nullmailer")):
        place.relay.forget()
        place.relay.stop()
        place.organiser.invite(Event((Person(f"{mode}@example.net"),)))
        assert wait_until(lambda: f"{mode}@example.net" in place.mail("queue")[1], 10)  # noqa: B023 - called at once
        done = place.server.deploy(mail=mode)
        assert done.status == 0, done.output
        assert place.server.deploy(mail=mode).changed == []
        assert (
            machine.run(f"dpkg-query -W -f '${{db:Status-Status}}\\n' {left} 2>/dev/null || true").count("installed")
            == 0
        )
        place.relay.resume()
        place.mail("retry")
        assert [each.rcpt_tos for each in place.relay.wait_for(1)] == [[f"{mode}@example.net"]]
    # What waits while nothing is sent any more is kept, and the doctor tells of it.
    place.relay.forget()
    place.relay.stop()
    place.organiser.invite(Event((JANE,)))
    assert wait_until(lambda: JANE.address in place.mail("queue")[1], 10)
    off: dict[str, object] = dict.fromkeys(("mail_from", "relay_host", "relay_user", "relay_ca"), "")
    done = place.server.deploy(mail="off", relay_password=None, **off)
    assert done.status == 0, done.output
    assert "1 message is kept" in json.dumps(place.server.check()["findings"])
    assert machine.run("ls -d /etc/postfix/main.cf /etc/opendkim.conf /usr/sbin/postfix 2>/dev/null || true") == ""
    place.relay.resume()
    assert place.server.deploy().status == 0
    place.mail("retry")
    (received,) = place.relay.wait_for(1)
    assert received.rcpt_tos == [JANE.address]


def test_it_delivers_by_itself(place: Relayed) -> None:
    """Without a relay, to the server of the recipient's domain."""
    place.relay.forget()
    alone: dict[str, object] = dict.fromkeys(("relay_host", "relay_user", "relay_ca"), "")
    done = place.server.deploy(relay_password=None, **alone)
    assert done.status == 0, done.output
    place.organiser.invite(Event((Person("jane@relay.lab.test"),)))
    (received,) = place.relay.wait_for(1)
    assert (received.port, received.rcpt_tos) == (25, ["jane@relay.lab.test"])


def test_a_newer_postfix_does_the_same(engine: Engine, release: Release) -> None:
    """Debian 13 has other units: a second run changes nothing there either, and mail leaves."""
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


def test_somebody_elses_mail_server_is_left_alone(engine: Engine, release: Release) -> None:
    """It isn't replaced: the run says so, before anything is touched."""
    with Machine.start(engine, machine_image(engine, "debian:13", PACKAGES)) as machine:
        machine.run("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q nullmailer")
        server = Server(machine, release)
        refused = server.deploy(mail="relay", mail_from=SENDER, relay_host="relay.lab.test")
        assert refused.status == 1
        assert "nullmailer is this machine's mail server" in refused.output
        assert "nothing was changed on any host" in refused.output
