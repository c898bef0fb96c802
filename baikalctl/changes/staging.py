"""Steps for replacing data: keep the old data, prepare the new data, and put it in place.

New data is prepared in :data:`paths.INCOMING`, as an SQLite file and a baikal.yaml for any kind of database.
:mod:`baikalctl.changes.transaction` calls these steps, records what was started, and rolls it back if necessary.
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
"""Both the new data in INCOMING and the old data that is kept have these files."""
SECTION = "database.json"
"""In the kept data: the section of baikal.yaml with the database, also if the yaml is damaged or missing."""
BEFORE = "Specific/db/before.sqlite"
"""In INCOMING: the data of a server's database from before the migration."""
KEPT, NOW = "Specific/db/kept.sqlite", "Specific/db/now.sqlite"
"""In INCOMING, for a comparison: the kept data of a server's database, and its present data."""
FOLDERS = ("tls", "acme", "dkim")
OWN = (*FOLDERS, "state/applied.json")
"""The part of the data that root owns, and that moves with it to another machine."""
MAGIC = b"SQLite format 3\0"
"""The first bytes of a database (https://www.sqlite.org/fileformat.html, 1.3.1)."""
PREFIX = "before-"
"""The names of the folders with kept data begin with this."""
MOST_KEPT = 3


@contextlib.contextmanager
def incoming() -> Iterator[Path]:
    """Create an empty INCOMING, with the owner's directories for configuration and database; remove it at the end."""
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
    """Remove INCOMING."""
    remove_tree(Path(paths.INCOMING))


def keep(name: str, database: Database) -> Path:
    """Copy the present data to a folder in the backups, and return it. No process may write during this.

    An SQLite file is copied byte by byte, even a damaged one; a server's database is copied row by row. Raises
    :class:`HostError` if that fails; no part of the copy is left then.
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
        target = next(path for path in (folder / each for each in names) if not path.exists())
        temporary.rename(target)
        sync(folder)
    except HostError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        folder = temporary.parent
        message = (
            f"the existing data can't be copied to {folder} ({error}); make it writable, and free disk space there"
        )
        raise HostError(message) from None
    return target


def thin_out(folder: Path) -> None:
    """Remove old folders with kept data, but not the three newest, nor ``folder``."""
    folders = [path for path in folder.parent.glob(f"{PREFIX}*") if path.is_dir()]
    full = sorted(filter(holds, folders), key=lambda path: (path == folder, path.stat().st_ctime))
    for path in {*folders} - {*full[-MOST_KEPT:]}:
        shutil.rmtree(path, ignore_errors=True)


def holds(kept: Path) -> bool:
    """Tell whether the kept data has any files: a new host has no data."""
    return any(path.is_file() and path.name != SECTION for path in kept.rglob("*"))


def section_of(kept: Path) -> dict[str, Any]:
    """Return the section of baikal.yaml with the database whose data was ``kept``."""
    section: dict[str, Any] = json.loads((kept / SECTION).read_text(encoding="utf-8"))
    return section


def differs() -> bool:
    """Tell whether the data in INCOMING differs from what was copied from a server's database."""
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
            f"another machine is writing to {database} ({written}), so its changes would be lost; stop all other machines "
            "that use it (docs/clusters.md), and run this again"
        )
        raise HostError(message)


def put_in_place(database: Database, version: str, *, loads: bool = True) -> None:
    """Put the data in INCOMING into ``database`` as data of the release ``version``, and replace baikal.yaml last.

    ``loads`` is false if a server's database already has exactly these rows.
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
    # Opening and closing writes the write-ahead log into the database. Not for a damaged one: SQLite would delete its log.
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
    """Copy a file of the data, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        safe_copy.copy_out(path, target)


def _place_file(fresh: Path) -> None:
    # SQLite would write the content of the old database's companions into the new one.
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
    """Copy a file, or the regular files of a folder, that root owns: with mode 0600."""
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
    """Copy the files that root owns from ``folder`` to the data; other files stay."""
    for part in OWN:
        _copy_own(folder / part, Path(paths.DATA) / part)
    dkim_key.fix_key_owners()
