"""The picture of how a run grows with its hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygal  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report import Row


def draw(rows: Sequence[Row], target: Path) -> None:
    """Draw time, memory and processor time over the number of hosts, both on logarithmic scales, as an SVG."""
    if not rows:
        return
    sizes = list(rows[0].figures)
    chart = pygal.Line(
        logarithmic=True,
        title="A run over a simulated fleet, by number of hosts",
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        js=(),  # a picture for a document, not a page
        width=900,
        height=500,
    )
    chart.x_labels = sizes
    for row in rows:
        chart.add(row.name, [row.median(size) for size in sizes])
    target.write_bytes(chart.render())
