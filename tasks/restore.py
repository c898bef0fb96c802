"""Restore data: choose the archive of each host before anything is changed, upload it, and restore it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.backup import extract
from baikalctl.errors import HostError
from baikalctl.output import escaped
from tasks.fetch_archives import local_archives, local_folder
from tasks.operations.files import SENDING_SECONDS
from tasks.operations.release import base64_lines
from tasks.preflight import RESTORE_FROM
from tasks.pyinfra_internals.operations import Stdin

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import State

LONGEST_LINE = 300
"""Characters of what a host has printed that are shown."""


def choose_archive(host: Host) -> str:
    """Return the archive to restore: the one in ``restore_from``, or the newest that was downloaded from the host.

    ``restore_from`` is a path on this machine, ``latest`` (the newest on the host itself), or ``restic:latest``.

    Raises DeployError if there is none, or if it isn't an archive of baikalctl. Nothing has been changed then.
    """
    _refuse_several_of_one(host)
    asked = str(host.data.get(RESTORE_FROM) or "")
    if asked == "latest" or asked.startswith("restic:"):
        return asked
    folder = local_folder(host.name)
    path = Path(asked).expanduser() if asked else next(iter(local_archives(folder)), None)
    if path is None:
        message = (
            f"{host.name}: {folder} has no archive of this host; set one with --data {RESTORE_FROM}=PATH, or "
            f"--data {RESTORE_FROM}=latest for the newest archive on the host itself"
        )
        raise DeployError(message)
    try:
        extract.read_manifest(path)
    except HostError as error:
        message = escaped(f"{host.name}: {error}")
        raise DeployError(message) from None
    except (ArithmeticError, OSError, ValueError) as error:
        reason = escaped(str(error))
        message = (
            f"{host.name}: {path} can't be read ({reason}); choose another archive with --data {RESTORE_FROM}=PATH"
        )
        raise DeployError(message) from None
    return str(path)


def _refuse_several_of_one(host: Host) -> None:
    """Raise DeployError if hosts of this run share a database: each archive would replace the one before it."""
    ours = _shared(host)
    others = [
        each.name for each in host.state.inventory.get_active_hosts() if each is not host and _shared(each) == ours
    ]
    if ours and others:
        message = (
            f"{host.name} and {', '.join(others)} share a database, so one archive is for all of them: stop the others "
            f"(docs/clusters.md), and restore one of them with --limit {host.name}"
        )
        raise DeployError(message)


def _shared(host: Host) -> tuple[str, ...]:
    """Return what identifies a database server that other hosts may use as well; empty for a database of its own."""
    kind, server = (str(host.data.get(name) or "") for name in ("database", "database_host"))
    if kind not in ("mysql", "pgsql") or server in ("", "local"):
        return ()
    return kind, server, *(str(host.data.get(name) or "") for name in ("database_port", "database_name"))


@operation(is_idempotent=False)
def restored(source: str) -> Generator[StringCommand, None, None]:
    """Restore the archive ``source`` on the host. A file of this machine is uploaded to the host's backups first."""
    if not Path(source).is_file():
        yield StringCommand(f"{paths.COMMAND} restore {shlex.quote(source)}")
        return
    name = Path(source).name
    path, temporary = (shlex.quote(f"{paths.BACKUPS}/{each}") for each in (name, f".{name}.new"))
    receive = (
        f"mkdir -p -m 700 {paths.BACKUPS} && umask 077"
        f" && {{ base64 -d > {temporary} || {{ cat > /dev/null; false; }}; }}"
    )
    with gevent.Timeout(SENDING_SECONDS, TimeoutError):
        yield StringCommand(
            f"{receive} && mv {temporary} {path} && {paths.COMMAND} restore {path}",
            _stdin=Stdin(lambda: base64_lines(source)),
        )


@operation(is_idempotent=False)
def result_shown(restored: OperationMeta) -> Generator[FunctionCommand, None, None]:
    """Print how many accounts, events and contacts were ``restored``, as the host says."""

    def report(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra passes both
        lines = [line.removeprefix("baikalctl: ") for line in restored.stdout_lines]
        sentence = next((line for line in reversed(lines) if line.startswith("restored: ")), "restored")
        logger.info(f"{host.print_prefix}{escaped(sentence)[:LONGEST_LINE]}")
        return True

    yield FunctionCommand(report, [], {})
