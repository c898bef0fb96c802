"""Run the deploy as a user would: pyinfra in its own process, with an inventory on disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
PYINFRA: Final = Path(sys.executable).with_name("pyinfra")
LIMIT_S: Final = 900


@dataclass(frozen=True)
class Outcome:
    """Result of a run of pyinfra."""

    status: int
    output: str
    """Everything that a user would see, without colours."""
    report: dict[str, Any]
    """pyinfra's JSON; empty if there was none."""

    @property
    def changes(self) -> int:
        """Number of operations with changes, on all hosts together."""
        return int(self.report["results"]["totals"]["success"])

    @property
    def changed(self) -> list[str]:
        """Names of the operations with changes on any host."""
        return [operation["name"] for operation in self.report["results"]["operations"] if operation["success"]]


def pyinfra(
    target: str | Sequence[tuple[str, Mapping[str, object]]],
    *arguments: str,
    deploy: str = "deploy.py",
    tree: Path = REPOSITORY,
    environment: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Outcome:
    """Run ``deploy`` of the checkout ``tree`` on ``target``: pyinfra's argument, or a list of hosts with their data."""
    with tempfile.TemporaryDirectory(prefix="baikal-lab-inventory-") as folder:
        command = [*command_line(target, Path(folder), *arguments), deploy]
        done = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, **(environment or {}), **(secrets or {})},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    report = json.loads(done.stdout) if "--json" in arguments and done.stdout.startswith("{") else {}
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr + ("" if report else done.stdout))
    return Outcome(done.returncode, plain, report)


def command_line(target: str | Sequence[tuple[str, Mapping[str, object]]], folder: Path, *arguments: str) -> list[str]:
    """Return pyinfra's command line up to the deploy's name; a list of hosts is first written to ``folder``."""
    if isinstance(target, str):
        return [str(PYINFRA), *arguments, target]
    inventory = folder / "inventory.py"
    hosts = json.dumps([[name, dict(data)] for name, data in target], default=str)
    inventory.write_text(f"import json\n\nhosts = [tuple(host) for host in json.loads({hosts!r})]\n")
    return [str(PYINFRA), *arguments, str(inventory)]
