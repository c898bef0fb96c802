"""The distribution's packages: nginx, PHP, and what baikalctl needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from tasks.operations import packages_installed

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("Packages")
def install(target: Target) -> None:
    """Have everything from the distribution installed; PHP is whatever version it offers, compared beforehand."""
    packages_installed(
        name="Install what is missing of the distribution's packages",
        packages=target.lacking(),
        booted=target.machine.booted,
    )
