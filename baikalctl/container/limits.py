"""What a container is given: its share of the machine, and what it may do there."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.atomic_write import refuse_writable_by_others
from baikalctl.host.privileges import may, privileged
from baikalctl.rendering.model import Platform

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

CGROUP = Path("/sys/fs/cgroup")
UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
NET_BIND_SERVICE = 10
ELSEWHERE = {"sftp": "ssh", "rclone": "rclone"}
"""What restic calls to reach repositories of some kinds."""


def platform() -> Platform:
    """Return what the container's files depend on; raises :class:`HostError` where this is no image of ours."""
    found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    if not found:
        message = "there is no PHP here: baikalctl start is for images that the deploy has baked"
        raise HostError(message)
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    itself = "root" if os.geteuid() == 0 else ""
    return Platform(
        php=found[-1].name.removeprefix("php-fpm"),
        nginx=(int(version[1]), int(version[2]), int(version[3])) if version else (1, 18, 0),
        cores=_cores(),
        memory_mb=_memory_mb(),
        ipv6=Path("/proc/net/if_inet6").exists(),
        php_user=paths.USER if privileged() else itself,
        web_user=paths.WEB_USER if privileged() else itself,
    )


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
        message = f"{path} can't be {'run' if run else 'read'} by {directories.account()}; give that account the file"
        raise HostError(message)


def _plugins() -> set[str]:
    """Return the names of certbot's plugins that are installed."""
    from importlib import metadata

    return set(metadata.entry_points(group="certbot.plugins").names)


def _cores() -> int:
    """Return how many cores the container may use, part of one counting as one."""
    available = len(os.sched_getaffinity(0))
    quota, period = _words("cpu.max") or (_words("cpu/cpu.cfs_quota_us") + _words("cpu/cpu.cfs_period_us")) or ("", "")
    if quota.isdecimal() and period.isdecimal():
        available = min(available, math.ceil(int(quota) / int(period)))
    return max(1, available)


def _memory_mb() -> int:
    """Return how much memory the container may use, in MiB."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _words("memory.max") or _words("memory/memory.limit_in_bytes")
    return min([whole, *(int(word) for word in limit if word.isdecimal())]) >> 20


def _words(name: str) -> tuple[str, ...]:
    """Return what the control group says in a file, of version 2 or 1; nothing where it has none."""
    try:
        return tuple((CGROUP / name).read_text(encoding="ascii").split())
    except OSError:
        return ()
