"""A container that can't serve yet tells clients to come again, while its database is away or its data is upgraded."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal import config, current_database
from baikalctl.changes import migration
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.tls import selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.desired.state import DesiredState

    Say = Callable[[str], None]

CONFIGURATION = f"{paths.RUN}/etc/nginx/closed.conf"
LOOK_S = 1.0
CLOSING_S = 10


@contextlib.contextmanager
def until_ready(declared: DesiredState, say: Say) -> Iterator[None]:
    """Within the block, the data may be brought up to date: its database is there, and clients that can't be served wait.

    A database that is away is waited for, however long that takes; why, is said whenever the reason changes.
    """
    with contextlib.ExitStack() as stack:
        reason = _away(declared)
        if reason or _outdated(declared):
            stack.enter_context(_closed(declared))
        while reason:
            say(f"{reason}; until then, clients are told to come again")
            reason = _changed(declared, reason)
        yield


def _changed(declared: DesiredState, reason: str) -> str:
    """Wait until the database can't be reached for another reason, or can; return that reason, or nothing."""
    while (found := _away(declared)) == reason:
        time.sleep(LOOK_S)
    return found


def _away(declared: DesiredState) -> str:
    """Return why the declared server can't be reached, or nothing."""
    if not declared.database.host:
        return ""
    other = current_database.of(declared)
    try:
        confined(lambda: other.connect().close())
    except HostError as error:
        return str(error)
    return ""


def _outdated(declared: DesiredState) -> bool:
    """Tell whether the data is to be upgraded; what is wrong with it, whoever upgrades it says."""
    try:
        return bool(migration.older_version(config.read(), declared.version))
    except HostError:
        return False


@contextlib.contextmanager
def _closed(declared: DesiredState) -> Iterator[None]:
    """Have nginx by itself answer everything with 503 (RFC 9110, section 15.6.4)."""
    for _, act in selection.steps(declared):
        act()
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", "stderr", "-c", CONFIGURATION])
    try:
        yield
    finally:
        nginx.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            nginx.wait(CLOSING_S)
        nginx.kill()
        nginx.wait()
