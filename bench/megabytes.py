"""Where an image's megabytes are: every file that its base lacks, or has otherwise, by what it is there for."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.engine import Engine


MB: Final = 10**6
GROUPS: Final[Mapping[str, str]] = {
    "PHP": r"php.*|libmagic.*",  # the latter for fileinfo, which Debian 13 has in PHP itself
    "Python, Jinja2, PyYAML": r"(lib)?python3(\.\d+)?(-(minimal|stdlib|jinja2|markupsafe|yaml))?|libyaml.*",
    "certbot": r"certbot|python3-.*",  # and the libraries that come with it
    "ICU and libxml2": r"libicu.*|libxml2.*|libxslt.*",
    "nginx": r"nginx.*|libnginx.*",
    "s6": r"s6|libs6.*|libskarnet.*|libexecline.*|execline",
    "Kerberos, OpenSSL and other libraries": r"lib.*",
    "iproute2, procps and other programs": r".*",
}
"""What a package is there for, by its name; the first that matches."""
PLACES: Final[Mapping[str, str]] = {
    "/opt/baikal/": "Baïkal",
    "/usr/local/": "baikalctl",
    "/usr/lib/python3": "Python, Jinja2, PyYAML",
    "/var/lib/dpkg/": "dpkg's own data",
}
"""What is there for by its place, where no package has it."""
COMPILED: Final = re.compile(r"/__pycache__/([^/]+)\.cpython-\d+(\.opt-\d)?\.pyc$")
"""Compiled code, which no package has: it is there for what its source is there for."""
REST: Final = "all else (debconf, /etc, caches)"
FILES: Final = r"stat -c %d /; find / -xdev -type f -printf '%D\t%i\t%s\t%T@ %m %U %G\t%p\n'"
OWNERS: Final = r"""cd /var/lib/dpkg/info && grep -H ^/ -- *.list"""


class Found(NamedTuple):
    """A file: its size in bytes, when it was changed and whose it is, and its number in the file system."""

    size: int
    state: str
    """Time of the last change, mode, owner and group: a change of any of these copies the file to the layer above."""
    inode: str
    """Hard links share it."""


def by_group(engine: Engine, image: str, base: str) -> dict[str, float]:
    """Return the megabytes of ``image`` above ``base`` by group, the largest first.

    A file that was changed counts whole, since its layer has all of it, and hard links count once. That adds up to what
    the engine says, where its images are unpacked (Docker's other way to keep them counts the packed ones as well).
    """
    before = dict(_files(engine, base))
    owners = dict(_owners(engine, image))
    sizes: Counter[str] = Counter()
    counted: set[str] = set()
    for path, content in _files(engine, image):
        unchanged = path in before and before[path][:2] == content[:2]
        if not unchanged and content.inode not in counted:
            counted.add(content.inode)
            sizes[_group(path, owners)] += content.size
    return {group: size / MB for group, size in sizes.most_common()}


def above(engine: Engine, image: str, base: str) -> float:
    """Return by how many megabytes ``image`` is larger than ``base``."""
    return sum(by_group(engine, image, base).values())


def _group(path: str, owners: Mapping[str, str]) -> str:
    if package := owners.get(COMPILED.sub(r"/\1.py", path)):
        return next(group for group, names in GROUPS.items() if re.fullmatch(names, package))
    return next((group for prefix, group in PLACES.items() if path.startswith(prefix)), REST)


def _files(engine: Engine, image: str) -> Iterator[tuple[str, Found]]:
    """Yield the path of each file of an image, and what was found there; what the engine mounts over it isn't its."""
    root, *lines = _told(engine, image, FILES)
    for line in lines:
        device, inode, size, state, path = line.split("\t", 4)
        if device == root:
            yield path, Found(int(size), state, inode)


def _owners(engine: Engine, image: str) -> Iterator[tuple[str, str]]:
    """Yield each path that a package has, and the package; /lib and the like are links to the same in /usr."""
    for line in _told(engine, image, OWNERS):
        package, _, path = line.partition(".list:")
        yield re.sub(r"^/(bin|lib|lib64|sbin)/", r"/usr/\1/", path), package.partition(":")[0]


def _told(engine: Engine, image: str, script: str) -> list[str]:
    """Return the lines that a shell script prints in a container of ``image``."""
    return engine.docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script).splitlines()
