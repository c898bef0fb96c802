"""`make demo`, as somebody runs it who has just cloned this."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.clients import Account
from tests.lab.demo import FOLDER, NAME
from tests.lab.deploying import PYINFRA, REPOSITORY, pyinfra

if TYPE_CHECKING:
    from tests.lab.engine import Engine


def test_the_demo_stands_answers_and_goes(engine: Engine) -> None:
    """It prints address and account, a client gets in with them, its own command changes nothing, and it goes."""
    if engine.docker("ps", "-aq", "--filter", f"name=^{NAME}$").strip():
        pytest.skip("somebody's demo is up, which this test would replace")
    try:
        done = _make("demo")
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"address +(https://\S+)/dav\.php/.*account +(\S+), password (\S+)", done.stdout, re.DOTALL)
        assert found, done.stdout
        assert "release        Baïkal" in done.stdout
        account = Account(found[1], FOLDER / "server.crt", found[2], found[3])
        assert account.round_trip_event("mine") == "mine"
        again = pyinfra(str(FOLDER / "inventory.py"), "-y", "--json")
        assert again.status == 0, again.output
        assert again.changes == 0
        printed = re.search(r"run it again +(.*?) {3}", done.stdout)
        assert printed
        assert printed[1].split()[0] == os.path.relpath(PYINFRA, REPOSITORY)
    finally:
        gone = _make("demo-down")
    assert gone.returncode == 0, gone.stderr
    assert not engine.docker("ps", "-aq", "--filter", f"name=^{NAME}$").strip()
    assert not FOLDER.exists()


def _make(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
