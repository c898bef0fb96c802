"""Settings become files: the one table of everything we own on a host."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from baikalctl import paths
from baikalctl.desired.state import Declared, declare
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.settings.model import Settings


UNITS = "/etc/systemd/system"
CERTIFICATE_TIMER, BACKUP_TIMER = "baikal-certificate.timer", "baikal-backup.timer"
HOME = Path(__file__).resolve().parents[2]
"""The directory that holds ``baikalctl/`` and ``templates/``: this checkout, or a host's library."""


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


def data() -> tuple[Directory, ...]:
    """Return where all is that must survive: a machine has it from its deploy, a container's volume from its start."""
    return (
        Directory(path=paths.DATA),
        *(
            Directory(path=path, mode=0o700)
            for path in (paths.STATE, paths.STAMPS, paths.TLS, paths.ACME, paths.ISSUED)
        ),
        Directory(path=paths.CHALLENGES),
        Directory(path=paths.MAINTENANCE, mode=0o711),
        *(
            Directory(path=path, mode=0o700, owner=paths.USER, group=paths.USER)
            for path in (paths.CONFIG, paths.SPECIFIC, f"{paths.SPECIFIC}/db", paths.SESSIONS)
        ),
        Directory(path=paths.MAIL),
        Directory(path=paths.KEPT, mode=0o700, owner=paths.USER, group=paths.USER),
    )


@functools.cache
def tools() -> FileSet:
    """Return what every machine and every image has: ``baikalctl`` and the templates, the same everywhere."""
    library = [*_tree("baikalctl", "*.py"), *_tree("templates", "*")]
    command = fill_in("usr/local/sbin/baikalctl", library=paths.LIBRARY)
    php = (HOME / "templates" / paths.LIBRARY[1:]).glob("*.php")
    folders = {str(folder) for file in library for folder in Path(file.path).parents if paths.LIBRARY in str(folder)}
    return FileSet(
        directories=(Directory(path=paths.CODE), *(Directory(path=folder) for folder in sorted(folders))),
        files=(
            *library,
            *(File(path=f"{paths.LIBRARY}/{file.name}", content=file.read_bytes()) for file in sorted(php)),
            File(path=paths.COMMAND, content=command, mode=0o755),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the same texts become files: what differs between a machine and a container."""

    socket: str
    """Where PHP listens."""
    access_log: str
    root: str = ""
    """What stands before the paths of our configuration: nothing on a machine."""


def texts(settings: Settings, platform: Platform, declared: Declared, place: Place) -> Callable[[str], bytes]:
    """Return the function that fills in a template by its path below ``templates/``."""
    values: dict[str, Any] = {
        "settings": settings,
        "platform": platform,
        "paths": paths,
        "declared": declared,
        "place": place,
        "workers": workers(platform),
        "memory_limit_mb": memory_limit_mb(platform),
        "backup_times": schedule.on_calendar(settings.backup_schedule, settings.timezone),
    }
    return functools.partial(fill_in, **values)


def fill_in(template: str, **values: object) -> bytes:
    """Return the text of the template at a path below ``templates/``, with ``values`` in it."""
    return _environment().get_template(template).render(values).encode()


def render(settings: Settings, platform: Platform) -> FileSet:
    """Return everything that a running machine has: the tools, the declared state, and the services' files."""
    from baikalctl.rendering import (
        database,
        mail,  # which need the tables' classes
    )

    php = f"php{platform.php}-fpm"
    mail_units = mail.units(settings, platform)
    database_units = database.units(settings, platform)
    declared = declare(settings, (*database_units, php, "nginx", *mail_units, *timers(settings)))
    # Of this PHP alone: after an upgrade of the distribution, the old one may still be there and hold its own.
    place = Place(socket=f"/run/php/baikal-{platform.php}.sock", access_log="/var/log/nginx/access.log")
    text = texts(settings, platform, declared, place)
    base = tools()
    configuration = f"/etc/php/{platform.php}/fpm"
    units = tuple(_units(settings, text, php))
    files = (
        File(path=paths.DECLARED, content=declared.to_json().encode(), mode=0o600, together=True),
        File(
            path=f"{configuration}/pool.d/baikal.conf",
            content=text("etc/php/fpm/pool.d/baikal.conf"),
            service="php",
        ),
        File(
            path=f"{configuration}/conf.d/99-baikal.ini",
            content=text("etc/php/fpm/conf.d/99-baikal.ini"),
            service="php",
        ),
        File(path=paths.SITE, content=text("etc/nginx/conf.d/baikal.conf"), service="nginx"),
        *asking(settings, text),
        *units,
        *mail.files(settings, text),
        *database.secrets(settings),
        *database.server(settings, platform, text),
    )
    return FileSet(
        directories=(
            Directory(path="/etc/baikal", mode=0o700),
            *data(),
            *mail.directories(settings),
            Directory(path=f"{UNITS}/{php}.service.d"),
            *base.directories,
        ),
        files=(*base.files, *files),
        # In the order in which they start: nginx needs PHP's socket.
        services=(
            *database.services(database_units, files),
            _service("php", php, f"/usr/sbin/php-fpm{platform.php} -t", files),
            Service(name="nginx", unit="nginx", check=("/usr/sbin/nginx", "-t", "-q"), reads=declared.read_by_nginx()),
            *mail.services(mail_units, declared, files),
            *(_service(unit, unit, "/usr/bin/systemctl daemon-reload", units) for unit in timers(settings)),
        ),
        displaced=(("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default"),),
    )


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


def workers(platform: Platform) -> int:
    """Return how many PHP processes to run: twice as many as cores, at least two, and 96 MiB of memory for each.

    Measured on a CalDAV load with two cores: beside as many as cores, 1.06 times the requests of a mixed load and 1.33
    times those of writers, because a write waits for the disk. From 16 on, writers block each other. Two at least, so
    that one long report doesn't shut everybody else out.
    """
    return max(2, min(2 * platform.cores, 12, platform.memory_mb // 96))


def memory_limit_mb(platform: Platform) -> int:
    """Return PHP's memory limit: a sync of a large address book needs more than PHP's 128 MiB, where there is more."""
    return max(128, min(512, platform.memory_mb // 2 // workers(platform)))


def _tree(folder: str, pattern: str) -> Iterator[File]:
    """Yield the files below ``folder`` as they stand in a host's library."""
    for source in sorted((HOME / folder).rglob(pattern)):
        if source.is_file() and "__pycache__" not in source.parts:
            yield File(path=f"{paths.LIBRARY}/{source.relative_to(HOME)}", content=source.read_bytes())


@functools.cache
def _environment() -> jinja2.Environment:
    """Return the one environment, so that each template is compiled once, however many hosts there are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HOME / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML; every value is validated by its kind
    )
    environment.filters["quoted"] = shlex.quote
    return environment
