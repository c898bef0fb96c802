"""Deploys to bare machines: the first run provisions, the second changes nothing, the third repairs damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.deploying import Outcome, pyinfra
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


OURS = ("/etc/baikal", "/etc/nginx/conf.d", "/usr/local/sbin", "/opt/baikal/current", "/var/lib/baikal/tls")
MOST_COMMANDS = 3
"""As root there are two: one for facts, one for the state. Each costs two round trips."""


@pytest.fixture(scope="module")
def pair(boot: Callable[..., Machine], release: Release) -> tuple[Server, Server, Outcome]:
    """Return two bare machines, of two distributions and with different settings, after one run for both."""
    bookworm = Server(boot("debian:12", warm=False), release)
    trixie = Server(
        boot("debian:13", warm=False),
        release,
        user="deployer",
        data={"base_path": "/calendars", "upload_limit_mb": 7, "timezone": "Europe/Berlin", "users": []},
    )
    return bookworm, trixie, pyinfra([bookworm.host(), trixie.host()], "-y", "--json")


def test_one_run_provisions_two_bare_machines(pair: tuple[Server, Server, Outcome]) -> None:
    """Two distributions, root and sudo, two sets of settings, one run."""
    bookworm, trixie, outcome = pair
    assert outcome.status == 0, outcome.output
    assert bookworm.check()["healthy"]
    assert trixie.check()["healthy"]
    assert bookworm.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo").status == 207
    assert trixie.ask("GET", "/calendars/dav.php/").status == 401
    assert trixie.ask("GET", "/dav.php/").status == 404


def test_a_second_run_changes_nothing(pair: tuple[Server, Server, Outcome]) -> None:
    """Idempotence, and the number of commands per host."""
    bookworm, trixie, _ = pair
    again = pyinfra([bookworm.host(), trixie.host()], "-y", "--json", "-vv")
    assert again.status == 0, again.output
    assert again.changed == []
    assert again.changes == 0
    commands = again.output.count(f"[{bookworm.machine.name}] >>>")
    assert 0 < commands <= MOST_COMMANDS, again.output


def test_run_repairs_only_what_was_damaged(pair: tuple[Server, Server, Outcome]) -> None:
    """An edited file, a stopped service, a deleted link, a changed mode and a deleted directory are repaired."""
    server, _, _ = pair
    machine = server.machine
    before = machine.snapshot(OURS)
    machine.run("echo 'tampered;' >> /etc/nginx/conf.d/baikal.conf")
    machine.run("systemctl disable --now nginx")
    machine.run("rm /opt/baikal/current")
    machine.run("chmod 644 /etc/baikal/declared.json")
    machine.run("rm -r /var/lib/baikal/sessions")
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    assert machine.snapshot(OURS) == before
    assert outcome.changes == 3, outcome.changed
    assert machine.run("systemctl is-active nginx; systemctl is-enabled nginx").split() == ["active", "enabled"]
    assert machine.run("stat -c '%a %U' /var/lib/baikal/sessions").split() == ["700", "baikal"]
    assert server.deploy().changes == 0


def test_server_works_after_a_power_cut(pair: tuple[Server, Server, Outcome]) -> None:
    """After a power cut and a boot, the server answers, and a run has nothing to do."""
    _, trixie, _ = pair
    trixie.machine.kill()
    trixie.machine.power_on()
    outcome = trixie.deploy()
    assert outcome.status == 0, outcome.output
    assert outcome.changes == 0


def test_secrets_are_in_no_output_and_no_file_that_others_can_read(pair: tuple[Server, Server, Outcome]) -> None:
    """The password is neither printed, at any verbosity, nor on the machine."""
    bookworm, _, first = pair
    loud = bookworm.deploy("-vvv", "--debug", "--diff")
    machine_wide = "grep -rIl 'correct horse' /etc /opt /var/lib/baikal /var/log /tmp /root /usr/local || true"
    for text in (first.output, loud.output, bookworm.machine.run(machine_wide)):
        assert "correct horse" not in text
    folders = "/etc/baikal /var/lib/baikal /var/backups/baikal"
    readable = bookworm.machine.run(f"find {folders} -type f -readable 2>/dev/null || true", user="nosudo")
    assert readable == "", "an ordinary user can read these"
