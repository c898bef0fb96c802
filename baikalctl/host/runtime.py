"""Where baikalctl runs: on a machine, in a container that serves, or in a one-off container."""

from __future__ import annotations

from pathlib import Path

from baikalctl import paths


def is_booted() -> bool:
    """Tell whether this is a machine that systemd has booted."""
    return Path(paths.BOOTED).is_dir()


def in_container() -> bool:
    """Tell whether this is a container that ``baikalctl start`` has started."""
    return Path(paths.SERVICES).is_dir()


def in_one_off_container() -> bool:
    """Tell whether this is a container that was not started to serve, but does one thing with the data, and ends."""
    return Path(paths.LAID_OUT).is_dir() and not in_container()


def apply_remedy() -> str:
    """Return what brings everything to what is declared."""
    return "restart the container" if in_container() else "run the deploy"
