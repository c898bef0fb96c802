"""A picture of the cost of a run by number of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pygal  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report import Row


SVG = "http://www.w3.org/2000/svg"


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
        width=900,
        height=500,
    )
    chart.x_labels = sizes
    for row in rows:
        chart.add(row.name, [row.median(size) for size in sizes])
    drawing = ET.fromstring(chart.render())  # noqa: S314 - drawn here
    for part in list(drawing.iter()):
        for script in part.findall(f"{{{SVG}}}script"):
            part.remove(script)  # an SVG to embed in a document
    ET.register_namespace("", SVG)
    target.write_bytes(ET.tostring(drawing, encoding="utf-8", xml_declaration=True))
