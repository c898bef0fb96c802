"""``baikalctl apply``: Baïkal itself as declared, without its web installer.

Certificate, configuration, database and accounts, each looked at first and changed only where it differs. Every step
is atomic or can be repeated, so an interrupted run is mended by the next.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from baikalctl import configuration, database, migration, paths, served, signing, users, volume
from baikalctl.faults import HostError
from baikalctl.health import in_container
from baikalctl.installing import locked
from baikalctl.privilege import as_owner, belongs, give, owner, privileged
from baikalctl.writing import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.declared import Declared
    from baikalctl.users import Step

T = TypeVar("T")


def apply(declared: Declared, say: Callable[[str], None] = print) -> None:
    """Bring this host's Baïkal to what is ``declared``, saying each step; raises :class:`HostError` if it can't be."""
    try:
        with locked(paths.LOCK):
            migration.resume(say)
            for sentence, act in steps(declared):
                say(sentence)
                act()
    except sqlite3.Error as error:
        remedy = database.remedy(error, "run again, or restore a backup")
        message = f"the database {paths.SQLITE} can't be brought up to date ({error}); {remedy}"
        raise HostError(message) from None


def pending(declared: Declared) -> list[str]:
    """Return the steps that :func:`apply` would take now, as sentences, and take none."""
    return [sentence for sentence, _ in steps(declared)]


def steps(declared: Declared) -> Iterator[Step]:
    """Yield what differs from ``declared``; each step is to be taken before the next is asked for, or none at all."""
    yield from served.steps(declared)
    yield from served.leftovers(declared)
    yield from signing.steps(declared)
    yield from ownership_steps()
    applied = _read_applied()
    found = _as_owner(configuration.read)
    _refuse_other_version(found, declared.version)
    _refuse_other_realm(found, declared, applied)
    schema = Path(paths.CODE) / declared.version / "Core/Resources/Db/SQLite/db.sql"
    fresh = not Path(paths.SQLITE).is_file()
    if fresh and found:
        message = (
            f"{paths.BAIKAL_YAML} is there and its database {paths.SQLITE} isn't; restore it from a backup, "
            "or, to start empty, move the yaml away"
        )
        raise HostError(message)
    if fresh:
        yield "make the database", lambda: _as_owner(lambda: database.create(schema))
    if not Path(paths.INSTALL_DISABLED).is_file():
        yield "close the web installer", lambda: _as_owner(lambda: Path(paths.INSTALL_DISABLED).touch(mode=0o600))
    # The database can only be looked into once it is there: at the first run, after the step above.
    if Path(paths.SQLITE).is_file():
        yield from _database_steps(declared, applied)
    elif declared.users:
        yield f"make {len(declared.users)} accounts", lambda: None
    yield from _configuration_steps(declared, found, applied)
    wanted = _wanted_applied(declared, applied)
    if applied != wanted:
        yield "remember which passwords were declared", lambda: _write_applied(wanted)


def ownership_steps() -> Iterator[Step]:
    """Give back what somebody, or a tool run as root, took from the data's owner: Baïkal must be able to write it."""
    if not privileged():
        return
    account = owner()
    for path in (paths.BAIKAL_YAML, paths.INSTALL_DISABLED, *(paths.SQLITE + part for part in ("", "-wal", "-shm"))):
        if not belongs(Path(path), account):
            yield f"give {path} back to {paths.USER}, for it alone", partial(give, Path(path), account)


def _refuse_other_version(found: configuration.Configuration, version: str) -> None:
    configured = found.get("system", {}).get("configured_version", version)
    if configured != version:
        remedy = f"run an image with {configured}" if in_container() else f"set baikal_version to {configured}"
        message = (
            f"the data is of Baïkal {configured}, and {version} is declared; upgrades and downgrades are not done here, "
            f"so {remedy}"
        )
        raise HostError(message)


def _refuse_other_realm(found: configuration.Configuration, declared: Declared, applied: dict[str, str]) -> None:
    """Raise :class:`HostError` if a declared password would be set with which nobody could log in."""
    realm = found.get("system", {}).get("auth_realm", declared.realm)
    hashes = {"": declared.admin_hash} | {user.name: user.digest for user in declared.users}
    fresh = [name or "admin" for name, verifier in hashes.items() if applied.get(name) != users.fingerprint(verifier)]
    if realm != declared.realm and fresh:
        message = (
            f"the data's auth_realm is {realm!r}, and the declared password of {', '.join(fresh)} is of "
            f"{declared.realm!r}, so nobody could log in with it; declare none, and change it in the admin pages"
        )
        raise HostError(message)


def _database_steps(declared: Declared, applied: dict[str, str]) -> Iterator[Step]:
    with contextlib.closing(_as_owner(database.connect)) as connection:
        missing = database.missing_tuning(connection)
        if missing:
            yield f"make the database fast: {', '.join(missing)}", lambda: _as_owner(lambda: database.tune(connection))
        leaving = users.removals(connection, declared.users)
        if leaving:
            yield f"back up the database before {', '.join(leaving)} are removed", lambda: _back_up(leaving)
        with _owner_throughout(connection):
            for sentence, act in users.plan(connection, declared.users, applied):
                yield sentence, lambda act=act: _as_owner(act)  # type: ignore[misc]


@contextlib.contextmanager
def _owner_throughout(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all accounts together at the end, or none if anything fails."""
    try:
        yield
        _as_owner(connection.commit)
    except BaseException:
        _as_owner(connection.rollback)
        raise


def _configuration_steps(
    declared: Declared, found: configuration.Configuration, applied: dict[str, str]
) -> Iterator[Step]:
    wanted = configuration.merge(found, declared.system, declared.version)
    system = wanted["system"]
    if declared.admin_hash and applied.get("") != users.fingerprint(declared.admin_hash):
        system["admin_passwordhash"] = declared.admin_hash
    if wanted != found:
        before = found.get("system", {})
        changed = [key for key, value in system.items() if before.get(key) != value]
        what = ", ".join(changed) if found and changed else "all of it" if not found else "its database section"
        yield f"set in baikal.yaml: {what}", lambda: _as_owner(lambda: configuration.write(wanted))


def _wanted_applied(declared: Declared, applied: dict[str, str]) -> dict[str, str]:
    """Return the fingerprints to remember: of the administrator under the empty name, which no account can have.

    Accounts that are no longer declared are remembered, so that declaring them again resets no password.
    """
    absent = {user.name for user in declared.users if not user.present}
    known = {user.name: users.fingerprint(user.digest) for user in declared.users if user.present}
    kept = {name: fingerprint for name, fingerprint in applied.items() if name not in absent}
    return kept | {"": users.fingerprint(declared.admin_hash)} | known


def _read_applied() -> dict[str, str]:
    try:
        applied: dict[str, str] = json.loads(Path(paths.APPLIED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return applied


def _write_applied(applied: dict[str, str]) -> None:
    write(Path(paths.APPLIED), json.dumps(applied, ensure_ascii=False, indent=1) + "\n")


def _back_up(leaving: list[str]) -> None:
    """Keep the database as it is before accounts are removed from it."""
    target = volume.backups() / f"before-removal-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.sqlite"
    with contextlib.closing(database.connect(read_only=True)) as connection:
        database.save_copy(connection, target)
    print(f"the database with {', '.join(leaving)} is kept in {target}")


def _as_owner(act: Callable[[], T]) -> T:
    with as_owner():
        return act()
