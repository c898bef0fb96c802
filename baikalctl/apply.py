"""``baikalctl apply``: Baïkal itself as declared, without its web installer.

Certificate, configuration, database and accounts, each looked at first and changed only where it differs. Every step
is atomic or can be repeated, so an interrupted run is mended by the next.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from baikalctl import (
    configuration,
    database,
    health,
    local_server,
    migration,
    output,
    paths,
    pausing,
    release,
    remembered,
    served,
    signing,
    transition,
    users,
    volume,
)
from baikalctl.faults import HostError
from baikalctl.installing import locked
from baikalctl.privilege import as_owner, belongs, give, owner, privileged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from baikalctl.database import Connection, Database
    from baikalctl.declared import Declared
    from baikalctl.users import Step

T = TypeVar("T")


def apply(declared: Declared, say: Callable[[str], None] = output.line) -> None:
    """Bring this host's Baïkal to what is ``declared``, saying each step; raises :class:`HostError` if it can't be."""
    with locked(paths.LOCK):
        transition.recover(say)
        for sentence, act in ownership_steps():  # before any of it is read
            say(sentence)
            act()
        _refuse_other_database(_as_owner(configuration.read), _section(declared))
        with alone(database.of(_section(declared))):
            _upgrade(declared, say)
            _take(declared, say)


def move(declared: Declared, say: Callable[[str], None] = output.line) -> None:
    """Take the data to the database that is ``declared``, and bring it to what else is; raises :class:`HostError`."""
    from baikalctl import moving  # as below: whoever only looks needs none of it, and looks often

    with volume.nobody_serving("move"), locked(paths.LOCK):
        transition.recover(say)
        for sentence, act in _server_steps(declared, database.of(_section(declared))):
            say(sentence)
            act()
        with alone(database.of(_section(declared))):
            moving.move(declared, say, lambda: _take(declared, say))


def finish(say: Callable[[str], None] = output.line) -> None:
    """Bring data that was just put in place to what is declared on this host, within a run that holds the lock.

    In a container that isn't started yet, the start does that.
    """
    declared = pausing.declared_here()
    # With an older release than the declared one, an upgrade is the next thing to do, and not by this.
    if declared and not health.unstarted() and declared.version == release.current():
        _take(declared, say)


def _take(declared: Declared, say: Callable[[str], None]) -> None:
    """Take every step."""
    try:
        for sentence, act in steps(declared):
            say(sentence)
            act()
    except database.Error as error:
        here = database.here()
        remedy = here.remedy(error, "run again, or restore a backup")
        message = f"{here} can't be brought up to date ({error}); {remedy}"
        raise HostError(message) from None


@contextlib.contextmanager
def alone(here: Database) -> Iterator[None]:
    """Be the one of several machines with the database ``here`` that brings it up to date, or replaces what is in it."""
    with contextlib.ExitStack() as stack:
        if here.shared:
            with as_owner():
                stack.enter_context(here.exclusive("apply"))
        yield


def _upgrade(declared: Declared, say: Callable[[str], None]) -> None:
    """Have the declared release be the one that serves: with its data, where that is of an older one."""
    found = _agreed(_as_owner(configuration.read), declared)
    if migration.outstanding(found, declared.version):
        from baikalctl import backup, upgrading

        backup.make(declared, "before-upgrade", say)
        upgrading.upgrade(found, declared.version, say, lambda: _take(declared, say))


def _section(declared: Declared) -> dict[str, object]:
    return configuration.database_section(declared.database, declared.database.reveal())


def _agreed(found: configuration.Configuration, declared: Declared) -> configuration.Configuration:
    """Return baikal.yaml with the version that the data is of, where a database that several machines share tells.

    One of them may have made or upgraded the data; the yaml of the others, or of one that is new, doesn't know it yet.
    """
    section = found.get("database") or _section(declared)
    if not declared.database.host or configuration.differs(section, _section(declared)):
        return found
    version = _as_owner(database.of(section).version)
    if not version:
        return found
    merged = found or configuration.merge(found, declared.system, section, version)
    return {**merged, "system": {**merged["system"], "configured_version": version}}


def pending(declared: Declared) -> list[str]:
    """Return the steps that :func:`apply` would take now, as sentences, and take none."""
    return [sentence for sentence, _ in steps(declared)]


def steps(declared: Declared) -> Iterator[Step]:
    """Yield what differs from ``declared``; each step is to be taken before the next is asked for, or none at all."""
    yield from served.steps(declared)
    yield from served.leftovers(declared)
    yield from signing.steps(declared)
    yield from ownership_steps()
    yield from _data_steps(declared)


def _data_steps(declared: Declared) -> Iterator[Step]:
    found = _as_owner(configuration.read)
    section = _section(declared)
    _refuse_other_database(found, section)
    agreed = _agreed(found, declared)
    old = migration.outstanding(agreed, declared.version)
    if old:  # what else there is to do, the data of the new release tells
        yield f"upgrade Baïkal from {old} to {declared.version}", lambda: None
        return
    merged = configuration.merge(agreed, declared.system, section, declared.version)
    here = database.of(merged["database"])
    if release.current() != declared.version:
        yield f"have Baïkal {declared.version} serve", lambda: release.activate(declared.version)
    yield from _server_steps(declared, here)
    if declared.database.local and not local_server.reachable(here):  # so these steps are only looked at
        yield "bring what is in the database to what is declared", lambda: None
        return
    applied = remembered.read(here)
    _refuse_other_realm(found, declared, applied)
    fresh = not _as_owner(here.installed)
    if fresh and found:
        message = (
            f"{paths.BAIKAL_YAML} is there, and {here} has nothing in it; restore it from a backup, have the data of "
            "another server moved there (baikalctl database move), or, to start empty, move the yaml away"
        )
        raise HostError(message)
    if fresh:
        yield "make the database", lambda: _as_owner(lambda: here.create(declared.version))
    if not Path(paths.INSTALL_DISABLED).is_file():
        yield "close the web installer", lambda: _as_owner(lambda: Path(paths.INSTALL_DISABLED).touch(mode=0o600))
    # The database can only be looked into once it is there: at the first run, after the step above.
    if _as_owner(here.installed):
        yield from _database_steps(here, declared, applied)
    elif declared.users:
        yield f"make {len(declared.users)} accounts", lambda: None
    yield from _configuration_steps(declared, found, merged, applied)
    wanted = _wanted_applied(declared, applied)
    if applied != wanted:
        yield "remember which passwords were declared", lambda: remembered.store(here, wanted)


def _server_steps(declared: Declared, here: Database) -> Iterator[Step]:
    """Have this machine's own database server, where it has one, with a database in it."""
    if declared.database.local:
        yield from local_server.steps(declared, here)


