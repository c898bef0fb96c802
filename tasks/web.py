"""The web server and PHP: the door to Baïkal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from tasks.operations import serving

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("Web server")
def activate(target: Target) -> None:
    """Have PHP and nginx running on what is configured; an image has no init to talk to."""
    if target.machine.booted:
        serving(name="Run PHP and nginx, on the present configuration", files=target.wanted, run=target.run)
