"""The peers as contenders: the same result with other tools."""

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
"""The last line of ansible-playbook for each host."""


class IdiomaticPyinfra(OurDeploy):
    """A typical pyinfra deploy, with one operation for each file."""

    name = "idiomatic pyinfra"
    deploy = HERE / "pyinfra" / "deploy.py"

    def data(self, wanted: Wanted) -> Mapping[str, object]:
        """Return the input of that deploy."""
        return _variables(wanted)


class Ansible(Contender):
    """A playbook, with ansible-core set up for speed."""

    name = "Ansible"
    needs = ("python3", "python3-apt")

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Keep all files of Ansible, also sockets, in ``folder``, and ignore the user's configuration."""
        inventory = folder / "inventory.yml"
        entries = {host.machine.name: _ansible_host(host) for host in hosts}
        inventory.write_text(json.dumps({"all": {"hosts": entries}}))
        environment = {
            "ANSIBLE_CONFIG": str(HERE / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",  # Ansible refuses to start without UTF-8
        }
        playbook = str(HERE / "ansible" / "playbook.yml")
        tool = str(self.bench.ansible / "ansible-playbook")
        return Command(
            [tool, "-i", str(inventory), "-e", json.dumps(_variables(wanted)), playbook], folder, environment
        )

    def changes(self, output: str) -> int:
        """Parse the recap; raises :class:`BenchmarkError` if there is none, or if it has failures."""
        recap = [tuple(map(int, counts)) for counts in RECAP.findall(COLOUR.sub("", output))]
        if not recap or any(unreachable or failed for _, unreachable, failed in recap):
            message = f"{self.name} doesn't report success:\n{output[-SHOWN_CHARACTERS:]}"
            raise BenchmarkError(message)
        return sum(changed for changed, _, _ in recap)

    def end(self, folder: Path) -> None:
        """Close the connections of ControlPersist, so that each run makes new ones, as a run next month would."""
        for socket in (folder / "cp").glob("*"):
            leave = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", LOCAL]
            subprocess.run(leave, capture_output=True, check=False, timeout=30)


class ShellScript(Contender):
    """A script, run once on one host: it doesn't report changes, and is for new hosts."""

    name = "shell script"

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Send the files and run the script over one connection."""
        del folder
        (host,) = hosts
        arguments = f"{wanted.version} {wanted.php} {HOSTNAME}"
        script = f'set -eu; cd "$(mktemp -d)"; tar -x; sh ./provision.sh {arguments}; rm -r "$PWD"'
        sending = 'tar -C "$0" -h -c . | "$@"'
        return Command(["sh", "-c", sending, str(wanted.folder), *host.ssh_command(), script])

    def changes(self, output: str) -> int:
        """Return 0, because the script doesn't report changes."""
        del output
        return 0


class BareSsh(Contender):
    """A login without any work."""

    name = "bare ssh"

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Run ``true``."""
        del wanted, folder
        (host,) = hosts
        return Command([*host.ssh_command(), "true"])

    def changes(self, output: str) -> int:
        """Return the changes of ``true``: none."""
        del output
        return 0


def _variables(wanted: Wanted) -> dict[str, str]:
    """Return the variables of the peers: the folder of the files, and parts of paths."""
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
