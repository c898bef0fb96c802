"""Files that are whole or not there, and nobody else's business."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> None:
    """Put ``text``, which may hold a key, in its place at once or not at all; only its owner may read it."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        beside.unlink(missing_ok=True)
        message = f"{path} can't be written ({error.strerror}); make room in {paths.DATA}, or mend it"
        raise HostError(message) from None
    beside.replace(path)
