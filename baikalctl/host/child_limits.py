"""Limits for the child processes in which data from others is read (:mod:`baikalctl.host.boundary`)."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a child process may use; it is killed if it takes longer."""

    seconds: float
    """From its start to its answer."""
    cpu_s: int
    """Of processor time."""
    memory: int
    """Bytes of address space, in addition to what this process has."""
    answer: int = 16 * MIB
    """Bytes of its answer."""


QUICK = Limits(seconds=60, cpu_s=50, memory=512 * MIB)
"""For reading a few rows or files."""


THOROUGH = Limits(seconds=3600, cpu_s=3600, memory=4096 * MIB)
"""For reading or writing all data. Baïkal allows its own upgrade 3600 seconds, too."""
