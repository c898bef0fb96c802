"""Contenders in provisioning: how a tool is run, checked and timed; and our deploy as the first contender."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.report import OURS
from tests.lab.deploying import REPOSITORY, command_line
from tests.lab.machine import LOCAL, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.peers.payload import Wanted
    from tests.lab.engine import Engine
    from tests.lab.release import Release


LIMIT_S = 1800
SHOWN_CHARACTERS = 4000
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# An intermediate process, because a process's peak of memory starts with that of its parent: this process has loaded
# pyinfra, which would hide a small contender's peak. It reports the total processor time and the memory of the largest
# process, for the contender and all its descendants that were waited for (Ansible's workers and their ssh are).
# Not counted: background processes of ssh that keep a connection, and the additional memory of smaller processes.
WATCHER = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w") as stream:
    json.dump({"memory_mib": used.ru_maxrss * unit / 2**20, "cpu_s": used.ru_utime + used.ru_stime}, stream)
sys.exit(status if status >= 0 else 1)
"""


class BenchmarkError(Exception):
    """A contender failed or had a wrong result; the message has its name and its output."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Environment of the benchmarks; ``ansible`` is the directory of ``ansible-playbook``."""

    engine: Engine
    release: Release
    runs: int
    say: Callable[[str], None]
    ansible: Path


@dataclass(frozen=True)
class Host:
    """A machine, and the port of its sshd on 127.0.0.1: its own, or that of a slow line."""

    machine: Machine
    port: int

    @classmethod
    def of(cls, machine: Machine, port: int = 0) -> Host:
        """Return ``machine`` with ``port``, which is added to its known_hosts, or with its own port."""
        if port:
            (key,) = (line.split(" ", 1)[1] for line in machine.known_hosts.read_text().splitlines()[:1])
            with machine.known_hosts.open("a") as known:
                known.write(f"[{LOCAL}]:{port} {key}\n")
        return cls(machine, port or machine.ssh_port)

    def ssh_command(self) -> list[str]:
        """Return the plain ``ssh`` command that logs in as root."""
        command = self.machine.ssh_command()
        command[command.index("-p") + 1] = str(self.port)
        return command

    def entry(self, data: Mapping[str, object]) -> tuple[str, dict[str, object]]:
        """Return the host's entry, with ``data``, for an inventory of pyinfra."""
        return self.machine.name, {**self.machine.ssh_data(), "ssh_port": self.port, **data}


@dataclass(frozen=True)
class Command:
    """A command: its words, directory and environment."""

    words: Sequence[str]
    folder: Path = REPOSITORY
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One successful run. ``memory_mib`` and ``cpu_s`` are set if it was watched."""

    seconds: float
    changes: int
    output: str
    memory_mib: float = 0
    cpu_s: float = 0


class Contender(ABC):
    """A tool that provisions hosts."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages that the tool needs to start: preinstalled on its bare machines."""

    def __init__(self, bench: Bench) -> None:
        """Store the environment."""
        self.bench = bench

    @abstractmethod
    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Return the command that a user would type; ``folder`` is for its files, such as inventories."""

    @abstractmethod
    def changes(self, output: str) -> int:
        """Return the number of changes in the tool's own output, on all hosts together."""

    def end(self, folder: Path) -> None:  # noqa: B027 - most leave nothing
        """Stop processes that a run has left; not part of its time."""

    def run(self, hosts: Sequence[Host], wanted: Wanted, *, watched: bool = False) -> Run:
        """Provision ``hosts`` with ``wanted``; raises :class:`BenchmarkError` with the last output if that fails."""
        with tempfile.TemporaryDirectory(prefix="baikal-bench-") as name:
            folder = Path(name)
            command = self.command(hosts, wanted, folder)
            try:
                return run(self.name, command, folder, self.changes, watched=watched)
            finally:
                self.end(folder)

    def unchanged(self, hosts: Sequence[Host], wanted: Wanted, *, watched: bool = False) -> Run:
        """Do the same without pending changes; raises :class:`BenchmarkError` if something was changed."""
        run = self.run(hosts, wanted, watched=watched)
        if run.changes:
            message = f"{self.name} should have had no changes and had {run.changes}:\n{run.output}"
            raise BenchmarkError(message)
        return run


class OurDeploy(Contender):
    """This project's deploy."""

    name = OURS
    deploy: ClassVar[Path] = REPOSITORY / "deploy.py"

    def command(self, hosts: Sequence[Host], wanted: Wanted, folder: Path) -> Command:
        """Run pyinfra in the deploy's directory, so that it finds its files."""
        entries = [host.entry(self.data(wanted)) for host in hosts]
        words = command_line(entries, folder, "-y", "--json")
        return Command([*words, self.deploy.name], self.deploy.parent)

    def data(self, wanted: Wanted) -> Mapping[str, object]:
        """Return the host data without that of SSH."""
        return wanted.data

    def changes(self, output: str) -> int:
        """Read pyinfra's totals."""
        return pyinfras_changes(output)


def pyinfras_changes(output: str) -> int:
    """Return the number of operations with changes, on all hosts together, from pyinfra's JSON."""
    return int(json.loads(output)["results"]["totals"]["success"])


def run(name: str, command: Command, folder: Path, changes: Callable[[str], int], *, watched: bool = False) -> Run:
    """Run a contender's ``command`` and return the result; raises :class:`BenchmarkError` with its output if it failed."""
    used = folder / "used.json"
    watcher = [sys.executable, "-I", "-S", "-c", WATCHER, str(used)] if watched else []
    began = time.monotonic()
    done = _done([*watcher, *command.words], command)
    seconds = time.monotonic() - began
    if done.returncode:
        message = f"{name} failed with status {done.returncode}:\n{_last(done)}"
        raise BenchmarkError(message)
    usage = json.loads(used.read_text()) if watched else {}
    return Run(seconds=seconds, changes=changes(done.stdout), output=_last(done), **usage)


def _done(words: Sequence[str], command: Command) -> subprocess.CompletedProcess[str]:
    """Run ``words`` in the environment of ``command``, without the user's variables for Ansible; raises BenchmarkError."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    try:
        return subprocess.run(
            words,
            cwd=command.folder,
            env={**kept, **(command.environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{command.words[0]} could not be run: {error}"
        raise BenchmarkError(message) from error


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of the human-readable output, without colours."""
    output = done.stderr if done.stdout.startswith("{") else done.stdout + done.stderr
    return COLOUR.sub("", output)[-SHOWN_CHARACTERS:]
