"""A machine where apt offers an old PHP, as on Ubuntu 22.04."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.machine import Machine

PACKAGES: Final = """Package: php-fpm
Version: 2:8.1+92ubuntu1
Architecture: all
Maintainer: the lab
Filename: ./php-fpm.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: claims to be an old PHP
"""


@contextmanager
def old_php(machine: Machine) -> Iterator[None]:
    """Make apt offer PHP 8.1 on the machine within the block."""
    machine.run("mkdir -p /srv/old")
    machine.write("/srv/old/Packages", PACKAGES)
    machine.write("/etc/apt/sources.list.d/old.list", "deb [trusted=yes] file:/srv/old ./\n")
    machine.write("/etc/apt/preferences.d/old", "Package: php-fpm\nPin: version 2:8.1*\nPin-Priority: 1001\n")
    machine.run("apt-get update 2>&1")
    try:
        yield
    finally:
        machine.run("rm -r /srv/old /etc/apt/sources.list.d/old.list /etc/apt/preferences.d/old")
