"""Messages for wrong settings."""

from __future__ import annotations

import pytest

from baikalctl.errors import Fault, SettingsError, unknown_name


def test_fault_is_one_line_with_setting_value_and_remedy() -> None:
    """In this order."""
    assert str(Fault("http_port", "should be less", "70000")) == "http_port = 70000: should be less"


def test_fault_without_a_value_has_no_equals_sign() -> None:
    """For example if the value is secret."""
    assert str(Fault("admin_password", "is missing; set it")) == "admin_password: is missing; set it"


def test_all_faults_are_reported_in_order() -> None:
    """One per line."""
    error = SettingsError([Fault("a", "is wrong"), Fault("b", "is wrong", "1"), Fault("c", "is wrong")])
    assert str(error).splitlines() == ["a: is wrong", "b = 1: is wrong", "c: is wrong"]
    assert [fault.setting for fault in error.faults] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "nearest"), [("hostnam", "hostname"), ("http_prot", "http_port"), ("basepath", "base_path")]
)
def test_misspelt_name_gets_the_nearest_name_as_a_suggestion(name: str, nearest: str) -> None:
    """With one wrong, missing or additional letter."""
    assert unknown_name(name, ["hostname", "http_port", "base_path"]) == f"no such setting; did you mean {nearest}?"


def test_name_without_a_near_one_gets_the_list_if_it_is_short() -> None:
    """A long list is in the documentation."""
    assert unknown_name("zzz", ["name", "email"]) == "no such setting; there are email, name"
    assert unknown_name("zzz", map(str, range(11))) == "no such setting; docs/settings.md lists all settings"
