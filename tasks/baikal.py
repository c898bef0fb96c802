"""Baïkal: baikalctl, the release, and the state of its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from tasks.operations import applied, files_brought, release_installed

if TYPE_CHECKING:
    from tasks.survey import Target


@deploy("Baïkal")
def install(target: Target) -> None:
    """Have baikalctl, all configuration (in an image: none yet) and the release on the host."""
    settings, archive = target.settings, target.archive
    files_brought(name="Bring every file of ours to the host", files=target.wanted, run=target.run)
    release_installed(
        name="Install Baïkal",  # without its version: hosts share an operation's name, and may differ in that
        version=settings.baikal_version,
        archive=archive.source,
        sha256=archive.sha256,
        run=target.run,
    )


@deploy("Baïkal")
def configure(target: Target) -> None:
    """Have certificate, configuration, database and accounts as declared; an image has none of them."""
    if target.machine.booted:
        applied(name="Apply the declared state", run=target.run)
