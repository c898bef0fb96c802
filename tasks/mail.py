"""Mail: the one server of a machine that keeps invitations until they are sent, and the change from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.rendering.nullmailer import DROP_IN
from tasks.distribution import MAIL_SERVERS, OPENDKIM, OTHER_MAIL_SERVERS, mail_servers
from tasks.operations import APT

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from baikalctl.settings.model import Settings
    from tasks.facts import Machine
    from tasks.survey import Target


@deploy("Mail")
def prepare(target: Target) -> None:
    """Before packages change: keep what waits in a queue that is about to go, and remember whose the new one is."""
    if target.machine.booted:
        wanted = mail_servers(target.settings)
        mail_server_chosen(name="Keep mail that waits where its server changes", wanted=wanted, machine=target.machine)


@deploy("Mail")
def activate(target: Target) -> None:
    """When the new one runs: take away the one left behind, and hand over what was kept."""
    if target.machine.booted:
        wanted = mail_servers(target.settings)
        mail_server_left(name="Take away the mail server left behind", wanted=wanted, machine=target.machine)


@operation()
def mail_server_chosen(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Have the host know that ``wanted`` packages are ours, with the mail kept that waits in another server of ours."""
    leaving = _leaving(wanted, machine)
    if any(server in machine.installed for server in leaving if server != OPENDKIM):
        # Where a run broke off before it was there, nothing has been sent yet.
        yield StringCommand(f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} mail take")
    if set(wanted) - set(machine.mail_servers):
        yield StringCommand(_remember(sorted({*machine.mail_servers, *wanted})))


@operation()
def mail_server_left(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Remove the packages of ours that aren't ``wanted`` any more, and send what was kept meanwhile."""
    leaving = _leaving(wanted, machine)
    if not leaving and not set(wanted) - set(machine.mail_servers):
        return
    if leaving:
        yield StringCommand(f"{APT} purge --yes {' '.join(leaving)}")
        yield StringCommand(f"rmdir {paths.NULLMAILER} {DROP_IN} 2>/dev/null || true")
    yield StringCommand(f"rm -f {paths.MAIL_CHANGING}")
    if wanted:
        yield StringCommand(f"{paths.COMMAND} mail retry || true")  # what is still kept, the doctor tells
    yield StringCommand(_remember(wanted))


def refuse_other_mail_server(machine: Machine, settings: Settings) -> None:
    """Raise :class:`HostError` if the host has a mail server of somebody's own, which ours would take the place of."""
    ours = mail_servers(settings)
    rivals = (*MAIL_SERVERS.values(), *OTHER_MAIL_SERVERS, *(name for name in ours if name == OPENDKIM))
    theirs = [name for name in rivals if name in machine.installed and name not in machine.mail_servers]
    if theirs == [OPENDKIM]:
        message = (
            'somebody\'s own opendkim is here, and mail = "postfix" would configure it anew; remove it (apt-get remove '
            'opendkim) if nobody needs it, or set dkim_selector = ""'
        )
        raise HostError(message)
    if ours and theirs:
        message = (
            f'{theirs[0]} is this machine\'s mail server, and mail = "{settings.mail}" would put {ours[0]} in its place; '
            f'remove it (apt-get remove {theirs[0]}) if nobody needs it, or set mail = "off"'
        )
        raise HostError(message)


def _leaving(wanted: Sequence[str], machine: Machine) -> list[str]:
    return [server for server in machine.mail_servers if server not in wanted]


def _remember(servers: Sequence[str]) -> str:
    """Return the command that writes down which mail servers are ours."""
    path = paths.MAIL_SERVERS
    return f"mkdir -p {paths.MAIL} && echo {' '.join(servers)} > {path}.new && mv {path}.new {path}"
