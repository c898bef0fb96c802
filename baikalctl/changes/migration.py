"""Migrate a copy of the data to the installed release with Baïkal's own upgrade; the data itself is never changed."""

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
"""Baïkal's upgrade prints this when it has succeeded."""


def older_version(configuration: Configuration, version: str) -> str:
    """Return the version in the baikal.yaml ``configuration`` if it is older than ``version``, or nothing if it is the same.

    Raises :class:`HostError` for data of a newer version, which Baïkal would use without a warning, and for data that is so
    old that Baïkal no longer migrates it.
    """
    old = str(configuration.get("system", {}).get("configured_version") or version)
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


def complete(
    configuration: Configuration, version: str, section: Mapping[str, Any]
) -> tuple[Configuration, dict[str, int]]:
    """Migrate the database in INCOMING and the baikal.yaml ``configuration`` to ``version``, and test the result.

    Returns the new baikal.yaml, whose database is ``section``, and the numbers of
    :data:`baikalctl.database.interface.COUNTED`. Raises :class:`HostError` if Baïkal's upgrade fails, if data was lost, or
    if the release doesn't work with it.
    """
    from baikalctl.changes import trial_run  # it imports an HTTP client, which comparing versions doesn't need

    file = Path(paths.INCOMING) / staging.YAML
    changed = {name: dict(each) for name, each in configuration.items()}
    # Without this key Baïkal would start its installation wizard in place of the upgrade.
    changed.setdefault("system", {}).setdefault("admin_passwordhash", "")
    copied = {"backend": "sqlite", "mysql": False, "sqlite_file": f"{paths.INCOMING}/{staging.SQLITE}"}
    changed["database"] = {**changed.get("database", {}), **copied}
    old = older_version(configuration, version)
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
    if "invite_from" not in configuration.get("system", {}):
        changed["system"].pop("invite_from", None)  # derived from another host's name
    trial_run.try_out(changed, version)
    kind = interface.backend(section)
    changed["database"] |= {**section, "sqlite_file": paths.SQLITE, "backend": kind, "mysql": kind == "mysql"}
    return changed, after


def _upgrade(version: str) -> str:
    """Run the upgrade of the installed ``version`` on the data in INCOMING, as its owner; return Baïkal's output."""
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
    """Return the error on the page that Baïkal's upgrade printed, as one line."""
    text = output.rpartition("Errors")[2].partition("Stack trace")[0] if "Errors" in output else output
    return " ".join(text.split())[-600:]


def _counted() -> dict[str, int]:
    """Check the copied database, reduce it to one file, and count; raises :class:`HostError` if it is damaged."""
    path = Path(paths.INCOMING) / staging.SQLITE
    try:
        with contextlib.closing(sqlite_file.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        # On a writable connection, SQLite's check would evaluate expressions in the schema.
        with contextlib.closing(sqlite_file.connect(path, "ro")) as connection:
            wrong = sqlite.integrity(connection)
            counts = interface.counts(connection)
    except sqlite3.DatabaseError as error:
        # A full disk raises such an error, too.
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise
        wrong = str(error)
    if wrong:
        message = f"the database is damaged, or isn't Baïkal's ({wrong}); use an undamaged backup"
        raise HostError(message)
    return counts


def _number(version: str) -> tuple[int, ...]:
    """Return the numbers of ``version``, for comparison."""
    configuration = numbers(version)
    if not configuration:
        message = f"baikal.yaml has the version {version!r}, which is not a version of Baïkal; restore a backup"
        raise HostError(message)
    return configuration
