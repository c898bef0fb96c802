"""What people read when their settings are wrong."""

from __future__ import annotations

import pytest

from baikalctl.errors import Fault, SettingsError, unknown_name


def test_a_fault_is_one_line_with_setting_value_and_remedy() -> None:
    """A person reads where, what, and what to do."""
    assert str(Fault("http_port", "should be less", "70000")) == "http_port = 70000: should be less"


def test_a_fault_without_a_value_shows_none() -> None:
    """Where the value must not be shown there is no empty place for it."""
    assert str(Fault("admin_password", "is missing; set it")) == "admin_password: is missing; set it"


def test_all_faults_are_said_each_on_its_line_in_order() -> None:
    """Somebody with three wrong settings learns of three."""
    error = SettingsError([Fault("a", "is wrong"), Fault("b", "is wrong", "1"), Fault("c", "is wrong")])
    assert str(error).splitlines() == ["a: is wrong", "b = 1: is wrong", "c: is wrong"]
    assert [fault.setting for fault in error.faults] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "meant"), [("hostnam", "hostname"), ("http_prot", "http_port"), ("basepath", "base_path")]
)
def test_a_misspelt_name_gets_the_nearest_as_a_suggestion(given: str, meant: str) -> None:
    """One letter too many or too few is named as what was meant."""
    assert unknown_name(given, ["hostname", "http_port", "base_path"]) == f"no such setting; did you mean {meant}?"


def test_a_name_near_nothing_gets_the_list() -> None:
    """Where nothing is near, everything that there is, is named."""
    assert unknown_name("zzz", ["name", "email"]) == "no such setting; there are email, name"
