"""``baikalctl import``: take over another installation of Baïkal, which is only read."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import apply, migration, paths, placing, volume
from baikalctl import source as sources
from baikalctl.declared import REALM, Declared
from baikalctl.faults import HostError
from baikalctl.installing import locked
from baikalctl.privilege import as_owner
from baikalctl.rendering import data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.configuration import Configuration
    from baikalctl.source import Installation


def import_(source: Path, declared_version: str, *, replace: bool, say: Callable[[str], None]) -> None:
    """Take over the installation in ``source`` as data of the installed release ``declared_version``.

    ``source`` holds ``config`` and ``Specific``, or a ``baikal`` directory that does; nothing in it is changed. Data
    that is here already is replaced only with ``replace``, and kept. Raises :class:`HostError` if it can't be done; all
    is then as it was. What is declared on a machine is applied to the new data before it serves.
    """
    old = sources.find(source)
    if not (Path(paths.CODE) / declared_version / "html").is_dir():
        message = f"Baïkal {declared_version} is not installed here; run the deploy first, then import"
        raise HostError(message)
    migration.outstanding(old.configuration, declared_version)
    volume.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    volume.make(data())
    with _nobody_serving(), _php_running():
        with locked(paths.LOCK):
            interrupted = placing.begun()
            if interrupted:
                _stop_php(say)
            migration.resume(say)
            if interrupted == old.label:
                say(f"{source} is taken over")
            else:
                _refuse_data(replace=replace)
                _take_over(old, declared_version, say)
        if declared := _declared():
            apply.apply(declared, say)


def _take_over(old: Installation, version: str, say: Callable[[str], None]) -> None:
    say(f"take over Baïkal {old.version}" + (f", migrated to {version}" if old.version != version else ""))
    try:
        with placing.incoming():
            folder = Path(paths.INCOMING) / "source"
            folder.mkdir(mode=0o700)
            copy = sources.copy_database(old.database, folder)
            with copy.open("rb") as whole, as_owner():
                descriptor = os.open(Path(paths.INCOMING) / placing.SQLITE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    shutil.copyfileobj(whole, stream)
            shutil.rmtree(folder)
            counts = migration.prepare(_with_declared_administrator(old.configuration, say), version)
            placing.make_ready(old.label)
            _stop_php(say)
            placing.put_in_place("replaced", say)
    except (sqlite3.Error, OSError) as error:
        message = f"the data can't be taken over ({error}); mend that, and run again"
        raise HostError(message) from None
    told = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for word, number in counts.items())
    say(f"taken over: Baïkal {old.version} → {version}, {told}")


def _refuse_data(*, replace: bool) -> None:
    if replace:
        return
    for path in (paths.BAIKAL_YAML, paths.SQLITE):
        if Path(path).exists():
            message = f"there is data here already ({path}); with --replace it is replaced, and kept in {paths.BACKUPS}"
            raise HostError(message)


@contextlib.contextmanager
def _nobody_serving() -> Iterator[None]:
    """Hold what a container holds while it serves this data; raises :class:`HostError` if one does."""
    lock, ours = volume.serving()
    try:
        if not ours:
            message = "a container serves this data right now; stop it, import, and start it again"
            raise HostError(message)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _php_running() -> Iterator[None]:
    """Have PHP running at the end, if it is to run at all: also one that an import which was killed had stopped."""
    try:
        yield
    finally:
        for unit in _php():
            if _systemctl("is-enabled", unit) and not _systemctl("is-active", unit):
                # Else systemd would refuse the sixth start within ten seconds, whoever was impatient.
                _systemctl("reset-failed", unit)
                _systemctl("start", unit)


def _stop_php(say: Callable[[str], None]) -> None:
    """Have nobody write to a database that is being replaced; nginx says 502 meanwhile."""
    for unit in _php():
        if _systemctl("is-active", unit):
            say(f"stop {unit} for a moment")
            _systemctl("stop", unit)


def _php() -> list[str]:
    """Return PHP's unit, on a machine that was deployed to."""
    declared = _declared() if Path("/run/systemd/system").is_dir() else None
    return [unit for unit in declared.services if unit.startswith("php")] if declared else []


def _systemctl(verb: str, unit: str) -> bool:
    done = subprocess.run(["systemctl", "--quiet", verb, unit], capture_output=True, text=True, check=False)
    if done.returncode and not verb.startswith("is-"):
        message = f"{unit} can't be told to {verb} ({done.stderr.strip()}); journalctl -u {unit} tells why"
        raise HostError(message)
    return done.returncode == 0


def _with_declared_administrator(found: Configuration, say: Callable[[str], None]) -> Configuration:
    """Return ``found`` with the administrator's password as declared on this host, which knows no other any more."""
    system = dict(found["system"])
    if system.get("auth_realm", REALM) != REALM:
        say(
            f"its auth_realm is {system['auth_realm']!r}: the passwords of its accounts work on, "
            f"but ones that are declared here are of {REALM!r} and don't"
        )
    elif (declared := _declared()) and declared.admin_hash:
        system["admin_passwordhash"] = declared.admin_hash
    return {**found, "system": system}


def _declared() -> Declared | None:
    """Return what this host was told, or nothing in a container, which is told when it starts."""
    try:
        there = Path(paths.DECLARED).is_file()
    except PermissionError:  # an ordinary user in a container, where its directory is root's
        return None
    return Declared.on_this_host() if there else None
