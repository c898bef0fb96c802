"""Findings: what a check has looked at, its result, and a remedy."""

from __future__ import annotations

from dataclasses import dataclass

from baikalctl import output

OK, WARNING, FAILED = "ok", "warning", "failed"
"""The statuses of a finding. Only the last makes ``baikalctl check`` exit with 1."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its ``status``, what is so, and what to do unless all is well."""

    subject: str
    status: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line that a person reads."""
        advice = f"; {self.remedy}" if self.remedy else ""
        return output.escaped(f"{self.status:<8} {self.subject:<12} {self.message}{advice}")
