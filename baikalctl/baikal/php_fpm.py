"""PHP on a machine pauses while data is replaced: what it has begun it finishes, and then nobody writes."""

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
"""How long requests that are under way may take; longer ones are cut off, unanswered."""


def pause(say: Callable[[str], None]) -> None:
    """Have PHP finish what it has begun, and stop; does nothing where it doesn't run."""
    for unit in _php():
        if _systemctl("is-active", unit):
            say(f"stop {unit} for a moment")
            # To PHP, QUIT means to finish first; systemd would send TERM, which cuts requests off.
            _systemctl("kill", unit, "--signal=QUIT", "--kill-who=main")
            deadline = time.monotonic() + FINISHING_S
            while _systemctl("is-active", unit) and time.monotonic() < deadline:
                time.sleep(0.05)
            _systemctl("stop", unit)


def resume() -> None:
    """Have PHP running again, if it is to run at all: also where a run that was killed had stopped it."""
    for unit in _php():
        if _systemctl("is-enabled", unit) and not _systemctl("is-active", unit):
            # Else systemd would refuse the sixth start within ten seconds, whoever was impatient.
            _systemctl("reset-failed", unit)
            _systemctl("start", unit)


def _php() -> list[str]:
    """Return PHP's unit, on a machine that was deployed to."""
    declared = deployed_state() if runtime.is_booted() else None
    return [unit for unit in declared.services if unit.startswith("php")] if declared else []


def _systemctl(verb: str, unit: str, *options: str) -> bool:
    command = ["systemctl", "--quiet", verb, *options, unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not verb.startswith(("is-", "kill")):
        message = f"{unit} can't be told to {verb} ({done.stderr.strip()}); journalctl -u {unit} tells why"
        raise HostError(message)
    return done.returncode == 0
