"""The Baïkal release that the lab installs: one from BAIKAL_ARCHIVE, the pinned one, or a stand-in for it.

``origin`` of :class:`Release` says which one it is; every output must show it.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.engine import locked
from tests.lab.errors import LabError
from tests.lab.future_release import Kind, make

VERSION: Final = "0.12.1"
URL: Final = f"https://github.com/sabre-io/Baikal/releases/download/{VERSION}/baikal-{VERSION}.zip"
SHA256: Final = "0449abb72b151d39d9c08c63cb83a05d9e9adb065b1165ef6786b0b6a13d203c"

_PACKAGES: Final = ("php-sabre-dav", "php-sabre-vobject")
_SOURCES: Final = Path(__file__).parent / "standin"
_CONNECT_SECONDS: Final = 10
_REMEDY: Final = f"Or name a release that you have: BAIKAL_ARCHIVE=/path/to/baikal-{VERSION}.zip."

_failed_downloads: Final[dict[str, str]] = {}
"""Errors of failed downloads by address, so that a run waits only once."""


@dataclass(frozen=True)
class Release:
    """A zip to install, and its origin."""

    path: Path
    version: str
    sha256: str
    origin: str


def obtain(cache: Path) -> Release:
    """Return the release to install; downloads and builds are kept in ``cache``.

    ``BAIKAL_ARCHIVE`` in the environment is the path of a zip. Otherwise it is the pinned release if
    that can be downloaded, else a stand-in. With ``LAB_RELEASE=stand-in`` it is always the stand-in.

    Raises :class:`LabError` if the zip is not a release, if the checksum of the download differs
    from the pinned one, or if the packages for a stand-in are missing.
    """
    wish = os.environ.get("LAB_RELEASE", "")
    if wish not in {"", "stand-in"}:
        message = f"LAB_RELEASE is {wish!r}; its only valid value is 'stand-in'."
        raise LabError(message)
    cache.mkdir(parents=True, exist_ok=True)
    if wish == "stand-in":
        return _stand_in(cache, "as LAB_RELEASE says")
    if named := os.environ.get("BAIKAL_ARCHIVE"):
        return _described(Path(named).absolute(), "the archive named by BAIKAL_ARCHIVE")
    if downloaded := _pinned(cache):
        return _described(downloaded, f"downloaded from {URL}")
    return _stand_in(cache, f"{URL} could not be downloaded: {_failed_downloads[URL]}")


@functools.cache
def standin(directory: Path, version: str, kind: Kind = Kind.PLAIN) -> Release:
    """Return a stand-in for ``version``, built in ``directory``; for a future release, one of this kind."""
    return _described(build_standin(directory, version, kind), f"a stand-in for {version} ({kind})")


def build_standin(directory: Path, version: str = VERSION, kind: Kind = Kind.PLAIN) -> Path:
    """Build a stand-in for the release ``version``; return the zip in ``directory``.

    Differences between versions: location of state and supported databases (before 0.10.0), TLS to MySQL (before
    0.11.0), and with ``kind`` the features of a future release. The same sources and packages give the same bytes.
    Raises :class:`LabError` if the packages are not available.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        message = f"A release's version is three numbers, such as {VERSION}; {version!r} is not."
        raise LabError(message)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        work = Path(name)
        root = work / "baikal"
        shutil.copytree(_SOURCES, root)
        distrib = root / "Core/Distrib.php"
        distrib.write_text(distrib.read_text().replace("@VERSION@", version))
        if _number(version) < (0, 10, 0):
            shutil.rmtree(root / "Core/Resources/Db/PgSQL")
        make(root, kind, version)
        for empty in (root / "config/.empty", root / "Specific/db/.empty"):
            empty.parent.mkdir(parents=True)
            empty.touch()
        _add_libraries(work / "packages", root / "vendor/sabre")
        archive = work / "release.zip"
        _zip(root, archive)
        suffix = "" if kind is Kind.PLAIN else f"-{kind}"
        return archive.replace(directory / f"baikal-{version}{suffix}-stand-in.zip")


