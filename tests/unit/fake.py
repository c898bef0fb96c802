"""Runs the whole deploy on hosts of pyinfra's @fake connector, which give the answers that a test has defined."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
import runpy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from baikalctl.baikal import release
from baikalctl.rendering.backup import RESTIC, RESTIC_NEEDS
from baikalctl.rendering.database import SERVERS
from baikalctl.rendering.machine import render
from baikalctl.rendering.mail import CONFLICTING
from baikalctl.rendering.php import TMPFILES
from baikalctl.rendering.postfix import OPENDKIM, SASL
from tasks.machine import ASKED, Machine
from tasks.release_download import Archive
from tasks.target import Target
from tests.unit.samples import HOME, MAIL_SERVERS, PLATFORM, VERSION, settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyinfra.api.command import PyinfraCommand
    from pyinfra.api.host import Host

    from baikalctl.rendering.model import FileSet, Platform
    from baikalctl.settings.model import Settings


DEBIAN = ["system=debian", "like=", "pretty=Debian GNU/Linux 12 (bookworm)", "cores=4", "memory=4194304", "ipv6=yes"]
UBUNTU = ["system=ubuntu", "like=debian", "pretty=Ubuntu 22.04.5 LTS", "cores=4", "memory=4194304"]
SITE = "/etc/nginx/conf.d/baikal.conf"
ROOT, BOOTED = "uid=0", "booted=yes"
BARE = [*DEBIAN, ROOT, BOOTED, "release="]
OFFERED = dict.fromkeys(ASKED, "1.0") | {"php-fpm": "2:8.2+93", "nginx": "1.22.1-9+deb12u2"}
ABSENT = {
    *(TMPFILES, OPENDKIM, SASL, *MAIL_SERVERS.values(), *CONFLICTING),
    *(RESTIC, *RESTIC_NEEDS.values(), *SERVERS.values()),
}
"""Packages that a host with the default settings doesn't have: for mail, database servers and restic."""
INSTALLED = [f"installed={name} {version}" for name, version in OFFERED.items() if name not in ABSENT]
SETTLED = [*DEBIAN, ROOT, BOOTED, f"release={VERSION}", *INSTALLED]
HEALTHY = {"healthy": True, "pending": [], "due": False, "findings": []}
UNHEALTHY = {"healthy": False, "pending": ["create the database"], "due": False, "findings": []}
TIMERS = ("baikal-certificate.timer", "baikal-backup.timer")
"""The timers that renew the certificate and create backups."""
SERVICES = [f"php nginx {' '.join(TIMERS)}", " ".join(["active"] * 4), " ".join(["enabled"] * 4), *["current"] * 4]
NAMES = [
    "Save queued mail",
    "Install packages",
    "Upload configuration",
    "Check certificate configuration",
    "Check PHP configuration",
    "Check nginx configuration",
    "Check backup configuration",
    "Check configuration",
    "Install Baïkal",
    "Apply settings",
    "Start PHP",
    "Start nginx",
    "Start certificate timer",
    "Remove old mail server",
    "Start backup timer",
    "Check health",
]
"""All operations of a run without mail, in order."""
STARTING = ["Start PHP", "Start nginx", "Start certificate timer", "Start backup timer"]
DOING = ["Install packages", "Upload configuration", "Install Baïkal", "Apply settings", *STARTING]
"""The operations that change a new machine, in order."""

SEND_FILES = "/usr/bin/python3 -I -X utf8 -c "
"""The start of the command that uploads files."""
Answers = dict[Any, Any]
"""The answers of a host, by a part or a pattern of the command: a line, lines, or whether the command succeeded."""


def apt(**changed: str) -> list[str]:
    """Return the output of ``apt-cache policy``, with the versions in ``changed``; names have underscores for hyphens."""
    offered = OFFERED | {name.replace("_", "-"): version for name, version in changed.items()}
    return [line for name, version in offered.items() for line in (f"{name}:", f"  Candidate: {version}")]


def answers(machine: list[str], **changed: object) -> Answers:
    """Return the answers of a new host with this ``machine``; ``changed`` replaces some of them."""
    outputs: dict[str, object] = {
        "machine": machine,
        "candidates": apt(),
        "files": [],
        "release": [],
        "after": json.dumps(HEALTHY),
        "before": json.dumps(UNHEALTHY),
        "services": [],
        "paths": [],
        "upload": json.dumps({"refused": {}}),
    }
    outputs |= changed
    commands = {
        "machine": "db:Status-Status",
        "candidates": "apt-cache policy",
        "files": "stat -c '%F",
        "release": "/.archive-sha256",
        "after": "check --json --wait 15",
        "before": "check --json --wait 0",
        "services": "systemctl is-active",
        "paths": "for path in",
        "upload": SEND_FILES,
    }
    return {commands[name]: outputs[name] for name in commands}


def settled(archive: Path, **changed: object) -> Answers:
    """Return the answers of a host that matches the settings already."""
    wanted = render(settings(**changed), PLATFORM)
    return answers(
        SETTLED,
        files=file_answers(wanted),
        release=[VERSION, hashlib.sha256(archive.read_bytes()).hexdigest(), ""],
        before=json.dumps(HEALTHY),
        services=SERVICES,
    )


class UnchangedHost:
    """A host of a run that has changed nothing yet."""

    def __init__(self) -> None:
        """Have no operations."""
        config = SimpleNamespace(PARALLEL=1)
        self.state = SimpleNamespace(ops={self: {}}, config=config, active_hosts={self})

    def get_fact(self, _: type, **__: object) -> dict[Any, Any]:
        """Answer nothing."""
        return {}


