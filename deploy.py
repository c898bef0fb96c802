"""Provision Baïkal: pyinfra inventory.py deploy.py, or pyinfra @docker/ubuntu:24.04 deploy.py for an image."""

import sys
from pathlib import Path

from pyinfra.context import host

# If another deploy.py includes this one (docs/fleets.md), or pyinfra was called in another directory.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from tasks import backup, baikal, certbot, configuration, database, image, mail, nginx, php
from tasks.fleet.batches import in_batches
from tasks.operations import packages
from tasks.preflight import preflight


def deploy() -> None:
    """Deploy this host as its settings say. If any host has a fault, raise DeployError and change nothing on any host."""
    target = preflight(host)
    for _ in in_batches(host, target.batches):  # runs once: with all hosts, or with the hosts of this host's batch
        mail.prepare(target)  # saves queued mail if its server is about to be removed
        database.prepare(target)
        # Those of all subsystems (PACKAGES in baikalctl/rendering/<subsystem>.py), in one run of apt.
        packages.installed(name="Install packages", packages=target.missing_packages(), booted=target.booted)
        configuration.upload(target)  # of all subsystems, in one transaction
        baikal.install(target)
        baikal.configure(target)

        # These need a running machine. A container does the same when it starts (baikalctl/container/start.py).
        database.activate(target)
        php.activate(target)
        nginx.activate(target)
        certbot.activate(target)
        mail.activate(target)
        backup.activate(target)
        baikal.check(target)
        image.finish(target)


deploy()
