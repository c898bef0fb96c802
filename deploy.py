"""Provision Baïkal: pyinfra inventory.py deploy.py, or pyinfra @docker/ubuntu:24.04 deploy.py for an image."""

import sys
from pathlib import Path

from pyinfra.context import host

# For another deploy.py that includes this one (docs/fleets.md).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from tasks import backup, baikal, certbot, configuration, database, image, mail, nginx, php
from tasks.fleet.batches import in_batches
from tasks.operations import packages
from tasks.preflight import preflight


def deploy() -> None:
    """Bring this host to its settings; raises DeployError, with nothing changed anywhere, if any host has a fault."""
    target = preflight(host)
    for _ in in_batches(host, target.batches):  # once: with all hosts together, or when this host's batch is next
        mail.prepare(target)  # saves queued mail if its server is about to be removed
        database.prepare(target)
        # Of all subsystems (PACKAGES in baikalctl/rendering/<subsystem>.py), in one run of apt.
        packages.installed(name="Install packages", packages=target.missing_packages(), booted=target.booted)
        configuration.upload(target)  # of all subsystems, in one transaction
        baikal.install(target)
        baikal.configure(target)

        # These need a running machine. For an image, its containers do the same at their start (container/start.py).
        database.activate(target)
        php.activate(target)
        nginx.activate(target)
        certbot.activate(target)
        mail.activate(target)
        backup.activate(target)
        baikal.check(target)
        image.finish(target)


deploy()
