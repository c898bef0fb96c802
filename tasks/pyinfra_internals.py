"""Everything that depends on how pyinfra works inside, beyond its documented interface. Seen in pyinfra 3.10.0.

Each use says where it was seen and what breaks if pyinfra changes there. The unit tests of the fleet, of the image and
of the deploy run pyinfra itself, so a change shows in them first.
"""

from __future__ import annotations

import functools
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click
import gevent
import pyinfra
from gevent.pool import Pool
from pyinfra import local, logger
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.output import set_echo
from pyinfra.connectors.docker import DockerConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyinfra.api.host import Host
    from pyinfra.api.state import BaseStateCallback, State

BAKING_COMMAND = ["tail", "-f", "/dev/null"]
"""The command of a container in which pyinfra makes an image (connectors/docker.py, start_docker_container)."""


def active_hosts(state: State) -> list[Host]:
    """Return the hosts that pyinfra is connected to (api/inventory.py, get_active_hosts)."""
    return list(state.inventory.get_active_hosts())


def selected_hosts(state: State) -> list[Host]:
    """Return all hosts that the run is to reach, after --limit and --exclude, also the unreachable ones."""
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

    If pyinfra names them otherwise, our settings check calls them unknown settings.
    """
    connectors = get_all_connectors().values()  # type: ignore[no-untyped-call]
    known = {name for connector in connectors for name in getattr(connector, "data_meta", {})}
    return frozenset(known | {name for name, _ in all_global_arguments()})


def is_ssh(host: Host) -> bool:
    """Tell whether the host is reached by SSH."""
    return isinstance(host.connector, SSHConnector)


def has_sudo(host: Host) -> bool:
    """Tell whether sudo is on for the host, by its data or --sudo (api/config.py)."""
    return bool(host.data.get("_sudo") or host.state.config.SUDO)


def has_sudo_password(host: Host) -> bool:
    """Tell whether sudo has a password (api/config.py); --same-sudo-password sets USE_SUDO_PASSWORD, which may be missing."""
    config, data = host.state.config, host.data
    configured = (config.SUDO_PASSWORD, getattr(config, "USE_SUDO_PASSWORD", None))
    return any((*configured, data.get("_sudo_password"), data.get("_use_sudo_password")))


@dataclass(frozen=True)
class Result:
    """One operation on one host."""

    key: str
    title: str
    """Its name, without the names of the deploys that it is in, which pyinfra puts before it."""
    complete: bool
    executed: bool
    """Whether it had any command to run."""
    succeeded: bool
    changed: bool
    ignored: bool
    """Whether its errors are ignored (``_ignore_errors``)."""
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


def results(host: Host) -> Iterator[Result]:
    """Yield the host's operations in order (api/state.py: op_meta, ops; api/operation.py: OperationMeta)."""
    state = host.state
    for key in host.op_hash_order:
        if key not in state.ops[host]:
            continue
        data = state.ops[host][key]
        meta = data.operation_meta
        complete = meta.is_complete()
        yield Result(
            key=key,
            title=next(iter(state.op_meta[key].names)).rpartition(" | ")[2],
            complete=complete,
            executed=complete and meta.executed,
            succeeded=complete and meta.did_succeed(),
            changed=complete and meta.did_change(),
            ignored=bool(data.global_arguments.get("_ignore_errors")),
            stdout=tuple(meta.stdout_lines) if complete else (),
            stderr=tuple(meta.stderr_lines) if complete else (),
        )


def changes(host: Host) -> int:
    """Return how many operations have executed anything on the host so far, those of other deploy files included."""
    operations = (data.operation_meta for data in host.state.ops[host].values())
    return sum(operation.is_complete() and operation.executed for operation in operations)


def has_failed(host: Host) -> bool:
    """Tell whether the host has failed in this run (api/state.py, failed_hosts)."""
    return host in host.state.failed_hosts


def mark_failed(host: Host) -> None:
    """Count the host as failed, so that pyinfra's exit status says so, which --no-wait prevents otherwise."""
    host.state.failed_hosts.add(host)


def ignores_errors(host: Host, key: str) -> bool:
    """Tell whether the operation's errors are ignored on the host."""
    return bool(host.state.ops[host][key].global_arguments.get("_ignore_errors"))


def operation_names(state: State, key: str) -> set[str]:
    """Return the names of an operation, which may differ by host."""
    return set(state.op_meta[key].names)


