"""Settings become files in a container: the same texts as on a machine, in the one place that may be written there.

What a machine has below /etc stands below ``/run/baikal/etc``, so that the image itself stays as it was baked, and s6's
services, which the image has, are laid out beside it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.desired.build import desired_state
from baikalctl.rendering.baikalctl import program
from baikalctl.rendering.database import secrets
from baikalctl.rendering.model import Directory, File, FileSet, Platform, asking
from baikalctl.rendering.nullmailer import nullmailer_files, relay_password
from baikalctl.rendering.templates import Place, fill_in, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.settings.model import Settings


ETC = f"{paths.RUN}/etc"
PLACE = Place(socket=f"{paths.RUN}/php.sock", access_log="/dev/stdout", root=paths.RUN)
OPEN_TO_ALL = 0o1777
CERTIFICATE = "certificate"
"""The service that cares for it, which is none where there is no TLS."""
BACKUP = "backup"
"""The service that makes archives, which is none where that is off."""
MAIL = "mail"
"""The service that sends mail, which is none where that is off."""
STOPPING_MS = {"nginx": 7500, "php": 1000}
"""How long each may take to finish what it has begun, in this order; Docker gives the whole container ten seconds."""


def baked() -> FileSet:
    """Return what an image has: the tools, and places that whatever account a container runs as can write in."""
    base = program()
    places = (
        Directory(path="/etc/baikal"),
        Directory(path=paths.DATA, mode=OPEN_TO_ALL),
        Directory(path=paths.RUN, mode=OPEN_TO_ALL),
    )
    scripts = tuple(_services())
    folders = sorted({str(Path(file.path).parent) for file in scripts})
    return dataclasses.replace(
        base,
        directories=(*places, *base.directories, *(Directory(path=folder) for folder in (paths.LAID_OUT, *folders))),
        files=(*base.files, *scripts),
        record=paths.BAKED,
        lock=paths.BAKING_LOCK,
    )


def _services() -> Iterator[File]:
    """Yield what s6 needs of each service. They are the image's, because what is mounted on /run may not be executable."""
    scripts = {".s6-svscan/SIGTERM": "", ".s6-svscan/SIGINT": ".s6-svscan/SIGTERM", ".s6-svscan/finish": ""}
    for service, limit_ms in STOPPING_MS.items():
        scripts |= {f"{service}/run": "", f"{service}/finish": "finish"}
        for name, content in (("down-signal", "SIGQUIT"), ("notification-fd", "3"), ("timeout-kill", str(limit_ms))):
            yield File(path=f"{paths.LAID_OUT}/{service}/{name}", content=f"{content}\n".encode())
    scripts |= {f"{service}/run": "" for service in (CERTIFICATE, BACKUP, MAIL)}
    for name, template in scripts.items():
        text = fill_in(f"{paths.LAID_OUT[1:]}/{template or name}", paths=paths, socket=PLACE.socket)
        yield File(path=f"{paths.LAID_OUT}/{name}", content=text, mode=0o755)


def render_contained(settings: Settings, platform: Platform, realm: str) -> FileSet:
    """Return everything that a container's start writes beside the data; ``realm`` is what its passwords were made with."""
    relay = settings.mail == "relay"
    declared = desired_state(settings, (*STOPPING_MS, *((MAIL,) if relay else ())), realm, paths.RUN)
    text = texts(settings, platform, declared, PLACE)
    php = platform.php_user
    folders = ("baikal", "php", "php/fpm", "php/fpm/pool.d", "php/fpm/conf.d", "nginx", "nginx/conf.d")
    directories = (
        Directory(path=paths.RUN),
        Directory(path=ETC),
        *(Directory(path=f"{ETC}/{folder}") for folder in folders),
        Directory(path=paths.TEMPORARY, mode=0o700, owner=php, group=php),
        *(_mail_directories(php) if relay else ()),
    )
    files = (
        File(path=f"{paths.RUN}{paths.DECLARED}", content=declared.to_json().encode(), mode=0o600),
        File(path=f"{ETC}/php/fpm/php-fpm.conf", content=text("run/baikal/etc/php/fpm/php-fpm.conf")),
        File(path=f"{ETC}/php/fpm/pool.d/baikal.conf", content=text("etc/php/fpm/pool.d/baikal.conf")),
        File(path=f"{ETC}/php/fpm/conf.d/99-baikal.ini", content=text("etc/php/fpm/conf.d/99-baikal.ini")),
        File(path=f"{ETC}/nginx/nginx.conf", content=text("run/baikal/etc/nginx/nginx.conf")),
        File(path=f"{ETC}/nginx/closed.conf", content=text("run/baikal/etc/nginx/closed.conf")),
        File(path=f"{paths.RUN}{paths.SITE}", content=text("etc/nginx/conf.d/baikal.conf")),
        *asking(settings, text, paths.RUN),
        *(nullmailer_files(settings, text, root=paths.RUN, owner=php, group=php) if relay else ()),
        *relay_password(settings, paths.RUN),
        *secrets(settings, paths.RUN),
        File(path=f"{ETC}/mailname", content=f"{settings.hostname}\n".encode()),
    )
    return FileSet(directories=directories, files=files)


def _mail_directories(account: str) -> Iterator[Directory]:
    """Yield nullmailer's configuration, what it has said, and its queue, which is PHP's account's: it fills it itself."""
    yield Directory(path=f"{paths.RUN}{paths.NULLMAILER}")
    for path in (f"{paths.RUN}/mail", paths.SPOOL, *(f"{paths.SPOOL}/{part}" for part in ("queue", "tmp", "failed"))):
        yield Directory(path=path, mode=0o700, owner=account, group=account)
