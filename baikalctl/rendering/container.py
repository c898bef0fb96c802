"""All files of an image, and of a container: the same templates as on a machine, below ``/run/baikal``.

A container's configuration is in ``/run/baikal/etc``, so that the image itself stays read-only. The services that s6
supervises are in the image; the start links them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.desired.build import desired_state
from baikalctl.rendering.baikal import program
from baikalctl.rendering.machine import SUBSYSTEMS
from baikalctl.rendering.model import Directory, File, FileSet, Platform
from baikalctl.rendering.subsystem import Context, Layout
from baikalctl.rendering.templates import fill_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.settings.model import Settings


LAYOUT = Layout(socket=f"{paths.RUN}/php.sock", access_log="/dev/stdout", root=paths.RUN)
OPEN_TO_ALL = 0o1777
CERTIFICATE, BACKUP, MAIL = "certificate", "backup", "mail"
"""The services that renew certificates, make archives and send mail; each is left out if its setting is off."""
STOPPING_MS = {"nginx": 7500, "php": 1000}
"""How long each may take to finish its requests, in this order; Docker gives the whole container ten seconds."""


def baked() -> FileSet:
    """Return the files of an image: the program, and directories that any account a container runs as can write in."""
    base = program()
    directories = (
        Directory(path="/etc/baikal"),
        Directory(path=paths.DATA, mode=OPEN_TO_ALL),
        Directory(path=paths.RUN, mode=OPEN_TO_ALL),
    )
    scripts = tuple(_service_files())
    folders = sorted({str(Path(file.path).parent) for file in scripts})
    services = (Directory(path=folder) for folder in (paths.LAID_OUT, *folders))
    return dataclasses.replace(
        base,
        directories=(*directories, *base.directories, *services),
        files=(*base.files, *scripts),
        record=paths.BAKED,
        lock=paths.BAKING_LOCK,
    )


def _service_files() -> Iterator[File]:
    """Yield the files of s6's services. They are in the image, because a mounted /run may not allow executables."""
    scripts = {".s6-svscan/SIGTERM": "", ".s6-svscan/SIGINT": ".s6-svscan/SIGTERM", ".s6-svscan/finish": ""}
    for service, limit_ms in STOPPING_MS.items():
        scripts |= {f"{service}/run": "", f"{service}/finish": "finish"}
        for name, content in (("down-signal", "SIGQUIT"), ("notification-fd", "3"), ("timeout-kill", str(limit_ms))):
            yield File(path=f"{paths.LAID_OUT}/{service}/{name}", content=f"{content}\n".encode())
    scripts |= {f"{service}/run": "" for service in (CERTIFICATE, BACKUP, MAIL)}
    for name, template in scripts.items():
        text = fill_in(f"{paths.LAID_OUT[1:]}/{template or name}", paths=paths, socket=LAYOUT.socket)
        yield File(path=f"{paths.LAID_OUT}/{name}", content=text, mode=0o755)


def render_contained(settings: Settings, platform: Platform, realm: str) -> FileSet:
    """Return the files that a container's start writes outside the volume; the data's passwords are of ``realm``."""
    services = (*STOPPING_MS, *((MAIL,) if settings.mail == "relay" else ()))
    context = Context(
        settings=settings,
        platform=platform,
        declared=desired_state(settings, services, realm, paths.RUN),
        layout=LAYOUT,
    )
    top = (Directory(path=paths.RUN), Directory(path=f"{paths.RUN}/etc"))
    return FileSet(
        directories=(*top, *(directory for each in SUBSYSTEMS for directory in each.directories(context))),
        files=tuple(file for each in SUBSYSTEMS for file in each.files(context)),
    )
