"""Run ``baikalctl`` on a machine, or pause it before one of its functions, and check that a change left nothing."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from tests.lab.engine import wait_until

if TYPE_CHECKING:
    from tests.lab.machine import Machine

LIMIT_S: Final = 60
FOLDER: Final = "/run/paused"
PAUSED: Final = f"{FOLDER}/paused"
"""The process id of the paused command."""
RESUME: Final = f"{FOLDER}/resume"
OUTPUT: Final = f"{FOLDER}/output"
PROGRAM: Final = """\
import os, sys, time
sys.path.insert(0, "/usr/local/lib/baikalctl")
import importlib
name, moment, *words = sys.argv[1:]
module = importlib.import_module("baikalctl." + name)
real = getattr(module, moment)
def pause(*arguments, **named):
    with open({paused!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({paused!r} + ".new", {paused!r})
    while not os.path.exists({resume!r}):
        time.sleep(0.02)
    return real(*arguments, **named)
setattr(module, moment, pause)
from baikalctl.cli import main
sys.exit(main(words))
"""
"""Runs baikalctl and pauses before one of its functions."""


def pause_command(machine: Machine, moment: str, *words: str) -> None:
    """Run ``baikalctl`` with ``words`` and pause it before the function ``moment``, such as ``changes.staging.keep``.

    Returns when it is paused; ``resume_command`` lets it continue.
    """
    machine.run(f"rm -rf {FOLDER} && mkdir -m 1777 {FOLDER}")
    program = PROGRAM.format(paused=PAUSED, resume=RESUME)
    command = shlex.join(["python3", "-c", program, *moment.rsplit(".", 1), *words])
    machine.run(f"nohup sh -c {shlex.quote(command + '; echo status $?')} > {OUTPUT} 2>&1 < /dev/null &")

    def is_paused() -> bool:
        assert "\nstatus " not in machine.read(OUTPUT), machine.read(OUTPUT)
        return machine.run(f"ls {PAUSED} 2>/dev/null || true") != ""

    assert wait_until(is_paused, LIMIT_S), machine.read(OUTPUT)


def resume_command(machine: Machine) -> list[str]:
    """Let the paused command continue, and return the lines of its output, with its status as the last."""
    machine.run(f"touch {RESUME}")
    assert wait_until(lambda: "\nstatus " in machine.read(OUTPUT), LIMIT_S)
    return machine.read(OUTPUT).splitlines()


def run_command(machine: Machine, *words: str) -> list[str]:
    """Run ``baikalctl`` with ``words`` and return the lines of its output, with its status as the last."""
    return machine.run(f"baikalctl {shlex.join(words)} 2>&1; echo status $?", timeout=300).splitlines()


def is_cleaned_up(machine: Machine) -> bool:
    """Whether nothing is left of a change: no journal, no maintenance mode, no unfinished copy."""
    paths = "/var/lib/baikal/state/transition.json /var/lib/baikal/.incoming"
    return machine.run(f"ls -A /var/lib/baikal/maintenance; ls -d {paths} 2>/dev/null || true").split() == []
