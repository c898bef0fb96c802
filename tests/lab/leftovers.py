"""Remove leftovers of the lab's earlier processes, also of killed ones, from this computer."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.lab.baking import TEMPORARY
from tests.lab.engine import Engine, locked
from tests.lab.images import BUILDING
from tests.lab.machine import HOST_LABEL, RUN_LABEL
from tests.lab.stack import leave_swarm, swarm_owner


def remove_leftovers(engine: Engine) -> list[str]:
    """Remove containers, volumes, networks, images and the swarm of ended processes; return the containers.

    Those of running processes are kept: several test runs, and the workers of one, share an engine. A machine that
    should stay is started with ``options=KEEP``.
    """
    with locked("leftovers"):
        owner = swarm_owner(engine)
        if owner and is_gone(owner):
            leave_swarm(engine)
        containers = _containers(engine)
        if containers:
            engine.docker("rm", "-f", "-v", *containers, check=False)
        for kind in ("volume", "network"):
            shown = f'{{{{.Name}}}}\t{{{{.Label "{RUN_LABEL}"}}}}'
            for line in engine.docker(kind, "ls", "--filter", f"label={RUN_LABEL}", "--format", shown).splitlines():
                name, pid = line.split("\t")
                if pid and is_gone(int(pid)):
                    engine.docker(kind, "rm", name, check=False)
        for tag in engine.docker("image", "ls", "--format", "{{.Tag}}", TEMPORARY).split():
            if is_gone(int(tag.partition("-")[0])):
                engine.docker("rmi", "-f", f"{TEMPORARY}:{tag}", check=False)
        return containers


def is_gone(pid: int) -> bool:
    """Whether a process has ended, also if its parent hasn't waited for it yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def _containers(engine: Engine) -> list[str]:
    """Return the names of containers whose label, or name during an image build, is of a process that has ended."""
    shown = f'{{{{.Names}}}}\t{{{{.Label "{RUN_LABEL}"}}}}\t{{{{.Label "{HOST_LABEL}"}}}}'
    names = []
    for line in engine.docker("ps", "-a", "--format", shown).splitlines():
        name, pid, host = line.split("\t")
        if building := re.fullmatch(rf"{BUILDING}-(\d+)-\w+", name):
            pid, host = building[1], socket.gethostname()
        if host == socket.gethostname() and pid and is_gone(int(pid)):
            names.append(name)
    return names
