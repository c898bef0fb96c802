"""Mail: a machine has one mail server. If another one replaces it, queued mail is not lost.

Packages, files and services are described in ``baikalctl/rendering/mail.py``, ``nullmailer.py`` and ``postfix.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.rendering import nullmailer, postfix
from baikalctl.rendering.mail import CONFLICTING, server_packages
from tasks.operations import files, services
from tasks.operations.packages import APT

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pyinfra.api.operation import OperationMeta

    from baikalctl.settings.model import Settings
    from tasks.machine import Machine
    from tasks.target import Target


SERVICES = (nullmailer.UNIT, "postfix", "postfix@-", postfix.OPENDKIM)
"""All services that send or sign mail."""


def prepare(target: Target) -> None:
    """Before packages change, save the queued mail of a server that will be removed, and record the new server as ours."""
    if target.booted:
        wanted = exclusive_packages(target.settings)
        queue_saved(name="Save queued mail", wanted=wanted, machine=target.machine)


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if the mail server refused its configuration in the ``upload``."""
    if target.booted and target.settings.mail != "off":
        files.accepted(name="Check mail configuration", upload=upload, services=SERVICES)


def activate(target: Target) -> None:
    """Start the mail server. Then remove the previous one, and send the saved mail."""
    if not target.booted:
        return
    if target.settings.mail != "off":
        services.running(name="Start mail server", services=target.services, names=SERVICES, facts=target.facts)
    wanted = exclusive_packages(target.settings)
    old_server_removed(name="Remove old mail server", wanted=wanted, machine=target.machine)
    if wanted and not target.machine.mail_servers:
        kept_mail_sent(name="Send kept mail")


@operation()
def queue_saved(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Record that the deploy installs the ``wanted`` packages, and save the queued mail of a server that will be removed."""
    leaving = _leaving(wanted, machine)
    if any(server in machine.installed for server in leaving if server != postfix.OPENDKIM):
        # If an earlier run stopped before it installed baikalctl, no mail has been sent yet.
        yield StringCommand(f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} mail take")
    if set(wanted) - set(machine.mail_servers):
        yield StringCommand(_record(sorted({*machine.mail_servers, *wanted})))


@operation()
def old_server_removed(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Remove our packages that are no longer ``wanted``, and send the mail that was saved."""
    leaving = _leaving(wanted, machine)
    if not leaving:
        return
    yield StringCommand(f"{APT} purge --yes {' '.join(leaving)}")
    yield StringCommand(f"rmdir {paths.NULLMAILER} {nullmailer.DROP_IN} 2>/dev/null || true")
    yield StringCommand(f"rm -f {paths.MAIL_CHANGING}")
    if wanted:
        yield StringCommand(f"{paths.COMMAND} mail retry || true")  # baikalctl check reports what is still kept
    yield StringCommand(_record(wanted))


@operation()
def kept_mail_sent() -> Generator[StringCommand, None, None]:
    """Send the mail that was kept while mail was off, if there is any."""
    if host.get_fact(KeptMailFact):
        yield StringCommand(f"{paths.COMMAND} mail retry || true")  # baikalctl check reports what is still kept


class KeptMailFact(FactBase[bool]):
    """Whether the host has mail that was kept and not sent."""

    def command(self) -> str:
        """Print a word if there is any."""
        return f'for path in {paths.KEPT}/*.eml; do [ ! -e "$path" ] || {{ echo kept; break; }}; done'

    def process(self, output: list[str]) -> bool:
        """Return whether there is a line."""
        return bool(output)

    @staticmethod
    def default() -> bool:
        """Return the answer of a host without kept mail."""
        return False


def exclusive_packages(settings: Settings) -> tuple[str, ...]:
    """Return the mail packages that conflict with those of other mail servers."""
    return tuple(package for package in server_packages(settings) if package != postfix.SASL)


def refuse_other_server(machine: Machine, settings: Settings) -> None:
    """Raise :class:`HostError` if the host has the operator's own mail server, which ours would replace."""
    ours = exclusive_packages(settings)
    rivals = (*nullmailer.PACKAGES, postfix.POSTFIX, *CONFLICTING, *(name for name in ours if name == postfix.OPENDKIM))
    others = [name for name in rivals if name in machine.installed and name not in machine.mail_servers]
    if others == [postfix.OPENDKIM]:
        message = (
            'opendkim is installed here, but not by this deploy; mail = "postfix" would replace its configuration; '
            'remove it (apt-get remove opendkim) if it isn\'t needed, or set dkim_selector = ""'
        )
        raise HostError(message)
    if ours and others:
        message = (
            f'{others[0]} is this machine\'s mail server, and mail = "{settings.mail}" would replace it with {ours[0]}; '
            f'remove it (apt-get remove {others[0]}) if it isn\'t needed, or set mail = "off"'
        )
        raise HostError(message)


def _leaving(wanted: Sequence[str], machine: Machine) -> list[str]:
    return [server for server in machine.mail_servers if server not in wanted]


def _record(servers: Sequence[str]) -> str:
    """Return the command that records the mail servers that the deploy has installed."""
    path = paths.MAIL_SERVERS
    return f"mkdir -p {paths.MAIL} && echo {' '.join(servers)} > {path}.new && mv {path}.new {path}"
