"""Doing what concerns the data as its owner, so that root follows nobody's links there."""

from __future__ import annotations

import contextlib
import os
import pwd
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator


def owner() -> pwd.struct_passwd:
    """Return the account that owns the data; raises :class:`HostError` where there is none."""
    try:
        return pwd.getpwnam(paths.USER)
    except KeyError:
        message = f"there is no account {paths.USER}: this host was never deployed to; run the deploy first"
        raise HostError(message) from None


@contextlib.contextmanager
def as_owner() -> Iterator[None]:
    """Act as the data's owner within the block, if this is root; anybody else is the owner already, or will be told."""
    if os.geteuid() != 0:
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
