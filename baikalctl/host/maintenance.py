"""Maintenance mode: every request is answered with 503 and Retry-After, but for those of ``baikalctl check``.

The web server looks for files in :data:`paths.MAINTENANCE`, so closing and opening need no reload, and hold through a
crash and a power cut until the mode is ended. The process that begins it holds the host's lock.
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
"""What a request must say to get in: a name that :func:`probing` has given."""
TOKEN = re.compile(r"[0-9a-f]{32}")


def on(reason: str) -> None:
    """Close, from the next request on, also through a power cut. Requests that are under way are PHP's to finish."""
    _folder()
    with replacing(Path(paths.CLOSED), mode=0o644) as stream:
        stream.write(reason.encode())


def off() -> None:
    """Open, if it is closed, and forget every token."""
    folder = Path(paths.MAINTENANCE)
    if not folder.is_dir():
        return
    Path(paths.CLOSED).unlink(missing_ok=True)
    for path in folder.iterdir():
        if TOKEN.fullmatch(path.name) or path.name.endswith(".new"):
            path.unlink(missing_ok=True)
    sync(folder)


def reason() -> str:
    """Return what it is closed for, or nothing where it is open."""
    try:
        return Path(paths.CLOSED).read_text(encoding="utf-8") or "maintenance"
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def probing() -> Iterator[str]:
    """Give a token that gets a request in while it is closed; after the block it is worth nothing."""
    folder = _folder()
    token = secrets.token_hex(16)
    (folder / token).touch(mode=0o600)
    try:
        yield token
    finally:
        (folder / token).unlink(missing_ok=True)


def _folder() -> Path:
    """Return the directory, made if need be, in which the web server and PHP find a name but read none."""
    folder = Path(paths.MAINTENANCE)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder
