"""PHP-FPM, in which Baïkal runs.

Its packages, pool, limits and service are described in ``baikalctl/rendering/php.py``, for machines, images and
containers alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.operations import files, services

if TYPE_CHECKING:
    from pyinfra.api.operation import OperationMeta

    from tasks.target import Target


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if PHP refused its configuration in the ``upload``."""
    if target.booted:
        files.accepted(name="Check PHP configuration", upload=upload, services=("php",))


def activate(target: Target) -> None:
    """Have PHP-FPM running on its present configuration."""
    if target.booted:
        services.running(name="Start PHP", services=target.services, names=("php",), facts=target.facts)
