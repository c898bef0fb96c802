"""Verify, unpack and install releases of Baïkal; an installed release is always complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import stat
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import replacing, sync
from baikalctl.settings.known_releases import KNOWN_RELEASES, numbers

if TYPE_CHECKING:
    import zipfile
    from typing import IO


TOP = "baikal"
"""The one directory at the top of a release's zip."""
ORIGIN = ".archive-sha256"
"""File in an installed release with the SHA-256 of its archive."""
TREE = ".tree-sha256"
"""File in an installed release with the output of :func:`tree_command` at its installation."""
MOST_BYTES = 400 * 2**20
"""Maximum unpacked size of an archive; a release has some 20 MB."""
NEEDED = ("Core/Distrib.php", "html/dav.php", "vendor/autoload.php", "Core/Resources/Db/SQLite/db.sql")


class ArchiveError(HostError):
    """The archive isn't the expected release."""


def address(version: str) -> str:
    """Return the address at which the project publishes the zip of ``version``."""
    return f"https://github.com/sabre-io/Baikal/releases/download/{version}/baikal-{version}.zip"


def digest(archive: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with archive.open("rb") as stream:
        checksum = hashlib.sha256()
        while block := stream.read(2**20):
            checksum.update(block)
    return checksum.hexdigest()


def verify(archive: Path, version: str, sha256: str) -> str:
    """Return the SHA-256 of ``archive``; raises :class:`ArchiveError` unless it is the release ``version``.

    Without ``sha256``, a release in :data:`KNOWN_RELEASES` must be the official zip; other releases have no known checksum.
    Nothing is unpacked: the zip's list shows links, members outside the directory, and archives of other software.
    """
    import zipfile
    import zlib

    checksum = digest(archive)
    if sha256 and checksum != sha256:
        message = (
            f"{archive.name} has the SHA-256 {checksum}, not {sha256}: it is damaged, or another release; download it "
            "again"
        )
        raise ArchiveError(message)
    try:
        with zipfile.ZipFile(archive) as bundle:
            names = [_safe(member) for member in bundle.infolist()]
            missing = [name for name in NEEDED if f"{TOP}/{name}" not in names]
            if missing:
                message = f"{archive.name} is not a release of Baïkal: it lacks {TOP}/{missing[0]}"
                raise ArchiveError(message)
            if sum(member.file_size for member in bundle.infolist()) > MOST_BYTES:
                message = f"{archive.name} is not a release of Baïkal: it unpacks to more than {MOST_BYTES >> 20} MiB"
                raise ArchiveError(message)
            # If a checksum is required, it has already shown that all bytes are right.
            damaged = None if sha256 else bundle.testzip()
            inside = version_of(bundle.read(f"{TOP}/Core/Distrib.php").decode("utf-8", "replace"))
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        # RuntimeError is also raised for an encrypted member or an unsupported compression.
        kind = "is not a zip archive" if not zipfile.is_zipfile(archive) else f"can't be unpacked ({error})"
        message = f"{archive.name} {kind}; use the release's zip as the project publishes it"
        raise ArchiveError(message) from None
    if damaged:
        message = f"{archive.name} can't be unpacked ({damaged} is damaged); download it again"
        raise ArchiveError(message)
    if inside != version:
        message = (
            f"{archive.name} is Baïkal {inside}, not {version}; set baikal_version to {inside}, or use another zip"
        )
        raise ArchiveError(message)
    if not sha256 and checksum != KNOWN_RELEASES.get(version, checksum):
        message = (
            f"{archive.name} is not the official zip of Baïkal {version}: its SHA-256 is {checksum}, not "
            f"{KNOWN_RELEASES[version]}; use the official one, or, to use this zip, set baikal_sha256 to {checksum}"
        )
        raise ArchiveError(message)
    return checksum


def version_of(distrib: str) -> str:
    """Return the version that the text of a release's ``Core/Distrib.php`` defines."""
    match = re.search(r"""define\(\s*["']BAIKAL_VERSION["']\s*,\s*["']([^"']+)["']""", distrib)
    return match[1] if match else "of an unknown version"


def download(url: str, target: Path) -> None:
    """Download ``url`` to ``target``; raises :class:`ArchiveError`, and then leaves no incomplete file."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as answer, replacing(target) as stream:  # noqa: S310 - http(s) only
            _copy(answer, stream)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        message = (
            f"{url} can't be downloaded ({reason}); set baikal_archive to a zip that you have, or set "
            'baikal_download to the machine that can download it ("here" or "host")'
        )
        raise ArchiveError(message) from None


def tree_command(folder: str) -> str:
    """Return the shell command that prints one checksum of a release's files: path, owner, mode, size and time.

    An edit changes a file's time, so contents needn't be read on every run.
    """
    listed = f"find {folder}/ -mindepth 1 ! -path {folder}/'.*-sha256' -printf '%P|%y|%U:%G|%m|%s|%Ts|%l\\n'"
    # The size and time of directories are left out: they only depend on their entries.
    return f"{listed} | sed 's/|d|\\([^|]*|[^|]*\\)|.*/|d|\\1/' | LC_ALL=C sort | sha256sum | cut -d' ' -f1"


def standing(version: str) -> str:
    """Return the SHA-256 of the archive of the installed ``version``.

    Returns nothing if it isn't installed, or if a file has been edited, added or removed since.
    """
    path = Path(paths.CODE) / version
    try:
        origin, tree = ((path / name).read_text(encoding="ascii").strip() for name in (ORIGIN, TREE))
    except FileNotFoundError:
        return ""
    return origin if tree == _tree(path) else ""


def _tree(path: Path) -> str:
    command = tree_command(shlex.quote(str(path)))
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()


def install(archive: Path, version: str, sha256: str) -> None:
    """Verify ``archive`` and install it as ``version``; root owns it, and other accounts can only read it."""
    import shutil

    checksum = verify(archive, version, sha256)
    path = Path(paths.CODE) / version
    temporary, old = path.with_name(f".{version}.new"), path.with_name(f".{version}.old")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _unpack(archive, temporary)
        (temporary / ORIGIN).write_text(checksum + "\n", encoding="ascii")
        (temporary / ORIGIN).chmod(0o644)
        (temporary / TREE).write_text(_tree(temporary) + "\n", encoding="ascii")
        (temporary / TREE).chmod(0o644)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        sync(path.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def clear_leftovers() -> None:
    """Remove the leftovers of interrupted downloads and installations; to be called with the lock held."""
    import shutil

    for leftover in Path(paths.CODE).glob(".*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def current() -> str:
    """Return the active release, or nothing if there is none yet."""
    try:
        return Path(paths.CURRENT).readlink().name
    except FileNotFoundError:
        return ""


def activate(version: str) -> None:
    """Point the ``current`` link at ``version``, atomically; raises :class:`HostError` for an invalid version."""
    if not numbers(version):
        message = f"{version[:40]!r} is not a version of Baïkal; restore {paths.BAIKAL_YAML} from a backup"
        raise HostError(message)
    temporary = Path(paths.CURRENT + ".new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(version)
    temporary.replace(paths.CURRENT)
    sync(temporary.parent)


def _safe(member: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member; raises :class:`ArchiveError` for one that could be written outside."""
    path = PurePosixPath(member.filename)
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or path.parts[:1] != (TOP,) or link:
        what = "a link" if link else f"outside {TOP}/"
        message = (
            f"the archive has {member.filename!r}, which is {what}; it is not a release of Baïkal, and was not unpacked"
        )
        raise ArchiveError(message)
    return member.filename


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive that :func:`verify` has accepted; the modes are ours, not the archive's."""
    import calendar
    import zipfile

    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            path = target.joinpath(*PurePosixPath(member.filename).parts[1:])
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bundle.read(member))
            path.chmod(0o644)
            # The archive's times, so that each installation of a release has the same tree checksum.
            with contextlib.suppress(ValueError):  # the date is zero
                packed = calendar.timegm((*member.date_time, 0, 0, 0))
                os.utime(path, (packed, packed))
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _copy(answer: IO[bytes], stream: IO[bytes]) -> None:
    size = 0
    while block := answer.read(2**18):
        size += len(block)
        if size > MOST_BYTES:
            message = f"it is larger than {MOST_BYTES >> 20} MiB, the limit for a release"
            raise OSError(message)
        stream.write(block)
