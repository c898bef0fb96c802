"""The peers as contenders: the same end state by other means."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import COLOUR, SHOWN_CHARACTERS, BenchmarkError, Command, Contender, Host, OurDeploy
from tests.lab.http_request import HOSTNAME
from tests.lab.machine import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.peers.payload import Wanted


HERE = Path(__file__).parent
RECAP = re.compile(r"changed=(\d+) +unreachable=(\d+) +failed=(\d+)")
"""The line that ansible-playbook ends with for each host."""


class IdiomaticPyinfra(OurDeploy):
    """One operation of pyinfra's own for each file."""

    name = "idiomatic pyinfra"
    deploy = HERE / "pyinfra" / "deploy.py"

    def data(self, wanted: Wanted) -> Mapping[str, object]:
        """Return what that deploy wants to be told."""
        return _given(wanted)


class Ansible(Contender):
    """A playbook, run by ansible-core as a user sets it up who wants it fast."""

    name = "Ansible"
    needs = ("python3", "python3-apt")

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Keep everything that Ansible writes, sockets included, in ``folder``, and read nothing of the user's."""
        inventory = folder / "inventory.yml"
        entries = {host.machine.name: _ansible_host(host) for host in hosts}
        inventory.write_text(json.dumps({"all": {"hosts": entries}}))
        environment = {
            "ANSIBLE_CONFIG": str(HERE / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",  # it refuses to start without UTF-8
        }
        playbook = str(HERE / "ansible" / "playbook.yml")
        tool = str(self.bench.ansible / "ansible-playbook")
        return Command([tool, "-i", str(inventory), "-e", json.dumps(_given(wanted)), playbook], folder, environment)

    def changes(self, output: str) -> int:
        """Read the recap; raises :class:`BenchmarkError` where there is none, or where it tells of failures."""
        recap = [tuple(map(int, counts)) for counts in RECAP.findall(COLOUR.sub("", output))]
        if not recap or any(unreachable or failed for _, unreachable, failed in recap):
            message = f"{self.name} doesn't say that all went well:\n{output[-SHOWN_CHARACTERS:]}"
            raise BenchmarkError(message)
        return sum(changed for changed, _, _ in recap)

    def end(self, folder: Path) -> None:
        """End the connections that ControlPersist keeps, so that each run makes its own, as one does next month."""
        for socket in (folder / "cp").glob("*"):
            leave = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", LOCAL]
            subprocess.run(leave, capture_output=True, check=False, timeout=30)


class ShellScript(Contender):
    """One pass of a script over one host: it can't say what it changed, and is there for fresh ones."""

    name = "shell script"

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Send the files and run the script in one connection."""
        del folder
        (host,) = hosts
        arguments = f"{wanted.version} {wanted.php} {HOSTNAME}"
        script = f'set -eu; cd "$(mktemp -d)"; tar -x; sh ./provision.sh {arguments}; rm -r "$PWD"'
        sending = 'tar -C "$0" -h -c . | "$@"'
        return Command(["sh", "-c", sending, str(wanted.folder), *host.ssh_command(), script])

    def changes(self, output: str) -> int:
        """Return nothing worth knowing."""
        del output
        return 0


class BareSsh(Contender):
    """No work at all: what logging in costs."""

    name = "bare ssh"

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Run ``true``."""
        del wanted, folder
        (host,) = hosts
        return Command([*host.ssh_command(), "true"])

    def changes(self, output: str) -> int:
        """Return what ``true`` changes."""
        del output
        return 0


def _given(wanted: Wanted) -> dict[str, str]:
    """Return what the peers are told by name: where the files are, and the words that stand in paths."""
    return {
        "files": str(wanted.folder),
        "archive": str(wanted.archive),
        "version": wanted.version,
        "php": wanted.php,
        "server_name": HOSTNAME,
    }


def _ansible_host(host: Host) -> dict[str, object]:
    options = f"-F none -o UserKnownHostsFile={host.machine.known_hosts} -o StrictHostKeyChecking=yes"
    return {
        "ansible_host": LOCAL,
        "ansible_port": host.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(host.machine.key_path),
        "ansible_ssh_common_args": f"{options} -o IdentitiesOnly=yes -o BatchMode=yes",
    }
