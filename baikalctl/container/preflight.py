"""Checks of a container against its settings, before anything is changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.atomic_write import refuse_writable_by_others
from baikalctl.host.privileges import may

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


NET_BIND_SERVICE = 10


HELPERS = {"sftp": "ssh", "rclone": "rclone"}
"""The program that restic runs for a kind of repository."""


def refuse_low_port(name: str, port: int) -> None:
    """Raise :class:`HostError` if this account may not listen on ``port``, the value of the setting ``name``."""
    if may(NET_BIND_SERVICE) or port >= int(UNPRIVILEGED_PORTS.read_text(encoding="ascii")):
        return
    message = (
        f"{name} is {port}, and in this container an ordinary user can't listen on it; set BAIKAL_{name.upper()} to "
        "1024 or more and publish that port, or allow it with --sysctl net.ipv4.ip_unprivileged_port_start=0"
    )
    raise HostError(message)


def refuse_unfit_files(settings: Settings) -> None:
    """Raise :class:`HostError` if a file in the settings doesn't exist, or this account can't read or run it."""
    asking = (settings.acme_ca, settings.acme_dns_hook) if settings.tls == "letsencrypt" else ()
    for path in filter(None, (settings.tls_certificate, settings.tls_key, *asking)):
        refuse_unfit_file(path, run=path == settings.acme_dns_hook)
    if settings.acme_dns_hook in asking and settings.acme_dns_hook:
        refuse_writable_by_others(settings.acme_dns_hook)
    plugin = settings.acme_dns_plugin if settings.tls == "letsencrypt" else ""
    if plugin and f"dns-{plugin}" not in _plugins():
        message = (
            f"certbot's plugin {plugin} is not in this image; build an image with it: "
            f"docker build --build-arg ACME_DNS_PLUGIN={plugin}, or use BAIKAL_ACME_DNS_HOOK"
        )
        raise HostError(message)


def refuse_missing_restic(settings: Settings) -> None:
    """Raise :class:`HostError` if this image can't reach the declared restic repository."""
    repository = settings.restic_repository
    if repository and not shutil.which("restic"):
        message = "restic is not in this image; build an image with it: docker build --build-arg RESTIC=yes"
        raise HostError(message)
    kind = repository.partition(":")[0]
    if kind in HELPERS and not shutil.which(HELPERS[kind]):
        message = (
            f"restic needs {HELPERS[kind]} for {kind}:, and this image doesn't have it; use rest:, s3: or a volume"
        )
        raise HostError(message)


def refuse_unfit_file(path: str, *, run: bool = False) -> None:
    """Raise :class:`HostError` if the file doesn't exist, or this account can't read or ``run`` it."""
    if not Path(path).is_file():
        message = f"{path} does not exist; mount it"
        raise HostError(message)
    if not os.access(path, os.R_OK | (os.X_OK if run else 0)):
        message = (
            f"{path} can't be {'run' if run else 'read'} by {directories.this_account()}; "
            "change the file's owner or mode"
        )
        raise HostError(message)


def _plugins() -> set[str]:
    """Return the names of certbot's plugins that are installed."""
    from importlib import metadata

    return set(metadata.entry_points(group="certbot.plugins").names)
