"""The key that signs mail (DKIM, RFC 6376). It is created on the host and never leaves it; its public half is for DNS."""

from __future__ import annotations

import contextlib
import pwd
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import write
from baikalctl.host.openssl import openssl
from baikalctl.host.privileges import privileged
from baikalctl.host.safe_copy import change_owner, has_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.baikal.accounts import Step
    from baikalctl.desired.state import DesiredState


BITS = 2048
"""Longer keys don't fit into a DNS answer of every server; receivers distrust shorter ones (RFC 8301)."""


def steps(declared: DesiredState) -> Iterator[Step]:
    """Yield the steps to create the signer's key and to make it readable for the signer alone.

    The key must exist before the signer checks its configuration. Raises :class:`HostError` if there is no signer.
    """
    if not declared.mail.selector:
        return
    key = Path(declared.mail.key)
    account = _account()
    if not key.is_file():
        yield f"create the key {key} to sign mail", partial(_make, key, account)
    elif privileged() and not has_owner(key, account):
        yield f"make {key} readable for {paths.DKIM_USER} alone", partial(change_owner, key, account)


def _make(key: Path, account: pwd.struct_passwd) -> None:
    write(key, openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{BITS}"))
    if privileged():
        change_owner(key, account)


def fix_key_owners() -> None:
    """Set the owner of restored keys to the signer, if there is one."""
    with contextlib.suppress(KeyError):
        account = pwd.getpwnam(paths.DKIM_USER)
        for key in Path(paths.DKIM).glob("*.pem"):
            if privileged() and not has_owner(key, account):
                change_owner(key, account)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(paths.DKIM_USER)
    except KeyError:
        message = f"there is no account {paths.DKIM_USER}: the package opendkim is not installed; run the deploy"
        raise HostError(message) from None
