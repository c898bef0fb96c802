"""Findings of a check: subject, result and remedy."""

from __future__ import annotations

from dataclasses import dataclass

from baikalctl import output

OK, WARNING, FAILED = "ok", "warning", "failed"
"""The statuses of a finding. Only the last makes ``baikalctl check`` exit with 1."""


@dataclass(frozen=True)
class Finding:
    """The result of one check: its status, a message and, if there is a problem, the remedy."""

    subject: str
    status: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line for the operator."""
        advice = f"; {self.remedy}" if self.remedy else ""
        return output.escaped(f"{self.status:<8} {self.subject:<12} {self.message}{advice}")
