"""What a host's own check says, in a form that can be relied on whatever the host is."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pyinfra.api.facts import FactBase

from baikalctl import paths


class CheckFact(FactBase[dict[str, Any]]):
    """What ``baikalctl check`` finds; ``wait_s`` gives services that were just reloaded a moment."""

    def command(self, wait_s: int = 0) -> str:
        """Print its JSON, whatever its exit status."""
        return f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} check --json --wait {wait_s} || true"

    def process(self, output: list[str]) -> dict[str, Any]:
        """Read the JSON."""
        try:
            found = json.loads("\n".join(output))
        except (ValueError, RecursionError):
            found = None
        return found if self._is_proper(found) else self.IMPROPER

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
    """Stands for an answer of another form, such as that of a compromised host."""

    @staticmethod
    def _is_proper(found: object) -> bool:
        if not isinstance(found, dict) or not isinstance(found.get("healthy"), bool):
            return False
        pending, findings = found.get("pending"), found.get("findings")
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
        """Return what a host without baikalctl would say."""
        return {"healthy": False, "pending": ["everything"], "due": False, "findings": []}
