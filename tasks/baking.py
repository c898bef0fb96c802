"""Baking: the container keeps running meanwhile, and in the end nothing is left that only baking needed."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from pyinfra import local
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.connectors.docker import DockerConnector
from pyinfra.context import host

from baikalctl import paths
from baikalctl.mail import nullmailer

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api.host import Host

KEPT_RUNNING = ["tail", "-f", "/dev/null"]
"""What pyinfra has a container do in which it bakes."""
FINISH = f"""
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
"""Links from where a machine has things to where a container has them; bytecode, because a container may not be able to
write its own; no program that gives its caller another account's rights; no lists, logs and leftovers of apt."""


SEEN = "this is all"


class UnfinishedFact(FactBase[bool]):
    """Whether anything in an image is not as a finished one has it."""

    def command(self) -> str:
        """Print the first of each kind of thing that is left to do, and a last line: no line means no answer to pyinfra."""
        compiled = f"{paths.LIBRARY}/baikalctl"
        return f"""
            for link in {paths.DECLARED} {paths.BACKUPS} {nullmailer.SPOOL}; do [ -L $link ] || echo links; done
            [ -d {compiled}/__pycache__ ] || echo bytecode
            find {compiled} -name '*.py' -newer {compiled}/__pycache__ -print -quit 2>/dev/null
            find / -xdev -type f -perm /6000 -print -quit
            find /var/lib/apt/lists /var/log/apt /tmp -mindepth 1 -print -quit 2>/dev/null
            echo {SEEN}
        """

    def process(self, output: list[str]) -> bool:
        """Tell whether there is any other line."""
        return output != [SEEN]

    @staticmethod
    def default() -> bool:
        """Return what is said of an image that hasn't been looked at."""
        return True


@operation()
def image_finished() -> Generator[StringCommand, None, None]:
    """Make an image of what packages, files and release have left of a base."""
    if host.get_fact(UnfinishedFact):
        yield StringCommand(FINISH)


def keep_running(host: Host) -> None:
    """Start the container to bake in once more if its image has an entry point, which has ended: ours has one."""
    connector = host.connector
    if not isinstance(connector, DockerConnector) or connector.no_stop:
        return
    docker, first = connector.docker_cmd, shlex.quote(connector.container_id)
    told = json.loads(str(local.shell(f"{docker} container inspect {first}")))[0]
    if not told["Config"].get("Entrypoint") or told["Config"].get("Cmd") != KEPT_RUNNING:
        return
    entry, *arguments = KEPT_RUNNING
    command = shlex.join([docker, "run", "--detach", "--entrypoint", entry, told["Image"], *arguments])
    connector.container_id = local.shell(command, splitlines=True)[-1]
    local.shell(f"{docker} rm --force --volumes {first}")
