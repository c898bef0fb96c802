"""Data of an older Baïkal becomes data of the installed release: by Baïkal's own upgrade, on a copy, never in place."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from baikalctl import configuration, database, paths, placing
from baikalctl.faults import HostError
from baikalctl.privilege import as_owner, owner, privileged

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.configuration import Configuration

TOO_OLD = (0, 2, 3)
"""The newest version that Baïkal itself no longer migrates (BaikalAdmin/Controller/Install/VersionUpgrade.php)."""
UPGRADED = "has been successfully upgraded"
"""What Baïkal's upgrade says when it is done."""
UPGRADE_SECONDS = 3600
"""As long as Baïkal's own page allows itself."""
COUNTED = {
    "account": "users",
    "calendar": "calendars",
    "event": "calendarobjects",
    "address book": "addressbooks",
    "card": "cards",
}
"""What people have, and the table with a row for each."""


def outstanding(found: Configuration, version: str) -> str:
    """Return the older version that data with the baikal.yaml ``found`` is of, or nothing if it is of ``version``.

    Raises :class:`HostError` for data of a newer version, which Baïkal would take without a word, and for data so old
    that Baïkal itself no longer migrates it.
    """
    old = str(found.get("system", {}).get("configured_version") or version)
    if old == version:
        return ""
    number = _number(old)
    if number > _number(version):
        message = (
            f"the data is of Baïkal {old}, and {version} is older, which can't read it safely; "
            f"run a release that is at least {old}, or restore a backup from before"
        )
        raise HostError(message)
    if number <= TOO_OLD:
        message = f"the data is of Baïkal {old}, which {version} is too new to migrate; upgrade it to 0.9.5 first"
        raise HostError(message)
    return old


def migrate(version: str, say: Callable[[str], None]) -> None:
    """Bring this host's data to the release ``version``, which is installed; does nothing if it is of it already.

    To be called under the lock, after :func:`resume`, and while nothing serves. Raises :class:`HostError` with what
    Baïkal said if the data can't be migrated; it is then as it was.
    """
    with as_owner():
        found = configuration.read()
    old = outstanding(found, version)
    if not old:
        return
    say(f"migrate the data from Baïkal {old} to {version}")
    try:
        with placing.incoming():
            with as_owner(), contextlib.closing(database.connect()) as connection:
                database.save_copy(connection, Path(paths.INCOMING) / placing.SQLITE)
            prepare(found, version)
            placing.make_ready("migration")
            placing.put_in_place(f"before-{old}-to-{version}", say)
    except (sqlite3.Error, OSError) as error:
        message = f"the data can't be migrated from Baïkal {old} to {version} ({error}); mend that, and run again"
        raise HostError(message) from None


def resume(say: Callable[[str], None]) -> None:
    """Finish what an interrupted run had begun to put in place, and remove what it hadn't; to be called under the lock.

    What hadn't begun has to be done again, because the old data may have served and changed since.
    """
    if placing.begun():
        say("put the new data in place, which an interrupted run had begun")
        placing.put_in_place("replaced", say)
    placing.clear()


def prepare(found: Configuration, version: str) -> dict[str, int]:
    """Make the copied database and the baikal.yaml ``found`` complete data of ``version``, in INCOMING.

    Returns how many there are of each of :data:`COUNTED`. Raises :class:`HostError` if Baïkal's upgrade fails, or if
    what comes out of it isn't whole.
    """
    refuse_other_databases(found)
    file = Path(paths.INCOMING) / placing.YAML
    changed = {name: dict(section) for name, section in found.items()}
    # Without this key Baïkal would start its installation wizard in place of the upgrade.
    changed.setdefault("system", {}).setdefault("admin_passwordhash", "")
    changed.setdefault("database", {})["sqlite_file"] = f"{paths.INCOMING}/{placing.SQLITE}"
    old = outstanding(found, version)
    with as_owner():
        before = _counted()
        configuration.write(changed, file)
    said = _upgrade(version) if old else ""
    with as_owner():
        changed = yaml.safe_load(file.read_text(encoding="utf-8"))
        if outstanding(changed, version) or (old and UPGRADED not in said):
            message = f"Baïkal's own upgrade from {old} to {version} failed, and the data is as it was: {_reason(said)}"
            raise HostError(message)
        after = _counted()
        lost = [f"{number - after[word]} {word}s" for word, number in before.items() if after[word] < number]
        if lost:
            message = f"Baïkal's own upgrade from {old} to {version} lost {', '.join(lost)}; the data is as it was"
            raise HostError(message)
        if "invite_from" not in found.get("system", {}):
            changed["system"].pop("invite_from", None)  # made of a host name that isn't this host's
        changed["database"] |= {"backend": "sqlite", "sqlite_file": paths.SQLITE, "mysql": False}
        configuration.write(changed, file)
    return after


