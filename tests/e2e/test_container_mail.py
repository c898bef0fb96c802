"""Invitations from a container, with and without privileges: queued mail is in the volume, and outlives the container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.container import UNPRIVILEGED, Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.invitations import Event, Organiser, Person
from tests.lab.mail import MailSink

if TYPE_CHECKING:
    from collections.abc import Iterator


PASSWORD: Final = "it's a secret: 100%"
SENDER: Final = "calendar@lab.test"
JANE: Final = Person("jane@example.net", "Jane Doe")


class Relay(NamedTuple):
    """The relay, and its network."""

    sink: MailSink
    network: str
    signer: Signer


@pytest.fixture(scope="module")
def relay(engine: Engine) -> Iterator[Relay]:
    """Yield a relay on its own network."""
    signer = Signer.root()
    with Network(engine) as network, MailSink.start(engine, network, signer, password=PASSWORD) as sink:
        yield Relay(sink, network.name, signer)


@pytest.mark.parametrize("options", [(), UNPRIVILEGED], ids=["root", "confined"])
def test_queued_mail_outlives_the_container(
    engine: Engine, image: str, relay: Relay, options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ten invitations while the relay is down, the container killed and removed: the next one delivers each once."""
    folder = tmp_path_factory.mktemp("relay")
    folder.chmod(0o755)
    (folder / "ca.pem").write_text(relay.signer.pem)
    (folder / "ca.pem").chmod(0o644)
    environment = {
        "BAIKAL_MAIL": "relay",
        "BAIKAL_MAIL_FROM": SENDER,
        "BAIKAL_RELAY_HOST": "relay.lab.test",
        "BAIKAL_RELAY_USER": relay.sink.user,
        "BAIKAL_RELAY_PASSWORD": PASSWORD,
        "BAIKAL_RELAY_CA": "/relay/ca.pem",
    }
    run_options = (f"--network={relay.network}", f"--volume={folder}:/relay:ro", *options)
    relay.sink.forget()
    people = [Person(f"guest{number}@example.net", f"Gast, Nr. {number}") for number in range(10)]
    with Volume(engine) as volume:
        with Container.run(engine, image, environment=environment, volume=volume, options=run_options) as container:
            relay.sink.stop()
            organiser = Organiser(container.account())
            for person in people:
                organiser.invite(Event((person,)))
            assert container.execute("sh", "-c", "ls /var/spool/nullmailer/queue | wc -l").strip() == "10"
            assert "Connect failed" in container.execute("baikalctl", "mail", "queue")
            assert "refuses the connection" in container.execute("baikalctl", "check", check=False)
            container.execute(
                "sh", "-c", "kill -9 $(cat /proc/[0-9]*/stat | grep -F '(nullmailer-send)' | cut -d' ' -f1)"
            )
            assert PASSWORD not in container.log()
        relay.sink.resume()
        with Container.run(engine, image, environment=environment, volume=volume, options=run_options) as container:
            relay.sink.wait_for(10)
            assert wait_until(
                lambda: container.execute("baikalctl", "mail", "queue").strip() == "the queue is empty", 10
            )
            output = container.execute("baikalctl", "mail", "test", JANE.address)
            assert "accepted: relay.lab.test says 250" in output
            assert "mail is running" in container.execute("baikalctl", "check")
        received = relay.sink.messages()
        assert sorted(each.rcpt_tos[0] for each in received) == sorted(
            [JANE.address, *(each.address for each in people)]
        )
        assert all(each.tls and each.user == relay.sink.user for each in received)
        off = dict.fromkeys(environment) | {"BAIKAL_MAIL": "off"}
        with Container.run(engine, image, environment=off, volume=volume, options=options) as container:
            organiser = Organiser(container.account())
            event = organiser.invite(Event((JANE,)))
            assert organiser.statuses(event)[JANE.uri] == "3.7"
            assert "is off" in container.execute("baikalctl", "check")


def test_postfix_is_refused_in_a_container(engine: Engine, image: str) -> None:
    """The start is refused with the remedy."""
    options = {"BAIKAL_MAIL": "postfix"}
    with Container.run(engine, image, environment=options, ready=False) as container:
        assert wait_until(lambda: "BAIKAL_RELAY_HOST" in container.log(), 20)
