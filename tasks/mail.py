"""Mail: the one mail server of a machine, and the change from one to another without losing queued mail.

Packages, files and services are described in ``baikalctl/rendering/mail.py``, ``nullmailer.py`` and ``postfix.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

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
    """Before packages change, save the mail in a queue that is about to be removed, and record whose the new server is."""
    if target.booted:
        wanted = exclusive_packages(target.settings)
        queue_saved(name="Save queued mail", wanted=wanted, machine=target.machine)


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if the mail server refused its configuration in the ``upload``."""
    if target.booted and target.settings.mail != "off":
        files.accepted(name="Check mail configuration", upload=upload, services=SERVICES)


def activate(target: Target) -> None:
    """Have the mail server running; then remove the one before, and send the saved mail."""
    if not target.booted:
        return
    if target.settings.mail != "off":
        services.running(name="Start mail server", services=target.services, names=SERVICES, facts=target.facts)
    wanted = exclusive_packages(target.settings)
    old_server_removed(name="Remove old mail server", wanted=wanted, machine=target.machine)


@operation()
def queue_saved(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Have the host record that ``wanted`` packages are the deploy's, and save the mail that waits in another of ours."""
    leaving = _leaving(wanted, machine)
    if any(server in machine.installed for server in leaving if server != postfix.OPENDKIM):
        # Where a run broke off before baikalctl was there, nothing has been sent yet.
        yield StringCommand(f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} mail take")
    if set(wanted) - set(machine.mail_servers):
        yield StringCommand(_record(sorted({*machine.mail_servers, *wanted})))


@operation()
def old_server_removed(wanted: Sequence[str], machine: Machine) -> Generator[StringCommand, None, None]:
    """Remove the packages of ours that aren't ``wanted`` any more, and send the mail that was saved."""
    leaving = _leaving(wanted, machine)
    if not leaving and not set(wanted) - set(machine.mail_servers):
        return
    if leaving:
        yield StringCommand(f"{APT} purge --yes {' '.join(leaving)}")
        yield StringCommand(f"rmdir {paths.NULLMAILER} {nullmailer.DROP_IN} 2>/dev/null || true")
    yield StringCommand(f"rm -f {paths.MAIL_CHANGING}")
    if wanted:
        yield StringCommand(f"{paths.COMMAND} mail retry || true")  # baikalctl check reports what is still kept
    yield StringCommand(_record(wanted))


def exclusive_packages(settings: Settings) -> tuple[str, ...]:
    """Return the packages of mail of which a machine can have only one kind, so that nothing else there has its own."""
    return tuple(package for package in server_packages(settings) if package != postfix.SASL)


def refuse_other_server(machine: Machine, settings: Settings) -> None:
    """Raise :class:`HostError` if the host has a mail server of the operator's own, which ours would replace."""
    ours = exclusive_packages(settings)
    rivals = (*nullmailer.PACKAGES, postfix.POSTFIX, *CONFLICTING, *(name for name in ours if name == postfix.OPENDKIM))
    others = [name for name in rivals if name in machine.installed and name not in machine.mail_servers]
    if others == [postfix.OPENDKIM]:
        message = (
            'opendkim is installed here, and not by this deploy; mail = "postfix" would replace its configuration; '
            'remove it (apt-get remove opendkim) if it isn\'t needed, or set dkim_selector = ""'
        )
        raise HostError(message)
    if ours and others:
        message = (
            f'{others[0]} is this machine\'s mail server, and mail = "{settings.mail}" would put {ours[0]} in its place; '
            f'remove it (apt-get remove {others[0]}) if it isn\'t needed, or set mail = "off"'
        )
        raise HostError(message)


def _leaving(wanted: Sequence[str], machine: Machine) -> list[str]:
    return [server for server in machine.mail_servers if server not in wanted]


def _record(servers: Sequence[str]) -> str:
    """Return the command that records which mail servers are the deploy's."""
    path = paths.MAIL_SERVERS
    return f"mkdir -p {paths.MAIL} && echo {' '.join(servers)} > {path}.new && mv {path}.new {path}"