def ownership_steps() -> Iterator[Step]:
    """Give back what somebody, or a tool run as root, took from the data's owner: Baïkal must be able to write it."""
    if not privileged():
        return
    account = owner()
    for path in (paths.BAIKAL_YAML, paths.INSTALL_DISABLED, *(paths.SQLITE + part for part in ("", "-wal", "-shm"))):
        if not belongs(Path(path), account):
            yield f"give {path} back to {paths.USER}, for it alone", partial(give, Path(path), account)


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


def _refuse_other_database(found: configuration.Configuration, section: Mapping[str, object]) -> None:
    """Raise :class:`HostError` if the data is elsewhere: an empty database in its place would serve nobody."""
    differing = configuration.differs(found.get("database", {}), section)
    if differing:
        message = f"{differing}; take it there with baikalctl database move, or declare the database that has it"
        raise HostError(message)


def _database_steps(here: Database, declared: Declared, applied: dict[str, str]) -> Iterator[Step]:
    with contextlib.closing(_as_owner(here.connect)) as connection:
        missing = here.missing_tuning(connection)
        if missing:
            yield f"make the database fast: {', '.join(missing)}", lambda: _as_owner(lambda: here.tune(connection))
        leaving = users.removals(connection, declared.users)
        if leaving:
            names = ", ".join(leaving)
            yield f"back up everything before {names} are removed", lambda: _back_up(declared)
        with _owner_throughout(connection):
            for sentence, act in users.plan(connection, declared.users, applied):
                yield sentence, lambda act=act: _as_owner(act)  # type: ignore[misc]


@contextlib.contextmanager
def _owner_throughout(connection: Connection) -> Iterator[None]:
    """Commit all accounts together at the end, or none if anything fails."""
    try:
        yield
        _as_owner(connection.commit)
    except BaseException:
        _as_owner(connection.rollback)
        raise


def _configuration_steps(
    declared: Declared,
    found: configuration.Configuration,
    wanted: configuration.Configuration,
    applied: dict[str, str],
) -> Iterator[Step]:
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


def _back_up(declared: Declared) -> None:
    """Keep everything as it is before accounts are removed."""
    from baikalctl import backup

    backup.make(declared, "before-removal", output.line)


def _as_owner(act: Callable[[], T]) -> T:
    with as_owner():
        return act()