def set_position(host: Host, position: list[int]) -> None:
    """Have pyinfra order the next operations by ``position``, as in ``host.loop`` (api/host.py, loop_position).

    pyinfra identifies an operation by the line that calls it, and by this.
    """
    host.loop_position = position


def show_only_hosts_with(state: State, key: str) -> None:
    """Have pyinfra run the operation on its own hosts alone, without a line for each host that it skips.

    api/operations.py makes its list from ``state.active_hosts`` right after the callback ``operation_start``.
    """
    state.active_hosts = {host for host in state.active_hosts if key in state.ops[host]}


def show_all_hosts(state: State) -> None:
    """Undo :func:`show_only_hosts_with`: pyinfra counts failures against all hosts that are active."""
    state.active_hosts = state.activated_hosts - state.failed_hosts


def asks_on_failure(state: State) -> bool:
    """Tell whether the operator was asked about each failure (pyinfra_cli/main.py, should_raise_failed_hosts)."""
    return state.should_raise_failed_hosts is not None


def add_callback(state: State, callback: BaseStateCallback) -> None:
    """Have pyinfra call ``callback`` at the begin and end of operations."""
    state.add_callback_handler(callback)  # type: ignore[no-untyped-call]


def stop(state: State, status: int) -> None:
    """End the run with an exit status.

    A signal may come while any greenlet is at work. Raised in one of Paramiko's, SystemExit would end that one alone, and
    the run would wait for it for ever; so it is raised in the main one. Those at work are ended, because pyinfra needs
    their pool (api/state.py, pool) to disconnect.
    """
    state.pool.kill(block=False)
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(status))


def is_command_line() -> bool:
    """Tell whether this is pyinfra's own command, and not a program that uses it as a library."""
    return bool(pyinfra.is_cli)


class Stdin:
    """Lines for a command's standard input, made when they are sent: pyinfra keeps every command to the end of the run.

    connectors/util.py takes a string, a list, or what has ``readlines``.
    """

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        """Send what ``lines`` returns."""
        self._lines = lines

    def readlines(self) -> Sequence[str]:
        """Return the lines."""
        return self._lines()

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, as pyinfra's type for standard input requires."""
        return iter(self._lines())


def filter_output(escape: logging.Filter, text: Callable[[str], str]) -> None:
    """Pass all of pyinfra's output through ``escape`` and ``text``: its log, and what it echoes (api/output.py).

    More than once is the same as once.
    """
    if not any(type(each) is type(escape) for each in logger.filters):
        logger.addFilter(escape)

    def echo(message: object = None, **options: Any) -> None:  # noqa: ANN401 - click's own
        click.echo(text(message) if isinstance(message, str) else message, **options)

    set_echo(echo)


@dataclass(frozen=True)
class Container:
    """The container that a host's connector works in (connectors/docker.py, DockerConnector)."""

    connector: DockerConnector

    @property
    def program(self) -> str:
        """``docker`` or ``podman``."""
        return str(self.connector.docker_cmd)

    @property
    def identifier(self) -> str:
        """Its ID."""
        return str(self.connector.container_id)

    @property
    def was_running(self) -> bool:
        """Whether it ran before this run: then it isn't removed, and no image is made of it."""
        return bool(self.connector.no_stop)

    def leave_to_us(self) -> None:
        """Have pyinfra not commit it at the end, which would make a second image, without a name."""
        self.connector.disconnect = lambda: None  # type: ignore[method-assign]


def container_of(host: Host) -> Container | None:
    """Return the container that the host is; nothing for other hosts."""
    return Container(host.connector) if isinstance(host.connector, DockerConnector) else None


def keep_running(host: Host) -> None:
    """Start the container to bake in again if its image has an entry point, which has ended: pyinfra sets the command only.

    Images made by this deploy have one.
    """
    container = container_of(host)
    if container is None or container.was_running:
        return
    program, first = container.program, shlex.quote(container.identifier)
    state = json.loads(str(local.shell(f"{program} container inspect {first}")))[0]
    if not state["Config"].get("Entrypoint") or state["Config"].get("Cmd") != BAKING_COMMAND:
        return
    entry, *arguments = BAKING_COMMAND
    command = shlex.join([program, "run", "--detach", "--entrypoint", entry, state["Image"], *arguments])
    container.connector.container_id = cast("Iterable[str]", local.shell(command, splitlines=True))[-1]  # type: ignore[index]
    local.shell(f"{program} rm --force --volumes {first}")
