"""The examples say what pyinfra takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from baikalctl.settings import DEFINITIONS
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from pathlib import Path

TERRAFORM = {
    "pyinfra_inventory": {
        "value": {
            "calendars": [
                {
                    "name": "cal-1",
                    "ssh_hostname": "192.0.2.7",
                    "ssh_user": "root",
                    "hostname": "cal-1.example.org",
                }
            ]
        }
    }
}
"""What `terraform output -json` prints of the example's output, with one server."""


def inventory(name: str, **environment: str) -> list[dict[str, Any]]:
    """Return the hosts that pyinfra makes of the inventory ``name``, each with its groups and its data."""
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "--json", name, "debug-inventory"],
        cwd=HOME,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    hosts: list[dict[str, Any]] = json.loads(done.stdout)
    return hosts


def test_the_fleet_is_rolled_out_from_the_canary_on() -> None:
    """In the order of the file, each with its own name, its group's zone and the fleet's batches."""
    hosts = inventory("examples/fleet/inventory.py")
    assert [host["name"] for host in hosts][:2] == ["cal-canary.example.org", "cal-01.eu.example.org"]
    assert len(hosts) == 21
    zones = {host["data"]["timezone"] for host in hosts}
    assert zones == {"UTC", "Europe/Berlin", "America/New_York"}
    for host in hosts:
        assert host["data"]["hostname"] == host["name"]
        assert host["data"]["batches"] == [1, 2, "25%"]
        assert host["data"]["baikal_download"] == "host"
        assert host["data"]["http_port"] == 80, "the defaults are the project's"


def test_hosts_can_come_from_terraform(tmp_path: Path) -> None:
    """By pyinfra's connector, from an output of the example's form; terraform itself is asked for it alone."""
    terraform = tmp_path / "terraform"
    terraform.write_text(f"#!/bin/sh\n[ \"$*\" = 'output -json' ] || exit 1\necho '{json.dumps(TERRAFORM)}'\n")
    terraform.chmod(0o755)
    (host,) = inventory("@terraform", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert host["name"] == "@terraform/cal-1"
    assert set(host["groups"]) >= {"@terraform", "calendars"}
    assert host["data"]["ssh_hostname"] == "192.0.2.7"
    assert host["data"]["hostname"] == "cal-1.example.org"


def test_the_output_for_terraform_has_the_form_that_is_tested() -> None:
    """The same keys, and no setting that isn't one."""
    text = (HOME / "examples/terraform/outputs.tf").read_text(encoding="utf-8")
    (name,) = re.findall(r'^output "(\w+)"', text, re.MULTILINE)
    ((group, (host,)),) = TERRAFORM[name]["value"].items()
    keys = re.findall(r"^ {8}(\w+) +=", text, re.MULTILINE)
    assert f"    {group} = [" in text
    assert keys == list(host)
    assert {key for key in keys if not key.startswith("ssh_") and key != "name"} <= set(DEFINITIONS)


def test_a_host_that_pulls_runs_what_pyinfra_takes() -> None:
    """The unit's command line, read by pyinfra's own parser: this host, this deploy, without questions."""
    text = (HOME / "examples/pull/baikal-deploy.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+/pyinfra (.+)$", text, re.MULTILINE)
    words = shlex.split(command.replace("%H", "cal.example.org"))
    # In a process of its own: pyinfra's command line turns all threads into greenlets where it is imported.
    parse = "json.dumps(cli.make_context('', sys.argv[1:]).params)"
    program = f"import json, sys; from pyinfra_cli.cli import cli; print({parse})"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout)
    assert (taken["inventory"], taken["operations"], taken["yes"]) == ("@local", ["deploy.py"], True)
    settings = dict(item.split("=", 1) for item in taken["data"])
    assert settings == {"hostname": "cal.example.org"}
    assert set(settings) <= set(DEFINITIONS)
