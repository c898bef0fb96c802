"""What a container must be able to do with its settings, checked before anything is changed."""

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


ELSEWHERE = {"sftp": "ssh", "rclone": "rclone"}
"""What restic calls to reach repositories of some kinds."""


def refuse_low_port(name: str, port: int) -> None:
    """Raise :class:`HostError` if the kernel won't let this account listen on ``port``, the setting ``name``."""
    if may(NET_BIND_SERVICE) or port >= int(UNPRIVILEGED_PORTS.read_text(encoding="ascii")):
        return
    message = (
        f"{name} is {port}, which an ordinary user can't listen on here; set BAIKAL_{name.upper()} to 1024 or more and "
        "publish that, or allow it with --sysctl net.ipv4.ip_unprivileged_port_start=0"
    )
    raise HostError(message)


def refuse_unfit_files(settings: Settings) -> None:
    """Raise :class:`HostError` if what the settings name is not there, or not for this account."""
    asking = (settings.acme_ca, settings.acme_dns_hook) if settings.tls == "letsencrypt" else ()
    for path in filter(None, (settings.tls_certificate, settings.tls_key, *asking)):
        refuse_unfit_file(path, run=path == settings.acme_dns_hook)
    if settings.acme_dns_hook in asking and settings.acme_dns_hook:
        refuse_writable_by_others(settings.acme_dns_hook)
    plugin = settings.acme_dns_plugin if settings.tls == "letsencrypt" else ""
    if plugin and f"dns-{plugin}" not in _plugins():
        message = (
            f"certbot's plugin {plugin} is not in this image; bake it with "
            f"docker build --build-arg ACME_DNS_PLUGIN={plugin}, or use BAIKAL_ACME_DNS_HOOK"
        )
        raise HostError(message)


def refuse_missing_restic(settings: Settings) -> None:
    """Raise :class:`HostError` if a repository is declared that this image can't reach."""
    repository = settings.restic_repository
    if repository and not shutil.which("restic"):
        message = "restic is not in this image; bake it with docker build --build-arg RESTIC=yes"
        raise HostError(message)
    kind = repository.partition(":")[0]
    if kind in ELSEWHERE and not shutil.which(ELSEWHERE[kind]):
        message = (
            f"restic reaches {kind}: with {ELSEWHERE[kind]}, which is not in this image; use rest:, s3: or a volume"
        )
        raise HostError(message)


def refuse_unfit_file(path: str, *, run: bool = False) -> None:
    """Raise :class:`HostError` if what a setting names is not there, or not for this account to read, or to ``run``."""
    if not Path(path).is_file():
        message = f"{path} is not there; mount it"
        raise HostError(message)
    if not os.access(path, os.R_OK | (os.X_OK if run else 0)):
        message = (
            f"{path} can't be {'run' if run else 'read'} by {directories.this_account()}; give that account the file"
        )
        raise HostError(message)


def _plugins() -> set[str]:
    """Return the names of certbot's plugins that are installed."""
    from importlib import metadata

    return set(metadata.entry_points(group="certbot.plugins").names)
