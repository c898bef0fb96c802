"""The privileges of this process, and the account that owns the data."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from baikalctl import paths
from baikalctl.errors import HostError

NEEDED = (0, 1, 3, 5, 6, 7)
"""Numbers of the capabilities that root needs to act for others: CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID."""


def privileged() -> bool:
    """Tell whether this process may act as other accounts: it is root and has the capabilities for it."""
    return os.geteuid() == 0 and all(may(capability) for capability in NEEDED)


def may(capability: int) -> bool:
    """Tell whether this process has a capability (number in Linux's capability.h); on other systems, root has all."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return os.geteuid() == 0
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1]
    return bool(int(effective, 16) >> capability & 1)


def data_owner(name: str = "") -> pwd.struct_passwd:
    """Return the account that owns the data, or the account ``name``; raises :class:`HostError` if it doesn't exist."""
    try:
        return pwd.getpwnam(name or paths.USER)
    except KeyError:
        message = (
            f"there is no account {name or paths.USER}: nothing has been deployed to this host; run the deploy first"
        )
        raise HostError(message) from None