def _stand_in(cache: Path, reason: str) -> Release:
    origin = f"a stand-in, built from Debian's {' and '.join(_PACKAGES)} ({reason})"
    return _described(build_standin(cache), origin)


def _described(path: Path, origin: str) -> Release:
    """Read the version from the zip itself, not from the file's name."""
    try:
        with zipfile.ZipFile(path) as archive:
            distrib = archive.read("baikal/Core/Distrib.php").decode()
    except (OSError, KeyError, zipfile.BadZipFile) as fault:
        message = f"{path} ({origin}) is not a Baïkal release: {fault}."
        raise LabError(message) from fault
    match = re.search(r"""["']BAIKAL_VERSION["'],\s*["']([^"']+)["']""", distrib)
    if match is None:
        message = f"{path} ({origin}) does not define BAIKAL_VERSION in Core/Distrib.php."
        raise LabError(message)
    return Release(path, match[1], _sha256(path), origin)


def _pinned(cache: Path) -> Path | None:
    """Return the pinned release from the cache or the network; ``None`` if it can't be downloaded."""
    path = cache / f"baikal-{VERSION}.zip"
    if path.exists() and _sha256(path) == SHA256:
        return path
    if URL in _failed_downloads:
        return None
    with tempfile.NamedTemporaryFile(dir=cache, suffix=".part") as part:
        try:
            with urllib.request.urlopen(URL, timeout=_CONNECT_SECONDS) as answer:
                shutil.copyfileobj(answer, part)
        except (OSError, http.client.HTTPException) as fault:
            _failed_downloads[URL] = str(fault)
            return None
        part.flush()
        arrived = _sha256(Path(part.name))
        if arrived != SHA256:
            message = f"{URL} gave a file with the SHA-256 {arrived} instead of {SHA256}. Do not install it. {_REMEDY}"
            raise LabError(message)
        # A copy, as the temporary file is removed under its own name; renamed, so that no process sees half of it.
        finished = Path(f"{part.name}.zip")
        shutil.copyfile(part.name, finished)
        return finished.replace(path)


def _add_libraries(work: Path, target: Path) -> None:
    work.mkdir()
    for file in _download_packages(work):
        _run("dpkg-deb", "-x", str(file), str(work / "unpacked"))
    shutil.copytree(work / "unpacked/usr/share/php/Sabre", target / "Sabre")
    for package in _PACKAGES:
        shutil.copy(work / "unpacked/usr/share/doc" / package / "copyright", target / f"copyright-{package}")


def _download_packages(directory: Path) -> list[Path]:
    """Download the packages without installing them; update apt's lists only if necessary."""
    download = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES)
    with locked("apt"):
        try:
            _run(*download, directory=directory)
        except LabError:
            if os.geteuid() != 0:
                raise
            _run("apt-get", "-qq", "update")
            _run(*download, directory=directory)
    return sorted(directory.glob("*.deb"))


def _run(tool: str, *arguments: str, directory: Path | None = None) -> None:
    program = shutil.which(tool)
    if program is None:
        message = f"The stand-in release is made on Debian with {tool}, which is not installed. {_REMEDY}"
        raise LabError(message)
    command = [program, *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        message = (
            f"The stand-in release could not be built, because `{tool} {' '.join(arguments)}` failed "
            f"({' '.join(done.stderr.split())}). It needs Debian 12's package sources, and root if apt's lists are to "
            f"be read. {_REMEDY}"
        )
        raise LabError(message)


def _zip(root: Path, archive: Path) -> None:
    """Pack ``root`` under its own name, as a reproducible zip."""
    with zipfile.ZipFile(archive, "w") as packed:
        for path in [root, *sorted(root.rglob("*"))]:
            name = path.relative_to(root.parent).as_posix()
            entry = zipfile.ZipInfo(f"{name}/" if path.is_dir() else name)
            entry.create_system = 3  # Unix, so that the modes are used.
            entry.external_attr = (0o40755 if path.is_dir() else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, b"" if path.is_dir() else path.read_bytes())


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
