"""Settings become files: the one table of everything we own on a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from baikalctl import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.settings.model import Settings


UNITS = "/etc/systemd/system"
CERTIFICATE_TIMER, BACKUP_TIMER = "baikal-certificate.timer", "baikal-backup.timer"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What the host told of itself that its files depend on."""

    php: str
    """Version of PHP as Debian names its packages, such as ``8.2``."""
    nginx: tuple[int, int, int]
    cores: int
    memory_mb: int
    ipv6: bool
    postfix: tuple[int, int, int] = (0, 0, 0)
    """Nothing but zeros where there is none."""
    postgresql: str = ""
    """Version of PostgreSQL as its units and paths have it, such as ``15``; nothing where there is none."""
    own_database: bool = False
    """Whether the machine's own database server is ours, so that it serves nobody else."""
    php_user: str = paths.USER
    """The account that PHP is to run as; nothing where it runs as whoever starts it."""
    web_user: str = paths.WEB_USER
    """The same of nginx's workers."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that we own. ``service`` must reread it when it changes; none of it is readable before it has its mode."""

    path: str
    content: bytes = field(repr=False)  # large, and not for every log
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    service: str = ""
    together: bool = False
    """Whether it is put in place with the services' files, and taken back with them if a check refuses those."""


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory that we own, though not all that is in it."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that reads our files: its unit, the command that tells whether it could, and all that it reads."""

    name: str
    unit: str
    check: tuple[str, ...]
    reads: tuple[str, ...]
    reloads: bool = True
    """Whether it takes everything up that it is told while it runs."""


@dataclass(frozen=True, kw_only=True)
class FileSet:
    """Everything we own on one host. ``displaced`` are links of the distribution that would be in the way."""

    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    services: tuple[Service, ...] = ()
    displaced: tuple[tuple[str, str], ...] = ()
    record: str = paths.FILES
    """Where the host remembers which files are ours."""
    lock: str = paths.LOCK

    def __repr__(self) -> str:
        """Return a few words: pyinfra shows what a question is about wherever it fails, and works it out each time."""
        return f"<{len(self.files)} files>"


def asking(settings: Settings, text: Callable[[str], bytes], root: str = "") -> Iterator[File]:
    """Yield what certbot reads, where an authority is asked; ``root`` stands before the paths of our configuration."""
    if settings.tls != "letsencrypt":
        return
    yield File(path=f"{root}{paths.CERTBOT}", content=text("etc/baikal/certbot.ini"), mode=0o600, together=True)
    if settings.acme_dns_credentials:
        credentials = f"{settings.acme_dns_credentials.reveal()}\n".encode()
        yield File(path=f"{root}{paths.DNS_CREDENTIALS}", content=credentials, mode=0o600, together=True)


def timers(settings: Settings) -> tuple[str, ...]:
    """Return the units that have something done by the clock: the certificate cared for, and archives made."""
    certificate = () if settings.tls == "off" else (CERTIFICATE_TIMER,)
    return (*certificate, BACKUP_TIMER) if settings.backup else certificate


def _units(settings: Settings, text: Callable[[str], bytes], php: str) -> Iterator[File]:
    """Yield the timers with what they start, and what PHP's unit does besides."""
    yield File(
        path=f"{UNITS}/{php}.service.d/baikal.conf",
        content=text("etc/systemd/system/php-fpm.service.d/baikal.conf"),
        service=next(iter(timers(settings)), "php"),  # a timer's check has systemd read its units
    )
    for timer in timers(settings):
        for name in (timer.replace(".timer", ".service"), timer):
            yield File(path=f"{UNITS}/{name}", content=text(f"{UNITS[1:]}/{name}"), service=timer)


def _service(name: str, unit: str, check: str, files: tuple[File, ...]) -> Service:
    """Return the service ``name``, which reads its own among ``files``."""
    reads = tuple(file.path for file in files if file.service == name)
    return Service(name=name, unit=unit, check=tuple(check.split()), reads=reads)
