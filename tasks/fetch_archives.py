"""Archives of many hosts: made there, brought to this machine, and believed only when they have arrived whole."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.backup import catalog, manifest
from baikalctl.host.atomic_write import sync
from baikalctl.output import escaped
from tasks.fact_cache import ANSWER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import State

HOME = Path("backups")
"""Below the directory that pyinfra is called in: a folder for each host. Nothing is ever removed there."""
PIECE_MB = 8
"""What is asked for at a time: pyinfra keeps every answer until it is complete."""
REPORTED_MB = 64
"""After so much of a large archive, its progress is reported."""
DAY_S = 24 * 3600
"""How far a host's clock and this machine's may differ."""
GROWTH = 4
"""An archive may be so many times as large as the newest of its host on this machine."""
LEAST_LIMIT_BYTES = 1 << 30
"""What any archive may have, the first of a host in particular."""
CHECK_HOST = "check that host: baikalctl backup --json there has to end with a line that describes a new archive"
MOST_ROWS = 1 << 63
SHA256 = re.compile("[0-9a-f]{64}")
NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]|^\.+")


class PieceFact(FactBase[bytes]):
    """A piece of a file on the host. Not by SFTP, which knows no sudo, and would have the file readable for others."""

    def command(self, path: str, number: int) -> str:
        """Print the piece of that number in base64."""
        target = shlex.quote(path)
        skip = number * PIECE_MB
        return f"dd if={target} bs=1M skip={skip} count={PIECE_MB} iflag=fullblock status=none | base64 -w 65536"

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
        return bring_or_complain(host, made)

    yield FunctionCommand(bring, [], {})


def bring_or_complain(host: Host, made: OperationMeta) -> bool:
    """Bring the archive home and return whether it is there; if not, the reason is logged as an error of this host."""
    try:
        archive = announced(made.stdout_lines[-1] if made.stdout_lines else "")
        path = bring_home(host, archive)
    except (OSError, ValueError, PyinfraError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a compromised host answers, the other hosts go on
        reason = f"{type(error).__name__}: {error}; {CHECK_HOST}"
    else:
        logger.info(f"{host.print_prefix}{archive.contents} saved in {path}")
        return True
    logger.error(f"{host.print_prefix}the archive can't be brought home: {escaped(reason)}")
    return False


@dataclass(frozen=True, kw_only=True)
class Announced:
    """An archive as the host describes it, after all checks that need no look at this machine's files."""

    path: str
    """On the host."""
    name: str
    """What it is called there and here."""
    size: int
    """In bytes."""
    sha256: str
    contents: str
    """How many accounts, events and contacts it has, as the host says."""


def announced(line: str) -> Announced:
    """Return the archive that the ``line`` describes, which ``baikalctl backup --json`` has printed on the host.

    A compromised host may print anything. Raises ``ValueError`` with a remedy where the line has another shape, or the
    archive has another name than today's archives have.
    """
    try:
        output = json.loads(line)
    except (ValueError, RecursionError):
        output = None
    if not isinstance(output, dict):
        raise ValueError(f"the host didn't describe it in JSON; {CHECK_HOST}")
    path, size, sha256 = (output.get(key) for key in ("path", "size", "sha256"))
    if not (isinstance(path, str) and type(size) is int and size > 0 and isinstance(sha256, str)):
        raise ValueError(f"the host didn't describe it by path, size and checksum; {CHECK_HOST}")
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"the host sent {sha256[:80]!r}, which is no checksum; {CHECK_HOST}")
    name = path.rpartition("/")[2]
    try:
        created = catalog.created_at(name)
    except ValueError:
        message = f"the host calls it {name[:80]!r}, which is no name of an archive; {CHECK_HOST}"
        raise ValueError(message) from None
    if abs(created - time.time()) > DAY_S:
        message = (
            f"{name} was not made today, by this machine's clock; compare the clocks of both machines (date -u), and if "
            f"they agree, {CHECK_HOST}"
        )
        raise ValueError(message)
    counts = output.get("counts")
    if not isinstance(counts, dict) or not all(type(rows) is int and 0 <= rows < MOST_ROWS for rows in counts.values()):
        raise ValueError(f"the host didn't describe how many accounts, events and contacts it has; {CHECK_HOST}")
    return Announced(path=path, name=name, size=size, sha256=sha256, contents=manifest.in_words(counts))


def folder_of(name: str) -> Path:
    """Return the folder on this machine for the archives of the host ``name``."""
    return HOME / (NOT_PLAIN.sub("_", name) or "_")


def at_home(folder: Path) -> list[Path]:
    """Return the archives in the ``folder``, the newest first.

    An archive counts as made at the time in its name, and at its arrival (its modification time) at the latest, so that
    a host can't put one in front of those that arrive later. Files with other names, or with a date in the future, don't
    count.
    """
    latest = time.time() + DAY_S
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(ValueError):
                created, state = catalog.created_at(path.name), path.lstat()
                if stat.S_ISREG(state.st_mode) and created <= latest:
                    found.append((min(created, state.st_mtime), path))
    return [path for _, path in sorted(found, reverse=True)]


def bring_home(host: Host, archive: Announced) -> Path:
    """Return the path of the host's ``archive`` on this machine, after it was brought here.

    It gets its name when it is whole, and only if no file has that name. Raises ``ValueError`` where it is larger than
    the limit, where another archive has its name, or where it doesn't arrive as announced.
    """
    folder = folder_of(host.name)
    for each in (HOME, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    path = folder / archive.name
    if path.exists():
        if _content(path) == (archive.size, archive.sha256):
            return path
        message = f"{path} is here already, with other content, and was kept; run backup.py again, or {CHECK_HOST}"
        raise ValueError(message)
    _refuse_too_large(host, archive, folder)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in _pieces(host, archive):
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)  # never replaces anything, which a rename would
        sync(folder)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _refuse_too_large(host: Host, archive: Announced, folder: Path) -> None:
    """Raise ``ValueError`` for an archive over the limit: a compromised host could fill this machine's disk."""
    newest = at_home(folder)[:1]
    limit = max([LEAST_LIMIT_BYTES, *(GROWTH * path.stat().st_size for path in newest)])
    if archive.size > limit:
        remote = shlex.quote(f"{host.name}:{archive.path}")
        message = (
            f"it has {archive.size >> 20} MiB, which is larger than {limit >> 20} MiB, the limit ({GROWTH} times the newest "
            f"archive of this host here, {LEAST_LIMIT_BYTES >> 20} MiB at least); if the data has grown so much, copy it "
            f"there yourself, once: scp {remote} {folder}/"
        )
        raise ValueError(message)


def _content(path: Path) -> tuple[int, str]:
    """Return size and checksum of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(host: Host, archive: Announced) -> Generator[bytes, None, None]:
    """Yield the archive in pieces, and raise ``ValueError`` at the end unless they were all of it."""
    digest, arrived, number, reported = hashlib.sha256(), 0, 0, 0
    while arrived < archive.size:
        piece: bytes = host.get_fact(PieceFact, path=archive.path, number=number, _timeout=ANSWER_SECONDS)
        if len(piece) != min(PIECE_MB << 20, archive.size - arrived):
            break
        yield piece
        digest.update(piece)
        arrived, number = arrived + len(piece), number + 1
        if arrived - reported >= REPORTED_MB << 20:
            logger.info(f"{host.print_prefix}{arrived >> 20} of {archive.size >> 20} MiB have arrived")
            reported = arrived
    if arrived != archive.size or digest.hexdigest() != archive.sha256:
        message = f"{arrived} of {archive.size} bytes have arrived, and not as they were; run it again"
        raise ValueError(message)
