"""Temporary directories (0700) that are removed even if the process was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = ".private-"


@contextlib.contextmanager
def temporary_directory(where: Path) -> Iterator[Path]:
    """Create a directory in ``where`` for the block; first remove those that killed processes have left there."""
    clear(where)
    folder, descriptor = _held(where)
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a directory with untrusted content, even if it is too deep for :func:`shutil.rmtree`, which is recursive."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # rm works at any depth
        subprocess.run(["rm", "-rf", "--one-file-system", "--", folder], check=False, capture_output=True)


def clear(where: Path) -> None:
    """Remove the temporary directories in ``where`` that no running process holds."""
    for folder in where.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            finally:
                os.close(descriptor)


def _held(where: Path) -> tuple[Path, int]:
    """Return a new directory, and the open lock that holds it until this process ends."""
    import tempfile  # not needed by checks, which import this module, too

    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.is_dir():  # another process may have removed it before it was locked
                return folder, descriptor
            os.close(descriptor)
