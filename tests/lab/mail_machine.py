"""A machine that sends its invitations through the lab's relay, and an account on it that invites."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from unittest import mock

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.images import PACKAGES, machine_image
from tests.lab.invitations import Organiser
from tests.lab.machine import Machine
from tests.lab.mail import MailSink
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


AUTHORITY: Final = "/etc/ssl/lab-relay.pem"
RELAY_PASSWORD: Final = """it's "quoted" \\ $HOME #1 : 100%"""
"""The characters of a relay's password that are hard to write in a configuration file."""
SENDER: Final = "calendar@lab.test"


@dataclass
class MailMachine:
    """The machine, its relay, and the organiser."""

    server: Server
    relay: MailSink
    organiser: Organiser

    def mail(self, *words: str) -> tuple[int, str]:
        """Run ``baikalctl mail``; return its status and its output."""
        output = self.server.machine.run(f"baikalctl mail {' '.join(words)} 2>&1; echo $?")
        text, _, status = output.strip().rpartition("\n")
        return int(status), text


@contextlib.contextmanager
def mail_machine(engine: Engine, release: Release, distribution: str, mail: str) -> Iterator[MailMachine]:
    """Yield a machine after one deploy, with ``mail`` as its setting, and its relay."""
    image = machine_image(engine, distribution, PACKAGES)
    signer = Signer.root()
    with (
        mock.patch.dict(os.environ, RELAY_PASSWORD=RELAY_PASSWORD),
        Network(engine) as network,
        MailSink.start(engine, network, signer, password=RELAY_PASSWORD) as relay,
        Machine.start(engine, image, options=["--network", network.name]) as machine,
    ):
        machine.write(AUTHORITY, signer.pem)
        data: dict[str, object] = {
            "mail": mail,
            "mail_from": SENDER,
            "relay_host": "relay.lab.test",
            "relay_user": relay.user,
            "relay_password": {"env": "RELAY_PASSWORD"},
            "relay_ca": AUTHORITY,
        }
        server = Server(machine, release, data=data)
        done = server.deploy()
        assert done.status == 0, done.output
        yield MailMachine(server, relay, Organiser(server.account()))
