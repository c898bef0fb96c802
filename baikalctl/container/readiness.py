"""While the database can't be reached or data is upgraded, a starting container answers 503 (try again)."""

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
    """Wait until the database can be reached; in the block, data may be upgraded. Until its end, clients get 503.

    There is no time limit. The reason is printed each time that it changes.
    """
    with contextlib.ExitStack() as stack:
        reason = _away(declared)
        if reason or _outdated(declared):
            stack.enter_context(_closed(declared))
        while reason:
            say(f"{reason}; until then, clients get status 503 and try again")
            reason = _changed(declared, reason)
        yield


def _changed(declared: DesiredState, reason: str) -> str:
    """Wait until the database can be reached, or can't for another reason; return that reason, or an empty text."""
    while (current := _away(declared)) == reason:
        time.sleep(LOOK_S)
    return current


def _away(declared: DesiredState) -> str:
    """Return why the declared server can't be reached, or an empty text."""
    if not declared.database.host:
        return ""
    other = current_database.of(declared)
    try:
        confined(lambda: other.connect().close())
    except HostError as error:
        return str(error)
    return ""


def _outdated(declared: DesiredState) -> bool:
    """Tell whether the data must be upgraded. Errors in it are reported by the upgrade."""
    try:
        return bool(migration.older_version(config.read(), declared.version))
    except HostError:
        return False


@contextlib.contextmanager
def _closed(declared: DesiredState) -> Iterator[None]:
    """In the block, nginx without PHP answers every request with 503 (RFC 9110, section 15.6.4)."""
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
