"""What a container is given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from baikalctl import surroundings
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have control groups that say what a test writes, on a machine with eight cores."""
    monkeypatch.setattr(surroundings, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_share_of_the_processors_counts(cgroup: Path, files: dict[str, str], cores: int) -> None:
    """Of both versions of control groups; without a limit it is what the kernel lets us run on."""
    for name, content in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(content, encoding="ascii")
    assert surroundings._cores() == cores


@pytest.mark.parametrize(
    ("files", "memory_mb"),
    [
        ({"memory.max": f"{256 << 20}\n"}, 256),
        ({"memory/memory.limit_in_bytes": f"{512 << 20}\n"}, 512),
        ({"memory.max": "max\n"}, 0),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0),
    ],
)
def test_a_limit_of_memory_counts(cgroup: Path, files: dict[str, str], memory_mb: int) -> None:
    """So that a small container gets few PHP processes; without one it is the machine's, here 0."""
    for name, content in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(content, encoding="ascii")
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    assert surroundings._memory_mb() == (memory_mb or whole)


def test_a_port_that_may_not_be_opened_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker lets every container open every port; others don't."""
    monkeypatch.setattr(surroundings, "may", lambda _: False)
    limit = int(surroundings.UNPRIVILEGED_PORTS.read_text(encoding="ascii"))
    surroundings.refuse_low_port("https_port", max(limit, 1024))
    if limit:
        with pytest.raises(HostError, match=r"https_port is 80, .* set BAIKAL_HTTPS_PORT to 1024 or more"):
            surroundings.refuse_low_port("https_port", 80)


def test_whoever_has_the_capability_may_open_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root has it unless it was taken away."""
    monkeypatch.setattr(surroundings, "may", lambda _: True)
    surroundings.refuse_low_port("http_port", 80)
