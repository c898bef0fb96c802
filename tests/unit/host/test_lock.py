"""The host's lock: processes wait for it with a limit, and report which process holds it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import HostError
from baikalctl.host.lock import hold_lock

if TYPE_CHECKING:
    from pathlib import Path

HOLD = "import fcntl, sys; f = open(sys.argv[2], 'a'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"


def test_the_holder_is_reported_and_after_a_limit_it_is_an_error(tmp_path: Path) -> None:
    """With the command that the operator knows, and the process's number."""
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, "apply", str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        lines: list[str] = []
        with pytest.raises(HostError) as error, hold_lock(str(lock), lines.append, patience_s=0.15):
            pytest.fail("it was held by two")
        assert re.fullmatch(rf"wait for baikalctl apply {lock} \(process {other.pid}\)", lines[0])
        assert len(lines) == 1
        assert str(error.value).startswith(f"baikalctl apply {lock} (process {other.pid}) still holds the lock after ")
        other.stdin.close()
        with hold_lock(str(lock), lines.append, patience_s=10):
            pass


def test_a_free_lock_is_acquired_at_once(tmp_path: Path) -> None:
    """Nothing is reported, and afterwards it is free for the next process."""
    for _ in range(2):
        with hold_lock(str(tmp_path / "lock"), pytest.fail):
            pass
