"""The configuration of all subsystems, uploaded in one transaction and checked by each service.

If a service refuses its part, everything is rolled back on the host, and the operation of that subsystem fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks import backup, certbot, database, mail, nginx, php
from tasks.operations import files

if TYPE_CHECKING:
    from tasks.target import Target


def upload(target: Target) -> None:
    """Upload baikalctl and all configuration; an image gets only baikalctl."""
    transaction = files.synced(name="Upload configuration", files=target.files, facts=target.facts)
    certbot.configure(target, transaction)
    database.configure(target, transaction)
    php.configure(target, transaction)
    nginx.configure(target, transaction)
    mail.configure(target, transaction)
    backup.configure(target, transaction)
    if target.booted:
        files.accepted(name="Check configuration", upload=transaction)  # any service, or the host itself
