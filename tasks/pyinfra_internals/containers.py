"""The containers of pyinfra's @docker and @podman connectors."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pyinfra import local
from pyinfra.connectors.docker import DockerConnector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyinfra.api.host import Host

BAKING_COMMAND = ["tail", "-f", "/dev/null"]
"""The command of a container in which pyinfra makes an image (connectors/docker.py, start_docker_container)."""


@dataclass(frozen=True)
class Container:
    """The container that a host's connector works in (connectors/docker.py, DockerConnector)."""

    connector: DockerConnector
    program: str
    """``docker`` or ``podman``."""
    identifier: str
    was_running: bool
    """Whether it ran before this run: then it isn't removed, and no image is made of it."""

    def leave_to_us(self) -> None:
        """Have pyinfra not commit it at the end, which would make a second image, without a name."""
        self.connector.disconnect = lambda: None  # type: ignore[method-assign]


def container_of(host: Host) -> Container | None:
    """Return the container that the host is; nothing for other hosts."""
    connector = host.connector
    if not isinstance(connector, DockerConnector):
        return None
    return Container(connector, str(connector.docker_cmd), str(connector.container_id), bool(connector.no_stop))


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
