"""Restic itself, on a real machine: repositories in a folder, over SFTP and over REST, and all that can go wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.deploying import Outcome
    from tests.lab.machine import Machine
    from tests.lab.release import Release


PASSWORD = "a repository's own password"
LOGIN = "rest-login-secret"
LOCAL, SFTP, REST = "/srv/restic", "sftp:deployer@127.0.0.1:repository", "rest:http://127.0.0.1:8000/"
REST_SERVER = f"rclone serve restic --addr 127.0.0.1:8000 --user me --pass {LOGIN} /srv/rest"


@dataclass
class Kept:
    """A server whose archives go to a repository as well."""

    server: Server

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.server.machine

    def deploy(self, repository: str, **more: object) -> Outcome:
        """Deploy with that repository."""
        return self.server.deploy(
            restic_repository=repository,
            restic_password={"env": "BAIKAL_TEST_RESTIC_PASSWORD"},
            **more,
        )

    def listed(self) -> list[str]:
        """Return the names of restic's snapshots."""
        lines = json.loads(self.machine.run("baikalctl backup list --json"))
        return [line["archive"] for line in lines if line["archive"].startswith("restic:")]

    def findings(self) -> list[dict[str, Any]]:
        """Return what the doctor says of the backups."""
        return [finding for finding in self.server.check()["findings"] if finding["subject"] == "backup"]


@pytest.fixture(scope="module")
def kept(boot: Callable[..., Machine], release: Release) -> Kept:
    """Give a server with a repository in a folder, and other servers for it to reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAIKAL_TEST_RESTIC_PASSWORD", PASSWORD)
        patch.setenv("BAIKAL_TEST_RESTIC_CREDENTIALS", f"RESTIC_REST_USERNAME=me\nRESTIC_REST_PASSWORD={LOGIN}")
        found = Kept(Server(boot(), release))
        outcome = found.deploy(LOCAL)
        assert outcome.status == 0, outcome.output
        machine = found.machine
        machine.run("apt-get -q install --yes --no-install-recommends rclone", timeout=300)
        machine.run(f"mkdir -p /srv/rest && systemd-run --unit rest -p Environment=HOME=/root {REST_SERVER}")
        machine.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
        machine.run("cat /root/.ssh/id_ed25519.pub >> /home/deployer/.ssh/authorized_keys")
        machine.run("echo 127.0.0.1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub) >> /root/.ssh/known_hosts")
    return found


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIKAL_TEST_RESTIC_PASSWORD", PASSWORD)
    monkeypatch.setenv("BAIKAL_TEST_RESTIC_CREDENTIALS", f"RESTIC_REST_USERNAME=me\nRESTIC_REST_PASSWORD={LOGIN}")


@pytest.mark.parametrize("repository", [LOCAL, SFTP, REST])
def test_an_archive_is_in_the_repository_and_comes_back_whole(kept: Kept, repository: str) -> None:
    """Made where it is new, encrypted, one of a day kept; and what comes back is verified as an archive is."""
    more: dict[str, object] = (
        {"restic_credentials": {"env": "BAIKAL_TEST_RESTIC_CREDENTIALS"}} if repository == REST else {}
    )
    outcome = kept.deploy(repository, **more)
    assert outcome.status == 0, outcome.output
    said = kept.machine.run("baikalctl backup")
    assert "create the restic repository" in said
    for _ in range(2):
        kept.machine.run("baikalctl backup --quiet")
    (snapshot,) = kept.listed()
    for name in ("restic:latest", snapshot):
        assert kept.machine.run(f"baikalctl backup verify {name}").startswith(f"{name} is undamaged: made on ")
    assert [finding["status"] for finding in kept.findings()] == ["ok"]
    place = {LOCAL: LOCAL, SFTP: "/home/deployer/repository", REST: "/srv/rest"}[repository]
    assert kept.machine.run(f"grep -rl 'BEGIN PRIVATE KEY\\|SQLite format' {place} || true") == ""
    assert kept.machine.run("find /var/backups/baikal /var/lib/baikal -name '.private-*'") == ""


def test_no_secret_is_in_a_command_line_or_a_journal(kept: Kept) -> None:
    """While restic is at work, looked at as everybody can."""
    outcome = kept.deploy(REST, restic_credentials={"env": "BAIKAL_TEST_RESTIC_CREDENTIALS"})
    assert outcome.status == 0, outcome.output
    program = """
