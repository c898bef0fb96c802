"""The state of what the deploy has put on a host: files, release, services, and the result of ``baikalctl check``.

Each is one command with one answer, for any number of files or services.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pyinfra.api.facts import FactBase

from baikalctl import paths
from baikalctl.baikal.release import ORIGIN, TREE, tree_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from baikalctl.rendering.model import FileSet, Service


class FilesFact(FactBase[dict[str, Any]]):
    """The files at our paths: checksum, owner, group and mode, and the record of our files."""

    def command(self, files: FileSet) -> str:
        """Print checksums, states, links and the record, in four parts."""
        every = _quoted([*(item.path for item in files.directories), *(item.path for item in files.files)])
        contents = _quoted(file.path for file in files.files)
        links = _quoted(link for link, _ in files.displaced)
        return f"""
            export LC_ALL=C
            sha256sum -- {contents} 2>/dev/null; echo ---
            stat -c '%F|%a|%U|%G|%n' -- {every} 2>/dev/null; echo ---
            for link in {links}; do [ ! -L "$link" ] || echo "$link|$(readlink -f "$link")"; done; echo ---
            cat {files.record} 2>/dev/null || true
        """

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return ``checksums`` and ``states`` by path, ``links`` by path, and the ``owned`` paths."""
        parts: list[list[str]] = [[]]
        for line in output:
            if line == "---":
                parts.append([])
            else:
                parts[-1].append(line)
        sums, states, links, record = (parts + [[]] * 4)[:4]
        try:
            owned = json.loads("\n".join(record)) if record else []
        except ValueError:
            owned = []
        return {
            "checksums": {path: digest for digest, path in (line.split("  ", 1) for line in sums if "  " in line)},
            "states": {line.split("|", 4)[4]: line.split("|", 4)[:4] for line in states},
            "links": dict(line.split("|", 1) for line in links),
            "owned": owned,
        }

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the answer of an empty host."""
        return {"checksums": {}, "states": {}, "links": {}, "owned": []}


class ReleaseFact(FactBase[tuple[str, str, bool]]):
    """The current release of Baïkal, the checksum of its archive if it is intact, and whether no temporary file is left."""

    def command(self, version: str) -> str:
        """Print three lines."""
        path = f"{paths.CODE}/{shlex.quote(version)}"
        intact = f'[ "$({tree_command(path)})" = "$(cat {path}/{TREE})" ] && cat {path}/{ORIGIN}'
        leftovers = f"find {paths.CODE} -mindepth 1 -maxdepth 1 -name '.*' 2>/dev/null"
        return f'echo "$(readlink {paths.CURRENT})"; echo "$({{ {intact}; }} 2>/dev/null)"; echo "$({leftovers})"'

    def process(self, output: list[str]) -> tuple[str, str, bool]:
        """Read the lines."""
        current, origin, leftovers = (*output, "", "", "")[:3]
        return current.strip(), origin.strip(), not leftovers.strip()

    @staticmethod
    def default() -> tuple[str, str, bool]:
        """Return the answer of a host without a release."""
        return "", "", True


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """Whether a service runs, starts at boot, and has read its present files."""

    running: bool
    enabled: bool
    current: bool


BOOTS = ("enabled", "enabled-runtime")
"""systemd's words for a unit that starts at boot. The latter is for units that a generator enables, such as postfix@-."""


class ServicesFact(FactBase[dict[str, ServiceState]]):
    """The state of all our services by name, in one answer."""

    def command(self, services: tuple[Service, ...]) -> str:
        """Print systemd's words for all services, one kind a line, then for each whether its stamp is right."""
        units = " ".join(service.unit for service in services)
        stamps = "; ".join(
            f'[ "$({read_digest(service)})" = "$(cat {stamp(service)} 2>/dev/null)" ] && echo current || echo changed'
            for service in services
        )
        names = " ".join(service.name for service in services)
        return f"echo {names}; echo $(systemctl is-active {units}); echo $(systemctl is-enabled {units} 2>&1); {stamps}"

    def process(self, output: list[str]) -> dict[str, ServiceState]:
        """Read the lines."""
        names, active, enabled, *stamps = (line.split() for line in output)
        # systemd prints no word for an unknown unit on the third line; then no unit is enabled.
        enabled += [""] * (len(names) - len(enabled))
        return {
            name: ServiceState(running=running == "active", enabled=boots in BOOTS, current=read == ["current"])
            for name, running, boots, read in zip(names, active, enabled, stamps, strict=False)
        }

    @staticmethod
    def default() -> dict[str, ServiceState]:
        """Return the answer of a host without systemd."""
        return {}


def read_digest(service: Service) -> str:
    """Return the shell command that prints the checksum of all files that ``service`` reads."""
    return f"cat {_quoted(service.reads)} 2>/dev/null | sha256sum | cut -d' ' -f1"


def stamp(service: Service) -> str:
    """Return the path of the file with the checksum of what ``service`` has read."""
    return f"{paths.STAMPS}/{service.name}"


def _quoted(words: Iterable[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)


class CheckFact(FactBase[dict[str, Any]]):
    """The result of ``baikalctl check``; ``wait_s`` gives services that were just reloaded a moment."""

    def command(self, wait_s: int = 0) -> str:
        """Print its JSON, with any exit status."""
        return f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} check --json --wait {wait_s} || true"

    def process(self, output: list[str]) -> dict[str, Any]:
        """Read the JSON."""
        try:
            result = json.loads("\n".join(output))
        except (ValueError, RecursionError):
            result = None
        return result if self._is_proper(result) else self.IMPROPER

    IMPROPER: ClassVar[dict[str, Any]] = {
        "healthy": False,
        "pending": [],
        "due": False,
        "findings": [
            {
                "subject": "check",
                "status": "failed",
                "message": "baikalctl check on the host gives no proper answer",
                "remedy": "log in to the host and run baikalctl check",
            }
        ],
    }
    """Replaces an answer in another form, for example of a compromised host."""

    @staticmethod
    def _is_proper(result: object) -> bool:
        if not isinstance(result, dict) or not isinstance(result.get("healthy"), bool):
            return False
        pending, findings = result.get("pending"), result.get("findings")
        if not isinstance(pending, list) or not isinstance(findings, list):
            return False
        texts = [*pending]
        for finding in findings:
            if not isinstance(finding, dict):
                return False
            texts += [finding.get(key) for key in ("subject", "status", "message", "remedy")]
        return all(isinstance(text, str) for text in texts)

    @staticmethod
    def default() -> dict[str, Any]:
        """Return the answer of a host without baikalctl."""
        return {"healthy": False, "pending": ["everything"], "due": False, "findings": []}
