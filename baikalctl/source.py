"""An old installation as it lies there: found, read, and its database copied without a single write beside it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import yaml

from baikalctl import database, paths, placing, sqlite
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from baikalctl.configuration import Configuration
    from baikalctl.database import Database

BEFORE_YAML = ("Specific/config.php", "Specific/config.system.php", "config/config.php")
"""What a Baïkal older than 0.7 has instead of baikal.yaml."""
QUIET_SECONDS = 0.05
"""A file that isn't written to for so long has another time stamp after the next write, however coarse those are."""
PATIENCE_SECONDS = 10.0
ROLLBACK = b"\1\1"
"""Bytes 18 and 19 of a database that has no write-ahead log (https://www.sqlite.org/fileformat.html, 1.3.3)."""
JOURNALS = ("-wal", "-journal")
"""What SQLite needs of the files beside a database after a crash."""


@dataclass(frozen=True)
class Installation:
    """An installation of Baïkal that can be read."""

    folder: Path
    """What holds ``config`` and ``Specific``."""
    configuration: Configuration
    database: Path | Database
    """The file, or the server's database, which is only read as well."""

    @property
    def version(self) -> str:
        """The release that its data is of."""
        return str(self.configuration["system"]["configured_version"])


def find(given: Path) -> Installation:
    """Return the installation in ``given``, or in a ``baikal`` directory in it.

    Raises :class:`HostError` if there is none, or none that can be taken over: older than 0.7, not installed to the end,
    or without its database.
    """
    try:
        folder = _folder(given)
        content = (folder / "config/baikal.yaml").read_bytes()
        found = _understood(content, folder / "config/baikal.yaml")
        section = found.get("database", {})
        # What was kept of a server's database by a change lies beside its yaml.
        served = database.backend(section) != "sqlite" and not _there(folder / placing.SECTION)
        stored = database.of(section) if served else _database(folder, found)
    except PermissionError as error:
        raise _unreadable(error) from None
    return Installation(folder, found, stored)


def copy_database(stored: Path, folder: Path) -> Path:
    """Return a consistent copy of the database ``stored``, in ``folder``; nothing is written beside the original.

    Without a write-ahead log or a crash before, SQLite itself reads it, under the lock that makes a server's writes
    wait. Else SQLite would have to write beside it, so the files are copied as they are, at a moment at which nobody
    writes, and SQLite recovers the copy. Raises :class:`HostError` if it is damaged, or never left alone.
    """
    copy = folder / "db.sqlite"
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ((_is_plain(stored) and _backed_up(stored, copy)) or _files_copied(stored, copy)):
            if time.monotonic() > deadline:
                message = f"{stored} is being written to all the time; stop the old server, and run again"
                raise HostError(message)
        with contextlib.closing(sqlite3.connect(copy, factory=sqlite.Connection)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            wrong = sqlite.integrity(connection)
    except PermissionError as error:
        raise _unreadable(error) from None
    except sqlite3.OperationalError:
        raise  # such as a full disk, which says nothing of the source
    except sqlite3.DatabaseError as error:
        wrong = str(error)
    if wrong:
        message = f"the database {stored} is damaged ({wrong}); take a backup of it that is whole, or repair it"
        raise HostError(message)
    return copy


def _unreadable(error: PermissionError) -> HostError:
    return HostError(f"{error.filename} can't be read by this user; run the import as root")


def _folder(given: Path) -> Path:
    for candidate in (given, given / "baikal"):
        if _there(candidate / "config/baikal.yaml"):
            break
        if any(_there(candidate / name) for name in BEFORE_YAML):
            message = f"{candidate} is of a Baïkal older than 0.7, without a baikal.yaml; upgrade it to 0.9.5 first"
            raise HostError(message)
    else:
        message = (
            f"{given} holds no installation of Baïkal: expected config/baikal.yaml and Specific/ in it, "
            "which are the two volumes of an old container side by side, or its whole directory"
        )
        raise HostError(message)
    if (candidate / "config").resolve() == Path(paths.CONFIG).resolve():
        message = f"{candidate} is where this host's own data lives; give the directory of the old installation"
        raise HostError(message)
    return candidate


def _understood(content: bytes, path: Path) -> Configuration:
    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(section, dict) for section in found.values()):
        message = f"{path} can't be understood; mend it, or take a backup of it that is whole"
        raise HostError(message)
    if not found.get("system", {}).get("configured_version"):
        message = f"{path} has no configured_version: that Baïkal was never installed to the end, so it has no data"
        raise HostError(message)
    return found


def _database(folder: Path, found: Configuration) -> Path:
    """Return the database, which the yaml names by the path that it had in its container."""
    named = str(found.get("database", {}).get("sqlite_file") or "")
    # First what was given: the path may exist here as well, and be somebody else's.
    inside = named.rpartition("/Specific/")[2] if "/Specific/" in named else "db/db.sqlite"
    if ".." in PurePosixPath(inside).parts:
        inside = "db/db.sqlite"
    candidates = [folder / "Specific" / inside, *([Path(named)] if named.startswith("/") else [])]
    for candidate in candidates:
        if _there(candidate):
            return candidate
    message = f"the database isn't there: looked for {' and '.join(map(str, candidates))}; give its Specific/ as well"
    raise HostError(message)


def _is_plain(stored: Path) -> bool:
    """Tell whether SQLite would only read: without a log, and without a journal, which root would make its own."""
    with stored.open("rb") as stream:
        rollback = stream.read(20)[18:] == ROLLBACK
    return rollback and not any(_there(Path(f"{stored}{suffix}")) for suffix in JOURNALS)


def _backed_up(stored: Path, copy: Path) -> bool:
    """Copy the database with SQLite; tell whether it could be read."""
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{stored.absolute().as_uri()}?mode=ro", uri=True, timeout=sqlite.BUSY_SECONDS)
            ) as connection,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.backup(target)
    except sqlite3.Error:
        copy.unlink(missing_ok=True)
        return False
    return True


def _files_copied(stored: Path, copy: Path) -> bool:
    """Copy the database with its journals as they stand; tell whether nobody wrote meanwhile."""
    before = _states(stored)
    time.sleep(QUIET_SECONDS)
    for suffix in ("", *JOURNALS):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{stored}{suffix}", f"{copy}{suffix}")
    return _states(stored) == before


def _states(stored: Path) -> list[tuple[int, int, int] | None]:
    """Return what tells whether the database or one of its journals was written to."""
    states: list[tuple[int, int, int] | None] = []
    for suffix in ("", *JOURNALS):
        try:
            found = Path(f"{stored}{suffix}").stat()
            states.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except FileNotFoundError:
            states.append(None)
    return states


def _there(path: Path) -> bool:
    """Tell whether there is a file; raises PermissionError where that can't be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
