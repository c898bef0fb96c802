"""An image: cleaned of what only baking needed, and tagged with the metadata of the Dockerfile."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import local, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl import paths
from baikalctl.mail import nullmailer
from tasks.pyinfra_internals import containers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tasks.pyinfra_internals.containers import Container
    from tasks.target import Target


DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"
CLEAN = f"""
set -eu
mkdir -p /var/backups
ln -sfn {paths.RUN}{paths.DECLARED} {paths.DECLARED}
ln -sfn {paths.DATA}/backups {paths.BACKUPS}
[ -L {nullmailer.SPOOL} ] || rm -rf {nullmailer.SPOOL} /etc/nullmailer
ln -sfn {paths.SPOOL} {nullmailer.SPOOL}
ln -sfn {paths.RUN}{paths.NULLMAILER} /etc/nullmailer
ln -sfn {paths.RUN}/etc/mailname /etc/mailname
echo 'nullmailer shared/mailname string localhost' | debconf-set-selections
python3 -m compileall -q -f --invalidation-mode checked-hash {paths.LIBRARY}/baikalctl
touch {paths.LIBRARY}/baikalctl/__pycache__
find / -xdev -type f -perm /6000 -exec chmod ug-s {{}} +
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache
rm -rf /var/lib/dpkg/*-old /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log {paths.BAKING_LOCK} /tmp/*
""".strip()
"""Links from the paths of a machine to those of a container; bytecode, because a container may not be able to write its
own; no setuid and setgid programs; no lists, logs and leftovers of apt."""
END = "this is all"


class UncleanFact(FactBase[bool]):
    """Whether anything in an image differs from a finished one."""

    def command(self) -> str:
        """Print the first of each kind of thing that is left to do, and a last line: no output means no answer to pyinfra."""
        compiled = f"{paths.LIBRARY}/baikalctl"
        return f"""
            for link in {paths.DECLARED} {paths.BACKUPS} {nullmailer.SPOOL}; do [ -L $link ] || echo links; done
            [ -d {compiled}/__pycache__ ] || echo bytecode
            find {compiled} -name '*.py' -newer {compiled}/__pycache__ -print -quit 2>/dev/null
            find / -xdev -type f -perm /6000 -print -quit
            find /var/lib/apt/lists /var/log/apt /tmp -mindepth 1 -print -quit 2>/dev/null
            echo {END}
        """

    def process(self, output: list[str]) -> bool:
        """Tell whether there is any other line."""
        return output != [END]

    @staticmethod
    def default() -> bool:
        """Return the answer for an image that hasn't been examined."""
        return True


@operation()
def cleaned() -> Generator[StringCommand, None, None]:
    """Leave nothing in the image that only baking needed."""
    if host.get_fact(UncleanFact):
        yield StringCommand(CLEAN)


@operation(is_idempotent=False)
def tagged(build: Callable[[], None]) -> Generator[FunctionCommand, None, None]:
    """Call ``build`` on this machine, once everything before it has succeeded on the host."""
    yield FunctionCommand(build, [], {})


def finish(target: Target) -> None:
    """Clean the image and tag it ``baikal:<version>``, with the metadata of the Dockerfile.

    These are the last operations, and pyinfra stops a host at its first failure, so a failed run tags nothing, nor does
    a dry one. A container that ran before this run keeps everything, and no image is made of it.
    """
    container = containers.container_of(target.host)
    if container is not None and container.was_running:
        return
    if not target.booted:
        cleaned(name="Clean image")
    if container is not None:
        name = f"baikal:{target.settings.baikal_version}"
        tagged(name=f"Tag image {name}", build=lambda: _build(target, container, name))


def _build(target: Target, container: Container, name: str) -> None:
    program, identifier = container.program, shlex.quote(container.identifier)
    untagged = f"baikal-baked:{container.identifier[:12]}"
    local.shell(f"{program} commit {identifier} {untagged}")
    try:
        local.shell(_build_command(target, program, untagged, name))
    finally:
        local.shell(f"{program} rmi {untagged}")
    local.shell(f"{program} rm --force --volumes {identifier}")
    logger.info(f"{target.host.print_prefix}tagged {name}")
    container.leave_to_us()


def metadata(dockerfile: str) -> str:
    """Return the instructions of a Dockerfile's last stage, which has nothing but metadata."""
    lines = dockerfile.splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return "\n".join(lines[last + 1 :]) + "\n"


def _build_command(target: Target, program: str, base: str, name: str) -> str:
    """Return the shell command that adds the metadata; any builder of Docker or Podman can do that."""
    image, _, digest = str(target.host.data.docker_identifier).partition("@")
    values = {
        "BAIKAL_VERSION": target.settings.baikal_version,
        "DISTRIBUTION": image,
        "DISTRIBUTION_DIGEST": digest,
    }
    arguments = ["build", "--quiet", "--tag", name]
    arguments += [word for key, value in values.items() for word in ("--build-arg", f"{key}={value}")]
    if program == "podman":
        arguments += ["--format", "docker"]  # the other format has no health check
    if target.host.data.get("docker_platform"):
        arguments += ["--platform", target.host.data.docker_platform]
    text = f"FROM {base}\n{metadata(DOCKERFILE.read_text(encoding='utf-8'))}"
    empty = tempfile.mkdtemp(prefix="baikal-")
    build = shlex.join([program, *arguments, "--file", "-", empty])
    return f"printf %s {shlex.quote(text)} | {build}; status=$?; rmdir {empty}; exit $status"
