"""Everything that can be found wrong, on all hosts of the run, before anything is changed.

All settings of all hosts are validated, and each host is asked what it is. Every error is listed; nothing is changed until
there are none.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from gevent.lock import BoundedSemaphore
from pyinfra.api.exceptions import DeployError

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
from tasks.fleet.summary import at_the_end_of
from tasks.machine import CandidateFact, Machine, MachineFact, PathsFact
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
"""And their derivatives; whether they are new enough, the PHP that they offer tells."""
OURS = "baikal"
"""Data with this name holds all settings of a host, where its other data is for other software."""
OTHER_DATA = "x_"
"""Prefix of data that is for other software: no settings."""
RESTORE_FROM = "restore_from"
"""Data for restore.py, and no setting."""
LEAVING_SECONDS = 0.005
DIFFERENT_BATCHES = "batches: differs among the hosts; set it once, in group_data/all.py or with --data"
OTHER_ORDER = "batches: go through the hosts in an order of their own; leave out --serial and --no-wait"
UNREACHABLE = (
    "it can't be reached, why stands above; fix that, leave it out (--exclude), or let some be missing (--fail-percent)"
)

_examined: dict[Host, Target | list[str]] = {}
"""By host: what it is to get, or its faults."""
_once = BoundedSemaphore()


def preflight(host: Host) -> Target:
    """Return what is to be done on ``host``; raises DeployError with every fault of every host in this run.

    The first host that asks has all of them examined, in parallel. Nothing has been changed anywhere by then.
    """
    with _once:
        if host not in _examined:
            escape_all_output()
            state = host.state
            at_the_end_of(state)
            hosts = _ours(pyinfra_hosts.active_hosts(state))
            if host not in hosts:
                message = (
                    f"{host.name} has no data named {OURS}, which other hosts of this run have; put its settings there"
                )
                raise DeployError(message)
            pyinfra_hosts.on_all(state, hosts, _examine)
            # Greenlets only run while others wait: this sends the questions asked ahead before this machine's own work.
            gevent.sleep(LEAVING_SECONDS)
            _plan(state)
    target = _examined[host]
    if isinstance(target, Target) and not target.refused:
        return target
    wrong = {each: result for each, result in _examined.items() if isinstance(result, list)}
    faults = [f"    {each.name}: {escaped(fault)}" for each, found in wrong.items() for fault in found]
    raise DeployError("nothing was changed anywhere, because this is wrong:\n" + "\n".join(faults))


def _ours(hosts: list[Host]) -> list[Host]:
    """Return those of ``hosts`` that get Baïkal: those with data named :data:`OURS`, or all if none has any."""
    return [host for host in hosts if OURS in pyinfra_hosts.host_data(host)] or hosts


def _plan(state: State) -> None:
    """Put all hosts into batches, where these are set; faults of any host, and of the plan, stop them all."""
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


def _examine(host: Host) -> None:
    try:
        _examined[host] = _target(host)
    except SettingsError as error:
        _examined[host] = [str(fault) for fault in error.faults]
    except HostError as error:
        _examined[host] = [str(error)]


def _target(host: Host) -> Target:
    containers.keep_running(host)
    machine: Machine | None = host.get_fact(MachineFact, _sudo=False, _timeout=ANSWER_SECONDS)
    if machine is None:
        message = "it doesn't answer; its output stands above"
        raise HostError(message)
    # Settings first: they are wrong or right whatever the host is.
    settings = load.from_data(_data(host), image=not machine.booted)
    templates.use_overlay(Path(templates.OVERLAY))
    _refuse_unfit(machine, host)
    archive = obtain(settings)
    packages = rendering.packages(settings, image=not machine.booted)
    asked = (*packages, php.TMPFILES)
    candidates = host.get_fact(CandidateFact, packages=asked) if machine.missing(packages) else {}
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
    """Return the host's settings: its data without that of pyinfra and of other software."""
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
    """Return the files that the settings name, and that must be on the host."""
    named = [settings.tls_certificate, settings.tls_key, settings.relay_ca, settings.database_ca]
    if settings.tls == "letsencrypt":
        named += [settings.acme_ca, settings.acme_dns_hook]
    return [path for path in named if path]


def _refuse_unfit(machine: Machine, host: Host) -> None:
    if machine.system not in SYSTEMS:
        message = f"this is {machine.pretty}; Baïkal is deployed on Debian 12 and newer and on Ubuntu 24.04 and newer"
        raise HostError(message)
    if not machine.booted and pyinfra_hosts.is_ssh(host):
        message = "systemd doesn't run here, so nothing could be started; boot the machine with systemd"
        raise HostError(message)
    if host.data.get("_su_user") or host.data.get("_doas") or host.data.get("_dzdo"):
        message = (
            "of su, doas, dzdo and sudo, only sudo works here; set _sudo = True alone, or log in as root (ssh_user)"
        )
        raise HostError(message)
    if machine.root:
        return
    if not pyinfra_hosts.has_sudo(host):
        message = "the user who logs in isn't root; set _sudo = True for this host, or log in as root (ssh_user)"
        raise HostError(message)
    if "password" in machine.sudo or "authentication is required" in machine.sudo:
        if not pyinfra_hosts.has_sudo_password(host):
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
            remedy = "fix its package sources (on Ubuntu, universe is needed: add-apt-repository universe)"
            if package.startswith(DNS_PLUGIN):
                remedy = f"look at acme_dns_plugin (apt-cache search {DNS_PLUGIN} lists them), or {remedy}"
            message = f"{package} is not available on this host: {reason}; {remedy}"
            raise HostError(message)


def _refuse_old_php(machine: Machine, offered: dict[str, str], version: str) -> None:
    found, least = php.version(offered["php-fpm"]), needed_php(version)
    if tuple(map(int, found.split("."))) < least:
        older = least == (8, 2) and found == "8.1"
        remedy = "set baikal_version to 0.11.1, or upgrade the host" if older else "upgrade the host"
        message = f"{machine.pretty} has PHP {found}, and Baïkal {version} needs {least[0]}.{least[1]}; {remedy}"
        raise HostError(message)


def _refuse_downgrade(machine: Machine, version: str) -> None:
    if machine.release and numbers(machine.release) > numbers(version):
        message = (
            f"baikal_version: Baïkal {machine.release} runs here, and {version} is older and can't read its data safely; "
            f"set baikal_version to {machine.release} or newer (docs/upgrades.md tells how to go back to a backup)"
        )
        raise HostError(message)


def _refuse_missing_files(host: Host, files: list[str]) -> None:
    missing = [path for path in files if path not in host.get_fact(PathsFact, paths=files)]
    if missing:
        message = f"{' and '.join(missing)} not there on the host; put what the settings name there first"
        raise HostError(message)
