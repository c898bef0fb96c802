"""The certificate: asked for when the server is up, because the authority looks whether it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from tasks.operations import certified

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("TLS")
def activate(target: Target) -> None:
    """Have a certificate of the declared authority; until there is one, a self-signed one serves."""
    if target.machine.booted and target.settings.tls == "letsencrypt":
        certified(name="Ask for a certificate where that is due", run=target.run)
