"""What nullmailer reads: on a machine and in a container the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.settings.model import Settings


UNIT = "nullmailer"
DROP_IN = "/etc/systemd/system/nullmailer.service.d"
TIMES_S = {"pausetime": 30, "maxpause": 300, "sendtimeout": 120, "queuelifetime": 7 * 24 * 3600}
"""How long nullmailer waits after an attempt, doubled each time, and at most; how long an attempt may take; and after how
long it gives up. With a relay that is back, mail leaves within five minutes."""


def nullmailer_files(
    settings: Settings, text: Callable[[str], bytes], *, root: str = "", group: str = "mail", owner: str = "root"
) -> Iterator[File]:
    """Yield what nullmailer is told of the relay; ``root`` stands before the paths of our configuration.

    It runs as an account of its own, in the ``group`` that may read the password.
    """
    folder = f"{root}{paths.NULLMAILER}"
    yield File(
        path=f"{folder}/remotes",
        content=text(f"{paths.NULLMAILER[1:]}/remotes"),
        mode=0o640,
        owner=owner,
        group=group,
        service=UNIT,
    )
    yield File(path=f"{folder}/helohost", content=f"{settings.hostname}\n".encode(), service=UNIT)
    for name, seconds in TIMES_S.items():
        yield File(path=f"{folder}/{name}", content=f"{seconds}\n".encode(), service=UNIT)


def relay_password(settings: Settings, root: str = "") -> Iterator[File]:
    """Yield the file with which the doctor tries to log in."""
    if settings.mail != "off" and settings.relay_password:
        content = f"{settings.relay_password.reveal()}\n".encode()
        yield File(path=f"{root}{paths.RELAY_PASSWORD}", content=content, mode=0o600, together=True)


def drop_in(text: Callable[[str], bytes]) -> File:
    """Return what a machine's systemd is told besides."""
    return File(path=f"{DROP_IN}/baikal.conf", content=text(f"{DROP_IN[1:]}/baikal.conf"), service=UNIT)


def directories() -> tuple[Directory, ...]:
    """Return the directories of a machine that these are in."""
    return (Directory(path=paths.NULLMAILER), Directory(path=DROP_IN))
