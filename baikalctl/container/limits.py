"""The limits of a container: cores, memory, privileges."""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.privileges import privileged
from baikalctl.rendering.model import Platform

CGROUP = Path("/sys/fs/cgroup")


def platform() -> Platform:
    """Return the platform for rendering the container's files; raises :class:`HostError` if this isn't the deploy's image."""
    programs = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    if not programs:
        message = "there is no PHP in this container; run baikalctl start only in images that the deploy has built"
        raise HostError(message)
    output = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"/(\d+)\.(\d+)\.(\d+)", output)
    itself = "root" if os.geteuid() == 0 else ""
    return Platform(
        php=programs[-1].name.removeprefix("php-fpm"),
        nginx=(int(version[1]), int(version[2]), int(version[3])) if version else (1, 18, 0),
        cores=_cores(),
        memory_mb=_memory_mb(),
        ipv6=Path("/proc/net/if_inet6").exists(),
        php_user=paths.USER if privileged() else itself,
        web_user=paths.WEB_USER if privileged() else itself,
    )


def _cores() -> int:
    """Return the number of cores that the container may use, rounded up."""
    available = len(os.sched_getaffinity(0))
    quota, period = _words("cpu.max") or (_words("cpu/cpu.cfs_quota_us") + _words("cpu/cpu.cfs_period_us")) or ("", "")
    if quota.isdecimal() and period.isdecimal():
        available = min(available, math.ceil(int(quota) / int(period)))
    return max(1, available)


def _memory_mb() -> int:
    """Return the memory that the container may use, in MiB."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _words("memory.max") or _words("memory/memory.limit_in_bytes")
    return min([whole, *(int(word) for word in limit if word.isdecimal())]) >> 20


def _words(name: str) -> tuple[str, ...]:
    """Return the words in a file of the control group (version 2 or 1); none if it doesn't exist."""
    try:
        return tuple((CGROUP / name).read_text(encoding="ascii").split())
    except OSError:
        return ()
