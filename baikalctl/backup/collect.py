"""Copy everything that an archive contains to a folder, where nothing changes it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.backup import archive, catalog, manifest, verify_database
from baikalctl.backup.manifest import Manifest
from baikalctl.baikal import config, current_database
from baikalctl.changes import members
from baikalctl.database import interface
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.privileges import data_owner, privileged
from baikalctl.host.safe_copy import copy_out
from baikalctl.host.tempdir import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState


SOURCES = {"tls": "TLS", "acme": "ACME", "dkim": "DKIM"}
"""An archive's folders, and the names of their paths on the host."""
PASSING = re.compile(r"\.|(lock|work|incoming|letsencrypt\.log.*)$")
"""Temporary files and folders, and logs."""


def collect_files(folder: Path, declared: DesiredState, label: str) -> Manifest:
    """Copy all that is needed to restore this server to the empty ``folder``; write and return its manifest.

    To be called under the host's lock. The database is copied consistently while clients write. Files are copied before
    they are described, because a certificate may be renewed at any time. The mail queue is left out: a restore would send
    its messages twice.
    """
    configuration = config.read()
    if not configuration:
        message = f"{paths.BAIKAL_YAML} does not exist: this host has no data yet; run the deploy first"
        raise HostError(message)
    database = current_database.compared(current_database.section(declared), configuration)
    configured = str(configuration.get("system", {}).get("configured_version", ""))
    try:
        counts = snapshot(database, folder / members.DATABASE, f"{database}", "restore the newest archive")
        (folder / members.YAML).parent.mkdir(mode=0o700)
        copy_out(Path(paths.BAIKAL_YAML), folder / members.YAML, largest=config.LARGEST)
        for name, source in SOURCES.items():
            copy_plain_files(Path(getattr(paths, source)), folder / name)
        with contextlib.suppress(FileNotFoundError):
            _write(folder / members.APPLIED, Path(paths.APPLIED).read_bytes())
        settings = json.dumps(declared.settings, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        _write(folder / members.SETTINGS, settings.encode())
        return described(
            folder,
            created=_moment(label),
            label=label,
            hostname=declared.hostname,
            baikal=configured,
            backend=database.backend,
            counts=counts,
        )
    except interface.Error as error:
        remedy = database.remedy(error, "run baikalctl check for details")
        message = f"{database} can't be copied ({error}); {remedy}"
        raise HostError(message) from None
    except OSError as error:
        remedy = f"free disk space in {folder.parent} or fix the cause, and run this again"
        raise HostError(f"the data can't be copied ({error}); {remedy}") from None


@contextlib.contextmanager
def owners_folder() -> Iterator[Path]:
    """Make a temporary folder that the data's owner can write to."""
    with temporary_directory(Path(paths.DATA)) as folder:
        if privileged():
            os.chown(folder, data_owner().pw_uid, data_owner().pw_gid)
        yield folder


def snapshot(database: Database, target: Path, what: str, remedy: str) -> dict[str, int]:
    """Copy the database as its owner to root's file ``target``, check that copy, and return its rows by table.

    ``what`` and ``remedy`` are for the message if the database is damaged.
    """
    with owners_folder() as folder:
        confined(lambda: database.snapshot(folder / target.name), THOROUGH)
        copy_out(folder / target.name, target)
    return verify_database.checked(target, lambda copy: verify_database.count_sound(copy, what, remedy))


def described(folder: Path, **fields: Any) -> Manifest:  # noqa: ANN401 - the fields of a manifest
    """Describe the files in ``folder``, and write the manifest there; raises :class:`HostError` if it isn't valid.

    ``fields`` are those of :class:`Manifest` but for ``php`` and ``files``.
    """
    files = {name: archive.describe(folder / name) for name in sorted(_names(folder))}
    description = Manifest(php=_php(), files=files, **fields)
    text = description.to_json().encode()
    try:
        manifest.read(text)
    except ValueError as error:  # better now than when it is restored
        message = f"the archive could not be restored later: {error}; remove files that are not needed in {paths.DATA}"
        raise HostError(message) from None
    _write(folder / manifest.NAME, text)
    return description


def _moment(label: str) -> float:
    """Return the current time in whole seconds, or the next second that has no archive yet."""
    now = int(time.time())
    while (directories.backups() / catalog.name(now, label)).exists():
        now += 1
    return float(now)


def _names(folder: Path) -> Iterator[str]:
    """Yield the names in ``folder`` that are archived; remove files with other names."""
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file():
            if members.restored(name):
                yield name
            else:
                path.unlink()


def copy_plain_files(source: Path, target: Path) -> None:
    """Copy the regular files below ``source``, without following any link."""
    for directory, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not PASSING.match(name)]
        for name in names:
            path = Path(directory) / name
            if not PASSING.match(name):
                with contextlib.suppress(FileNotFoundError):  # removed just now
                    _copy_file(path, target / path.relative_to(source))


def _copy_file(path: Path, target: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content)


def _php() -> str:
    """Return the version of PHP-FPM, as in the names of Debian's packages."""
    versions = [path.name.removeprefix("php-fpm") for path in Path("/usr/sbin").glob("php-fpm[0-9]*")]
    return max(versions, key=lambda version: [int(part) for part in version.split(".")], default="")
