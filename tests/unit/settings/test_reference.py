"""The reference page, made from the definitions."""

from __future__ import annotations

import json
import re

import pytest

from baikalctl.settings.model import DEFINITIONS
from baikalctl.settings.reference import markdown


def rows() -> dict[str, list[str]]:
    """Return the cells of every setting's row."""
    found = {}
    for line in markdown().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[cells[0].split("`")[1]] = cells
    return found


def test_every_setting_is_there_in_order() -> None:
    """Once each, and nothing else."""
    assert list(rows()) == list(DEFINITIONS)
    assert markdown().count("\n| `") == len(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_row_says_all_of_a_setting(name: str) -> None:
    """Name, variable, kind, default, and meaning, as its definition has them."""
    definition = DEFINITIONS[name]
    shown, variable, form, default, meaning = rows()[name]
    assert ("🔒" in shown) == definition.secret
    assert (variable == f"`BAIKAL_{name.upper()}`") != definition.machine_only
    assert form == definition.kind.form
    assert (default == "– (none)") == (definition.raw_default is None)
    assert definition.raw_default is None or json.loads(default.strip("`")) == definition.raw_default
    assert meaning == definition.meaning


def test_settings_stand_under_their_areas() -> None:
    """Each area is one heading with one table."""
    areas = [line.removeprefix("## ") for line in markdown().splitlines() if line.startswith("## ")]
    assert [area.lower() for area in areas] == list(dict.fromkeys(item.area.lower() for item in DEFINITIONS.values()))


def test_tables_are_whole() -> None:
    """Every row has five cells, and the page ends with a newline."""
    for line in markdown().splitlines():
        if line.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", line)) == 7, line
    assert markdown().endswith("|\n")
