"""Find and read an old installation, and copy its database without writing to its directory."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import staging
from baikalctl.database import interface, registry, sqlite, sqlite_file
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.safe_copy import copy_bytes, copy_out, open_untrusted

if TYPE_CHECKING:
    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database

BEFORE_YAML = ("Specific/config.php", "Specific/config.system.php", "config/config.php")
"""Files that Baïkal older than 0.7 has instead of baikal.yaml."""
QUIET_SECONDS = 0.05
"""If a file isn't written to for so long, the next write changes its time stamp, even a coarse one."""
PATIENCE_SECONDS = 10.0
ROLLBACK = b"\1\1"
"""Bytes 18 and 19 of a database that has no write-ahead log (https://www.sqlite.org/fileformat.html, 1.3.3)."""
PENDING, RESERVED, SHARED, SHARED_SIZE = 0x40000000, 0x40000001, 0x40000002, 510
"""The bytes of a database that SQLite locks (its os.h)."""
JOURNALS = ("-wal", "-journal")
"""Files next to a database that SQLite needs after a crash."""


@dataclass(frozen=True)
class Installation:
    """An installation of Baïkal that can be read."""

    folder: Path
    """The folder with ``config`` and ``Specific``."""
    configuration: Configuration
    database: Path | Database
    """The file, or the server's database, which is also only read."""

    @property
    def version(self) -> str:
        """The release of its data."""
        return str(self.configuration["system"]["configured_version"])


def find(value: Path) -> Installation:
    """Return the installation in ``value``, or in a ``baikal`` directory in it.

    Raises :class:`HostError` if there is none, or if it can't be imported: older than 0.7, never completely installed, or
    without its database.
    """
    try:
        folder = _folder(value)
        file = folder / "config/baikal.yaml"
        with open_untrusted(file, below=folder, largest=config.LARGEST) as stream:
            configuration = confined(lambda: _understood(stream.read(), file), keep=(stream.fileno(),))
        section = configuration.get("database", {})
        # A folder with kept data has the rows of a server's database next to the yaml.
        served = interface.backend(section) != "sqlite" and not _there(folder / staging.SECTION)
        stored = registry.of(section) if served else _database(folder, configuration)
    except PermissionError as error:
        raise _unreadable(error) from None
    return Installation(folder, configuration, stored)


def copy_files(old: Installation, stored: Path, folder: Path) -> Path:
    """Copy the database ``stored`` of ``old``, with its journals, to ``folder`` while no process writes to it.

    Only bytes are copied, and nothing is written to the directory of the original. A database without a write-ahead log is
    read under SQLite's own lock, which makes a server's writes wait. With such a log, SQLite would have to write for that,
    so this waits until no process has written for a moment. Raises :class:`HostError` if that doesn't happen.
    """
    copy = folder / "db.sqlite"
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (_copied_under_lock(stored, copy, old.folder) or _files_copied(stored, copy, old.folder)):
            if time.monotonic() > deadline:
                message = f"{stored} is written to all the time; stop the old server, and run this again"
                raise HostError(message)
    except PermissionError as error:
        raise _unreadable(error) from None
    return copy


def recover(copy: Path, stored: Path) -> None:
    """Merge the copied files into one database, as SQLite does after a crash; raises :class:`HostError` if it is damaged.

    To be called in the confined child. ``stored`` is the name for messages.
    """
    try:
        with contextlib.closing(sqlite_file.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        # On a writable connection, SQLite's check would evaluate expressions in the schema.
        with contextlib.closing(sqlite_file.connect(copy, "ro")) as connection:
            wrong = sqlite.integrity(connection)
    except sqlite3.OperationalError:
        raise  # such as a full disk, which doesn't mean that the source is damaged
    except sqlite3.DatabaseError as error:
        wrong = str(error)
    if wrong:
        message = f"the database {stored} is damaged ({wrong}); use an undamaged backup, or repair it"
        raise HostError(message)


def _unreadable(error: PermissionError) -> HostError:
    return HostError(f"{error.filename} can't be read by this user; run the import as root")


def _folder(value: Path) -> Path:
    for candidate in (value, value / "baikal"):
        if _there(candidate / "config/baikal.yaml"):
            break
        if any(_there(candidate / name) for name in BEFORE_YAML):
            message = f"{candidate} is of a Baïkal older than 0.7, without a baikal.yaml; upgrade it to 0.9.5 first"
            raise HostError(message)
    else:
        message = (
            f"{value} contains no installation of Baïkal; it must contain config/baikal.yaml and Specific/: "
            "the two volumes of an old container in one directory, or Baïkal's whole directory"
        )
        raise HostError(message)
    if (candidate / "config").resolve() == Path(paths.CONFIG).resolve():
        message = f"{candidate} is this host's own data; name the directory of the old installation"
        raise HostError(message)
    return candidate


def _understood(content: bytes, path: Path) -> Configuration:
    configuration = config.parsed(content, str(path))
    if not configuration.get("system", {}).get("configured_version"):
        message = f"{path} has no configured_version: its installation was never finished, so it has no data"
        raise HostError(message)
    return configuration


def _database(folder: Path, configuration: Configuration) -> Path:
    """Return the path of the database, for which the yaml has the path in the old container.

    A file outside ``folder`` is never used: otherwise a yaml could make root read any file of the host.
    """
    named = str(configuration.get("database", {}).get("sqlite_file") or "")
    inside = named.rpartition("/Specific/")[2] if "/Specific/" in named else "db/db.sqlite"
    if ".." in PurePosixPath(inside).parts:
        inside = "db/db.sqlite"
    path = folder / "Specific" / inside
    if _there(path):
        return path
    message = f"the database {path} does not exist; copy the old Specific/ there as well"
    if named.startswith("/"):
        message += f", or, if {named} is the database, copy it to {folder}/Specific/db/db.sqlite"
    raise HostError(message)


def _copied_under_lock(stored: Path, copy: Path, below: Path) -> bool:
    """Copy the database while holding SQLite's shared lock (sqlite.org/lockingv3.html); tell whether that was possible.

    It isn't with a write-ahead log, nor after a crash, when the journal must be copied as well.
    """
    journal = Path(f"{stored}-journal")
    with open_untrusted(stored, below=below) as stream, contextlib.suppress(BlockingIOError):
        if stream.read(20)[18:] != ROLLBACK or _there(journal) or _there(Path(f"{stored}-wal")):
            return False
        fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, PENDING)
        fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_SIZE, SHARED)
        fcntl.lockf(stream, fcntl.LOCK_UN, 1, PENDING)
        if _there(journal):
            # A running writer also holds this lock, and hasn't written to the database yet.
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, RESERVED)
                return False
        stream.seek(0)
        with copy.open("wb") as target:
            copy_bytes(stream, target, str(stored), copy.parent)
        return True
    return False


def _files_copied(stored: Path, copy: Path, below: Path) -> bool:
    """Copy the database with its journals; tell whether no process has written during the copy."""
    before = _states(stored)
    time.sleep(QUIET_SECONDS)
    for suffix in ("", *JOURNALS):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            copy_out(Path(f"{stored}{suffix}"), Path(f"{copy}{suffix}"), below=below)
    return _states(stored) == before


def _states(stored: Path) -> list[tuple[int, int, int] | None]:
    """Return inode, size and time of the database and its journals, which change with each write."""
    states: list[tuple[int, int, int] | None] = []
    for suffix in ("", *JOURNALS):
        try:
            state = Path(f"{stored}{suffix}").stat()
            states.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except FileNotFoundError:
            states.append(None)
    return states


def _there(path: Path) -> bool:
    """Tell whether the file exists; raises PermissionError if that can't be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
