"""The end of baking an image: its name."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pyinfra import local, logger
from pyinfra.api.deploy import deploy
from pyinfra.connectors.docker import DockerConnector

from tasks.operations import called

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("Image")
def tag(target: Target) -> None:
    """Name what was baked ``baikal:<version>``.

    This is the last operation, and pyinfra stops a host at its first failure, so neither a failed run nor a dry one
    names anything. A container that was there before this run is somebody's own and gets no name either.
    """
    connector = target.host.connector
    if not isinstance(connector, DockerConnector) or connector.no_stop:
        return
    name = f"baikal:{target.settings.baikal_version}"

    def commit() -> None:
        # The container ran `tail -f /dev/null`; that is no command for an image.
        change = shlex.quote('CMD ["/bin/sh"]')
        container = shlex.quote(connector.container_id)
        local.shell(f"{connector.docker_cmd} commit --change {change} {container} {shlex.quote(name)}")
        logger.info(f"{target.host.print_prefix}tagged {name}")

    called(name=f"Tag the image {name}", function=commit)
