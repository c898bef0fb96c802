"""All settings of all hosts are validated and all hosts are examined before anything is changed.

Every error is listed. Nothing is changed on any host until there are none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from gevent.lock import BoundedSemaphore
from pyinfra.api.exceptions import DeployError, PyinfraError

from baikalctl.errors import Fault, HostError, SettingsError
from baikalctl.output import escaped
from baikalctl.rendering import machine as rendering
from baikalctl.rendering import php, templates
from baikalctl.rendering.certbot import DNS_PLUGIN
from baikalctl.settings import load
from baikalctl.settings.known_releases import needed_php, numbers
from tasks import database, mail
from tasks.fact_cache import ANSWER_SECONDS
from tasks.fleet.batches import Conductor, split
from tasks.fleet.description import describe
from tasks.fleet.summary import at_the_end_of
from tasks.machine import CandidateFact, Machine, MachineFact, PathsFact, SudoFact
from tasks.operations.packages import report_apt_lock
from tasks.pyinfra_internals import containers, operations
from tasks.pyinfra_internals import hosts as pyinfra_hosts
from tasks.release_download import obtain
from tasks.target import Target
from tasks.terminal import escape_all_output

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

    from baikalctl.settings.model import Settings


SYSTEMS = ("debian", "ubuntu")
"""Their derivatives count as well. Whether a release is new enough is decided by its version of PHP."""
SUDO_GROUPS = frozenset({"sudo", "wheel", "admin"})
"""Groups whose members may use sudo, as distributions set it up."""
OURS = "baikal"
"""Data with this name has all settings of a host, if its other data is for other software."""
OTHER_DATA = "x_"
"""Prefix of data for other software."""
RESTORE_FROM = "restore_from"
"""Data for restore.py; not a setting."""
SENDING_SECONDS = 0.005
DIFFERENT_BATCHES = "batches: differs between hosts; set it once, in group_data/all.py or with --data"
OTHER_ORDER = "batches: can't be combined with --serial or --no-wait; remove these options"
UNREACHABLE = (
    "is unreachable, for the reason above; fix that, exclude the host (--exclude), or allow failures (--fail-percent)"
)

UNANSWERED = "didn't answer a question; its output is above"

_examined: dict[Host, Target | list[str]] = {}
"""The target of each host, or its faults."""
_once = BoundedSemaphore()


def preflight(host: Host) -> Target:
    """Return the target for ``host``. Raises DeployError with every fault of every host in this run.

    The first call examines all hosts, in parallel. Nothing is changed on any host until all are examined.
    """
    with _once:
        if host not in _examined:
            escape_all_output()
            state = host.state
            at_the_end_of(state, _description)
            hosts = _ours(pyinfra_hosts.active_hosts(state))
            if host not in hosts:
                message = (
                    f"{host.name} has no data named {OURS}, but other hosts of this run have; put its settings there"
                )
                raise DeployError(message)
            pyinfra_hosts.on_all(state, hosts, _examine)
            # Greenlets run only while others wait. This sends the prefetched questions before this machine's own work.
            gevent.sleep(SENDING_SECONDS)
            _plan(state)
    target = _examined[host]
    if isinstance(target, Target) and not target.refused:
        return target
    results = {each: _examined.get(each) for each in pyinfra_hosts.selected_hosts(host.state)}
    wrong = {each: result for each, result in results.items() if isinstance(result, list)}
    faults = [f"    {each.name}: {escaped(fault)}" for each, result in wrong.items() for fault in result]
    raise DeployError("nothing was changed on any host; fix this and run again:\n" + "\n".join(faults))


def _description(host: Host) -> Iterator[str]:
    """Yield what the host offers after this run; nothing if no check succeeded, or the host was changed after it."""
    target = _examined.get(host)
    if isinstance(target, Target) and target.facts.checked:
        result, changes = target.facts.checked
        if result["healthy"] and changes == target.facts.changes():
            yield f"--> {host.name} is ready:"
            yield from describe(target.settings, result)


def _ours(hosts: list[Host]) -> list[Host]:
    """Return the hosts that get Baïkal: those with data named :data:`OURS`, or all if no host has it."""
    return [host for host in hosts if OURS in pyinfra_hosts.host_data(host)] or hosts


def _plan(state: State) -> None:
    """Assign all hosts to batches, if these are set. A fault of any host, or of the plan, stops all hosts."""
    _refuse_same_machine(state)
    targets = {host: result for host, result in _examined.items() if isinstance(result, Target)}
    sizes = {target.settings.batches for target in targets.values()}
    if len(sizes) > 1:
        _examined.update({host: [DIFFERENT_BATCHES] for host in targets})
    elif sizes and sizes != {()}:
        selected = _ours(pyinfra_hosts.selected_hosts(state))
        if {"--serial", "--no-wait"} & set(sys.argv):
            _examined[next(iter(targets))] = [OTHER_ORDER]
        batches = split([host for host in selected if pyinfra_hosts.is_connected(host)], sizes.pop())
        for target in targets.values():
            target.batches = batches
        operations.add_callback(state, Conductor(batches))
        if state.config.FAIL_PERCENT is None:
            unreachable = (host for host in selected if not pyinfra_hosts.is_connected(host))
            _examined.update({host: [UNREACHABLE] for host in unreachable})
    refused = any(isinstance(result, list) for result in _examined.values())
    for target in targets.values():
        target.refused = refused


def _refuse_same_machine(state: State) -> None:
    """Add a fault to each host that SSH reaches at the address of another: two deploys at a time would disturb each other."""
    first: dict[str, Host] = {}
    for host in pyinfra_hosts.selected_hosts(state):
        result = _examined.get(host)
        address = pyinfra_hosts.ssh_address(host)
        other = first.setdefault(address, host)
        if address and result and other is not host:
            fault = f"is the same machine as {other.name} ({address}); each host must be a different machine"
            _examined[host] = [*(result if isinstance(result, list) else []), fault]


def _examine(host: Host) -> None:
    try:
        _examined[host] = _target(host)
    except SettingsError as error:
        _examined[host] = [str(fault) for fault in error.faults]
    except HostError as error:
        _examined[host] = [str(error)]
    except PyinfraError as error:  # such as that all hosts have failed, after pyinfra has printed why
        _examined[host] = [UNANSWERED if operations.has_failed(host) else str(error)]


def _target(host: Host) -> Target:
    containers.keep_running(host)
    machine: Machine | None = host.get_fact(MachineFact, _sudo=False, _timeout=ANSWER_SECONDS)
    if machine is None:
        raise HostError(UNANSWERED)
    # Settings first: whether they are valid doesn't depend on the host.
    settings = load.from_data(_data(host), image=not machine.booted)
    templates.use_overlay(Path(templates.OVERLAY))
    _refuse_unfit(machine, host)
    archive = obtain(settings)
    packages = rendering.packages(settings, image=not machine.booted)
    candidates = {}
    if machine.missing(packages):
        report_apt_lock(host)
        candidates = host.get_fact(CandidateFact, packages=(*packages, php.TMPFILES))
    _refuse_missing_packages(packages, candidates | machine.installed)
    _refuse_old_php(machine, candidates | machine.installed, settings.baikal_version)
    _refuse_downgrade(machine, settings.baikal_version)
    if machine.booted:
        mail.refuse_other_server(machine, settings)
        database.refuse_other_server(machine, settings)
        _refuse_missing_files(host, _files_on_host(settings))
    target = Target(host=host, settings=settings, machine=machine, candidates=candidates, archive=archive)
    if templates.is_overlaid():
        target.files()  # raises HostError for a template that can't be rendered
    return target


def _data(host: Host) -> dict[str, object]:
    """Return the host's settings: its data without the data for pyinfra and other software."""
    data = pyinfra_hosts.host_data(host)
    if OURS in data:
        settings = data[OURS]
        if not isinstance(settings, Mapping):
            raise SettingsError([Fault(OURS, 'is not a dictionary; write {"hostname": "cal.example.org"}')])
        return dict(settings)
    own = pyinfra_hosts.own_data_names()
    return {
        name: value
        for name, value in data.items()
        if name not in (*own, RESTORE_FROM) and not name.startswith((OTHER_DATA, "_", "ssh_", "docker_", "fake_"))
    }


