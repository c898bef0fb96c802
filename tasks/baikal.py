"""Baïkal: baikalctl, the release, and the state of its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy

from baikalctl.rendering import render, tools
from tasks.operations import applied, files_brought, release_installed

if TYPE_CHECKING:
    from baikalctl.rendering import FileSet
    from tasks.survey import Target


@deploy("Baïkal")
def install(target: Target) -> None:
    """Have baikalctl, all configuration (in an image: none yet) and the release on the host."""
    settings, archive = target.settings, target.archive
    target.run.operations += [
        files_brought(name="Bring every file of ours to the host", files=lambda: wanted(target)),
        release_installed(
            name=f"Install Baïkal {settings.baikal_version}",
            version=settings.baikal_version,
            archive=archive.source,
            sha256=archive.sha256,
        ),
    ]


@deploy("Baïkal")
def configure(target: Target) -> None:
    """Have certificate, configuration, database and accounts as declared; an image has none of them."""
    if target.machine.booted:
        target.run.operations.append(applied(name="Apply the declared state", run=target.run))


def wanted(target: Target) -> FileSet:
    """Return every file of ours on this host. An image has no name yet: a container renders the rest when it starts."""
    if not target.machine.booted:
        return tools()
    platform = target.platform()
    if target.files is None or target.files[0] != platform:
        target.files = (platform, render(target.settings, platform))
    return target.files[1]
