"""New data takes the place of old, which is kept.

New data is put together in :data:`paths.INCOMING`, as an SQLite file and a baikal.yaml whatever the database is. None
of these steps decides anything: :mod:`baikalctl.changes.transaction` remembers what was begun, and has it done again or
undone.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import itertools
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.database import interface, sqlite, sqlite_file, transfer
from baikalctl.errors import HostError
from baikalctl.host import directories, safe_copy
from baikalctl.host.atomic_write import move, replacing, sync
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.privileges import data_owner, privileged
from baikalctl.host.tempdir import remove_tree
from baikalctl.mail import dkim_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.database.interface import Database


YAML, SQLITE = "config/baikal.yaml", "Specific/db/db.sqlite"
"""The new data in INCOMING, and the old in what is kept: both have this shape."""
SECTION = "database.json"
"""In what is kept, the section of baikal.yaml that names its database, also where the yaml is damaged or isn't there."""
BEFORE = "Specific/db/before.sqlite"
"""In INCOMING, the data as a server's database had it, where the new data is made of it."""
KEPT, NOW = "Specific/db/kept.sqlite", "Specific/db/now.sqlite"
"""In INCOMING for a moment, what was kept of a server's database, and what it has now."""
FOLDERS = ("tls", "acme", "dkim")
OWN = (*FOLDERS, "state/applied.json")
"""Besides, what is root's of the data, and moves with it to another machine."""
MAGIC = b"SQLite format 3\0"
"""Begins a database (https://www.sqlite.org/fileformat.html, 1.3.1)."""
PREFIX = "before-"
"""What the names of all that is kept begin with."""
MOST_KEPT = 3


@contextlib.contextmanager
def incoming() -> Iterator[Path]:
    """Have an empty INCOMING, with the owner's directories for configuration and database; at the end it is gone."""
    clear()
    path = Path(paths.INCOMING)
    path.mkdir()
    path.chmod(0o711)
    for folder in (path / "config", path / "Specific"):
        folder.mkdir(mode=0o700)
        if privileged():
            os.chown(folder, data_owner().pw_uid, data_owner().pw_gid)
    confined(lambda: (path / SQLITE).parent.mkdir(mode=0o700))
    try:
        yield path
    finally:
        clear()


def clear() -> None:
    """Remove what is being put together."""
    remove_tree(Path(paths.INCOMING))


def keep(name: str, database: Database) -> Path:
    """Copy the present data to the backups, and return the folder. No process may write during this.

    A file is kept as it is, also one that is damaged; of a server's database, what is in it. Raises :class:`HostError`
    where that can't be done; nothing is left of it then.
    """
    temporary = Path(paths.BACKUPS) / ".new"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        message = f"{name[:100]!r} can't be part of a file's name"
        raise HostError(message)
    try:
        folder = directories.backups()
        temporary = folder / ".new"
        shutil.rmtree(temporary, ignore_errors=True)
        for part in ("config", "Specific/db"):
            (temporary / part).mkdir(mode=0o700, parents=True)
        temporary.chmod(0o700)
        _copy_out(Path(paths.BAIKAL_YAML), temporary / YAML)
        (temporary / SECTION).touch(mode=0o600)
        (temporary / SECTION).write_text(json.dumps(database.section()), encoding="utf-8")
        sync(temporary / SECTION)
        if isinstance(database, sqlite.Sqlite):
            _keep_file(temporary)
        else:
            _keep_rows(database, temporary)
        for part in OWN:
            _copy_own(Path(paths.DATA) / part, temporary / part)
        sync(temporary)
        stamped = f"{PREFIX}{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        names = itertools.chain([stamped], (f"{stamped}-{number}" for number in itertools.count(2)))
        target = next(place for place in (folder / each for each in names) if not place.exists())
        temporary.rename(target)
        sync(folder)
    except HostError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        folder = temporary.parent
        message = f"what is to be replaced can't be kept in {folder} ({error}); make that writable, with room for it"
        raise HostError(message) from None
    return target


def thin_out(folder: Path) -> None:
    """Remove the oldest of what is kept beside ``folder``: the three newest are enough for second thoughts."""
    found = [path for path in folder.parent.glob(f"{PREFIX}*") if path.is_dir()]
    full = sorted(filter(holds, found), key=lambda path: (path == folder, path.stat().st_ctime))
    for path in {*found} - {*full[-MOST_KEPT:]}:
        shutil.rmtree(path, ignore_errors=True)