def _files_on_host(settings: Settings) -> list[str]:
    """Return the files in the settings that must exist on the host."""
    named = [settings.tls_certificate, settings.tls_key, settings.relay_ca, settings.database_ca]
    if settings.tls == "letsencrypt":
        named += [settings.acme_ca, settings.acme_dns_hook]
    return [path for path in named if path]


def _refuse_unfit(machine: Machine, host: Host) -> None:
    if machine.system not in SYSTEMS:
        message = f"this is {machine.pretty}; Debian 12 or newer, or Ubuntu 24.04 or newer, is needed"
        raise HostError(message)
    if not machine.booted and pyinfra_hosts.is_ssh(host):
        message = "systemd doesn't run on this host, so no service can be started; boot it with systemd"
        raise HostError(message)
    if host.data.get("_su_user") or host.data.get("_doas") or host.data.get("_dzdo"):
        message = "su, doas and dzdo don't work here; set only _sudo = True, or log in as root (ssh_user)"
        raise HostError(message)
    if machine.root:
        return
    if not pyinfra_hosts.has_sudo(host):
        message = "the user who logs in isn't root; set _sudo = True for this host, or log in as root (ssh_user)"
        raise HostError(message)
    if "password" in machine.sudo or "authentication is required" in machine.sudo:
        _refuse_sudo_without_password(machine, host)
    elif machine.sudo:
        message = f"sudo failed ({machine.sudo}); allow this user to use sudo, or log in as root (ssh_user)"
        raise HostError(message)


