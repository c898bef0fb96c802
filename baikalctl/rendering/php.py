"""PHP: its pool, its limits and its service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baikalctl.rendering.model import Platform


def workers(platform: Platform) -> int:
    """Return how many PHP processes to run: twice as many as cores, at least two, and 96 MiB of memory for each.

    Measured on a CalDAV load with two cores: beside as many as cores, 1.06 times the requests of a mixed load and 1.33
    times those of writers, because a write waits for the disk. From 16 on, writers block each other. Two at least, so
    that one long report doesn't shut everybody else out.
    """
    return max(2, min(2 * platform.cores, 12, platform.memory_mb // 96))


def memory_limit_mb(platform: Platform) -> int:
    """Return PHP's memory limit: a sync of a large address book needs more than PHP's 128 MiB, where there is more."""
    return max(128, min(512, platform.memory_mb // 2 // workers(platform)))
