"""What the subsystems are described with: platform, files, directories, services."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from baikalctl import paths

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The properties of a host that its files depend on."""

    php: str
    """Version of PHP as Debian names its packages, such as ``8.2``."""
    nginx: tuple[int, int, int]
    cores: int
    memory_mb: int
    ipv6: bool
    postfix: tuple[int, int, int] = (0, 0, 0)
    """All zeros where it isn't installed."""
    postgresql: str = ""
    """Version of PostgreSQL as in its units and paths, such as ``15``; empty where it isn't installed."""
    own_database: bool = False
    """Whether this deploy installed the machine's database server, so that nothing else uses it."""
    php_user: str = paths.USER
    """The account that PHP runs as; empty where it runs as the account that starts it."""
    web_user: str = paths.WEB_USER
    """The account of nginx's workers; empty as above."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that the deploy owns. ``service`` must read it again when it changes."""

    path: str
    content: bytes = field(repr=False)  # large, and not for every log
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    service: str = ""
    together: bool = False
    """Whether it is put in place with the services' files, and rolled back with them if a check refuses those."""


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory that the deploy owns, though not everything in it."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that reads our files: its unit, the command that checks its configuration, and the files it reads."""

    name: str
    unit: str
    check: tuple[str, ...]
    reads: tuple[str, ...]
    reloads: bool = True
    """Whether a reload is enough for every change."""


@dataclass(frozen=True, kw_only=True)
class EarlyUnit:
    """A unit that apt would start before its configuration exists."""

    package: str
    unit: str
    waits_for: str
    """The file without which it is not started."""


@dataclass(frozen=True, kw_only=True)
class FileSet:
    """Everything that the deploy owns on one host."""

    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    services: tuple[Service, ...] = ()
    displaced: tuple[tuple[str, str], ...] = ()
    """Links of the distribution, and where they lead, that are removed."""
    record: str = paths.FILES
    """The file on the host that lists our files."""
    lock: str = paths.LOCK

    def __repr__(self) -> str:
        """Return a few words: pyinfra formats a fact's arguments at each call, to show them if the fact fails."""
        return f"<{len(self.files)} files>"


def service(name: str, unit: str, check: str, files: Iterable[File], *, reloads: bool = True) -> Service:
    """Return the service ``name``, which reads those ``files`` that name it."""
    reads = tuple(file.path for file in files if file.service == name)
    return Service(name=name, unit=unit, check=tuple(check.split()), reads=reads, reloads=reloads)


def upstream_version(package_version: str, *, otherwise: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the first three numbers of a package's version, such as (1, 22, 1) of ``1.22.1-9+deb12u2``."""
    match = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", package_version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else otherwise
