"""Releases of Baïkal: known checksums, the PHP version that each needs, and comparison of versions."""

from __future__ import annotations

import re

KNOWN_RELEASES = {
    "0.12.1": "0449abb72b151d39d9c08c63cb83a05d9e9adb065b1165ef6786b0b6a13d203c",
    "0.11.1": "124a83adfdd29b7a2b48ce42ffcbdd39906ea0980bb98f79c8479b4a80647100",
    "0.10.1": "56eb176d98e68ada5af408beb10ffd97bd09c6b6ee59a398dbceff0be19f4df3",
}
"""SHA-256 of the zips at github.com/sabre-io/Baikal/releases, each confirmed by independent packagers."""


NEEDED_PHP = {(0, 12): (8, 2), (0, 10): (8, 1)}
"""Minimum PHP version by release, from each release's composer.json. Newer releases need at least the highest of these."""


def needed_php(version: str) -> tuple[int, int]:
    """Return the minimum PHP version for the release ``version``."""
    release = tuple(map(int, version.split(".")))[:2]
    return max((php for since, php in NEEDED_PHP.items() if release >= since), default=(8, 1))


VERSION = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})(?:[.-]?(?:alpha|beta|rc)\.?[0-9]{0,3})?")
"""The form of a version. It is used as the name of a directory, and may come from baikal.yaml or a database."""


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of ``version`` for comparison; an empty tuple if it isn't a version."""
    match = VERSION.fullmatch(version)
    return tuple(map(int, match[1].split("."))) if match else ()
