"""Results of the benchmarks: rows of figures, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OURS = "baikal-deploy"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal: bounds for our median divided by that of ``compared_to``, or for our median alone if that is empty."""

    compared_to: str = ""
    at_most: float | None = None
    at_least: float | None = None

    def value(self, row: Row) -> float:
        """Return the ratio, or our median."""
        ours = row.median(row.ours)
        return ours / row.median(self.compared_to) if self.compared_to else ours

    def met(self, row: Row) -> bool:
        """Whether ``row`` meets the goal."""
        value = self.value(row)
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def sentence(self, row: Row) -> str:
        """Return the goal and its result, as a line of the report."""
        bound = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        what = f"{bound} × {self.compared_to}" if self.compared_to else f"{bound} {row.unit}"
        shown = f"{self.value(row):.3g}{' ×' if self.compared_to else ''}"
        return f"{'met' if self.met(row) else '**not met**'}: {what}; it is {shown}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement: the figures of all runs by contender, in order."""

    section: str
    name: str
    unit: str
    figures: Mapping[str, Sequence[float]]
    goals: tuple[Goal, ...] = ()
    note: str = ""
    ours: str = OURS
    """The contender for the goals, and the reference of ratios."""

    def median(self, contender: str) -> float:
        """Return the median of a contender's runs."""
        return statistics.median(self.figures[contender])

    def markdown(self) -> str:
        """Return a table: median, spread, and ratio to ours."""
        lines = [
            f"#### {self.name}",
            "",
            f"| | median, {self.unit} | least to most | runs | × {self.ours} |",
            "|---|--:|--:|--:|--:|",
        ]
        for contender, values in self.figures.items():
            ratio = self.median(contender) / self.median(self.ours) if self.median(self.ours) else float("nan")
            spread = f"{min(values):.3g} to {max(values):.3g}"
            lines.append(f"| {contender} | {self.median(contender):.3g} | {spread} | {len(values)} | {ratio:.2f} |")
        lines += ["", *(f"- {goal.sentence(self)}" for goal in self.goals), *([f"- {self.note}"] if self.note else [])]
        return "\n".join(lines).rstrip() + "\n"


def alternating(
    contenders: Mapping[str, Callable[[], float]], runs: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Return each contender's figures of ``runs`` rounds; all run once in each round, so noise affects all equally."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, runs + 1):
        for name, measure in contenders.items():
            figures[name].append(measure())
            say(f"    {number}/{runs} {name}: {figures[name][-1]:.3g}")
    return figures


def machine() -> dict[str, str]:
    """Return a description of this machine."""
    models = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory) >> 20} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def markdown(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """Return the whole report as Markdown."""
    parts = ["# Benchmarks", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            parts += [f"## {section}", ""]
        parts += [row.markdown()]
    goals = [(row, goal) for row in rows for goal in row.goals]
    missed = [f"{row.name}: {goal.sentence(row)}" for row, goal in goals if not goal.met(row)]
    parts += ["## Goals", "", f"{len(goals) - len(missed)} of {len(goals)} are met.", *(f"- {line}" for line in missed)]
    return "\n".join(parts) + "\n"


def to_json(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """Return the whole report as JSON, with each goal's value and whether it is met."""
    shown = [
        dataclasses.asdict(row)
        | {
            "medians": {name: row.median(name) for name in row.figures},
            "goals": [
                dataclasses.asdict(goal) | {"value": goal.value(row), "met": goal.met(row)} for goal in row.goals
            ],
        }
        for row in rows
    ]
    return json.dumps({"machine": dict(about), "rows": shown}, ensure_ascii=False, indent=1) + "\n"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
