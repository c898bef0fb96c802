"""The areas of the settings: which file has which, and in what order people read them."""

from __future__ import annotations

import dataclasses

from baikalctl.settings import DEFINITIONS, Settings

AREAS = ["identity", "Baïkal", "web", "TLS", "fleet"]


def test_every_area_is_one_class_in_a_file_of_its_name() -> None:
    """Whoever looks for a setting finds it where the reference's heading says."""
    for base, area in zip(reversed(Settings.__bases__), AREAS, strict=True):
        assert {field.metadata["definition"].area for field in dataclasses.fields(base)} == {area}
        assert base.__module__ == f"baikalctl.areas.{area.lower().replace('ï', 'i')}"


def test_settings_stand_area_by_area_and_in_each_as_its_file_has_them() -> None:
    """From what everybody needs to what few do, whatever order Python takes the classes in."""
    fields = [field for base in reversed(Settings.__bases__) for field in dataclasses.fields(base)]
    assert [field.name for field in fields] == list(DEFINITIONS)
    assert list(dict.fromkeys(definition.area for definition in DEFINITIONS.values())) == AREAS
