"""What differs on this host from the desired state, as steps: a sentence and a function each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.changes import data_steps
from baikalctl.host.privileges import data_owner, privileged
from baikalctl.host.safe_copy import change_owner, has_owner
from baikalctl.mail import dkim_key
from baikalctl.tls import selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.baikal.accounts import Step
    from baikalctl.changes.data_steps import DataState
    from baikalctl.desired.state import DesiredState


def pending(declared: DesiredState, known: DataState | None = None) -> list[str]:
    """Return the steps that :func:`apply` would take now, as sentences, and take none; ``known`` is of the data."""
    return [sentence for sentence, _ in steps(declared, lambda: None, known)]


def steps(declared: DesiredState, back_up: Callable[[], None], known: DataState | None = None) -> Iterator[Step]:
    """Yield what differs from ``declared``; either each step is taken before the next is asked for, or none is.

    ``back_up`` makes an archive, before accounts are removed. ``known`` is of the data.
    """
    yield from selection.steps(declared)
    yield from selection.leftovers(declared)
    yield from dkim_key.steps(declared)
    yield from ownership_steps()
    yield from data_steps.steps(declared, back_up, known)


def ownership_steps() -> Iterator[Step]:
    """Yield files whose owner was changed, for example by a tool run as root: Baïkal must be able to write them."""
    if not privileged():
        return
    account = data_owner()
    for path in (paths.BAIKAL_YAML, paths.INSTALL_DISABLED, *(paths.SQLITE + part for part in ("", "-wal", "-shm"))):
        if not has_owner(Path(path), account):
            yield f"change the owner of {path} to {paths.USER}, mode 0600", partial(change_owner, Path(path), account)