def refuse_other_databases(found: Configuration) -> None:
    """Raise :class:`HostError` if the data is in MySQL or PostgreSQL."""
    section = found.get("database", {})
    backend = "mysql" if section.get("mysql") else str(section.get("backend") or "sqlite")
    if backend != "sqlite":
        message = (
            f"this Baïkal has its data in {backend}, and this release of baikal-deploy takes over SQLite only; "
            "other databases follow in a later one"
        )
        raise HostError(message)


def _upgrade(version: str) -> str:
    """Run the upgrade of the installed ``version`` on what is in INCOMING, as its owner; return what Baïkal said."""
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "TMPDIR": f"{paths.INCOMING}/Specific",  # Baïkal needs one that is writable, and /tmp may not be
        "BAIKAL_PATH_CONFIG": f"{paths.INCOMING}/config/",
        "BAIKAL_PATH_SPECIFIC": f"{paths.INCOMING}/Specific/",
    }
    options = ("-d", "display_errors=stderr", "-d", "log_errors=0")
    identity: dict[str, Any] = {}
    if privileged():
        identity = {"user": owner().pw_uid, "group": owner().pw_gid, "extra_groups": []}
    try:
        done = subprocess.run(
            [_php(), *options, paths.MIGRATE, f"{paths.CODE}/{version}"],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=UPGRADE_SECONDS,
            check=False,
            **identity,
        )
    except subprocess.TimeoutExpired:
        return f"it was not done after {UPGRADE_SECONDS} s"
    return done.stdout if UPGRADED in done.stdout else f"{done.stdout}\n{done.stderr}\nexit status {done.returncode}"


def _php() -> str:
    """Return the PHP for the command line that this host has, the newest one where several are."""
    several = (path for path in Path("/usr/bin").glob("php[0-9].[0-9]*") if path.name[3:].replace(".", "").isdigit())
    newest = max(several, key=lambda path: _number(path.name[3:]), default=None)
    found = shutil.which("php") or (newest and str(newest))
    if not found:
        message = "PHP for the command line is missing; install php-cli (it comes with php-fpm), and run again"
        raise HostError(message)
    return found


def _reason(said: str) -> str:
    """Return the part of an upgrade's page that tells what went wrong, as one line."""
    told = said.rpartition("Errors")[2].partition("Stack trace")[0] if "Errors" in said else said
    return " ".join(told.split())[-600:]


def _counted() -> dict[str, int]:
    """Look at the whole copied database, leaving it in one file, and count; raises :class:`HostError` if it's damaged."""
    path = f"{paths.INCOMING}/{placing.SQLITE}"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=database.BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            wrong = database.integrity(connection)
            counts = {
                word: database.one(connection, f"SELECT count(*) FROM {table}") or 0  # noqa: S608 - our own names
                for word, table in COUNTED.items()
            }
    except sqlite3.DatabaseError as error:
        # A full disk is one, too.
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise
        wrong = str(error)
    if wrong:
        message = f"the database is damaged, or isn't Baïkal's ({wrong}); take a backup of it that is whole"
        raise HostError(message)
    return counts


def _number(version: str) -> tuple[int, ...]:
    """Return the numbers that ``version`` begins with, to be compared."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    if not found:
        message = f"baikal.yaml has the version {version!r}, which is none of Baïkal's; restore it from a backup"
        raise HostError(message)
    return tuple(map(int, found[0].split(".")))
