"""What hosts answer reaches the operator's terminal as text, also where pyinfra itself shows it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.fleet.summary import _reason
from tasks.terminal import shown
from tests.unit.fake import BOOTED, HEALTHY, ROOT, Deploy, answers, settled
from tests.unit.samples import HOME, PASSWORD, release_zip

EVIL = "a\x1b[2Jb\x1b]52;c;cm0gLXJmIH4=\x07c\u202e"
SHOWN = r"a\u001b[2Jb\u001b]52;c;cm0gLXJmIH4=\u0007c\u202e"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the password where group_data says that it is."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", PASSWORD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m \x1b[1mbold\x1b[0m\nnext", "\x1b[31mred\x1b[0m \x1b[1mbold\x1b[0m\nnext"),
        (f"\x1b[31m{EVIL}\x1b[0m", f"\x1b[31m{SHOWN}\x1b[0m"),
        ("\x1b[8mhidden", r"\u001b[8mhidden"),
        ("\x1b[31;8mhidden", r"\u001b[31;8mhidden"),
        ("over\rwritten", "over written"),
    ],
)
def test_only_colours_and_line_ends_pass(text: str, expected: str) -> None:
    """They are pyinfra's own; nothing else that a terminal obeys is."""
    assert shown(text) == expected


@pytest.mark.parametrize("options", [[], ["-v"], ["-vvv"]])
def test_output_of_a_failed_command_is_escaped(options: list[str]) -> None:
    """With the bytes that pyinfra writes, as it is called with this project's config.py."""
    text = EVIL.encode("utf-8").decode("latin-1").encode("unicode_escape").decode()
    script = "import sys; text = sys.argv[1].encode().decode('unicode_escape').encode('latin-1'); "
    script += "[each.buffer.write(text + b'\\n') for each in (sys.stdout, sys.stderr)]; sys.exit(1)"
    command = f'{sys.executable} -c "{script}" "{text}"'
    program = [str(Path(sys.executable).with_name("pyinfra")), "-y", *options, "@local", "exec", "--", command]
    done = subprocess.run(program, cwd=HOME, capture_output=True, check=False, timeout=60)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 1
    assert text.count(SHOWN) >= 2
    assert text.replace("\n", "").isprintable()


def test_findings_of_a_host_are_escaped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning is one line, with any text of a host."""
    archive = release_zip(tmp_path / "baikal.zip")
    finding = {"subject": "mail", "status": "warning", "message": EVIL, "remedy": "x\n[other] all is well"}
    warned = json.dumps(HEALTHY | {"findings": [finding]})
    with caplog.at_level(logging.WARNING, "pyinfra"):
        Deploy(archive).one(settled(archive) | {"check --json --wait 0": warned})
    (line,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert line.endswith(f"mail: {SHOWN}; x [other] all is well")


def test_refusal_that_repeats_a_hosts_answer_is_escaped(tmp_path: Path) -> None:
    """Each fault is one line below its host's name."""
    machine = ["system=plan9", "like=", f"pretty={EVIL}", "cores=4", "memory=4194304", ROOT, BOOTED, "release="]
    refusal = Deploy(release_zip(tmp_path / "baikal.zip")).refusal(answers(machine))
    assert f"@fake/cal: this is {SHOWN}; " in refusal
    assert refusal.replace("\n", "").isprintable()


def test_summary_repeats_errors_escaped() -> None:
    """The line that tells why a host failed."""
    result: Any = SimpleNamespace(stderr=(f"E: {EVIL}",), stdout=())
    assert _reason(result) == f"E: {SHOWN}"
