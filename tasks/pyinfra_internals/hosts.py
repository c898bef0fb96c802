"""pyinfra's hosts: the hosts of the run, their data, and how they are reached."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import gevent
from gevent.pool import Pool
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.connectors import get_all_connectors
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyinfra.api.host import Host
    from pyinfra.api.state import State


def active_hosts(state: State) -> list[Host]:
    """Return the hosts that pyinfra is connected to (api/inventory.py, get_active_hosts)."""
    return list(state.inventory.get_active_hosts())


def selected_hosts(state: State) -> list[Host]:
    """Return all hosts of the run, after --limit and --exclude, including unreachable ones."""
    return [host for host in state.inventory if state.is_host_in_limit(host)]


def is_connected(host: Host) -> bool:
    """Tell whether pyinfra could connect to the host (api/state.py, activated_hosts)."""
    return host in host.state.activated_hosts


def all_at_once(state: State) -> bool:
    """Tell whether pyinfra works on all hosts at the same time (api/config.py, PARALLEL)."""
    return len(state.active_hosts) <= state.config.PARALLEL


def on_all(state: State, hosts: Sequence[Host], function: Callable[[Host], None]) -> None:
    """Call ``function`` for all ``hosts`` in parallel, each in pyinfra's own context (pyinfra/context.py).

    Without that context, a fact's global arguments such as ``_sudo`` would come from another host.
    """

    def call(host: Host) -> None:
        with ctx_config.use(state.config.copy()), ctx_host.use(host):
            function(host)

    with ctx_state.use(state):
        pool = Pool(state.config.PARALLEL)
        gevent.joinall([pool.spawn(call, host) for host in hosts], raise_error=True)


def host_data(host: Host) -> dict[str, object]:
    """Return the host's data of all sources (api/host.py, HostData.dict)."""
    return dict(host.data.dict())  # type: ignore[no-untyped-call]


@functools.cache
def own_data_names() -> frozenset[str]:
    """Return the names of data that pyinfra itself reads: global arguments, and those of its connectors (data_meta).

    If pyinfra renames them, our validation reports them as unknown settings.
    """
    connectors = get_all_connectors().values()  # type: ignore[no-untyped-call]
    known = {name for connector in connectors for name in getattr(connector, "data_meta", {})}
    return frozenset(known | {name for name, _ in all_global_arguments()})


def is_ssh(host: Host) -> bool:
    """Tell whether the host is reached by SSH."""
    return isinstance(host.connector, SSHConnector)


def ssh_address(host: Host) -> str:
    """Return the address and port that SSH connects to (connectors/ssh.py, make_paramiko_kwargs); empty for other hosts."""
    if not is_ssh(host):
        return ""
    return f"{host.data.get('ssh_hostname') or host.name}, port {host.data.get('ssh_port') or 22}"


def has_sudo(host: Host) -> bool:
    """Tell whether sudo is on for the host, by its data or --sudo (api/config.py)."""
    return bool(host.data.get("_sudo") or host.state.config.SUDO)


def has_sudo_password(host: Host) -> bool:
    """Tell whether sudo has a password (api/config.py); --same-sudo-password sets USE_SUDO_PASSWORD, which may be missing."""
    config, data = host.state.config, host.data
    configured = (config.SUDO_PASSWORD, getattr(config, "USE_SUDO_PASSWORD", None))
    return any((*configured, data.get("_sudo_password"), data.get("_use_sudo_password")))
