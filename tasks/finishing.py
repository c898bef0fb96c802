"""What turns a base with packages, files and a release on it into an image: nothing is left that only baking needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl import paths

if TYPE_CHECKING:
    from collections.abc import Generator

FINISH = f"""
set -eu
mkdir -p /var/backups
ln -sfn {paths.RUN}{paths.DECLARED} {paths.DECLARED}
ln -sfn {paths.DATA}/backups {paths.BACKUPS}
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
            [ -L {paths.DECLARED} ] && [ -L {paths.BACKUPS} ] || echo links
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
