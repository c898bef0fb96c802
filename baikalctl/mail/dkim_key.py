"""The key that mail is signed with (DKIM, RFC 6376): made on the host, where it stays, and told to the DNS."""

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
"""Longer keys don't fit into one answer of every DNS server, and shorter ones are believed less and less (RFC 8301)."""


def steps(declared: DesiredState) -> Iterator[Step]:
    """Yield what is to be done so that the signer has its key and can read it, and nobody else can.

    It has to be there before the signer checks its configuration. Raises :class:`HostError` where there is no signer.
    """
    if not declared.mail.selector:
        return
    key = Path(declared.mail.key)
    account = _account()
    if not key.is_file():
        yield f"make the key {key}, which mail is signed with", partial(_make, key, account)
    elif privileged() and not has_owner(key, account):
        yield f"give {key} back to {paths.DKIM_USER}, for it alone", partial(change_owner, key, account)


def _make(key: Path, account: pwd.struct_passwd) -> None:
    write(key, openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{BITS}"))
    if privileged():
        change_owner(key, account)


def fix_key_owners() -> None:
    """Give the keys that were just put in place to the signer, where there is one."""
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
