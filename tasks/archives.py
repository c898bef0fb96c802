"""Archives of many hosts: made there, brought to this machine, and believed only when they have arrived whole."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from baikalctl import paths
from tasks.run import ANSWER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import State

HOME = Path("backups")
"""Below the directory that pyinfra is called in: a folder for each host. Nothing is ever removed there."""
PIECE_MB = 8
"""What is asked for at a time: pyinfra keeps every answer until it is complete."""
TOLD_MB = 64
"""After so much of a large archive, how far it has come is said."""
NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]|^\.+")


class PieceFact(FactBase[bytes]):
    """A piece of a file on the host. Not by SFTP, which knows no sudo, and would have the file readable for others."""

    def command(self, path: str, number: int) -> str:
        """Print the piece of that number in base64."""
        place = shlex.quote(path)
        skip = number * PIECE_MB
        return f"dd if={place} bs=1M skip={skip} count={PIECE_MB} iflag=fullblock status=none | base64 -w 65536"

    def process(self, output: list[str]) -> bytes:
        """Return what it stands for."""
        return base64.b64decode("".join(output))

    @staticmethod
    def default() -> bytes:
        """Return what a host that doesn't answer gives."""
        return b""


@operation(is_idempotent=False)
def archived() -> Generator[StringCommand, None, None]:
    """Make an archive on the host; what it says at the end tells which."""
    yield StringCommand(paths.COMMAND, "backup", "--json")


@operation(is_idempotent=False)
def brought_home(made: OperationMeta) -> Generator[FunctionCommand, None, None]:
    """Bring what :func:`archived` has ``made`` to this machine, below :data:`HOME`, for its owner alone."""

    def bring(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra passes both, or takes no answer
        try:
            place = bring_home(host, json.loads(made.stdout_lines[-1]))
        except (OSError, ValueError, IndexError, PyinfraError) as error:
            logger.error(f"{host.print_prefix}the archive can't be brought home: {error}")
            return False
        logger.info(f"{host.print_prefix}{place}")
        return True

    yield FunctionCommand(bring, [], {})


def folder_of(name: str) -> Path:
    """Return the folder on this machine for the archives of the host ``name``."""
    return HOME / (NOT_PLAIN.sub("_", name) or "_")


def bring_home(host: Host, said: dict[str, Any]) -> Path:
    """Return where the host's archive, of which ``said`` tells path, size and checksum, is on this machine then.

    It has its name only when it is whole. Raises ``ValueError`` where it arrives as something else.
    """
    folder = folder_of(host.name)
    for each in (HOME, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    place = folder / Path(said["path"]).name
    beside = place.with_name(f".{place.name}.new")
    beside.unlink(missing_ok=True)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in _pieces(host, said):
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
    return place


def _pieces(host: Host, said: dict[str, Any]) -> Generator[bytes, None, None]:
    """Yield the archive in pieces, and raise ``ValueError`` at the end unless they were all of it."""
    digest, arrived, number, told = hashlib.sha256(), 0, 0, 0
    while arrived < said["size"]:
        piece: bytes = host.get_fact(PieceFact, path=said["path"], number=number, _timeout=ANSWER_SECONDS)
        if not piece:
            break
        yield piece
        digest.update(piece)
        arrived, number = arrived + len(piece), number + 1
        if arrived - told >= TOLD_MB << 20:
            logger.info(f"{host.print_prefix}{arrived >> 20} of {said['size'] >> 20} MiB have arrived")
            told = arrived
    if arrived != said["size"] or digest.hexdigest() != said["sha256"]:
        message = f"{arrived} of {said['size']} bytes have arrived, and not as they were; run it again"
        raise ValueError(message)
