"""Releases of Baïkal: verified, unpacked beside, and put in their place as a whole."""

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
"""File in an unpacked release that tells which archive it came from."""
TREE = ".tree-sha256"
"""File in an unpacked release with the checksum of what :func:`tree_command` printed when it was put there."""
MOST_BYTES = 400 * 2**20
"""A release unpacks to some 20 MB; what unpacks to more than this is no release."""
NEEDED = ("Core/Distrib.php", "html/dav.php", "vendor/autoload.php", "Core/Resources/Db/SQLite/db.sql")


class ArchiveError(HostError):
    """An archive is not the release that it should be."""


def address(version: str) -> str:
    """Return where the project publishes the zip of ``version``."""
    return f"https://github.com/sabre-io/Baikal/releases/download/{version}/baikal-{version}.zip"


def digest(archive: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with archive.open("rb") as stream:
        found = hashlib.sha256()
        while block := stream.read(2**20):
            found.update(block)
    return found.hexdigest()


def verify(archive: Path, version: str, sha256: str) -> str:
    """Return the SHA-256 of ``archive``; raises :class:`ArchiveError` unless it is the release ``version``.

    Without ``sha256``, a release that is known here must be the official zip; of any other release nothing is known.
    Nothing is unpacked: members that would leave the directory, links, and what is no release of Baïkal are found in the
    zip's list.
    """
    import zipfile
    import zlib

    found = digest(archive)
    if sha256 and found != sha256:
        message = (
            f"{archive.name} has the SHA-256 {found}, not {sha256}: it is damaged or not the release; get it again"
        )
        raise ArchiveError(message)
    try:
        with zipfile.ZipFile(archive) as bundle:
            names = [_safe(member) for member in bundle.infolist()]
            missing = [name for name in NEEDED if f"{TOP}/{name}" not in names]
            if missing:
                message = f"{archive.name} is no release of Baïkal: it lacks {TOP}/{missing[0]}"
                raise ArchiveError(message)
            if sum(member.file_size for member in bundle.infolist()) > MOST_BYTES:
                message = f"{archive.name} is no release of Baïkal: it unpacks to more than {MOST_BYTES >> 20} MiB"
                raise ArchiveError(message)
            # A checksum that was asked for has said already that every byte is right.
            damaged = None if sha256 else bundle.testzip()
            inside = version_of(bundle.read(f"{TOP}/Core/Distrib.php").decode("utf-8", "replace"))
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        # RuntimeError is also what an encrypted or strangely compressed member gives.
        kind = "is no zip archive" if not zipfile.is_zipfile(archive) else f"can't be unpacked ({error})"
        message = f"{archive.name} {kind}; give the release's zip, as the project publishes it"
        raise ArchiveError(message) from None
    if damaged:
        message = f"{archive.name} can't be unpacked ({damaged} is damaged); get it again"
        raise ArchiveError(message)
    if inside != version:
        message = f"{archive.name} is Baïkal {inside}, not {version}; set baikal_version to {inside}, or give its zip"
        raise ArchiveError(message)
    if not sha256 and found != KNOWN_RELEASES.get(version, found):
        message = (
            f"{archive.name} is not the official zip of Baïkal {version}: its SHA-256 is {found}, not "
            f"{KNOWN_RELEASES[version]}; get the official one, or if you want this zip, set baikal_sha256 to {found}"
        )
        raise ArchiveError(message)
    return found


def version_of(distrib: str) -> str:
    """Return the version that the text of a release's ``Core/Distrib.php`` defines."""
    found = re.search(r"""define\(\s*["']BAIKAL_VERSION["']\s*,\s*["']([^"']+)["']""", distrib)
    return found[1] if found else "of an unknown version"


def download(url: str, target: Path) -> None:
    """Fetch ``url`` to ``target``, by way of a name beside it; raises :class:`ArchiveError` and leaves nothing behind."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as answer, replacing(target) as stream:  # noqa: S310 - http(s) only
            _copy(answer, stream)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        message = (
            f"{url} can't be downloaded ({reason}); give the zip with baikal_archive, "
            'or choose with baikal_download who fetches it ("here" or "host")'
        )
        raise ArchiveError(message) from None


def tree_command(folder: str) -> str:
    """Return the shell command that prints one checksum over a release's files: path, owner, mode, size and time.

    Whoever edits a file changes its time, so contents need not be read on every run.
    """
    listed = f"find {folder}/ -mindepth 1 ! -path {folder}/'.*-sha256' -printf '%P|%y|%U:%G|%m|%s|%Ts|%l\\n'"
    # A directory's size and time say nothing of their own.
    return f"{listed} | sed 's/|d|\\([^|]*|[^|]*\\)|.*/|d|\\1/' | LC_ALL=C sort | sha256sum | cut -d' ' -f1"


def standing(version: str) -> str:
    """Return the SHA-256 of the archive that the installed ``version`` came from.

    Nothing where it isn't installed, or isn't as it was when it was: somebody has edited, added or removed a file.
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
    """Verify ``archive`` and put it in place as ``version``, root's and read-only for everybody else."""
    import shutil

    found = verify(archive, version, sha256)
    path = Path(paths.CODE) / version
    temporary, old = path.with_name(f".{version}.new"), path.with_name(f".{version}.old")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _unpack(archive, temporary)
        (temporary / ORIGIN).write_text(found + "\n", encoding="ascii")
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
    """Remove what interrupted downloads and installations left; to be called under the lock."""
    import shutil

    for leftover in Path(paths.CODE).glob(".*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def current() -> str:
    """Return the release that serves, or nothing on a host that has none yet."""
    try:
        return Path(paths.CURRENT).readlink().name
    except FileNotFoundError:
        return ""


def activate(version: str) -> None:
    """Point the ``current`` link at ``version``, in one step; raises :class:`HostError` for what is no version."""
    if not numbers(version):
        message = f"{version[:40]!r} is no version of Baïkal; restore {paths.BAIKAL_YAML} from a backup"
        raise HostError(message)
    temporary = Path(paths.CURRENT + ".new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(version)
    temporary.replace(paths.CURRENT)
    sync(temporary.parent)


def _safe(member: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member; raises :class:`ArchiveError` for one that could land anywhere else."""
    path = PurePosixPath(member.filename)
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or path.parts[:1] != (TOP,) or link:
        what = "a link" if link else f"outside {TOP}/"
        message = (
            f"the archive has {member.filename!r}, which is {what}; it is no release of Baïkal, so nothing is unpacked"
        )
        raise ArchiveError(message)
    return member.filename


def _unpack(archive: Path, target: Path) -> None:
    """Unpack what :func:`verify` has seen; modes are ours, not the archive's."""
    import calendar
    import zipfile

    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            place = target.joinpath(*PurePosixPath(member.filename).parts[1:])
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(bundle.read(member))
            place.chmod(0o644)
            # The archive's time, so that the same release is the same tree wherever and whenever it is unpacked.
            with contextlib.suppress(ValueError):  # a date of zeros
                packed = calendar.timegm((*member.date_time, 0, 0, 0))
                os.utime(place, (packed, packed))
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _copy(answer: IO[bytes], stream: IO[bytes]) -> None:
    size = 0
    while block := answer.read(2**18):
        size += len(block)
        if size > MOST_BYTES:
            message = f"it is larger than {MOST_BYTES >> 20} MiB, which no release is"
            raise OSError(message)
        stream.write(block)
