"""The steps that make data and database match the settings; :mod:`baikalctl.commands.apply` takes them."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.baikal import applied_passwords, config, current_database, local_database, release
from baikalctl.baikal.accounts import Step, fingerprint, plan, removals
from baikalctl.changes import migration
from baikalctl.database import registry
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import QUICK, THOROUGH, Limits
from baikalctl.output import counted
from baikalctl.settings import known_releases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState


def with_known_version(
    configuration: config.Configuration, declared: DesiredState, section: Mapping[str, object]
) -> config.Configuration:
    """Return baikal.yaml with the version of the data, as a database that several machines share has stored it.

    Another machine may have created or upgraded the data; then this machine's baikal.yaml has an older version, or none.
    """
    if not declared.database.host or config.differs(configuration.get("database", {}), section):
        return configuration
    version = registry.of(section).version()
    if not version:
        return configuration
    merged = configuration or config.merge(configuration, declared.system, section, version)
    return {**merged, "system": {**merged["system"], "configured_version": version}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatabaseState:
    """The state of the database, as plain data."""

    installed: bool
    closed: bool
    """Whether the web installer is closed."""
    missing: list[str]
    """Indexes and triggers."""
    leaving: list[str]
    """Accounts that will be removed."""
    accounts: list[str]
    """Changes to accounts, a sentence each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataState:
    """The state of the data: all that is needed to list the steps."""

    configuration: config.Configuration
    """The existing baikal.yaml."""
    agreed: config.Configuration
    """The same, with the version of the data."""
    applied: dict[str, str] = dataclasses.field(default_factory=dict)
    """Fingerprints of the passwords in the last settings."""
    state: DatabaseState | None = None
    """None if the database can't be read yet, because it must be upgraded or its server started first."""


def look(declared: DesiredState) -> DataState:
    """Return the state of the data; raises :class:`HostError` if it is in another database, or can't be read."""
    section, mine = current_database.section(declared), applied_passwords.of_this_host()
    return from_child(confined(lambda: look_confined(declared, section, mine), limits(declared)))


def limits(declared: DesiredState) -> Limits:
    """Return the limits of :func:`look`: each account needs several queries, perhaps to a distant server."""
    return dataclasses.replace(QUICK, seconds=QUICK.seconds + len(declared.users) / 10)


