"""The last word: whether it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from tasks.operations import healthy

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("Check")
def activate(target: Target) -> None:
    """Be green only if ``baikalctl check`` finds nothing failing on the host."""
    if target.machine.booted:
        healthy(name="Ask the server whether all is well", run=target.run)
