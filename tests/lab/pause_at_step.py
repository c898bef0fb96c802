"""A run of baikalctl on a machine that halts at a step, so that something can happen to the machine exactly there.

All of it is in the machine's Python, none in baikalctl: its profiler sees every function that is called.
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

PLACE: Final = "/run/lab-halting"
"""Gone after a power cut, and with it the wish to halt."""
LOADED: Final = "/usr/lib/python3/dist-packages/lab-halting.pth"
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
    """``act`` runs beside the block, in which it has reached ``step``, and ends with it."""

    machine: Machine
    step: str
    """A module and a function of baikalctl that is about to be called, such as ``changes.staging.keep``."""
    act: Callable[[], T]
    """What runs baikalctl on the machine."""
    times: int = 1
    """When it is called for this time."""
    result: list[T] = field(default_factory=list)
    """What ``act`` has returned, once the block has ended."""
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        """Begin, and return when the step is reached; LabError if it isn't."""
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
        """Let it go on, where the machine still runs, and wait for its end."""
        self.machine.run(f"[ ! -d {PLACE} ] || touch {PLACE}/go; rm -f {LOADED}", check=False)
        self._thread.join(LIMIT_S)
        self.machine.run(f"rm -rf {PLACE}", check=False)
