"""Earlier versions of this project, from git."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

from tests.lab.deploying import REPOSITORY
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


def export_before_removal(file: str, directory: Path, repository: Path = REPOSITORY) -> str:
    """Write the last commit that has ``file`` into the empty ``directory``, without its history; return its hash.

    Raises LabError if the repository has no such commit, for example because the clone is shallow.
    """
    commit = before_removal(file, repository)
    if not commit:
        message = (
            f"the last commit with {file} is not in {repository}; if the clone is shallow, run git fetch --unshallow"
        )
        raise LabError(message)
    archive = _git(repository, "archive", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    return commit


def before_removal(file: str, repository: Path = REPOSITORY) -> str:
    """Return the hash of the last commit that has ``file``, which a later one removed; empty if git has no such commit."""
    try:
        parents = _git(repository, "log", "--format=%P", "-1", "--diff-filter=D", "--", file).decode().split()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return parents[0] if parents else ""


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
