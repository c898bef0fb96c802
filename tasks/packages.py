"""The distribution's packages of all subsystems, in one run of apt: each run costs a second or more.

Which packages, and why: ``PACKAGES`` and ``packages`` in ``baikalctl/rendering/<subsystem>.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.operations import packages

if TYPE_CHECKING:
    from tasks.target import Target


def install(target: Target) -> None:
    """Install the packages that the host lacks. PHP's version is the distribution's; the preflight has compared it."""
    packages.installed(name="Install packages", packages=target.missing_packages(), booted=target.booted)
