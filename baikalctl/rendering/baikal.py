"""Baïkal and baikalctl: the packages, the program with its templates, the desired state, and the data directory."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.rendering import templates
from baikalctl.rendering.model import Directory, File, FileSet, Platform, Service
from baikalctl.rendering.templates import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.rendering.subsystem import Context
    from baikalctl.settings.model import Settings


PACKAGES = ("ca-certificates", "openssl", "python3", "python3-jinja2", "python3-yaml", "tzdata")
"""Packages of every machine and image: baikalctl writes baikal.yaml, makes certificates, and uses time zones."""
SUPERVISOR = "s6"
"""The supervisor in an image, which has no systemd."""


def packages(settings: Settings, *, image: bool) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return the distribution's packages."""
    return (*PACKAGES, SUPERVISOR) if image else PACKAGES


def units(settings: Settings, platform: Platform) -> tuple[str, ...]:  # noqa: ARG001 - as every subsystem's
    """Return nothing: PHP runs Baïkal."""
    return ()


def directories(context: Context) -> Iterator[Directory]:
    """Yield the configuration's directory; on a machine also the program's and the data's, which a container has."""
    if context.layout.contained:
        yield Directory(path=f"{context.layout.root}/etc/baikal")
        return
    yield Directory(path="/etc/baikal", mode=0o700)
    yield from data_directories()
    yield from program().directories


def files(context: Context) -> Iterator[File]:
    """Yield the desired state; on a machine also the program, which an image has."""
    if not context.layout.contained:
        yield from program().files
    path = f"{context.layout.root}{paths.DECLARED}"
    yield File(path=path, content=context.declared.to_json().encode(), mode=0o600, together=True)


def services(context: Context, files: tuple[File, ...]) -> tuple[Service, ...]:  # noqa: ARG001 - as every subsystem's
    """Return nothing: PHP runs Baïkal."""
    return ()


def data_directories() -> tuple[Directory, ...]:
    """Return the directories of the data. The deploy makes them on a machine, the start in a container's volume."""
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


def program() -> FileSet:
    """Return baikalctl with the templates, which every machine and every image has."""
    return _program(templates.folders())


@functools.cache
def _program(_: tuple[Path, ...]) -> FileSet:
    """Return the same, cached for each list of template folders."""
    names = [path.relative_to(HOME) for path in _files("baikalctl") if path.suffix == ".py"]
    library = [_copy(HOME / name, str(name)) for name in names]
    texts = [str(path.relative_to(HOME / "templates")) for path in _files("templates")]
    library += [_copy(templates.source(name), f"templates/{name}") for name in texts]
    prefix = f"{paths.LIBRARY[1:]}/"
    php = [name for name in texts if name.startswith(prefix) and name.endswith(".php")]
    library += [_copy(templates.source(name), name.removeprefix(prefix)) for name in php]
    folders = {str(folder) for file in library for folder in Path(file.path).parents if paths.LIBRARY in str(folder)}
    command = templates.fill_in("usr/local/sbin/baikalctl", library=paths.LIBRARY)
    return FileSet(
        directories=(Directory(path=paths.CODE), *(Directory(path=folder) for folder in sorted(folders))),
        files=(*library, File(path=paths.COMMAND, content=command, mode=0o755)),
    )


def _files(folder: str) -> list[Path]:
    """Return the files below a ``folder`` of this checkout, without compiled ones."""
    every = sorted((HOME / folder).rglob("*"))
    return [path for path in every if path.is_file() and "__pycache__" not in path.parts]


def _copy(source: Path, name: str) -> File:
    """Return the copy of ``source`` at the path ``name`` in a host's library."""
    return File(path=f"{paths.LIBRARY}/{name}", content=source.read_bytes())
