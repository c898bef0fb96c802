"""The reference page docs/settings.md, generated from the definitions."""

from __future__ import annotations

import json
import re

import pytest

from baikalctl.settings.model import DEFINITIONS
from baikalctl.settings.reference import markdown


def rows() -> dict[str, list[str]]:
    """Return the cells of every setting's row."""
    cells_by_name = {}
    for line in markdown().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            cells_by_name[cells[0].split("`")[1]] = cells
    return cells_by_name


def test_page_has_every_setting_once_and_in_order() -> None:
    """And no other rows."""
    assert list(rows()) == list(DEFINITIONS)
    assert markdown().count("\n| `") == len(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_row_has_all_parts_of_the_definition(name: str) -> None:
    """Name, variable, allowed values, default and meaning."""
    definition = DEFINITIONS[name]
    shown, variable, form, default, meaning = rows()[name]
    assert ("🔒" in shown) == definition.secret
    assert (variable == f"`BAIKAL_{name.upper()}`") != definition.machine_only
    assert form == definition.kind.form
    assert (default == "– (none)") == (definition.raw_default is None)
    assert definition.raw_default is None or json.loads(default.strip("`")) == definition.raw_default
    assert meaning == definition.meaning


def test_each_area_has_one_heading() -> None:
    """With one table."""
    areas = [line.removeprefix("## ") for line in markdown().splitlines() if line.startswith("## ")]
    assert [area.lower() for area in areas] == list(dict.fromkeys(item.area.lower() for item in DEFINITIONS.values()))


def test_every_row_has_five_cells() -> None:
    """And the page ends with a newline."""
    for line in markdown().splitlines():
        if line.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", line)) == 7, line
    assert markdown().endswith("|\n")
