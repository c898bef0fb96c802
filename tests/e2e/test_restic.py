"""Restic on a machine: repositories in a folder, over SFTP and over REST, and errors."""

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
    """A server with a repository for its archives."""

    server: Server

    @property
    def machine(self) -> Machine:
        """The server's machine."""
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
        """Return the findings of check on backups."""
        return [finding for finding in self.server.check()["findings"] if finding["subject"] == "backup"]


@pytest.fixture(scope="module")
def kept(boot: Callable[..., Machine], release: Release) -> Kept:
    """Return a server with a repository in a folder, and with REST and SFTP servers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAIKAL_TEST_RESTIC_PASSWORD", PASSWORD)
        patch.setenv("BAIKAL_TEST_RESTIC_CREDENTIALS", f"RESTIC_REST_USERNAME=me\nRESTIC_REST_PASSWORD={LOGIN}")
        made = Kept(Server(boot(), release))
        outcome = made.deploy(LOCAL)
        assert outcome.status == 0, outcome.output
        machine = made.machine
        machine.run("apt-get -q install --yes --no-install-recommends rclone", timeout=300)
        machine.run(f"mkdir -p /srv/rest && systemd-run --unit rest -p Environment=HOME=/root {REST_SERVER}")
        machine.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
        machine.run("cat /root/.ssh/id_ed25519.pub >> /home/deployer/.ssh/authorized_keys")
        machine.run("echo 127.0.0.1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub) >> /root/.ssh/known_hosts")
    return made


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIKAL_TEST_RESTIC_PASSWORD", PASSWORD)
    monkeypatch.setenv("BAIKAL_TEST_RESTIC_CREDENTIALS", f"RESTIC_REST_USERNAME=me\nRESTIC_REST_PASSWORD={LOGIN}")


@pytest.mark.parametrize("repository", [LOCAL, SFTP, REST])
def test_archive_is_stored_in_the_repository_and_restored(kept: Kept, repository: str) -> None:
    """A new repository is created, encrypted, with one archive kept per day; a restored archive is verified."""
    more: dict[str, object] = (
        {"restic_credentials": {"env": "BAIKAL_TEST_RESTIC_CREDENTIALS"}} if repository == REST else {}
    )
    outcome = kept.deploy(repository, **more)
    assert outcome.status == 0, outcome.output
    output = kept.machine.run("baikalctl backup")
    assert "create the restic repository" in output
    for _ in range(2):
        kept.machine.run("baikalctl backup --quiet")
    (snapshot,) = kept.listed()
    for name in ("restic:latest", snapshot):
        assert kept.machine.run(f"baikalctl backup verify {name}").startswith(f"{name} is undamaged: made on ")
    assert [finding["status"] for finding in kept.findings()] == ["ok"]
    folder = {LOCAL: LOCAL, SFTP: "/home/deployer/repository", REST: "/srv/rest"}[repository]
    assert kept.machine.run(f"grep -rl 'BEGIN PRIVATE KEY\\|SQLite format' {folder} || true") == ""
    assert kept.machine.run("find /var/backups/baikal /var/lib/baikal -name '.private-*'") == ""


def test_no_secret_is_in_a_command_line_or_a_journal(kept: Kept) -> None:
    """While restic runs, as seen by every account."""
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


def test_lock_of_a_killed_run_is_ignored(kept: Kept) -> None:
    """Restic detects that the lock's process has ended."""
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
def test_unusable_repository_is_reported_and_the_archive_is_made(kept: Kept, wrong: str) -> None:
    """With restic's reason, by the command and by check; after a fix, check is satisfied."""
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
        lines = machine.run("baikalctl backup 2>&1; echo status $?").splitlines()
        assert lines[-1] == "status 1"
        assert words in lines[-2]
        assert lines[-2].endswith("(the archive in /var/backups/baikal was made)")
        assert int(machine.run("ls /var/backups/baikal | wc -l")) == before + 1
        assert [finding["status"] for finding in kept.findings()] == ["ok", "warning"]
        assert words in kept.findings()[1]["message"]
    finally:
        machine.run(mend)
    assert kept.deploy(LOCAL).status == 0
    machine.run("baikalctl backup")
    assert [finding["status"] for finding in kept.findings()] == ["ok"]
