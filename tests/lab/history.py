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
    try:
        removal = _git(repository, "log", "--format=%H", "-1", "--diff-filter=D", "--", file).decode().strip()
        commit = _git(repository, "rev-parse", "--verify", f"{removal}^").decode().strip() if removal else ""
        archive = _git(repository, "archive", commit) if commit else b""
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip()
        message = f"git does not give the last commit with {file}: {said or error}"
        raise LabError(message) from error
    if not archive:
        message = (
            f"the last commit with {file} is not in {repository}; if the clone is shallow, run git fetch --unshallow"
        )
        raise LabError(message)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    return commit


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