def _refuse_sudo_without_password(machine: Machine, host: Host) -> None:
    """Raise HostError if sudo asks for a password, and there is none, or it is wrong."""
    if pyinfra_hosts.has_sudo_password(host):
        # Asked on first runs alone: later ones are to have no more than two remote commands.
        if not machine.release and not host.get_fact(SudoFact, _ignore_errors=True):
            message = (
                f"sudo refused, as its output above says: check the password, and whether {machine.user} may use sudo"
            )
            raise HostError(message)
    elif SUDO_GROUPS & set(machine.groups):
        message = "sudo asks for a password; run pyinfra with --same-sudo-password, or allow it without (NOPASSWD)"
        raise HostError(message)
    else:
        message = (
            f"the user {machine.user} isn't in the group sudo and probably can't use sudo: run usermod -aG sudo "
            f"{machine.user} as root, or log in as root (ssh_user); if it may, run pyinfra with --same-sudo-password"
        )
        raise HostError(message)


def _refuse_missing_packages(packages: tuple[str, ...], offered: dict[str, str]) -> None:
    for package in packages:
        if package not in offered:
            unreachable = offered.get(CandidateFact.UNREACHABLE)
            reason = (
                f"its package lists can't be refreshed ({unreachable})"
                if unreachable is not None
                else "no package source has it"
            )
            remedy = "fix its package sources (on Ubuntu, universe is needed: add-apt-repository universe)"
            if package.startswith(DNS_PLUGIN):
                remedy = f"check acme_dns_plugin (apt-cache search {DNS_PLUGIN} lists the plugins), or {remedy}"
            message = f"{package} is not available on this host: {reason}; {remedy}"
            raise HostError(message)


def _refuse_old_php(machine: Machine, offered: dict[str, str], version: str) -> None:
    available, least = php.version(offered["php-fpm"]), needed_php(version)
    if tuple(map(int, available.split("."))) < least:
        older = least == (8, 2) and available == "8.1"
        remedy = "set baikal_version to 0.11.1, or upgrade the host" if older else "upgrade the host"
        message = f"{machine.pretty} has PHP {available}, and Baïkal {version} needs {least[0]}.{least[1]}; {remedy}"
        raise HostError(message)


def _refuse_downgrade(machine: Machine, version: str) -> None:
    if machine.release and numbers(machine.release) > numbers(version):
        message = (
            f"baikal_version: Baïkal {machine.release} runs here, and {version} is older and can't read its data safely; "
            f"set baikal_version to {machine.release} or newer (docs/upgrade.md: Go back to the old release)"
        )
        raise HostError(message)


def _refuse_missing_files(host: Host, files: list[str]) -> None:
    missing = [path for path in files if path not in host.get_fact(PathsFact, paths=files)]
    if missing:
        message = f"{' and '.join(missing)} not found on the host; put the files that the settings name there first"
        raise HostError(message)
