"""A thousand simulated hosts: the control machine's resources by number of hosts, with a fake connector of pyinfra.

Each host answers like a bare one, or like one that is as declared, with the delay of a 20 ms line. SSH itself is left
out; its cost per host is measured on real machines (the rows of ten machines).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl.baikal.release import digest
from bench.contenders import Bench, BenchmarkError, Command, pyinfras_changes, run
from bench.report import OURS, Row
from tests.lab.deploying import PYINFRA
from tests.unit.fake import BARE, answers, settled, with_combined_answer
from tests.unit.samples import PASSWORD, release_zip

if TYPE_CHECKING:
    from collections.abc import Iterator


SECTION = "A fleet, simulated"
SIZES = (1, 10, 100, 1000)
DELAY_S, JITTER_S = 0.15, 0.1
"""Two round trips of 20 ms plus the host's own time for an answer, and its variation."""
INVENTORY = """\
from bench.scale import hosts

hosts = hosts({count}, {state!r}, {archive!r})
"""
CHANGES = {"as declared": 0, "bare": 5}
"""Number of operations with changes, by state of a host."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield time, memory and processor time by number of hosts, for unchanged and for bare hosts."""
    for state in CHANGES:
        figures: dict[str, dict[str, list[float]]] = {"s": {}, "MiB": {}, "CPU seconds": {}}
        for count in SIZES:
            bench.say(f"    {count} hosts, {state}")
            for unit, value in _measured(count, state).items():
                figures[unit].setdefault(f"{count} host{'s' * (count > 1)}", []).append(value)
        for unit, values in figures.items():
            yield Row(section=SECTION, name=f"hosts that are {state}: {unit}", unit=unit, figures=values, ours="1 host")


def hosts(count: int, state: str, archive: str) -> list[tuple[str, dict[str, Any]]]:
    """Return an inventory of ``count`` simulated hosts in this ``state``; called by pyinfra's inventory file."""
    answers_given = settled(Path(archive)) if state == "as declared" else answers(BARE)
    data = {
        "fake_responses": with_combined_answer(answers_given),
        "fake_delay": DELAY_S,
        "fake_delay_jitter": JITTER_S,
        "baikal_archive": archive,
        "baikal_sha256": digest(Path(archive)),
        "hostname": "cal.example.org",
    }
    return [(f"@fake/cal-{number:04}", data) for number in range(count)]


def _measured(count: int, state: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="baikal-bench-") as name:
        folder = Path(name)
        archive = release_zip(folder / "baikal.zip")
        inventory = folder / "inventory.py"
        inventory.write_text(INVENTORY.format(count=count, state=state, archive=str(archive)), encoding="utf-8")
        command = Command(
            [str(PYINFRA), "-y", "--json", str(inventory), "deploy.py"], environment={"BAIKAL_ADMIN_PASSWORD": PASSWORD}
        )
        done = run(OURS, command, folder, pyinfras_changes, watched=True)
    if done.changes != CHANGES[state] * count:
        message = f"{count} simulated hosts, {state}, should have {CHANGES[state]} changes each:\n{done.output}"
        raise BenchmarkError(message)
    return {"s": done.seconds, "MiB": done.memory_mib, "CPU seconds": done.cpu_s}
