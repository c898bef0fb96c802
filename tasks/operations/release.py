"""The release of Baïkal on a host."""

from __future__ import annotations

import base64
import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from baikalctl import paths
from tasks.facts import ReleaseFact
from tasks.operations.files import SENDING_SECONDS
from tasks.pyinfra_internals.operations import Stdin

if TYPE_CHECKING:
    from collections.abc import Generator

    from tasks.fact_cache import FactCache


PIECE_BYTES = 48 * 1024
"""The size of a line that is sent, before base64; a multiple of three, so that no line but the last has padding."""


@operation()
def installed(version: str, archive: str, sha256: str, facts: FactCache) -> Generator[StringCommand, None, None]:
    """Install the release ``version`` from ``archive``: a zip on this machine, or an address that the host fetches."""
    current, origin, tidy = facts.ask(ReleaseFact, version=version)
    if current == version and origin == sha256 and tidy:
        return
    incoming = archive
    receive = ""
    content = Stdin(list)
    if "://" not in archive and origin != sha256:
        # Not by SFTP: it takes ten round trips, three more commands with sudo, and says "Failure" if the disk is full.
        incoming = f"{paths.CODE}/.baikal-{version}.zip"
        # If the first cat can't write, the second reads the rest, so that the connection stays open for the error message.
        receive = f"{{ base64 -d | cat > {incoming} || {{ cat > /dev/null; false; }}; }} && "
        content = Stdin(lambda: _lines(archive))
    # This removes the received file as well, and what an interrupted run left.
    install = f"{receive}{paths.COMMAND} release {version} {shlex.quote(incoming)} --sha256 {sha256}"
    with gevent.Timeout(SENDING_SECONDS, TimeoutError):
        yield StringCommand(install, _stdin=content)


@functools.cache
def _lines(archive: str) -> tuple[str, ...]:
    """Return a release as lines of text, once, however many hosts get it."""
    return base64_lines(archive)


def base64_lines(path: str) -> tuple[str, ...]:
    """Return the file as lines of text, as pyinfra's standard input requires: it copies each line, for each host."""
    content = Path(path).read_bytes()
    pieces = (content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES))
    return tuple(base64.b64encode(piece).decode("ascii") + "\n" for piece in pieces)
