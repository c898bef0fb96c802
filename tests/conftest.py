"""Hooks that apply once per test run, with any number of workers: selection, report and cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.lab.history import before_removal

END_TO_END: Final = Path(__file__).parent / "e2e"
LAB_TESTS: Final = ("test_bench.py", "test_corpus.py", "test_databases_lab.py", "test_mail_lab.py", "test_releases.py")
"""Tests of the lab and of the benchmarks, in tests/e2e: they show nothing about the product."""
LAB: Final = ("tests/lab", "bench", *(f"tests/e2e/{name}" for name in LAB_TESTS))
RECENT_DAYS: Final = 3
HISTORY_TEST: Final = "test_layout_upgrade.py"
REMOVED: Final = "baikalctl/installing.py"
"""The test that deploys an earlier version, and a file of that version that was later removed."""

LONGEST: Final = (
    *("database_move", "mail", "postfix", "releases", "interruption", "local_databases", "fleet", "container_data"),
    *("upgrade_databases", "image", "restic", "database_server_outage", "container_authority", "authority", "upgrade"),
    *("container_security", "swarm", "invitation_mail", "own_certificate", "proxies", "container", "corpus", "machine"),
    *("import", "layout_upgrade", "restore", "upgrade_interrupted", "bench", "disaster", "tls", "container_load"),
)
"""Files that take more than a minute, longest first, so that no worker ends with a long one."""

TESTED_WITH: Final = "tested with"
LEFT_OUT: Final = "left out"

_notes: dict[str, list[str]] = {TESTED_WITH: [], LEFT_OUT: []}
"""Sections at the end of the report: their lines by title."""


def note(title: str, line: str) -> None:
    """Add a line to a section at the end of the report, unless it is already there."""
    if line not in _notes[title]:
        _notes[title].append(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that ``make test ALL=1`` uses."""
    parser.addoption("--all", action="store_true", help="also run the tests of the lab itself")


def pytest_configure(config: pytest.Config) -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that everything the run has created is removed."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if _is_controller(config):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out tests that need missing git history, and tests of the lab if it had no recent change.

    pytest doesn't call this for files named on the command line.
    """
    if collection_path == END_TO_END / HISTORY_TEST and not before_removal(REMOVED, config.rootpath):
        note(LEFT_OUT, f"{HISTORY_TEST}: this clone has no commit that removed {REMOVED} (git fetch --unshallow)")
        return True
    if collection_path.parent != END_TO_END or collection_path.name not in LAB_TESTS or config.getoption("--all"):
        return None
    if lab_changed(config.rootpath):
        return None
    note(LEFT_OUT, f"{collection_path.name}: no commit of the last {RECENT_DAYS} days has changed it (make test ALL=1)")
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the longest files first; workers take files in this order."""
    if not _is_controller(config):
        order = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path.name, len(order)))


def lab_changed(repository: Path) -> bool:
    """Whether a recent commit or an uncommitted change is in the lab; also true if git can't tell."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if git("rev-parse", "--is-shallow-repository") != "false":
            return True
        return bool(
            git("log", "-1", "--format=%h", f"--since={RECENT_DAYS}.days", "--", *LAB)
            or git("status", "-s", "--", *LAB)
        )
    except (OSError, subprocess.CalledProcessError):
        return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's notes to the controller."""
    if not _is_controller(session.config):
        session.config.workeroutput["notes"] = _notes  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Collect a worker's notes; a killed worker has none."""
    for title, lines in getattr(node, "workeroutput", {}).get("notes", {}).items():
        for line in lines:
            note(title, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print at the end which release and bases were used, and which tests were left out."""
    for title, lines in _notes.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the last worker, remove leftovers of killed ones; in CI also the images and the engine.

    Elsewhere the images stay as the lab's cache, tagged with digests of their sources.
    """
    if not _is_controller(config) or not _is_end_to_end(config):
        return
    # Imported here, because unit tests don't need it.
    from tests.lab.engine import answering_engine, stop_if_ours
    from tests.lab.images import remove_images
    from tests.lab.leftovers import remove_leftovers

    engine = answering_engine()
    if engine:
        remove_leftovers(engine)
    if os.environ.get("CI"):
        if engine:
            remove_images(engine)
        stop_if_ours()


def _is_controller(config: pytest.Config) -> bool:
    """Whether this is the main process, not one of its workers."""
    return not hasattr(config, "workerinput")


def _is_end_to_end(config: pytest.Config) -> bool:
    """Whether the run includes end-to-end tests."""
    asked = [(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args]
    return any(END_TO_END.is_relative_to(path) or path.is_relative_to(END_TO_END) for path in asked)
