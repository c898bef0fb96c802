"""Certificates: self-signed at once, from an ACME authority as soon as it issues one, renewed by a timer.

certbot's package and configuration and the timer are described in ``baikalctl/rendering/certbot.py``. The timer calls
``baikalctl certificate``; when a certificate is renewed is decided in ``baikalctl/tls/renewal.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl.rendering import timers
from tasks.operations import baikalctl, files, services

if TYPE_CHECKING:
    from pyinfra.api.operation import OperationMeta

    from tasks.target import Target


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if there is no certificate that the services could be checked with."""
    if target.booted and target.settings.tls != "off":
        refusing = (files.CERTIFICATE, timers.CERTIFICATE)
        files.accepted(name="Check certificate configuration", upload=upload, services=refusing)


def activate(target: Target) -> None:
    """Have the timer running, and request a certificate. nginx runs by now: the authority connects to it."""
    if not target.booted or target.settings.tls == "off":
        return
    timer = (timers.CERTIFICATE,)
    services.running(name="Start certificate timer", services=target.services, names=timer, facts=target.facts)
    if target.settings.tls == "letsencrypt":
        baikalctl.certificate_requested(name="Request certificate", facts=target.facts)
