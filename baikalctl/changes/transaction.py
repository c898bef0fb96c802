"""Replace data or release in one transaction; if any step fails, roll back. Used by upgrade, restore, import and move.

Clients get status 503, and PHP finishes its requests. The existing data is copied; the new data is prepared, tested on a
copy, put in place, and tested by a client's requests. If any step fails, the old data and the old release are put back. A
journal on the disk records what was started, so that after a power failure the next run, or the boot of the machine, rolls
it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.baikal import config, current_database, health, php_fpm, release
from baikalctl.changes import rollback, staging
from baikalctl.database import registry
from baikalctl.desired import state
from baikalctl.errors import HostError
from baikalctl.host import maintenance, runtime
from baikalctl.host.atomic_write import sync, write
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.finding import FAILED

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState

    Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of the data or the release."""

    what: str
    """Such as "the upgrade from 0.11.1 to 0.12.1"."""
    label: str
    """Part of the name of the folder with the kept data, such as "upgrade"."""
    version: str
    """The release that is active afterwards."""
    target: Database
    """The database afterwards."""
    source: Database | None = None
    """The database before; None if it is the same."""
    prepare: Callable[[], Configuration]
    """Prepares the new data in INCOMING, tests it, and returns its baikal.yaml."""
    finish: Callable[[], None] = lambda: None
    """Called when the new data is in place, before any client uses it."""
    moves: bool = False
    """Whether the rows must be loaded into the target even if they are unchanged."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What was started."""

    what: str
    release: str
    """The release that was active before; empty on a host that had none."""
    kept: str = ""
    """The folder with the kept data; as long as this is empty, nothing was changed."""
    of: str = ""
    """The release of the data, as stored in a server's database; in an image it may differ from the one above."""
    loaded: bool = False
    """Whether a server's database was changed."""
    target: dict[str, Any] = dataclasses.field(default_factory=dict)
    """For a move: the section of baikal.yaml with the target database."""


def carry_out(change: Change, say: Say) -> Path:
    """Make the change, and return the folder with the old data; if it fails, roll back and raise :class:`HostError`.

    To be called under the host's lock, after :func:`recover`.
    """
    say = _ignoring_errors(say)
    journal = _write(Journal(what=change.what, release=release.current()))
    try:
        maintenance.on(change.what)
        say("clients get status 503 (try again later) until this is done")
        php_fpm.pause(say)
        database = change.source or change.target
        kept = staging.keep(change.label, database)
        of = confined(database.version)
        journal = _write(dataclasses.replace(journal, kept=str(kept), of=of))
        if staging.holds(kept):
            say(f"the existing data is kept in {kept}")
        with staging.incoming():
            prepared = change.prepare()
            config.write(prepared, Path(paths.INCOMING) / staging.YAML)
            loads = change.moves or staging.differs()
            goal = change.target.section() if change.moves else {}
            journal = _write(dataclasses.replace(journal, loaded=loads, target=goal))
            if loads and not change.moves:
                staging.refuse_written(change.target, kept)
            staging.put_in_place(change.target, change.version, loads=loads)
        _switch(change.version)
        if not change.target.shared:  # else a rollback would undo what other machines have written since
            journal = _write(dataclasses.replace(journal, loaded=True))  # even if nothing was: finish() changes rows
        change.finish()
        php_fpm.resume()
        _use(change.version)
    except BaseException as error:
        say(f"{change.what} failed ({error or type(error).__name__}); rolling back")
        recover(say)
        if isinstance(error, (OSError, sqlite3.Error)):
            message = f"{change.what} failed and was rolled back: {error}; {_remedy(error)}, and run this again"
            raise HostError(message) from None
        if isinstance(error, HostError):
            message = f"{change.what} failed and was rolled back: {error}"
            raise HostError(message) from None
        raise
    _forget()
    maintenance.off()
    staging.thin_out(kept)
    return kept


