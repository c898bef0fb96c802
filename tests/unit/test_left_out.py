"""Which tests are skipped. This depends on the history of the repository."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import END_TO_END, HISTORY_TEST, LAB, LAB_TESTS, LONGEST, lab_changed
from tests.lab.history import before_removal
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from pathlib import Path

OLD = "2020-01-01T00:00:00Z"


def git(repository: Path, *arguments: str, date: str = "") -> None:
    """Run git in a repository, without the configuration of this machine; ``date`` is that of the commit."""
    author = ("-c", "user.name=Jo", "-c", "user.email=jo@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(repository), *author, *arguments]
    dates = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date} if date else {}
    subprocess.run(["env", *(f"{name}={value}" for name, value in dates.items()), *command], check=True)


def commit(repository: Path, name: str, date: str = "") -> None:
    """Commit a change of a file."""
    file = repository / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as text:
        text.write("x")
    git(repository, "add", name)
    git(repository, "commit", "--quiet", "--message", "A change", date=date)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository in which the lab was changed long ago, and the product just now."""
    git(tmp_path, "init", "--quiet")
    for name in ("tests/lab/machine.py", "bench/report.py", f"tests/e2e/{LAB_TESTS[0]}"):
        commit(tmp_path, name, OLD)
    commit(tmp_path, "baikalctl/cli.py")
    commit(tmp_path, "tests/e2e/test_tls.py")
    return tmp_path


def test_lab_without_recent_changes_is_not_tested(repository: Path) -> None:
    """Changes of other files have no effect."""
    assert not lab_changed(repository)


@pytest.mark.parametrize("name", ["tests/lab/machine.py", "bench/peers/new.py", f"tests/e2e/{LAB_TESTS[0]}"])
@pytest.mark.parametrize("committed", [True, False])
def test_changed_lab_is_tested(repository: Path, name: str, *, committed: bool) -> None:
    """Whether the change is committed or not."""
    if committed:
        commit(repository, name)
    else:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("y", encoding="utf-8")
    assert lab_changed(repository)


def test_lab_is_tested_if_there_is_no_history(repository: Path, tmp_path: Path) -> None:
    """In a shallow clone, and in a directory that is not a git repository."""
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    assert lab_changed(shallow)
    assert lab_changed(HOME.parent / "nowhere")


def test_removed_file_is_found_only_in_a_full_history(repository: Path, tmp_path: Path) -> None:
    """A shallow clone doesn't have the version with the file, which could not be deployed."""
    assert not before_removal("baikalctl/cli.py", repository)
    git(repository, "rm", "--quiet", "baikalctl/cli.py")
    git(repository, "commit", "--quiet", "--message", "A removal")
    commit(repository, "baikalctl/other.py")
    assert before_removal("baikalctl/cli.py", repository)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    assert not before_removal("baikalctl/cli.py", shallow)
    assert not before_removal("baikalctl/cli.py", HOME.parent / "nowhere")


def test_listed_files_exist() -> None:
    """If a file was renamed, the lists must have its new name."""
    assert [name for name in LONGEST if not (END_TO_END / f"test_{name}.py").is_file()] == []
    assert (END_TO_END / HISTORY_TEST).is_file()
    assert [name for name in LAB_TESTS if not (END_TO_END / name).is_file()] == []
    assert [path for path in LAB if not (HOME / path).exists()] == []
