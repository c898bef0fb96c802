"""PHP-FPM: the packages, the pool with its size and limits, and the service that Baïkal runs in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.host.install import UNITS
from baikalctl.rendering.model import Directory, File, Platform, Service, service
from baikalctl.rendering.timers import timers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


PACKAGES = ("php-fpm", "php-mbstring", "php-sqlite3", "php-xml")
"""PHP with the extensions that Baïkal and sabre/dav need. PHP's version is the distribution's."""
TMPFILES = "systemd-standalone-tmpfiles"
"""In an image without systemd, php-fpm needs this much of it; all of systemd would be 15 MB more."""


def packages(settings: Settings, *, image: bool) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the distribution's packages."""
    return PACKAGES


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the systemd unit."""
    return (f"php{platform.php}-fpm",)


def socket(platform: Platform) -> str:
    """Return where PHP listens on a machine: of this version alone, as an old one may still hold its own after an upgrade."""
    return f"/run/php/baikal-{platform.php}.sock"


def directories(context: Context) -> Iterator[Directory]:
    """Yield the directories of a container's PHP, and that of the unit's drop-in on a machine."""
    if not context.layout.contained:
        yield Directory(path=_drop_ins(context))
        return
    for folder in ("php", "php/fpm", "php/fpm/pool.d", "php/fpm/conf.d"):
        yield Directory(path=f"{context.layout.root}/etc/{folder}")
    account = context.platform.php_user
    yield Directory(path=paths.TEMPORARY, mode=0o700, owner=account, group=account)


def files(context: Context) -> Iterator[File]:
    """Yield the pool and the ini settings; on a machine the unit's drop-in, in a container the main configuration."""
    contained = context.layout.contained
    folder = f"{context.layout.root}/etc/php/fpm" if contained else f"/etc/php/{context.platform.php}/fpm"
    pool = context.text(
        "etc/php/fpm/pool.d/baikal.conf",
        workers=workers(context.platform),
        memory_limit_mb=memory_limit_mb(context.platform),
    )
    yield File(path=f"{folder}/pool.d/baikal.conf", content=pool, service="php")
    ini = context.text("etc/php/fpm/conf.d/99-baikal.ini")
    yield File(path=f"{folder}/conf.d/99-baikal.ini", content=ini, service="php")
    if contained:
        main = context.text("run/baikal/etc/php/fpm/php-fpm.conf")
        yield File(path=f"{folder}/php-fpm.conf", content=main, service="php")
    else:
        yield File(
            path=f"{_drop_ins(context)}/baikal.conf",
            content=context.text("etc/systemd/system/php-fpm.service.d/baikal.conf"),
            service=next(iter(timers(context.settings)), "php"),  # a timer's check has systemd read its units
        )


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:
    """Yield the service."""
    (unit,) = units(context.settings, context.platform)
    yield service("php", unit, f"/usr/sbin/php-fpm{context.platform.php} -t", files)


def _drop_ins(context: Context) -> str:
    (unit,) = units(context.settings, context.platform)
    return f"{UNITS}/{unit}.service.d"


def workers(platform: Platform) -> int:
    """Return how many PHP processes to run: twice the cores, at most 12 and one for 96 MiB of memory, and at least 2.

    Measured on a CalDAV load with two cores: compared with as many as cores, 1.06 times the requests of a mixed load and
    1.33 times those of writers, because a write waits for the disk. From 16 on, writers block each other. At least two,
    so that one long report doesn't block all other clients.
    """
    return max(2, min(2 * platform.cores, 12, platform.memory_mb // 96))


def memory_limit_mb(platform: Platform) -> int:
    """Return PHP's memory limit: a sync of a large address book needs more than PHP's 128 MiB, where there is more."""
    return max(128, min(512, platform.memory_mb // 2 // workers(platform)))


def version(package_version: str) -> str:
    """Return PHP's version from that of Debian's ``php-fpm``, such as ``8.2`` from ``2:8.2+93``; empty if it has none."""
    match = re.match(r"(?:\d+:)?(\d+\.\d+)", package_version)
    return match[1] if match else ""