def holds(kept: Path) -> bool:
    """Tell whether there is anything in what was kept: on a new host there is nothing yet."""
    return any(path.is_file() and path.name != SECTION for path in kept.rglob("*"))


def section_of(kept: Path) -> dict[str, Any]:
    """Return the section of baikal.yaml that names the database that was ``kept``."""
    found: dict[str, Any] = json.loads((kept / SECTION).read_text(encoding="utf-8"))
    return found


def differs() -> bool:
    """Tell whether the data in INCOMING is another than what was copied from a server's database to begin with."""
    before, after = Path(paths.INCOMING) / BEFORE, Path(paths.INCOMING) / SQLITE

    def compare() -> bool:
        return (
            not before.is_file()
            or transfer.schema_statements(before) != transfer.schema_statements(after)
            or bool(transfer.difference(before, after))
        )

    return confined(compare, THOROUGH)


def refuse_written(database: Database, kept: Path) -> None:
    """Raise :class:`HostError` if another machine has written to the database ``database`` since it was ``kept``."""
    before, now = Path(paths.INCOMING) / KEPT, Path(paths.INCOMING) / NOW
    if not database.shared or not (kept / SQLITE).is_file():
        return
    safe_copy.copy_in(kept / SQLITE, before)

    def compare() -> str:
        database.snapshot(now)
        difference = transfer.difference(before, now)
        now.unlink()
        before.unlink()
        return difference

    if written := confined(compare, THOROUGH):
        message = (
            f"another machine is writing to {database} ({written}), whose rows are to be replaced; stop all other machines "
            "that serve it (docs/clusters.md), and run again"
        )
        raise HostError(message)


def put_in_place(database: Database, version: str, *, loads: bool = True) -> None:
    """Have what is in INCOMING be the data of ``database``, and of the release ``version``; the yaml comes last.

    ``loads`` is false where a server's database has those very rows already.
    """
    path = Path(paths.INCOMING)

    def act() -> None:
        if isinstance(database, sqlite.Sqlite):
            _place_file(path / SQLITE)
        elif loads:
            database.load(path / SQLITE, version)
        database.set_version(version)
        Path(paths.INSTALL_DISABLED).touch(mode=0o600)
        sync(Path(paths.SPECIFIC))
        _replace(path / YAML, Path(paths.BAIKAL_YAML))

    confined(act, THOROUGH)
    place_own(path)


def _keep_file(temporary: Path) -> None:
    # Opened and closed, so that what is only in the write-ahead log is in the database itself: not a damaged one, whose log
    # SQLite would delete.
    with contextlib.suppress(HostError, OSError, interface.Error):
        with safe_copy.open_untrusted(Path(paths.SQLITE)) as stream:
            sound = stream.read(len(MAGIC)) == MAGIC
        if sound:
            confined(lambda: sqlite.Sqlite(Path(paths.SQLITE)).connect().close(), THOROUGH)
    for suffix in ("", *sqlite_file.COMPANIONS):
        _copy_out(Path(paths.SQLITE + suffix), temporary / (SQLITE + suffix))


def _keep_rows(database: Database, temporary: Path) -> None:
    if not confined(database.installed):
        return
    with incoming() as path:
        confined(lambda: database.snapshot(path / SQLITE), THOROUGH)
        _copy_out(path / SQLITE, temporary / SQLITE)


def _copy_out(path: Path, target: Path) -> None:
    """Copy a file of the data, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        safe_copy.copy_out(path, target)


def _place_file(fresh: Path) -> None:
    # The old database's companions: SQLite would write their content into the new one.
    for suffix in sqlite_file.COMPANIONS:
        Path(paths.SQLITE + suffix).unlink(missing_ok=True)
    _replace(fresh, Path(paths.SQLITE))


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, or copy it where the operator has mounted another file system at the target."""
    try:
        move(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as content, replacing(target) as stream:
            shutil.copyfileobj(content, stream)
        source.unlink()


def _copy_own(source: Path, target: Path) -> None:
    """Copy what is root's of the data, a file or the plain files of a folder: each for root alone, never executable."""
    if source.is_symlink() or not source.exists():
        return
    if source.is_dir():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in source.iterdir():
            _copy_own(path, target / path.name)
    elif source.is_file() and not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe_copy.copy_out(source, target)


def place_own(folder: Path) -> None:
    """Put what is root's in ``folder`` among the data; what the data has besides stays."""
    for part in OWN:
        _copy_own(folder / part, Path(paths.DATA) / part)
    dkim_key.fix_key_owners()
