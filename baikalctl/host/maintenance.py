"""Maintenance mode: clients get 503 with Retry-After; only requests of ``baikalctl check`` are served.

The web server checks for files in :data:`paths.MAINTENANCE`, so no reload is needed, and the mode lasts through a crash
or power cut until it is turned off. The process that turns it on holds the host's lock.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.host.atomic_write import replacing, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "X-Baikal-Probe"
"""The header whose value lets a request in: a token of :func:`probing`."""
TOKEN = re.compile(r"[0-9a-f]{32}")


def on(reason: str) -> None:
    """Turn maintenance mode on, from the next request; PHP finishes the requests that it has begun."""
    _folder()
    with replacing(Path(paths.CLOSED), mode=0o644) as stream:
        stream.write(reason.encode())


def off() -> None:
    """Turn maintenance mode off if it is on, and remove all tokens."""
    folder = Path(paths.MAINTENANCE)
    if not folder.is_dir():
        return
    Path(paths.CLOSED).unlink(missing_ok=True)
    for path in folder.iterdir():
        if TOKEN.fullmatch(path.name) or path.name.endswith(".new"):
            path.unlink(missing_ok=True)
    sync(folder)


def reason() -> str:
    """Return the reason for maintenance mode, or nothing if it is off."""
    try:
        return Path(paths.CLOSED).read_text(encoding="utf-8") or "maintenance"
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def probing() -> Iterator[str]:
    """Yield a token with which requests are served in maintenance mode; it is valid during the block."""
    folder = _folder()
    token = secrets.token_hex(16)
    (folder / token).touch(mode=0o600)
    try:
        yield token
    finally:
        (folder / token).unlink(missing_ok=True)


def _folder() -> Path:
    """Return the directory, and create it if needed; the web server and PHP can open names in it but not list them."""
    folder = Path(paths.MAINTENANCE)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder
