"""All differences between this host and the settings, as steps: a sentence and a function each."""

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
    """Return the sentences of all steps that apply would take; ``known`` is the state of the data."""
    return [sentence for sentence, _ in steps(declared, lambda: None, known)]


def steps(declared: DesiredState, back_up: Callable[[], None], known: DataState | None = None) -> Iterator[Step]:
    """Yield a step for each difference from ``declared``; take each step before the next is requested, or take none.

    ``back_up`` makes an archive before accounts are removed. ``known`` is the state of the data.
    """
    yield from selection.steps(declared)
    yield from selection.leftovers(declared)
    yield from dkim_key.steps(declared)
    yield from ownership_steps()
    yield from data_steps.steps(declared, back_up, known)


def ownership_steps() -> Iterator[Step]:
    """Yield a step for each file that Baïkal can't write, for example because a tool that ran as root has replaced it."""
    if not privileged():
        return
    account = data_owner()
    for path in (paths.BAIKAL_YAML, paths.INSTALL_DISABLED, *(paths.SQLITE + part for part in ("", "-wal", "-shm"))):
        if not has_owner(Path(path), account):
            yield f"change the owner of {path} to {paths.USER}, mode 0600", partial(change_owner, Path(path), account)
