"""The end of baking an image: what only a machine needs goes, and the image gets what the Dockerfile says and its name."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import local, logger
from pyinfra.api.deploy import deploy
from pyinfra.connectors.docker import DockerConnector

from tasks.baking import image_finished
from tasks.operations import called

if TYPE_CHECKING:
    from tasks.survey import Target

DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"


@deploy("Image")
def finish(target: Target) -> None:
    """Leave in an image nothing that only baking it needed; a container that was there before keeps all it had."""
    if not target.machine.booted and not _was_there(target):
        image_finished(name="Leave nothing behind that only baking needed")


@deploy("Image")
def tag(target: Target) -> None:
    """Name what was baked ``baikal:<version>``, with the metadata that stand in the Dockerfile.

    This is the last operation, and pyinfra stops a host at its first failure, so neither a failed run nor a dry one
    names anything. A container that was there before this run is somebody's own and gets no name either.
    """
    connector = target.host.connector
    if not isinstance(connector, DockerConnector) or _was_there(target):
        return
    name = f"baikal:{target.settings.baikal_version}"
    docker, container = connector.docker_cmd, shlex.quote(connector.container_id)
    nameless = f"baikal-baked:{connector.container_id[:12]}"

    def build() -> None:
        local.shell(f"{docker} commit {container} {nameless}")
        try:
            local.shell(_build_command(target, docker, nameless, name))
        finally:
            local.shell(f"{docker} rmi {nameless}")
        local.shell(f"{docker} rm --force --volumes {container}")
        logger.info(f"{target.host.print_prefix}tagged {name}")
        # It would commit the container once more, without a name, and so take twice the disk.
        connector.disconnect = lambda: None  # type: ignore[method-assign]

    called(name=f"Tag the image {name}", function=build)


def metadata(dockerfile: str) -> str:
    """Return the instructions of a Dockerfile's last stage, which has nothing but metadata."""
    lines = dockerfile.splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return "\n".join(lines[last + 1 :]) + "\n"


def _build_command(target: Target, docker: str, base: str, name: str) -> str:
    """Return the shell command that adds the metadata: any builder of Docker's or Podman's can do that much."""
    image, _, digest = str(target.host.data.docker_identifier).partition("@")
    given = {
        "BAIKAL_VERSION": target.settings.baikal_version,
        "DISTRIBUTION": image,
        "DISTRIBUTION_DIGEST": digest,
    }
    arguments = ["build", "--quiet", "--tag", name]
    arguments += [word for key, value in given.items() for word in ("--build-arg", f"{key}={value}")]
    if docker == "podman":
        arguments += ["--format", "docker"]  # the other format has no health check
    if target.host.data.get("docker_platform"):
        arguments += ["--platform", target.host.data.docker_platform]
    text = f"FROM {base}\n{metadata(DOCKERFILE.read_text(encoding='utf-8'))}"
    empty = tempfile.mkdtemp(prefix="baikal-")
    build = shlex.join([docker, *arguments, "--file", "-", empty])
    return f"printf %s {shlex.quote(text)} | {build}; status=$?; rmdir {empty}; exit $status"


def _was_there(target: Target) -> bool:
    """Tell whether the target is a container that ran before this run: somebody's own."""
    connector = target.host.connector
    return isinstance(connector, DockerConnector) and connector.no_stop
