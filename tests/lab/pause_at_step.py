"""Pause a run of baikalctl on a machine at a step, so that a test can disturb the machine exactly there.

It uses the profiler of the machine's Python, which sees every function call; baikalctl itself is unchanged.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from tests.lab.engine import wait_until
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.lab.machine import Machine


T = TypeVar("T")

PLACE: Final = "/run/lab-pause"
"""In memory: after a power cut nothing pauses any more."""
LOADED: Final = "/usr/lib/python3/dist-packages/lab-pause.pth"
LIMIT_S: Final = 60
PROGRAM: Final = f"""
import os, sys, time
wanted, times = open("{PLACE}/step").read().split()
times = int(times)
def profile(frame, event, _):
    if event != "call" or frame.f_code.co_name != wanted.rpartition(".")[2]:
        return
    if frame.f_globals.get("__name__") != "baikalctl." + wanted.rpartition(".")[0]:
        return
    with open("{PLACE}/count", "a") as count:  # processes that baikalctl starts count as well
        count.write("x")
    if os.path.getsize("{PLACE}/count") == times and not os.path.exists("{PLACE}/reached"):
        sys.setprofile(None)
        open("{PLACE}/reached", "w").close()
        while not os.path.exists("{PLACE}/go"):
            time.sleep(0.01)
sys.setprofile(profile)
"""


@dataclass
class PausedAtStep(Generic[T]):
    """Run ``act`` in a thread; the block begins when it has reached ``step``, and at the block's end it continues."""

    machine: Machine
    step: str
    """Module and function of baikalctl, such as ``changes.staging.keep``; the run pauses before its call."""
    act: Callable[[], T]
    """The function that runs baikalctl on the machine."""
    times: int = 1
    """Pause at this call of the function."""
    result: list[T] = field(default_factory=list)
    """The results of ``act``, after the block's end."""
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        """Start, and return when the step is reached; LabError if it isn't."""
        self.machine.run(f"rm -rf {PLACE}; mkdir -m 777 {PLACE}; touch {PLACE}/count; chmod 666 {PLACE}/count")
        self.machine.run(f"echo '{self.step} {self.times}' >{PLACE}/step")
        self.machine.write(f"{PLACE}/program", PROGRAM)
        load = f"import os; os.path.exists('{PLACE}/program') and exec(open('{PLACE}/program').read(), {{}})"
        self.machine.write(LOADED, f"{load}\n")
        self._thread = threading.Thread(target=lambda: self.result.append(self.act()), daemon=True)
        self._thread.start()
        reached = f"[ ! -e {PLACE}/reached ] || echo yes"
        if not wait_until(lambda: bool(self.machine.run(reached)) or not self._thread.is_alive(), LIMIT_S, 0.02):
            message = f"{self.step} wasn't reached within {LIMIT_S} s"
            raise LabError(message)
        if not self.machine.run(reached):
            message = f"{self.step} wasn't reached: {self.result}"
            raise LabError(message)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the run continue, if the machine still runs, and wait for its end."""
        self.machine.run(f"[ ! -d {PLACE} ] || touch {PLACE}/go; rm -f {LOADED}", check=False)
        self._thread.join(LIMIT_S)
        self.machine.run(f"rm -rf {PLACE}", check=False)
