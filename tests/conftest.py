"""What one run of the tests does once, with however many workers: what it leaves out, what it reports, what it removes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.lab.history import before_removal

END_TO_END: Final = Path(__file__).parent / "e2e"
OF_THE_LAB: Final = ("test_bench.py", "test_corpus.py", "test_databases_lab.py", "test_mail_lab.py", "test_releases.py")
"""Tests of the lab itself and of the benchmarks, in tests/e2e: they show nothing about the product."""
LAB: Final = ("tests/lab", "bench", *(f"tests/e2e/{name}" for name in OF_THE_LAB))
RECENT_DAYS: Final = 3
OF_THE_HISTORY: Final = "test_layout_upgrade.py"
REMOVED: Final = "baikalctl/installing.py"
"""The test that deploys an earlier version, and a file of that version that was removed since."""

LONGEST: Final = (
    *("moving_databases", "mail", "postfix", "releases", "interruption", "local_databases", "fleet", "container_data"),
    *("upgrade_databases", "image", "restic", "database_servers_away", "container_authority", "authority", "upgrade"),
    *("container_security", "swarm", "handover", "own_certificate", "proxies", "container", "corpus", "machine"),
    *("moving_in", "layout_upgrade", "restore", "upgrade_interrupted", "bench", "disaster", "tls", "container_load"),
)
"""The files that take more than a minute, longest first, so that no worker is left with a long one at the end."""

TESTED_WITH: Final = "tested with"
LEFT_OUT: Final = "left out"

_notes: dict[str, list[str]] = {TESTED_WITH: [], LEFT_OUT: []}
"""What stands at the end of the report: by the section's title, its lines."""


def note(title: str, line: str) -> None:
    """Have a line in a section of the report's end, once."""
    if line not in _notes[title]:
        _notes[title].append(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that ``make test ALL=1`` gives."""
    parser.addoption("--all", action="store_true", help="also run the tests of the lab itself")


def pytest_configure(config: pytest.Config) -> None:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does, so that what it has made is removed."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if _is_controller(config):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs a history that git doesn't have, and the tests of the lab itself unless it was changed lately.

    pytest asks of no file that is named to it.
    """
    if collection_path == END_TO_END / OF_THE_HISTORY and not before_removal(REMOVED, config.rootpath):
        note(LEFT_OUT, f"{OF_THE_HISTORY}: this clone has no commit that removed {REMOVED} (git fetch --unshallow)")
        return True
    if collection_path.parent != END_TO_END or collection_path.name not in OF_THE_LAB or config.getoption("--all"):
        return None
    if lab_changed(config.rootpath):
        return None
    note(LEFT_OUT, f"{collection_path.name}: no commit of the last {RECENT_DAYS} days is about it (make test ALL=1)")
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers begin with the longest files, because they take files in this order."""
    if not _is_controller(config):
        order = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path.name, len(order)))


def lab_changed(repository: Path) -> bool:
    """Tell whether a recent commit, or a change that isn't committed, is about the lab; also where git can't tell."""

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
    """Hand a worker's notes to the controller."""
    if not _is_controller(session.config):
        session.config.workeroutput["notes"] = _notes  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take a worker's notes; one that was killed has left none."""
    for title, lines in getattr(node, "workeroutput", {}).get("notes", {}).items():
        for line in lines:
            note(title, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what the tests stood on, and what was left out."""
    for title, lines in _notes.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove, after the last worker, what killed ones have left; in CI also the images and the engine.

    Elsewhere the images stay, under the digests of what they are made of: they are the lab's cache.
    """
    if not _is_controller(config) or not _is_end_to_end(config):
        return
    # Only here, because unit tests need none of it.
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
    """Tell whether this is the process that was started, and none of its workers."""
    return not hasattr(config, "workerinput")


def _is_end_to_end(config: pytest.Config) -> bool:
    """Tell whether the run was asked for end-to-end tests, perhaps among others."""
    asked = [(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args]
    return any(END_TO_END.is_relative_to(path) or path.is_relative_to(END_TO_END) for path in asked)
