"""The areas of the settings: which file has which, and in what order people read them."""

from __future__ import annotations

import dataclasses

import pytest

from baikalctl.settings.model import DEFINITIONS, Settings
from tests.unit.samples import settings

AREAS = ["identity", "Baïkal", "database", "web", "TLS", "mail", "backup", "fleet"]


def test_every_area_is_one_class_in_a_file_of_its_name() -> None:
    """Whoever looks for a setting finds it where the reference's heading says."""
    for base, area in zip(reversed(Settings.__bases__), AREAS, strict=True):
        assert {field.metadata["definition"].area for field in dataclasses.fields(base)} == {area}
        assert base.__module__ == f"baikalctl.settings.areas.{area.lower().replace('ï', 'i')}"


def test_settings_stand_area_by_area_and_in_each_as_its_file_has_them() -> None:
    """From what everybody needs to what few do, whatever order Python takes the classes in."""
    fields = [field for base in reversed(Settings.__bases__) for field in dataclasses.fields(base)]
    assert [field.name for field in fields] == list(DEFINITIONS)
    assert list(dict.fromkeys(definition.area for definition in DEFINITIONS.values())) == AREAS


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_relay_is_spoken_to_at_the_port_of_its_tls(tls: str, port: int) -> None:
    """Unless it has another."""
    relay = {"mail": "relay", "relay_host": "smtp.example.org", "relay_tls": tls}
    assert settings(**relay).smtp_port == settings(**relay, relay_port=0).smtp_port == port
    assert settings(**relay, relay_port=2525).smtp_port == 2525


def test_mail_comes_from_the_host_unless_it_is_said_from_whom() -> None:
    """From an address that tells people not to answer; the organiser's is where replies go."""
    relay = {"mail": "relay", "relay_host": "smtp.example.org"}
    assert settings(**relay).sender == "noreply@cal.example.org"
    assert settings(**relay, mail_from="Cal@example.com").sender == "Cal@example.com"


@pytest.mark.parametrize(("database", "port"), [("sqlite", 0), ("mysql", 3306), ("pgsql", 5432)])
def test_a_database_server_is_spoken_to_at_its_kinds_port(database: str, port: int) -> None:
    """Unless it has another; a file has none."""
    server = {"database_host": "db.example.org", "database_password": "s"} if port else {}
    assert settings(database=database, **server).sql_port == port
    if port:
        assert settings(database=database, **server, database_port=6432).sql_port == 6432
