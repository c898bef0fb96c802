"""Doing what concerns the data as its owner, so that root follows nobody's links there."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator


NEEDED = (0, 1, 3, 6, 7)
"""Numbers of the capabilities that root needs to act for others: CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID."""


def privileged() -> bool:
    """Tell whether this process may act as other accounts, which an ordinary user and a root without powers can't."""
    return os.geteuid() == 0 and all(may(capability) for capability in NEEDED)


def may(capability: int) -> bool:
    """Tell whether this process has a capability, by its number in Linux's capability.h; elsewhere root has them all."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return os.geteuid() == 0
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1]
    return bool(int(effective, 16) >> capability & 1)


def owner() -> pwd.struct_passwd:
    """Return the account that owns the data; raises :class:`HostError` where there is none."""
    try:
        return pwd.getpwnam(paths.USER)
    except KeyError:
        message = f"there is no account {paths.USER}: this host was never deployed to; run the deploy first"
        raise HostError(message) from None


@contextlib.contextmanager
def as_owner() -> Iterator[None]:
    """Act as the data's owner within the block, if this may; anybody else is the owner already, or will be told."""
    if os.geteuid() != 0 or not privileged():
        yield
        return
    account = owner()
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def belongs(path: Path, account: pwd.struct_passwd) -> bool:
    """Tell whether the file is the account's alone; one that isn't there is nobody's fault."""
    try:
        with _opened(path) as descriptor:
            found = os.fstat(descriptor)
    except FileNotFoundError:
        return True
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (account.pw_uid, 0o600)


def give(path: Path, account: pwd.struct_passwd) -> None:
    """Make the file the account's alone; raises :class:`HostError` if that would follow a link."""
    with _opened(path) as descriptor:
        os.fchown(descriptor, account.pw_uid, account.pw_gid)
        os.fchmod(descriptor, 0o600)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a file of the data as root, without following a link that its owner may have put in its or a folder's place."""
    folder = os.open(paths.DATA, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *parts, name = path.relative_to(paths.DATA).parts
        for part in parts:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"{path} is not reached without a link, or is one; put the data itself there ({error.strerror})"
        raise HostError(message) from None
    finally:
        os.close(folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            message = f"{path} is not a file of its own; put the data itself there"
            raise HostError(message)
        yield descriptor
    finally:
        os.close(descriptor)
