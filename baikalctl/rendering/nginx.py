"""nginx: the package, the site and the service. Only Baïkal's ``html/`` is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, EarlyUnit, File, Platform, Service, upstream_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


PACKAGES = ("nginx",)
EARLY = (EarlyUnit(package="nginx", unit="nginx", waits_for=paths.SITE),)
"""With the distribution's configuration it would show a welcome page, or, where port 80 is taken or IPv6 is off, fail to
start and leave apt broken."""
DISPLACED = (("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default"),)
"""Debian's welcome page."""
OLDEST = (1, 18, 0)
"""What a version that can't be read is taken for."""


def packages(settings: Settings, *, image: bool) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the distribution's packages."""
    return PACKAGES


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the systemd unit."""
    return ("nginx",)


def directories(context: Context) -> Iterator[Directory]:
    """Yield the directories of a container's configuration; on a machine the package has them."""
    if context.layout.contained:
        for folder in ("nginx", "nginx/conf.d"):
            yield Directory(path=f"{context.layout.root}/etc/{folder}")


def files(context: Context) -> Iterator[File]:
    """Yield the site; in a container also the main configuration, and the one that answers everything with 503."""
    root = context.layout.root
    yield File(path=f"{root}{paths.SITE}", content=context.text("etc/nginx/conf.d/baikal.conf"), service="nginx")
    if context.layout.contained:
        for name in ("nginx.conf", "closed.conf"):
            content = context.text(f"run/baikal/etc/nginx/{name}")
            yield File(path=f"{root}/etc/nginx/{name}", content=content, service="nginx")


def services(context: Context, files: tuple[File, ...]) -> Iterator[Service]:  # noqa: ARG001 - as every subsystem's
    """Yield the service, which reads the certificate as well."""
    reads = context.declared.read_by_nginx()
    yield Service(name="nginx", unit="nginx", check=("/usr/sbin/nginx", "-t", "-q"), reads=reads)


def version(package_version: str) -> tuple[int, int, int]:
    """Return nginx's version from that of its package, such as (1, 22, 1) from ``1.22.1-9+deb12u2``."""
    return upstream_version(package_version, otherwise=OLDEST)
