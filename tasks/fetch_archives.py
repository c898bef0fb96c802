"""Create archives on the hosts and download them. An archive counts as downloaded only if its checksum is right."""

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

LOCAL = Path("backups")
"""Has a folder for each host. Relative to the directory that pyinfra is called in. Nothing is ever removed from it."""
PIECE_MB = 8
"""The size of a piece: pyinfra keeps each answer of a host in memory until it is complete."""
REPORTED_MB = 64
"""The progress of a large archive is reported each time this much has arrived."""
DAY_S = 24 * 3600
"""The clocks of a host and of this machine may differ by this much."""
GROWTH = 4
"""An archive may be this many times as large as the newest archive of its host on this machine."""
LEAST_LIMIT_BYTES = 1 << 30
"""An archive of this size is accepted in any case, for example as the first of a host."""
CHECK_HOST = "check that host: baikalctl backup --json there has to end with a line that describes a new archive"
MOST_ROWS = 1 << 63
SHA256 = re.compile("[0-9a-f]{64}")
NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]|^\.+")


class PieceFact(FactBase[bytes]):
    """A piece of a file on the host. SFTP is not used: it has no sudo, so the file would have to be readable for others."""

    def command(self, path: str, number: int) -> str:
        """Print the piece with this number in base64."""
        target = shlex.quote(path)
        skip = number * PIECE_MB
        return f"dd if={target} bs=1M skip={skip} count={PIECE_MB} iflag=fullblock status=none | base64 -w 65536"

    def process(self, output: list[str]) -> bytes:
        """Return the decoded piece."""
        return base64.b64decode("".join(output))

    @staticmethod
    def default() -> bytes:
        """Return the answer for a host that doesn't answer."""
        return b""


@operation(is_idempotent=False)
def archive_created() -> Generator[StringCommand, None, None]:
    """Create an archive on the host. The last line of the output describes it."""
    yield StringCommand(paths.COMMAND, "backup", "--json")


@operation(is_idempotent=False)
def archive_downloaded(created: OperationMeta) -> Generator[FunctionCommand, None, None]:
    """Download the archive that :func:`archive_created` has ``created`` to :data:`LOCAL`, readable only by its owner."""

    def call(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra passes both, or ignores the result
        return download_or_log(host, created)

    yield FunctionCommand(call, [], {})


def download_or_log(host: Host, created: OperationMeta) -> bool:
    """Download the archive and return whether that succeeded; if not, log the reason as an error of this host."""
    try:
        archive = announced(created.stdout_lines[-1] if created.stdout_lines else "")
        path = download(host, archive)
    except (OSError, ValueError, PyinfraError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a compromised host may answer anything, and the other hosts continue
        reason = f"{type(error).__name__}: {error}; {CHECK_HOST}"
    else:
        logger.info(f"{host.print_prefix}{archive.contents} saved in {path}")
        return True
    logger.error(f"{host.print_prefix}the archive can't be downloaded: {escaped(reason)}")
    return False


@dataclass(frozen=True, kw_only=True)
class Announced:
    """An archive as the host describes it. The description is checked, but not yet against the files of this machine."""

    path: str
    """On the host."""
    name: str
    """The name of the file, on the host and on this machine."""
    size: int
    """In bytes."""
    sha256: str
    contents: str
    """How many accounts, events and contacts it has, as the host says."""


def announced(line: str) -> Announced:
    """Return the archive that is described by ``line``, which ``baikalctl backup --json`` has printed on the host.

    A compromised host may print anything. Raises ``ValueError`` with a remedy if the line has another form, or if the
    name isn't that of an archive of today.
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
        raise ValueError(f"the host sent {sha256[:80]!r}, which is not a checksum; {CHECK_HOST}")
    name = path.rpartition("/")[2]
    try:
        created = catalog.created_at(name)
    except ValueError:
        message = f"the host calls it {name[:80]!r}, which is not the name of an archive; {CHECK_HOST}"
        raise ValueError(message) from None
    if abs(created - time.time()) > DAY_S:
        message = (
            f"{name} was not created today, according to this machine's clock; compare the clocks of both machines "
            f"(date -u); if they agree, {CHECK_HOST}"
        )
        raise ValueError(message)
    counts = output.get("counts")
    if not isinstance(counts, dict) or not all(type(rows) is int and 0 <= rows < MOST_ROWS for rows in counts.values()):
        raise ValueError(f"the host didn't describe how many accounts, events and contacts it has; {CHECK_HOST}")
    return Announced(path=path, name=name, size=size, sha256=sha256, contents=manifest.in_words(counts))


def local_folder(name: str) -> Path:
    """Return the folder on this machine for the archives of the host ``name``."""
    return LOCAL / (NOT_PLAIN.sub("_", name) or "_")


def local_archives(folder: Path) -> list[Path]:
    """Return the archives in the ``folder``, the newest first.

    The time of an archive is the time in its name, but not later than its arrival (its modification time). So a host
    can't place an archive before those that arrive later. Files with other names, or with a date in the future, are
    ignored.
    """
    latest = time.time() + DAY_S
    archives = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(ValueError):
                created, state = catalog.created_at(path.name), path.lstat()
                if stat.S_ISREG(state.st_mode) and created <= latest:
                    archives.append((min(created, state.st_mtime), path))
    return [path for _, path in sorted(archives, reverse=True)]


def download(host: Host, archive: Announced) -> Path:
    """Download the host's ``archive`` and return its path on this machine.

    It gets its name when it is complete, and only if no file has that name. Raises ``ValueError`` if it is larger than
    the limit, if another file has its name, or if it differs from what the host described.
    """
    folder = local_folder(host.name)
    for each in (LOCAL, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    path = folder / archive.name
    if path.exists():
        if _content(path) == (archive.size, archive.sha256):
            return path
        message = f"{path} exists already and has other content; it was kept; run backup.py again, or {CHECK_HOST}"
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
    newest = local_archives(folder)[:1]
    limit = max([LEAST_LIMIT_BYTES, *(GROWTH * path.stat().st_size for path in newest)])
    if archive.size > limit:
        remote = shlex.quote(f"{host.name}:{archive.path}")
        message = (
            f"it has {archive.size >> 20} MiB, and the limit is {limit >> 20} MiB ({GROWTH} times the newest archive of this "
            f"host on this machine, but at least {LEAST_LIMIT_BYTES >> 20} MiB); if the data has grown so much, copy this "
            f"archive once by hand: scp {remote} {folder}/"
        )
        raise ValueError(message)


def _content(path: Path) -> tuple[int, str]:
    """Return size and checksum of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(host: Host, archive: Announced) -> Generator[bytes, None, None]:
    """Yield the archive in pieces. At the end, raise ``ValueError`` if size or checksum differ."""
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
        message = f"{arrived} of {archive.size} bytes have arrived, or their checksum is wrong; run backup.py again"
        raise ValueError(message)
