"""Folders for what nobody else may see meanwhile, and that are gone afterwards: also where a run was killed."""

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
    """Have an empty folder in ``where`` for the block, its owner's alone; what killed runs have left there goes first."""
    clear(where)
    folder, descriptor = _held(where)
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder that others may have filled: also one that is too deep for Python's own way, which is recursive."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # rm goes to any depth
        subprocess.run(["rm", "-rf", "--one-file-system", "--", folder], check=False, capture_output=True)


def clear(where: Path) -> None:
    """Remove the private folders in ``where`` that no process holds any more."""
    for folder in where.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            finally:
                os.close(descriptor)


def _held(where: Path) -> tuple[Path, int]:
    """Return a new folder, and what holds it until this process has ended, however it ends."""
    import tempfile  # checks import this module, and need none of it

    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.is_dir():  # and not just cleared away, before it was held
                return folder, descriptor
            os.close(descriptor)
