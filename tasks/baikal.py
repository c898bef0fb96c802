"""Baïkal: the release, and its settings.

The packages and files of baikalctl are described in ``baikalctl/rendering/baikal.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.operations import baikalctl, release

if TYPE_CHECKING:
    from tasks.target import Target


def install(target: Target) -> None:
    """Install the release."""
    release.installed(
        name="Install Baïkal",  # without its version: hosts share an operation's name, and may differ in that
        version=target.settings.baikal_version,
        archive=target.archive.source,
        sha256=target.archive.sha256,
        facts=target.facts,
    )


def configure(target: Target) -> None:
    """Apply the settings to certificate, baikal.yaml, database and accounts; an image has none of them."""
    if target.booted:
        baikalctl.applied(name="Apply settings", facts=target.facts)


def check(target: Target) -> None:
    """Fail unless ``baikalctl check`` on the host is healthy."""
    if target.booted:
        baikalctl.healthy(name="Check health", facts=target.facts)
