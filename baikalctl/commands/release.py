"""``baikalctl release``: install a release of Baïkal; the deploy calls this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.baikal import release
from baikalctl.host.lock import hold_lock

if TYPE_CHECKING:
    import argparse


def run(chosen: argparse.Namespace) -> int:
    """Install the release, unless it is already installed and unchanged, and activate it if there is no data.

    Data of an older release is upgraded when the settings are applied; then the new release is activated.
    """
    version, archive, sha256 = chosen.version, chosen.archive, chosen.sha256
    with hold_lock(paths.LOCK if Path(paths.STATE).is_dir() else paths.BAKING_LOCK, output.say):
        try:
            source = Path(archive)
            standing = release.standing(version)
            if not standing or standing != sha256:
                if "://" in archive:
                    source = Path(paths.CODE) / f".baikal-{version}.zip"
                    release.download(archive, source)
                release.install(source, version, sha256)
            if not release.current() or not Path(paths.BAIKAL_YAML).is_file():
                release.activate(version)
        finally:
            release.clear_leftovers()
    return 0
