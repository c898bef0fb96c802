"""What a host offers after a successful run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import pytest

from baikalctl.baikal.health import DataSummary, data_findings
from baikalctl.host.finding import OK, Finding
from tasks.fleet.description import address, describe
from tests.unit.samples import RELAY, own_postfix, settings

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState

CERTIFICATE = Finding("certificate", OK, "self-signed, for cal.example.org, 824 days left")
BACKUP = Finding("backup", OK, "no archive was made yet; the next is due in 5 hours")


def lines(accounts: int, *findings: Finding, **changed: object) -> list[str]:
    """Return the description of a host with so many accounts, as ``baikalctl check`` reports them."""
    database = next(data_findings(cast("DesiredState", None), DataSummary(configured="0.12.1", accounts=accounts)))
    check = {"findings": [asdict(finding) for finding in (database, *findings)]}
    return list(describe(settings(**changed), check))


def test_host_without_accounts_and_mail_is_described() -> None:
    """It says how to add the first account."""
    assert lines(0, CERTIFICATE, BACKUP) == [
        "Address:     https://cal.example.org",
        "Certificate: self-signed, for cal.example.org, 824 days left",
        "Accounts:    none",
        "Mail:        off: no invitations are sent",
        "Backups:     no archive was made yet; the next is due in 5 hours",
        "Next:        add accounts: set users (docs/users.md), or log in as admin at https://cal.example.org/admin/",
    ]


def test_host_with_accounts_and_a_relay_is_described() -> None:
    """It says what clients need."""
    described = lines(1, CERTIFICATE, BACKUP, **RELAY)
    assert "Accounts:    1" in described
    assert f"Mail:        relay, through {RELAY['relay_host']}" in described
    assert described[-1] == "Next:        set https://cal.example.org as the server in calendar clients (docs/users.md)"


def test_server_that_sends_directly_is_described() -> None:
    """Without a relay."""
    assert "Mail:        postfix, sent directly" in describe(own_postfix(), {"findings": []})


def test_host_that_reports_nothing_is_described_by_its_settings() -> None:
    """For example one with an older baikalctl."""
    described = list(describe(settings(), {"findings": []}))
    assert [line.split()[0] for line in described] == ["Address:", "Mail:", "Next:"]


def test_control_characters_of_a_host_are_escaped() -> None:
    """A compromised host may report anything."""
    described = "".join(lines(1, Finding("certificate", OK, "\x1b[2J")))
    assert "\x1b" not in described


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "https://cal.example.org"),
        ({"https_port": 8443}, "https://cal.example.org:8443"),
        ({"tls": "off"}, "http://cal.example.org"),
        ({"tls": "off", "http_port": 8080, "base_path": "/dav"}, "http://cal.example.org:8080/dav"),
    ],
)
def test_address_has_the_port_and_path_of_the_settings(changed: dict[str, object], expected: str) -> None:
    """A default port is left out."""
    assert address(settings(**changed)) == expected
