"""Parts of an image's size: every file that its base lacks or that differs from it, by purpose."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.engine import Engine


MB: Final = 10**6
GROUPS: Final[Mapping[str, str]] = {
    "PHP": r"php.*|libmagic.*",  # the latter for fileinfo, which is part of PHP in Debian 13
    "Python, Jinja2, PyYAML": r"(lib)?python3(\.\d+)?(-(minimal|stdlib|jinja2|markupsafe|yaml))?|libyaml.*",
    "certbot": r"certbot|python3-.*",  # and its libraries
    "ICU and libxml2": r"libicu.*|libxml2.*|libxslt.*",
    "nginx": r"nginx.*|libnginx.*",
    "s6": r"s6|libs6.*|libskarnet.*|libexecline.*|execline",
    "Kerberos, OpenSSL and other libraries": r"lib.*",
    "iproute2, procps and other programs": r".*",
}
"""Purposes of packages by patterns of names; the first match counts."""
PLACES: Final[Mapping[str, str]] = {
    "/opt/baikal/": "Baïkal",
    "/usr/local/": "baikalctl",
    "/usr/lib/python3": "Python, Jinja2, PyYAML",
    "/var/lib/dpkg/": "dpkg's own data",
}
"""Purposes of files without a package, by path."""
COMPILED: Final = re.compile(r"/__pycache__/([^/]+)\.cpython-\d+(\.opt-\d)?\.pyc$")
"""Compiled code, which belongs to no package: it has the purpose of its source."""
REST: Final = "all else (debconf, /etc, caches)"
FILES: Final = r"stat -c %d /; find / -xdev -type f -printf '%D\t%i\t%s\t%T@ %m %U %G\t%p\n'"
OWNERS: Final = r"""cd /var/lib/dpkg/info && grep -H ^/ -- *.list"""


class FileInfo(NamedTuple):
    """A file: its size in bytes, its metadata, and its inode."""

    size: int
    state: str
    """Time of the last change, mode, owner and group: a change of any of these copies the file to the next layer."""
    inode: str
    """Hard links share the inode."""


def by_group(engine: Engine, image: str, base: str) -> dict[str, float]:
    """Return the megabytes of ``image`` above ``base`` by group, the largest first.

    A changed file counts in full, since its layer has all of it, and hard links count once. The sum equals the engine's
    size if it stores images unpacked (Docker's other storage counts the packed ones as well).
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
    """Return the size of ``image`` above ``base`` in megabytes."""
    return sum(by_group(engine, image, base).values())


def _group(path: str, owners: Mapping[str, str]) -> str:
    if package := owners.get(COMPILED.sub(r"/\1.py", path)):
        return next(group for group, names in GROUPS.items() if re.fullmatch(names, package))
    return next((group for prefix, group in PLACES.items() if path.startswith(prefix)), REST)


def _files(engine: Engine, image: str) -> Iterator[tuple[str, FileInfo]]:
    """Yield path and file for each file of an image, without the engine's mounts."""
    root, *lines = _output(engine, image, FILES)
    for line in lines:
        device, inode, size, state, path = line.split("\t", 4)
        if device == root:
            yield path, FileInfo(int(size), state, inode)


def _owners(engine: Engine, image: str) -> Iterator[tuple[str, str]]:
    """Yield each packaged path and its package; /lib and similar are links into /usr."""
    for line in _output(engine, image, OWNERS):
        package, _, path = line.partition(".list:")
        yield re.sub(r"^/(bin|lib|lib64|sbin)/", r"/usr/\1/", path), package.partition(":")[0]


def _output(engine: Engine, image: str, script: str) -> list[str]:
    """Run a shell script in a container of ``image`` and return the lines of its output."""
    return engine.docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script).splitlines()
