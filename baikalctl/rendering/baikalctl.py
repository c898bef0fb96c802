"""baikalctl itself: the program with its templates, and the data directory."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering.model import Directory, File, FileSet
from baikalctl.rendering.templates import HOME, fill_in

if TYPE_CHECKING:
    from collections.abc import Iterator


def data_directories() -> tuple[Directory, ...]:
    """Return where all is that must survive: a machine has it from its deploy, a container's volume from its start."""
    return (
        Directory(path=paths.DATA),
        *(
            Directory(path=path, mode=0o700)
            for path in (paths.STATE, paths.STAMPS, paths.TLS, paths.ACME, paths.ISSUED)
        ),
        Directory(path=paths.CHALLENGES),
        Directory(path=paths.MAINTENANCE, mode=0o711),
        *(
            Directory(path=path, mode=0o700, owner=paths.USER, group=paths.USER)
            for path in (paths.CONFIG, paths.SPECIFIC, f"{paths.SPECIFIC}/db", paths.SESSIONS)
        ),
        Directory(path=paths.MAIL),
        Directory(path=paths.KEPT, mode=0o700, owner=paths.USER, group=paths.USER),
    )


@functools.cache
def program() -> FileSet:
    """Return what every machine and every image has: ``baikalctl`` and the templates, the same everywhere."""
    library = [*_tree("baikalctl", "*.py"), *_tree("templates", "*")]
    command = fill_in("usr/local/sbin/baikalctl", library=paths.LIBRARY)
    php = (HOME / "templates" / paths.LIBRARY[1:]).glob("*.php")
    folders = {str(folder) for file in library for folder in Path(file.path).parents if paths.LIBRARY in str(folder)}
    return FileSet(
        directories=(Directory(path=paths.CODE), *(Directory(path=folder) for folder in sorted(folders))),
        files=(
            *library,
            *(File(path=f"{paths.LIBRARY}/{file.name}", content=file.read_bytes()) for file in sorted(php)),
            File(path=paths.COMMAND, content=command, mode=0o755),
        ),
    )


def _tree(folder: str, pattern: str) -> Iterator[File]:
    """Yield the files below ``folder`` as they stand in a host's library."""
    for source in sorted((HOME / folder).rglob(pattern)):
        if source.is_file() and "__pycache__" not in source.parts:
            yield File(path=f"{paths.LIBRARY}/{source.relative_to(HOME)}", content=source.read_bytes())
