"""Where baikalctl runs: on a machine, in a container that serves, or in a one-off container."""

from __future__ import annotations

from pathlib import Path

from baikalctl import paths


def is_booted() -> bool:
    """Tell whether this is a machine booted with systemd."""
    return Path(paths.BOOTED).is_dir()


def in_container() -> bool:
    """Tell whether this is a container in which ``baikalctl start`` runs."""
    return Path(paths.SERVICES).is_dir()


def in_one_off_container() -> bool:
    """Tell whether this is a container that runs one command on the data and ends, without serving."""
    return Path(paths.LAID_OUT).is_dir() and not in_container()


def apply_remedy() -> str:
    """Return the remedy that applies the settings."""
    return "restart the container" if in_container() else "run the deploy"
