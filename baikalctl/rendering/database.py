"""The files with which the data is reached and kept: passwords, and what a database server of the machine's own is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import File, Platform, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.settings.model import Settings


SERVER = "database"
"""What the machine's own database server is called among our services."""


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:
    """Return the unit of the machine's own database server; of somebody else's, the one that stands for all of it."""
    if not settings.local_server:
        return ()
    if settings.database == "mysql":
        return ("mariadb",)
    return (f"postgresql@{platform.postgresql}-main" if platform.own_database else "postgresql",)


def server(settings: Settings, platform: Platform, text: Callable[[str], bytes]) -> Iterator[File]:
    """Yield what a server is told that is ours alone; somebody else's is told nothing."""
    if not settings.local_server or not platform.own_database:
        return
    if settings.database == "mysql":
        template = path = "/etc/mysql/mariadb.conf.d/99-baikal.cnf"
    else:
        template = "/etc/postgresql/main/conf.d/baikal.conf"
        path = f"/etc/postgresql/{platform.postgresql}/main/conf.d/baikal.conf"
    yield File(path=path, content=text(template[1:]), service=SERVER)


def services(units: tuple[str, ...], files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the service of these ``units``, where it reads anything of ours among ``files``: only then is it ours."""
    reads = tuple(file.path for file in files if file.service == SERVER)
    for unit in units if reads else ():
        # Where it listens, it learns when it starts.
        yield Service(name=SERVER, unit=unit, check=("/usr/bin/true",), reads=reads, reloads=False)


def secrets(settings: Settings, root: str = "") -> Iterator[File]:
    """Yield a file for each secret that is declared; ``root`` stands before the paths of our configuration."""
    found = {
        paths.DATABASE_PASSWORD: settings.database_password,
        paths.RESTIC_PASSWORD: settings.restic_password,
        paths.RESTIC_CREDENTIALS: settings.restic_credentials,
    }
    for path, secret in found.items():
        if secret:
            yield File(path=f"{root}{path}", content=f"{secret.reveal()}\n".encode(), mode=0o600, together=True)
