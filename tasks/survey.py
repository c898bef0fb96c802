"""Everything that can be found wrong, found before anything is touched: on all hosts, said at once."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state
from pyinfra.context import state as current_state

from baikalctl.errors import HostError, SettingsError
from baikalctl.output import escaped
from baikalctl.rendering.container import baked
from baikalctl.rendering.machine import render
from baikalctl.settings import load
from baikalctl.settings.known_releases import needed_php, numbers
from tasks.baking import keep_running
from tasks.database import refuse_other_database_server
from tasks.distribution import DNS_PLUGIN, TMPFILES, needed, php_version, platform
from tasks.facts import CandidateFact, Machine, MachineFact, PathsFact
from tasks.mail import refuse_other_mail_server
from tasks.releases import Archive, obtain
from tasks.rollout import Conductor, split
from tasks.run import ANSWER_SECONDS, Run
from tasks.summary import at_the_end_of

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

    from baikalctl.rendering.model import FileSet, Platform
    from baikalctl.settings.model import Settings


SYSTEMS = ("debian", "ubuntu")
"""And what is like them; whether they are new enough, the PHP that they offer tells."""
OWN_DATA = "x_"
"""Data whose names start like this are somebody's own: not settings, and nobody's fault."""
RESTORE_FROM = "restore_from"
"""What restore.py is told by data; no setting either."""
LEAVING_SECONDS = 0.005
DIFFERENT_BATCHES = "batches: differs among the hosts; set it once, in group_data/all.py or with --data"
OTHER_ORDER = "batches: go through the hosts in an order of their own; leave out --serial and --no-wait"
UNREACHABLE = (
    "it can't be reached, why stands above; fix that, leave it out (--exclude), or let some be missing (--fail-percent)"
)


@dataclass(kw_only=True)
class Target:
    """One host of the run: what is wanted, what it is, what to install there, and what has happened so far."""

    host: Host
    settings: Settings
    machine: Machine
    candidates: dict[str, str]
    archive: Archive
    batches: list[list[Host]] = field(default_factory=list)
    """All hosts of the run, batch by batch."""
    refused: bool = False
    """Whether something is wrong with some host of the run, and so nothing is done on any."""
    run: Run = field(init=False)
    _rendered: tuple[Platform, FileSet] | None = None
    """What was rendered for the host, and what it depended on."""

    def __post_init__(self) -> None:
        """Let a host that may be as declared already be asked everything at once, beginning now."""
        self.run, machine = Run(self.host), self.machine
        if machine.booted and not self.missing and machine.release == self.settings.baikal_version:
            self.run.standing = lambda: (self.wanted(), self.settings.baikal_version)
            # With batches, or more hosts than are worked on at a time, its turn may come much later.
            state = self.host.state
            if not self.settings.batches and len(state.active_hosts) <= state.config.PARALLEL:
                self.run.foresee()

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that what is declared needs, and that aren't installed."""
        return self.machine.missing(needed(self.settings, booted=self.machine.booted))

    def lacking(self) -> tuple[str, ...]:
        """Return the packages to install."""
        machine, missing = self.machine, self.missing
        alone = "php-fpm" in missing and "systemd" not in machine.installed and TMPFILES in self.candidates
        return (*missing, TMPFILES) if alone and not machine.booted else missing

    def platform(self) -> Platform:
        """Return what the host's files depend on: as installed, or as it will be."""
        machine = self.machine
        if self.missing and self.run.changes():
            # Nothing where it has just stopped answering: then it is what it was, and its next command will fail.
            machine = self.machine = self.host.get_fact(MachineFact, _timeout=ANSWER_SECONDS) or machine
        return platform(self.settings, machine, self.candidates | machine.installed)

    def wanted(self) -> FileSet:
        """Return every file of ours on this host. An image has no name yet: a container renders the rest at its start."""
        if not self.machine.booted:
            return baked()
        platform = self.platform()
        if self._rendered is None or self._rendered[0] != platform:
            self._rendered = (platform, render(self.settings, platform))
        return self._rendered[1]


_surveyed: dict[Host, Target | list[str]] = {}
_survey_once = BoundedSemaphore()


