"""nginx, the web server.

Its package, site and service are described in ``baikalctl/rendering/nginx.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.operations import files, services

if TYPE_CHECKING:
    from pyinfra.api.operation import OperationMeta

    from tasks.target import Target


def configure(target: Target, upload: OperationMeta) -> None:
    """Fail if nginx refused its configuration in the ``upload``."""
    if target.booted:
        files.accepted(name="Check nginx configuration", upload=upload, services=("nginx",))


def activate(target: Target) -> None:
    """Have nginx running on its present configuration. PHP runs by now: nginx needs its socket."""
    if target.booted:
        services.running(name="Start nginx", services=target.services, names=("nginx",), facts=target.facts)