def platform(settings: Settings, machine: Machine, versions: dict[str, str]) -> Platform:
    """Return the platform of ``machine``, where apt offers these ``versions``."""
    archive = Archive("/b.zip", "0" * 64)
    host = cast("Host", UnchangedHost())
    return Target(host=host, settings=settings, machine=machine, candidates=versions, archive=archive).platform()


QUESTIONS = {
    "FilesFact": "stat -c '%F",
    "ReleaseFact": "/.archive-sha256",
    "ServicesFact": "systemctl is-active",
    "CheckFact": "check --json --wait 0",
}


def with_combined_answer(answered: Answers) -> Answers:
    """Return the same answers, and one for the command that asks for all facts at once."""
    lines: list[str] = []
    for fact, question in QUESTIONS.items():
        output = answered.get(question, [])
        lines += [f"=== {fact}", *([output] if isinstance(output, str) else output)]
    return {"echo '=== FilesFact'": lines} | answered


def file_answers(wanted: FileSet) -> list[str]:
    """Return the answer of a host whose files are as ``wanted``."""
    sums = [f"{hashlib.sha256(file.content).hexdigest()}  {file.path}" for file in wanted.files]
    states = [f"directory|{item.mode:o}|{item.owner}|{item.group}|{item.path}" for item in wanted.directories]
    states += [f"regular file|{item.mode:o}|{item.owner}|{item.group}|{item.path}" for item in wanted.files]
    record = json.dumps(sorted(file.path for file in wanted.files), indent=0).splitlines()
    return [*sums, "---", *states, "---", "---", *record]


@dataclasses.dataclass
class Ran:
    """The result of a run on one host."""

    names: list[str]
    changed: list[str]
    finished: list[str]
    commands: list[str]
    """Every command on the host, facts included."""
    done: list[PyinfraCommand]
    """The operations' commands, as objects."""
    failed: bool

    def texts(self) -> list[str]:
        """Return the operations' commands as text."""
        return [str(command) for command in self.done]


class Deploy:
    """Runs deploy.py as pyinfra does: for all hosts together, in two phases."""

    def __init__(self, archive: Path) -> None:
        """Install the release from ``archive`` everywhere."""
        self.archive = archive

    def __call__(self, hosts: Mapping[str, tuple[Answers, dict[str, Any]]], *, execute: bool = True) -> dict[str, Ran]:
        """Run on ``hosts``: the answers and the settings of each."""
        named = [
            (
                f"@fake/{name}",
                {
                    "hostname": "cal.example.org",
                    "baikal_archive": str(self.archive),
                    "baikal_sha256": release.digest(self.archive),
                    "fake_responses": with_combined_answer(answered),
                    "fake_delay": 0,
                    "fake_delay_jitter": 0,
                }
                | declared,
            )
            for name, (answered, declared) in hosts.items()
        ]
        inventory = Inventory((named, _group_data()))  # type: ignore[no-untyped-call]
        state = State(inventory, Config())  # type: ignore[no-untyped-call]
        ctx_state.set(state)  # type: ignore[no-untyped-call]
        ctx_inventory.set(inventory)  # type: ignore[no-untyped-call]
        try:
            connect_all(state)
            state.set_stage(StateStage.Prepare)
            for host in inventory.get_active_hosts():
                self._prepare(state, host)
            if execute:
                state.set_stage(StateStage.Execute)
                try:
                    run_ops(state)
                except PyinfraError as error:
                    assert "No hosts remaining" in str(error)  # noqa: PT017 - which of pyinfra's errors it is
            return {host.name.removeprefix("@fake/"): _ran(state, host) for host in inventory}
        finally:
            for context in (ctx_state, ctx_inventory, ctx_host, ctx_config):
                context.reset()

    @staticmethod
    def _prepare(state: State, host: Host) -> None:
        ctx_config.set(state.config.copy())  # type: ignore[no-untyped-call]
        ctx_host.set(host)  # type: ignore[no-untyped-call]
        runpy.run_path(str(HOME / "deploy.py"))

    def one(self, answered: Answers, *, execute: bool = True, **declared: object) -> Ran:
        """Run on one host."""
        return self({"cal": (answered, declared)}, execute=execute)["cal"]

    def refusal(self, answered: Answers, **declared: Any) -> str:  # noqa: ANN401 - operators may write any type
        """Run on one host that is refused; return the error."""
        with pytest.raises(DeployError) as caught:
            self.one(answered, **declared)
        return str(caught.value)


def _group_data() -> dict[str, object]:
    names = runpy.run_path(str(HOME / "group_data/all.py"))
    imported = ("Path", "prompt", "sys")  # pyinfra leaves these out too (pyinfra_cli/inventory.py)
    return {name: value for name, value in names.items() if not name.startswith("__") and name not in imported}


def _ran(state: State, host: Host) -> Ran:
    order: list[str] = state.get_op_order()  # type: ignore[no-untyped-call]
    operations = [(state.op_meta[key], state.ops[host][key]) for key in order if key in state.ops[host]]
    finished = [(meta, data) for meta, data in operations if data.operation_meta.is_complete()]
    return Ran(
        names=[next(iter(meta.names)) for meta, _ in operations],
        finished=[next(iter(meta.names)) for meta, _ in finished],
        changed=[next(iter(meta.names)) for meta, data in finished if data.operation_meta.did_change()],
        commands=list(getattr(host.connector, "executed_commands")),  # noqa: B009 - only @fake has it
        done=[command for _, data in finished for command in data.operation_meta._commands or ()],
        failed=host in state.failed_hosts,
    )


def bundle(command: PyinfraCommand) -> dict[str, Any]:
    """Return the bundle on the standard input of the command that uploads files."""
    program = "".join(command.connector_arguments["_stdin"])
    (text,) = re.findall(r"^main\((.+)\)$", program, re.MULTILINE)
    loaded: dict[str, Any] = json.loads(ast.literal_eval(text))
    return loaded
