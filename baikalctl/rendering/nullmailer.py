"""nullmailer: it keeps mail in a queue until the relay has taken it. On machines and in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.host.install import UNITS
from baikalctl.rendering.model import Directory, File, Service, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context


PACKAGES = ("nullmailer",)
UNIT = "nullmailer"
DROP_IN = f"{UNITS}/nullmailer.service.d"
TIMES_S = {"pausetime": 30, "maxpause": 300, "sendtimeout": 120, "queuelifetime": 7 * 24 * 3600}
"""The pause after an attempt, doubled each time, and the longest one; the limit for an attempt; and after how long a
message is given up. When the relay is back, mail leaves within five minutes."""


def directories(context: Context) -> Iterator[Directory]:
    """Yield the configuration's directory; in a container also the queue, which PHP's account fills and empties itself."""
    yield Directory(path=f"{context.layout.root}{paths.NULLMAILER}")
    if not context.layout.contained:
        yield Directory(path=DROP_IN)
        return
    account = context.platform.php_user
    parts = (f"{paths.SPOOL}/{part}" for part in ("queue", "tmp", "failed"))
    for path in (f"{paths.RUN}/mail", paths.SPOOL, *parts):
        yield Directory(path=path, mode=0o700, owner=account, group=account)


def files(context: Context) -> Iterator[File]:
    """Yield nullmailer's configuration, and on a machine the unit's drop-in.

    ``remotes`` has the relay's password. nullmailer's account reads it: on a machine by the group ``mail``, in a
    container as PHP's account.
    """
    contained, account = context.layout.contained, context.platform.php_user
    folder = f"{context.layout.root}{paths.NULLMAILER}"
    yield File(
        path=f"{folder}/remotes",
        content=context.text(f"{paths.NULLMAILER[1:]}/remotes"),
        mode=0o640,
        owner=account if contained else "root",
        group=account if contained else "mail",
        service=UNIT,
    )
    yield File(path=f"{folder}/helohost", content=f"{context.settings.hostname}\n".encode(), service=UNIT)
    for name, seconds in TIMES_S.items():
        yield File(path=f"{folder}/{name}", content=f"{seconds}\n".encode(), service=UNIT)
    if not contained:
        yield File(path=f"{DROP_IN}/baikal.conf", content=context.text(f"{DROP_IN[1:]}/baikal.conf"), service=UNIT)


def service_of(files: tuple[File, ...]) -> Service:
    """Return the service, which reads its own among ``files``."""
    return service(UNIT, UNIT, "/usr/bin/systemctl daemon-reload", files)
