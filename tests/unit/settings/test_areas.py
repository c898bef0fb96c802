"""The areas of the settings, their order, and values that are derived from settings."""

from __future__ import annotations

import dataclasses

import pytest

from baikalctl.settings import model
from baikalctl.settings.model import DEFINITIONS, Settings
from tests.unit.samples import settings

AREAS = ["identity", "Baïkal", "database", "web", "TLS", "mail", "backup", "fleet"]


def test_every_area_is_a_class_in_a_module_of_the_same_name() -> None:
    """The heading in docs/settings.md is the name of the module."""
    assert tuple(reversed(Settings.__bases__)) == model.AREAS
    for base, area in zip(model.AREAS, AREAS, strict=True):
        assert {DEFINITIONS[field.name].area for field in dataclasses.fields(base)} == {area}
        assert base.__module__ == f"baikalctl.settings.areas.{area.lower().replace('ï', 'i')}"


def test_settings_are_in_the_order_of_the_areas_and_of_their_modules() -> None:
    """The areas that all operators need come first."""
    fields = [field for base in reversed(Settings.__bases__) for field in dataclasses.fields(base)]
    assert [field.name for field in fields] == list(DEFINITIONS)
    assert list(dict.fromkeys(definition.area for definition in DEFINITIONS.values())) == AREAS


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_default_port_of_the_relay_depends_on_its_tls(tls: str, port: int) -> None:
    """A declared port is used instead."""
    relay = {"mail": "relay", "relay_host": "smtp.example.org", "relay_tls": tls}
    assert settings(**relay).smtp_port == settings(**relay, relay_port=0).smtp_port == port
    assert settings(**relay, relay_port=2525).smtp_port == 2525


def test_default_sender_is_noreply_at_the_host_name() -> None:
    """Replies go to the organizer. A declared sender is used instead."""
    relay = {"mail": "relay", "relay_host": "smtp.example.org"}
    assert settings(**relay).sender == "noreply@cal.example.org"
    assert settings(**relay, mail_from="Cal@example.com").sender == "Cal@example.com"


@pytest.mark.parametrize(("database", "port"), [("sqlite", 0), ("mysql", 3306), ("pgsql", 5432)])
def test_default_port_of_the_database_server_depends_on_its_kind(database: str, port: int) -> None:
    """A declared port is used instead. SQLite has no port."""
    server = {"database_host": "db.example.org", "database_password": "s"} if port else {}
    assert settings(database=database, **server).sql_port == port
    if port:
        assert settings(database=database, **server, database_port=6432).sql_port == 6432
