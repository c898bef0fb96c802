"""New data takes the place of old, so that an interruption anywhere leaves the old data or what can be finished.

It is put together in :data:`paths.INCOMING`. Once all of it is right and on the disk, that is renamed to
:data:`paths.READY`, and moved from there: the old baikal.yaml goes first and the new one comes last, because without it
nothing serves, and with it everything is done.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import database, paths, volume
from baikalctl.faults import HostError
from baikalctl.privilege import as_owner, owner, privileged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

YAML, SQLITE = "config/baikal.yaml", "Specific/db/db.sqlite"
"""The new data in INCOMING and READY."""
COMPANIONS = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside a database, and that must never stand beside another one."""
KEPT, LABEL = "kept", "label"
"""Files in READY, out of the owner's reach: what was there before is kept already; and whence the new data is."""


@contextlib.contextmanager
def incoming() -> Iterator[None]:
    """Have an empty INCOMING, with the owner's directories for configuration and database; at the end it is gone."""
    clear()
    place = Path(paths.INCOMING)
    place.mkdir()
    place.chmod(0o711)
    for folder in (place / "config", place / "Specific"):
        folder.mkdir(mode=0o700)
        if privileged():
            os.chown(folder, owner().pw_uid, owner().pw_gid)
    with as_owner():
        (place / SQLITE).parent.mkdir(mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


def make_ready(label: str) -> None:
    """Have INCOMING on the disk and rename it to READY; ``label`` tells whence it is."""
    with as_owner():
        for part in (SQLITE, YAML):
            for path in (Path(paths.INCOMING) / part, (Path(paths.INCOMING) / part).parent):
                _sync(path)
    (Path(paths.INCOMING) / LABEL).write_text(label, encoding="utf-8")
    for path in (Path(paths.INCOMING) / LABEL, Path(paths.INCOMING)):
        _sync(path)
    Path(paths.INCOMING).rename(paths.READY)
    _sync(Path(paths.DATA))


def begun() -> str:
    """Return the label of what an interrupted run had begun to put in place, or nothing.

    As long as baikal.yaml is there, nothing has begun: what it belongs to may have served on, and is newer than READY.
    """
    label = Path(paths.READY) / LABEL
    with as_owner():
        finished = not (Path(paths.READY) / YAML).is_file()
    if not label.is_file() or (Path(paths.BAIKAL_YAML).is_file() and not finished):
        return ""
    return label.read_text(encoding="utf-8")


def put_in_place(keep_as: str, say: Callable[[str], None]) -> None:
    """Move READY to its place; each step can be repeated, and the last one decides.

    What it replaces is kept in :data:`paths.BACKUPS`, under ``keep_as`` and the time; raises :class:`HostError` where
    that can't be done, and then nothing was replaced.
    """
    ready = Path(paths.READY)
    with as_owner():
        finished = not (ready / YAML).is_file()
    there = Path(paths.BAIKAL_YAML).is_file() or (Path(paths.SQLITE).is_file() and not (ready / KEPT).is_file())
    if there and not finished:
        say(f"keep what is replaced in {_keep(keep_as)}")
    (ready / KEPT).touch()
    _sync(ready)
    with as_owner():
        if not finished:
            _move(ready)
    clear()


def clear() -> None:
    """Remove what is being put together, and what waits to be put in place."""
    shutil.rmtree(paths.INCOMING, ignore_errors=True)
    if Path(paths.READY).is_dir():
        # Half of it must not be taken for all of it.
        Path(paths.READY).rename(paths.INCOMING)
        shutil.rmtree(paths.INCOMING)


def _move(ready: Path) -> None:
    Path(paths.BAIKAL_YAML).unlink(missing_ok=True)
    _sync(Path(paths.CONFIG))
    if (ready / SQLITE).is_file():
        # The old database's companions: SQLite would write their content into the new one.
        for suffix in COMPANIONS:
            Path(paths.SQLITE + suffix).unlink(missing_ok=True)
        _replace(ready / SQLITE, Path(paths.SQLITE))
    Path(paths.INSTALL_DISABLED).touch(mode=0o600)
    _sync(Path(paths.SPECIFIC))
    _replace(ready / YAML, Path(paths.BAIKAL_YAML))


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, also where somebody has mounted a file system of its own there."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(target.name + ".new")
        shutil.copy2(source, beside)
        _sync(beside)
        beside.replace(target)
        _sync(target.parent)
        source.unlink()
    _sync(target.parent)


def _keep(name: str) -> Path:
    """Copy what is in place to the backups, and return where it is there."""
    with contextlib.suppress(HostError, sqlite3.Error), as_owner():
        # Opened and closed, so that what is only in the write-ahead log is in the database itself.
        database.connect().close()
    stamped = f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        beside = volume.backups() / ".new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        for path in (Path(paths.BAIKAL_YAML), *(Path(paths.SQLITE + suffix) for suffix in ("", *COMPANIONS))):
            _copy_out(path, beside / path.name)
        _sync(beside)
        names = itertools.chain([stamped], (f"{stamped}-{number}" for number in itertools.count(2)))
        target = next(place for place in (beside.with_name(name) for name in names) if not place.exists())
        beside.rename(target)
        _sync(target.parent)
    except OSError as error:
        clear()
        message = (
            f"what is to be replaced can't be kept in {paths.BACKUPS} ({error}); make that writable, with room for it"
        )
        raise HostError(message) from None
    return target


def _copy_out(path: Path, target: Path) -> None:
    """Copy a file of the data, if it is there; it is opened as its owner, so that no link leads root elsewhere."""
    with contextlib.ExitStack() as stack:
        try:
            with as_owner():
                source = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            return
        target.touch(mode=0o600)
        with target.open("wb") as stream:
            shutil.copyfileobj(source, stream)
        _sync(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
