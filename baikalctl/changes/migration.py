"""Data of an older Baïkal becomes data of the installed release: by Baïkal's own upgrade, on a copy, never in place."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import staging
from baikalctl.database import interface, sqlite, sqlite_file
from baikalctl.errors import HostError
from baikalctl.host import php_cli
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.settings.known_releases import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.baikal.config import Configuration


TOO_OLD = (0, 2, 3)
"""The newest version that Baïkal itself no longer migrates (BaikalAdmin/Controller/Install/VersionUpgrade.php)."""
UPGRADED = "has been successfully upgraded"
"""What Baïkal's upgrade says when it is done."""


def older_version(found: Configuration, version: str) -> str:
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
            f"the data is of Baïkal {old}; {version} is older and can't read it safely; "
            f"use release {old} or newer, or restore an older backup"
        )
        raise HostError(message)
    if number <= TOO_OLD:
        message = f"the data is of Baïkal {old}, which {version} can't migrate; upgrade it to 0.9.5 first"
        raise HostError(message)
    return old


def complete(found: Configuration, version: str, section: Mapping[str, Any]) -> tuple[Configuration, dict[str, int]]:
    """Make the database in INCOMING and the baikal.yaml ``found`` complete data of ``version``, and try it out.

    Returns the new baikal.yaml, whose database is what ``section`` names, and how many there are of each of
    :data:`baikalctl.database.interface.COUNTED`. Raises :class:`HostError` if Baïkal's upgrade fails, or if what comes
    out of it isn't whole, or isn't served.
    """
    from baikalctl.changes import trial_run  # it imports an HTTP client, which a look at versions doesn't need

    file = Path(paths.INCOMING) / staging.YAML
    changed = {name: dict(each) for name, each in found.items()}
    # Without this key Baïkal would start its installation wizard in place of the upgrade.
    changed.setdefault("system", {}).setdefault("admin_passwordhash", "")
    copied = {"backend": "sqlite", "mysql": False, "sqlite_file": f"{paths.INCOMING}/{staging.SQLITE}"}
    changed["database"] = {**changed.get("database", {}), **copied}
    old = older_version(found, version)
    before = confined(_counted, THOROUGH)
    config.write(changed, file)
    output = _upgrade(version) if old else ""
    changed = config.understood(file)
    if older_version(changed, version) or (old and UPGRADED not in output):
        message = f"Baïkal's own upgrade from {old} to {version} failed: {_reason(output)}"
        raise HostError(message)
    after = confined(_counted, THOROUGH)
    lost = [f"{number - after[word]} {word}s" for word, number in before.items() if after[word] < number]
    if lost:
        message = f"Baïkal's own upgrade from {old} to {version} lost {', '.join(lost)}"
        raise HostError(message)
    if "invite_from" not in found.get("system", {}):
        changed["system"].pop("invite_from", None)  # made of a host name that isn't this host's
    trial_run.try_out(changed, version)
    kind = interface.backend(section)
    changed["database"] |= {**section, "sqlite_file": paths.SQLITE, "backend": kind, "mysql": kind == "mysql"}
    return changed, after


def _upgrade(version: str) -> str:
    """Run the upgrade of the installed ``version`` on what is in INCOMING, as its owner; return what Baïkal said."""
    command = [php_cli.program(), *php_cli.OPTIONS, paths.MIGRATE, f"{paths.CODE}/{version}"]

    def run() -> str:
        done = subprocess.run(
            command,
            env=php_cli.environment(paths.INCOMING),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if UPGRADED in done.stdout:
            return done.stdout
        return f"{done.stdout}\n{done.stderr}\nexit status {done.returncode}"

    return confined(run, THOROUGH)


def _reason(output: str) -> str:
    """Return the part of an upgrade's page that tells what went wrong, as one line."""
    told = output.rpartition("Errors")[2].partition("Stack trace")[0] if "Errors" in output else output
    return " ".join(told.split())[-600:]


def _counted() -> dict[str, int]:
    """Look at the whole copied database, leaving it in one file, and count; raises :class:`HostError` if it's damaged."""
    path = Path(paths.INCOMING) / staging.SQLITE
    try:
        with contextlib.closing(sqlite_file.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        # Only for those who may write does SQLite's check evaluate what a schema says.
        with contextlib.closing(sqlite_file.connect(path, "ro")) as connection:
            wrong = sqlite.integrity(connection)
            counts = interface.counts(connection)
    except sqlite3.DatabaseError as error:
        # A full disk is one, too.
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise
        wrong = str(error)
    if wrong:
        message = f"the database is damaged, or isn't Baïkal's ({wrong}); use an undamaged backup"
        raise HostError(message)
    return counts


def _number(version: str) -> tuple[int, ...]:
    """Return what ``version`` is compared by."""
    found = numbers(version)
    if not found:
        message = f"baikal.yaml has the version {version!r}, which is not a version of Baïkal; restore a backup"
        raise HostError(message)
    return found