def look_confined(declared: DesiredState, section: Mapping[str, object], mine: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of :class:`DataState`; to be called in the confined child.

    ``section`` is the database section from the settings, and ``mine`` is what
    :func:`baikalctl.baikal.applied_passwords.of_this_host` returns.
    """
    configuration = config.read()
    refuse_other_database(configuration, section)
    known = with_known_version(configuration, declared, section)
    fields: dict[str, Any] = {"configuration": configuration, "agreed": known}
    target = registry.of(section)
    if migration.older_version(known, declared.version) or (
        declared.database.local and not local_database.reachable(target)
    ):
        return fields
    applied = applied_passwords.all_of(target, mine)
    _refuse_other_realm(configuration, declared, applied)
    return fields | {"applied": applied, "state": _state(target, declared, applied)}


def from_child(fields: dict[str, Any]) -> DataState:
    """Return the state from what the confined child returned."""
    state = fields.get("state")
    configured = str(fields["agreed"].get("system", {}).get("configured_version") or "")
    if configured and not known_releases.numbers(configured):
        message = f"the data has the version {configured[:40]!r}, which is not a version of Baïkal; restore a backup"
        raise HostError(message)
    return DataState(**fields | {"state": DatabaseState(**state) if state else None})


def _state(database: Database, declared: DesiredState, applied: Mapping[str, str]) -> dict[str, Any]:
    """Return the state of ``database``, which may not exist yet."""
    closed = Path(paths.INSTALL_DISABLED).is_file()
    if not database.installed():
        return {"installed": False, "closed": closed, "missing": [], "leaving": [], "accounts": []}
    with contextlib.closing(database.connect()) as connection:
        return {
            "installed": True,
            "closed": closed,
            "missing": database.missing_tuning(connection),
            "leaving": removals(connection, declared.users),
            "accounts": [sentence for sentence, _ in plan(connection, declared.users, applied)],
        }


def steps(declared: DesiredState, back_up: Callable[[], None], known: DataState | None = None) -> Iterator[Step]:
    """Yield a step for each difference from ``declared``; take each step before the next is requested, or take none.

    ``back_up`` makes an archive before accounts are removed. ``known`` is what :func:`look` has just returned, if it was
    called.
    """
    section = current_database.section(declared)
    known = known or look(declared)
    old = migration.older_version(known.agreed, declared.version)
    if old:  # the other steps depend on the data of the new release
        yield f"upgrade Baïkal from {old} to {declared.version}", lambda: None
        return
    database = registry.of(section)
    if release.current() != declared.version:
        yield f"activate Baïkal {declared.version}", lambda: release.activate(declared.version)
    if known.state is None:
        yield from of_server(declared, database)
        known = look(declared)
        if known.state is None:  # so the steps are only listed, not taken
            yield "update the accounts and settings in the database", lambda: None
            return
    yield from _content_steps(declared, database, known, known.state, back_up)


def _content_steps(
    declared: DesiredState, database: Database, known: DataState, state: DatabaseState, back_up: Callable[[], None]
) -> Iterator[Step]:
    """Yield the steps for ``database``, which can be reached, and for baikal.yaml."""
    if not state.installed and known.configuration:
        message = (
            f"{paths.BAIKAL_YAML} exists, but {database} is empty; restore a backup, move the data of "
            "another server there (baikalctl database move), or, to start empty, move the yaml file away"
        )
        raise HostError(message)
    if not state.installed:
        yield "create the database", lambda: confined(lambda: database.create(declared.version), THOROUGH)
    if not state.closed:
        yield "disable the web installer", lambda: confined(lambda: Path(paths.INSTALL_DISABLED).touch(mode=0o600))
    # At the first run, the database exists only after the step above.
    if not state.installed:
        state = look(declared).state or state
    if state.installed:
        yield from _database_steps(database, declared, known.applied, state, back_up)
    elif declared.users:
        yield f"create {counted(len(declared.users), 'account')}", lambda: None
    section = current_database.section(declared)
    merged = config.merge(known.agreed, declared.system, section, declared.version)
    yield from _configuration_steps(declared, known.configuration, merged, known.applied)
    wanted = _wanted_applied(declared, known.applied)
    if known.applied != wanted:
        yield "record which passwords were declared", lambda: applied_passwords.store(database, wanted)


def of_server(declared: DesiredState, target: Database) -> Iterator[Step]:
    """Yield the steps for this machine's own database server, if it has one."""
    if declared.database.local:
        yield from local_database.steps(declared, target)


def _refuse_other_realm(configuration: config.Configuration, declared: DesiredState, applied: dict[str, str]) -> None:
    """Raise :class:`HostError` if a declared password is for another realm, so that its user could not log in."""
    realm = configuration.get("system", {}).get("auth_realm", declared.realm)
    hashes = {"": declared.admin_hash} | {user.name: user.digest for user in declared.users}
    fresh = [name or "admin" for name, verifier in hashes.items() if applied.get(name) != fingerprint(verifier)]
    if realm != declared.realm and fresh:
        message = (
            f"the data's auth_realm is {realm!r}, but the declared password of {', '.join(fresh)} is for "
            f"{declared.realm!r}, so this user could not log in; "
            "remove it from the settings, and change it in the admin pages"
        )
        raise HostError(message)


def refuse_other_database(configuration: config.Configuration, section: Mapping[str, object]) -> None:
    """Raise :class:`HostError` if the data is in another database: a new, empty one must not replace it."""
    differing = config.differs(configuration.get("database", {}), section)
    if differing:
        message = f"{differing}; run baikalctl database move, or change the settings to the database that has the data"
        raise HostError(message)


def _database_steps(
    database: Database,
    declared: DesiredState,
    applied: Mapping[str, str],
    state: DatabaseState,
    back_up: Callable[[], None],
) -> Iterator[Step]:
    if state.missing:
        yield (
            f"add indexes and triggers to the database: {', '.join(state.missing)}",
            lambda: confined(lambda: _tune(database), THOROUGH),
        )
    if state.leaving:
        names = ", ".join(state.leaving)
        yield f"make a backup before the accounts are removed: {names}", back_up
    # One transaction for all of them: the last step makes all changes.
    for position, sentence in enumerate(state.accounts, 1):
        last = position == len(state.accounts)
        yield sentence, partial(_apply_accounts, database, declared, applied) if last else lambda: None


def _tune(database: Database) -> None:
    with contextlib.closing(database.connect()) as connection:
        database.tune(connection)


def _apply_accounts(database: Database, declared: DesiredState, applied: Mapping[str, str]) -> None:
    """Make the accounts match the settings, in one transaction."""

    def act() -> None:
        with contextlib.closing(database.connect()) as connection:
            for _, step in plan(connection, declared.users, applied):
                step()
            connection.commit()

    confined(act, THOROUGH)


def _configuration_steps(
    declared: DesiredState,
    configuration: config.Configuration,
    wanted: config.Configuration,
    applied: dict[str, str],
) -> Iterator[Step]:
    system = wanted["system"]
    if declared.admin_hash and applied.get("") != fingerprint(declared.admin_hash):
        system["admin_passwordhash"] = declared.admin_hash
    if wanted != configuration:
        before = configuration.get("system", {})
        changed = [key for key, value in system.items() if before.get(key) != value]
        what = ", ".join(changed) or "its database section"
        what = what if configuration else "all of it"
        yield f"set in baikal.yaml: {what}", lambda: config.write(wanted)


def _wanted_applied(declared: DesiredState, applied: dict[str, str]) -> dict[str, str]:
    """Return the fingerprints to store; the administrator's has the empty name, which no account can have.

    Fingerprints of accounts that are no longer declared are kept, so that declaring them again resets no password.
    """
    absent = {user.name for user in declared.users if not user.present}
    known = {user.name: fingerprint(user.digest) for user in declared.users if user.present}
    kept = {name: fingerprint for name, fingerprint in applied.items() if name not in absent}
    return kept | {"": fingerprint(declared.admin_hash)} | known