def recover(say: Say, *, booting: bool = False) -> None:
    """Roll back an interrupted change, if there is one; to be called under the host's lock.

    While the machine is ``booting``, no service runs yet, and none is started; a second call, when PHP answers, ends the
    maintenance mode. Raises :class:`HostError` if the rollback fails; then the server keeps answering 503, and the next run
    tries again.
    """
    say = _ignoring_errors(say)
    staging.clear()
    journal = _read()
    if journal is None:
        if maintenance.reason():
            if not booting:
                php_fpm.resume()
            maintenance.off()
        return
    if journal.kept:
        try:
            if not booting:
                php_fpm.pause(say)
            rollback.put_back(Path(journal.kept), _known(journal.release), of=journal.of, loaded=journal.loaded)
            _abandon(journal)
            if journal.release and (Path(paths.CODE) / journal.release).is_dir():
                _switch(journal.release)
        except (OSError, sqlite3.Error, HostError) as error:
            message = (
                f"{journal.what} can't be rolled back ({error}); the previous data is in {journal.kept}: "
                f"{_remedy(error)}, and run baikalctl recover"
            )
            raise HostError(message) from None
        say(f"{journal.what} was rolled back: the data is the same as before")
    _forget()
    if not booting:
        php_fpm.resume()
        maintenance.off()
    if journal.kept:  # the data is in place again, and repeated attempts would fill the disk
        shutil.rmtree(journal.kept, ignore_errors=True)


def _remedy(error: Exception) -> str:
    if getattr(error, "errno", 0) == errno.ENOSPC or "disk is full" in str(error):
        return f"free disk space in {paths.DATA}"
    return "fix this"


def _abandon(journal: Journal) -> None:
    """Remove what a move has written to its target, for the next attempt; the target may be unreachable."""
    if journal.target:
        with contextlib.suppress(HostError, sqlite3.Error):
            confined(registry.of(journal.target).abandon)


def kept() -> Path | None:
    """Return the folder with the kept data while a change is in progress, or None."""
    journal = _read()
    return Path(journal.kept) if journal and journal.kept else None


def interrupted() -> str:
    """Return the change that was started and neither finished nor rolled back, or an empty string."""
    journal = _read()
    return journal.what if journal else ""


def declared_database() -> Database:
    """Return the database in the settings of this host.

    A one-off container may have no settings; then it is the database in baikal.yaml.
    """
    declared = state.deployed_state()
    if declared is None:
        return registry.of(config.read().get("database", {}))
    return current_database.of(declared)


def _use(version: str) -> None:
    """Send a client's requests through the web server; raises :class:`HostError` if one fails."""
    declared = state.deployed_state()
    if declared is None or runtime.in_container() or not runtime.is_booted():
        return  # no web server runs here yet
    with maintenance.probing() as token:
        declared = dataclasses.replace(declared, version=version)
        findings = [
            *health.answer_findings(declared, token=token),
            *health.data_findings(declared, health.look(declared)),
        ]
        wrong = [finding.message for finding in findings if finding.status == FAILED]
        if wrong:
            raise HostError("; ".join(wrong))
        database = current_database.of(declared)
        confined(lambda: _visit(declared, database, token), THOROUGH)


def _visit(declared: DesiredState, database: Database, token: str) -> None:
    from baikalctl.baikal import smoke_test

    system = config.read().get("system", {})
    base = f"{declared.scheme}://127.0.0.1:{declared.port}{declared.base_path}"
    headers = {"Host": declared.hostname, maintenance.HEADER: token}
    calendars, contacts = (bool(system.get(f"{kind}_enabled", True)) for kind in ("cal", "card"))
    realm = str(system.get("auth_realm") or declared.realm)
    with smoke_test.temporary_user(database, realm) as visitor:
        smoke_test.make(base, visitor, headers, calendars=calendars, contacts=contacts)


def _switch(version: str) -> None:
    if release.current() != version:
        release.activate(version)


def _known(version: str) -> str:
    """Return the release that creates the tables: the previous one, or the image's own if it doesn't have that."""
    return version if (Path(paths.CODE) / version).is_dir() and version else release.current()


def _read() -> Journal | None:
    try:
        return Journal(**json.loads(Path(paths.JOURNAL).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _forget() -> None:
    """Remove the journal, and sync: what clients write from now on must never be rolled back."""
    Path(paths.JOURNAL).unlink()
    sync(Path(paths.STATE))


def _ignoring_errors(say: Say) -> Say:
    """Return ``say`` without its errors: a closed terminal must not stop a change half-way."""

    def tell(sentence: str) -> None:
        with contextlib.suppress(OSError):
            say(sentence)

    return tell


def _write(journal: Journal) -> Journal:
    write(Path(paths.JOURNAL), json.dumps(dataclasses.asdict(journal)))
    return journal
