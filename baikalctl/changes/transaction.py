"""Data or release change, or all stays as it was: what an upgrade, a restore, an import and a move have in common.

Clients are told to come again (503), PHP finishes what it has begun, what is there is kept, the new data is put
together and tried out on a copy, put in place, and used as a client would. Whatever fails on the way, the old data and
the old release are back at the end. What was begun stands in a journal on the disk, so that a power cut in the middle
is taken back by the next run of anything, and by the machine when it boots.
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
    """What is to be different."""

    what: str
    """Such as "the upgrade from 0.11.1 to 0.12.1"."""
    label: str
    """For the name of what is kept, such as "upgrade"."""
    version: str
    """The release that serves afterwards."""
    target: Database
    """Where the data is afterwards."""
    source: Database | None = None
    """Where it was before; nothing where that is the same."""
    prepare: Callable[[], Configuration]
    """Puts the new data together in INCOMING, complete and tried out, and returns its baikal.yaml."""
    finish: Callable[[], None] = lambda: None
    """What is to be done with the new data in place, before anybody uses it."""
    moves: bool = False
    """Whether the target hasn't got the rows yet, even where they are as they were."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What was begun."""

    what: str
    release: str
    """The release that served before; nothing on a host that had none."""
    kept: str = ""
    """Where what was there is kept: as long as this is empty, nothing was touched."""
    of: str = ""
    """The release that the data was of, where a server's database tells: in an image, another than the one above."""
    loaded: bool = False
    """Whether a server's database was touched."""
    target: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of a move, the section of baikal.yaml that names where the data goes."""


def carry_out(change: Change, say: Say) -> Path:
    """Make the change, or leave everything as it was and raise :class:`HostError`; return where the old data is kept.

    To be called under the host's lock, after :func:`recover`.
    """
    say = _heard_or_not(say)
    journal = _write(Journal(what=change.what, release=release.current()))
    try:
        maintenance.on(change.what)
        say("clients are told to come again in a moment")
        php_fpm.pause(say)
        database = change.source or change.target
        kept = staging.keep(change.label, database)
        of = confined(database.version)
        journal = _write(dataclasses.replace(journal, kept=str(kept), of=of))
        if staging.holds(kept):
            say(f"what is there is kept in {kept}")
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
        if not change.target.shared:  # else what others have written meanwhile would be taken back with it
            journal = _write(dataclasses.replace(journal, loaded=True))  # whatever was loaded: this writes to the rows
        change.finish()
        php_fpm.resume()
        _use(change.version)
    except BaseException as error:
        say(f"{change.what} failed ({error or type(error).__name__}); everything is put back as it was")
        recover(say)
        if isinstance(error, (OSError, sqlite3.Error)):
            message = f"{change.what} failed, and all is as it was: {error}; {_remedy(error)}, and run again"
            raise HostError(message) from None
        if isinstance(error, HostError):
            message = f"{change.what} failed, and all is as it was: {error}"
            raise HostError(message) from None
        raise
    _forget()
    maintenance.off()
    staging.thin_out(kept)
    return kept


def recover(say: Say, *, booting: bool = False) -> None:
    """Take back what an interrupted change has begun, if any was; to be called under the host's lock.

    While the machine is ``booting``, nothing runs yet and nothing is started; it opens when PHP answers, by a second
    call that finds nothing to take back. Raises :class:`HostError` where it can't be taken back; the server stays closed
    then, and the next run tries again.
    """
    say = _heard_or_not(say)
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
                f"{journal.what} can't be taken back ({error}); what was there is in {journal.kept}: {_remedy(error)}, and "
                "run baikalctl recover"
            )
            raise HostError(message) from None
        say(f"{journal.what} was taken back: the data is as it was before")
    _forget()
    if not booting:
        php_fpm.resume()
        maintenance.off()
    if journal.kept:  # what is in place again needs no second copy, and who tries again and again would fill the disk
        shutil.rmtree(journal.kept, ignore_errors=True)


def _remedy(error: Exception) -> str:
    if getattr(error, "errno", 0) == errno.ENOSPC or "disk is full" in str(error):
        return f"make room in {paths.DATA}"
    return "fix that"


def _abandon(journal: Journal) -> None:
    """Have what a move has brought to its target be no hindrance to the next; a target that is away may be why it failed."""
    if journal.target:
        with contextlib.suppress(HostError, sqlite3.Error):
            confined(registry.of(journal.target).abandon)


def kept() -> Path | None:
    """Return where what was there is kept while a change is being made, or nothing."""
    journal = _read()
    return Path(journal.kept) if journal and journal.kept else None


def interrupted() -> str:
    """Return what was begun and neither finished nor taken back, or nothing."""
    journal = _read()
    return journal.what if journal else ""


def declared_database() -> Database:
    """Return the database that is declared on this host.

    A container that is started for one command needn't be told; there, it is the one that baikal.yaml names.
    """
    declared = state.deployed_state()
    if declared is None:
        return registry.of(config.read().get("database", {}))
    return current_database.of(declared)


def _use(version: str) -> None:
    """Use the server as a client would, through the web server; raises :class:`HostError` where that doesn't work."""
    declared = state.deployed_state()
    if declared is None or runtime.in_container() or not runtime.is_booted():
        return  # nothing serves here yet
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
    """Return the release whose tables are made anew: the one that was, or, in an image that hasn't got it, its own."""
    return version if (Path(paths.CODE) / version).is_dir() and version else release.current()


def _read() -> Journal | None:
    try:
        return Journal(**json.loads(Path(paths.JOURNAL).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _forget() -> None:
    """Have no journal, also after a power cut: what clients write from now on must not be taken back."""
    Path(paths.JOURNAL).unlink()
    sync(Path(paths.STATE))


def _heard_or_not(say: Say) -> Say:
    """Return what says a sentence also where nobody listens any more: that is no reason to stay closed half-way."""

    def tell(sentence: str) -> None:
        with contextlib.suppress(OSError):
            say(sentence)

    return tell


def _write(journal: Journal) -> Journal:
    write(Path(paths.JOURNAL), json.dumps(dataclasses.asdict(journal)))
    return journal