def survey(host: Host) -> Target:
    """Return what is to be done on ``host``; raises DeployError with every fault of every host in this run.

    The first host that asks has all of them looked at, in parallel, so that somebody with wrong settings for ten hosts
    learns of all ten. Nothing has been changed anywhere by then.
    """
    with _survey_once:
        if host not in _surveyed:
            hosts = list(host.state.inventory.get_active_hosts())
            with ctx_state.use(host.state):
                pool = Pool(host.state.config.PARALLEL)
                gevent.joinall([pool.spawn(_look_at, each) for each in hosts], raise_error=True)
            # Greenlets only go on when others wait: what was asked ahead leaves this machine now, before its own work.
            gevent.sleep(LEAVING_SECONDS)
            _plan(host.state)
            at_the_end_of(host.state)
    target = _surveyed[host]
    if isinstance(target, Target) and not target.refused:
        return target
    wrong = {each: found for each, found in _surveyed.items() if isinstance(found, list)}
    faults = [f"    {each.name}: {escaped(fault)}" for each, found in wrong.items() for fault in found]
    raise DeployError("nothing was changed anywhere, because this is wrong:\n" + "\n".join(faults))


def _plan(state: State) -> None:
    """Put all hosts into batches, where these are wanted; faults of any host, and of the plan, stop them all."""
    targets = {host: found for host, found in _surveyed.items() if isinstance(found, Target)}
    sizes = {target.settings.batches for target in targets.values()}
    if len(sizes) > 1:
        _surveyed.update({host: [DIFFERENT_BATCHES] for host in targets})
    elif sizes and sizes != {()}:
        asked = [host for host in state.inventory if state.is_host_in_limit(host)]
        if {"--serial", "--no-wait"} & set(sys.argv):
            _surveyed[next(iter(targets))] = [OTHER_ORDER]
        batches = split([host for host in asked if host in state.activated_hosts], sizes.pop())
        for target in targets.values():
            target.batches = batches
        state.add_callback_handler(Conductor(batches))  # type: ignore[no-untyped-call]
        if state.config.FAIL_PERCENT is None:
            _surveyed.update({host: [UNREACHABLE] for host in asked if host not in state.activated_hosts})
    refused = any(isinstance(found, list) for found in _surveyed.values())
    for target in targets.values():
        target.refused = refused


def _look_at(host: Host) -> None:
    with ctx_config.use(current_state.config.copy()), ctx_host.use(host):
        try:
            _surveyed[host] = _target(host)
        except SettingsError as error:
            _surveyed[host] = [str(fault) for fault in error.faults]
        except HostError as error:
            _surveyed[host] = [str(error)]


def _target(host: Host) -> Target:
    keep_running(host)
    machine: Machine | None = host.get_fact(MachineFact, _sudo=False, _timeout=ANSWER_SECONDS)
    if machine is None:
        message = "it doesn't answer; what it said stands above"
        raise HostError(message)
    # Settings first: they are wrong or right whatever the host is.
    settings = load.from_data(_data(host), image=not machine.booted)
    _refuse_unfit(machine, host)
    archive = obtain(settings)
    packages = needed(settings, booted=machine.booted)
    asked = (*packages, TMPFILES)
    candidates = host.get_fact(CandidateFact, packages=asked) if machine.missing(packages) else {}
    _refuse_missing_packages(packages, candidates | machine.installed)
    _refuse_old_php(machine, candidates | machine.installed, settings.baikal_version)
    _refuse_downgrade(machine, settings.baikal_version)
    if machine.booted:
        refuse_other_mail_server(machine, settings)
        refuse_other_database_server(machine, settings)
    value = [
        settings.tls_certificate,
        settings.tls_key,
        settings.relay_ca,
        settings.database_ca,
        *_asked_with(settings),
    ]
    value = [path for path in value if path]
    if value and machine.booted:
        _refuse_missing(host, value)
    return Target(host=host, settings=settings, machine=machine, candidates=candidates, archive=archive)


def _asked_with(settings: Settings) -> tuple[str, ...]:
    """Return the files on the host that asking for a certificate needs."""
    return (settings.acme_ca, settings.acme_dns_hook) if settings.tls == "letsencrypt" else ()