import glob, subprocess
seen = set()
work = subprocess.Popen(["systemctl", "start", "baikal-backup.service"])
while work.poll() is None:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(path, "rb").read().replace(b"\\0", b" ").decode())
        except OSError:
            pass
print("\\n".join(line for line in seen if "rclone" not in line))
"""
    machine = kept.machine
    seen = machine.engine.docker("exec", "-i", machine.name, "python3", "-", input=program)
    assert "restic backup --json" in seen
    for text in (seen, machine.run("journalctl -b -o cat -u baikal-backup.service")):
        assert PASSWORD not in text
        assert LOGIN not in text


def test_a_lock_that_a_killed_run_has_left_is_no_hindrance(kept: Kept) -> None:
    """Restic knows that its process is gone."""
    assert kept.deploy(LOCAL).status == 0
    machine = kept.machine
    machine.run("baikalctl backup")
    program = f"""
import os, subprocess
environment = dict(os.environ, RESTIC_REPOSITORY="{LOCAL}", RESTIC_PASSWORD_FILE="/etc/baikal/restic-password")
victim = subprocess.Popen(["restic", "check", "--no-cache"], env=environment, stdout=subprocess.DEVNULL)
while victim.poll() is None and not [name for name in os.listdir("{LOCAL}/locks") if "tmp" not in name]:
    pass
victim.kill()
"""
    machine.engine.docker("exec", "-i", machine.name, "python3", "-", input=program)
    assert machine.run(f"ls {LOCAL}/locks")
    assert "stored in the restic repository as restic:" in machine.run("baikalctl backup")
    assert machine.run(f"ls {LOCAL}/locks") == ""


@pytest.mark.parametrize("wrong", ["password", "place", "away"])
def test_a_repository_that_can_not_be_used_is_said_and_the_archive_is_there(kept: Kept, wrong: str) -> None:
    """With restic's own reason, on the command line and by the doctor; mended, he is content again."""
    good = kept.deploy(LOCAL)
    assert good.status == 0, good.output
    machine = kept.machine
    machine.run("baikalctl backup")
    mend = "true"
    if wrong == "password":
        machine.run("cp -p /etc/baikal/restic-password /run/right; echo other > /etc/baikal/restic-password")
        words, mend = "wrong password", "cp -p /run/right /etc/baikal/restic-password"
    elif wrong == "place":
        machine.run(f"mv {LOCAL} {LOCAL}.away; touch {LOCAL}")
        words, mend = "not a directory", f"rm {LOCAL}; mv {LOCAL}.away {LOCAL}"
    else:
        assert kept.deploy("rest:http://127.0.0.1:9/").status == 0
        words, mend = "connection refused", "true"
    try:
        before = int(machine.run("ls /var/backups/baikal | wc -l"))
        said = machine.run("baikalctl backup 2>&1; echo status $?").splitlines()
        assert said[-1] == "status 1"
        assert words in said[-2]
        assert said[-2].endswith("(the archive in /var/backups/baikal is there all the same)")
        assert int(machine.run("ls /var/backups/baikal | wc -l")) == before + 1
        assert [finding["status"] for finding in kept.findings()] == ["ok", "warning"]
        assert words in kept.findings()[1]["message"]
    finally:
        machine.run(mend)
    assert kept.deploy(LOCAL).status == 0
    machine.run("baikalctl backup")
    assert [finding["status"] for finding in kept.findings()] == ["ok"]
