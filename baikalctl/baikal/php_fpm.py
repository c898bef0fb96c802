"""Pause PHP on a machine while data is replaced: it finishes the requests that it has begun, and then doesn't write."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from baikalctl.desired.state import deployed_state
from baikalctl.errors import HostError
from baikalctl.host import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

FINISHING_S = 60
"""How long running requests may take; longer ones are aborted without an answer."""


def pause(say: Callable[[str], None]) -> None:
    """Stop PHP after it has finished its running requests; do nothing if it doesn't run."""
    for unit in _php():
        if _systemctl("is-active", unit):
            say(f"stop {unit} for a moment")
            # After QUIT, PHP finishes its requests; systemd would send TERM, which aborts them.
            _systemctl("kill", unit, "--signal=QUIT", "--kill-who=main")
            deadline = time.monotonic() + FINISHING_S
            while _systemctl("is-active", unit) and time.monotonic() < deadline:
                time.sleep(0.05)
            _systemctl("stop", unit)


def resume() -> None:
    """Start PHP again if its unit is enabled, even if a killed run has stopped it."""
    for unit in _php():
        if _systemctl("is-enabled", unit) and not _systemctl("is-active", unit):
            # Otherwise systemd would refuse the sixth start within ten seconds.
            _systemctl("reset-failed", unit)
            _systemctl("start", unit)


def _php() -> list[str]:
    """Return PHP's units, on a machine with a deployment."""
    declared = deployed_state() if runtime.is_booted() else None
    return [unit for unit in declared.services if unit.startswith("php")] if declared else []


def _systemctl(verb: str, unit: str, *options: str) -> bool:
    command = ["systemctl", "--quiet", verb, *options, unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not verb.startswith(("is-", "kill")):
        message = f"systemctl {verb} {unit} failed ({done.stderr.strip()}); see journalctl -u {unit} for the reason"
        raise HostError(message)
    return done.returncode == 0