def _data(host: Host) -> dict[str, object]:
    """Return the host's data without what belongs to pyinfra: its connectors' and its global arguments."""
    theirs = _pyinfras_own()
    return {
        name: value
        for name, value in host.data.dict().items()  # type: ignore[no-untyped-call]
        if name not in (*theirs, RESTORE_FROM) and not name.startswith((OWN_DATA, "_", "ssh_", "docker_", "fake_"))
    }


@functools.cache
def _pyinfras_own() -> frozenset[str]:
    """Return the names of data that pyinfra itself reads."""
    connectors = get_all_connectors().values()  # type: ignore[no-untyped-call]
    known = {name for connector in connectors for name in getattr(connector, "data_meta", {})}
    return frozenset(known | {name for name, _ in all_global_arguments()})


def _refuse_unfit(machine: Machine, host: Host) -> None:
    if machine.system not in SYSTEMS:
        message = f"this is {machine.pretty}; Baïkal is deployed on Debian 12 and newer and on Ubuntu 24.04 and newer"
        raise HostError(message)
    if not machine.booted and isinstance(host.connector, SSHConnector):
        message = "systemd doesn't run here, so nothing could be started; boot the machine with systemd"
        raise HostError(message)
    if host.data.get("_su_user") or host.data.get("_doas") or host.data.get("_dzdo"):
        message = (
            "of su, doas, dzdo and sudo, only sudo works here; set _sudo = True alone, or log in as root (ssh_user)"
        )
        raise HostError(message)
    if machine.root:
        return
    if not host.data.get("_sudo") and not host.state.config.SUDO:
        message = "the user who logs in isn't root; set _sudo = True for this host, or log in as root (ssh_user)"
        raise HostError(message)
    if "password" in machine.sudo or "authentication is required" in machine.sudo:
        configured = (host.state.config.SUDO_PASSWORD, getattr(host.state.config, "USE_SUDO_PASSWORD", None))
        if not any((*configured, host.data.get("_sudo_password"), host.data.get("_use_sudo_password"))):
            message = "sudo asks for a password; run pyinfra with --same-sudo-password, or allow it without (NOPASSWD)"
            raise HostError(message)
    elif machine.sudo:
        message = f"sudo doesn't work here ({machine.sudo}); let this user use sudo, or log in as root (ssh_user)"
        raise HostError(message)


def _refuse_missing_packages(packages: tuple[str, ...], offered: dict[str, str]) -> None:
    for package in packages:
        if package not in offered:
            unreachable = offered.get(CandidateFact.UNREACHABLE)
            reason = (
                f"its package lists can't be refreshed ({unreachable})"
                if unreachable is not None
                else "no source has it"
            )
            remedy = "mend its package sources (on Ubuntu, universe is needed: add-apt-repository universe)"
            if package.startswith(DNS_PLUGIN):
                remedy = f"look at acme_dns_plugin (apt-cache search {DNS_PLUGIN} lists them), or {remedy}"
            message = f"{package} is not to be had on this host: {reason}; {remedy}"
            raise HostError(message)


def _refuse_old_php(machine: Machine, offered: dict[str, str], version: str) -> None:
    php, least = php_version(offered["php-fpm"]), needed_php(version)
    if tuple(map(int, php.split("."))) < least:
        older = least == (8, 2) and php == "8.1"
        remedy = "set baikal_version to 0.11.1, or upgrade the host" if older else "upgrade the host"
        message = f"{machine.pretty} has PHP {php}, and Baïkal {version} needs {least[0]}.{least[1]}; {remedy}"
        raise HostError(message)


def _refuse_downgrade(machine: Machine, version: str) -> None:
    if machine.release and numbers(machine.release) > numbers(version):
        message = (
            f"baikal_version: Baïkal {machine.release} runs here, and {version} is older and can't read its data safely; "
            f"set baikal_version to {machine.release} or newer (docs/upgrades.md tells how to go back to a backup)"
        )
        raise HostError(message)


def _refuse_missing(host: Host, value: list[str]) -> None:
    missing = [path for path in value if path not in host.get_fact(PathsFact, paths=value)]
    if missing:
        message = f"{' and '.join(missing)} not there on the host; put what the settings name there first"
        raise HostError(message)
