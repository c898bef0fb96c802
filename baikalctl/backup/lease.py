"""Leases for jobs that only one of several machines with the same database does: the first to write a row gets the job."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl.database import interface
from baikalctl.database.server import STATE
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.database.interface import Database


LIFE_S = 3600
"""Seconds after which a machine that hasn't finished counts as dead; then another machine does the job."""
LOOK_S = 10.0
PATIENCE_S = 3 * LIFE_S
AHEAD_S = 300
"""Seconds that another machine's clock may be ahead."""
FAR_S = 1 << 40


@dataclass(frozen=True)
class Job:
    """A job of one period: ``mine`` tells whether this machine does it; otherwise ``by`` is the machine that has done it."""

    mine: bool
    by: str = ""


@contextlib.contextmanager
def once(database: Database, name: str, period: str) -> Iterator[Job]:
    """Let only one of the machines that share ``database`` do the job ``name`` of a ``period``.

    If another machine is doing it, wait until that has finished, or counts as dead. An SQLite database has only one
    machine, which always does the job. If the block raises an error, any machine can do the job again.
    """
    if database.backend == "sqlite":
        yield Job(mine=True)
        return
    key = f"job:{name}:{period}"
    deadline = time.monotonic() + PATIENCE_S
    while (claim := confined(lambda: _claim(database, key))) is None:
        if time.monotonic() > deadline:
            hours = PATIENCE_S // 3600
            message = (
                f"{database}: another machine has been working on it for {hours} hours ({name}); check that machine"
            )
            raise HostError(message)
        time.sleep(LOOK_S)
    if "by" in claim:
        yield Job(mine=False, by=str(claim["by"]))
        return
    ours = str(claim["ours"])
    try:
        yield Job(mine=True)
    except BaseException:
        with contextlib.suppress(HostError):  # the error of the job is the one to report
            confined(lambda: _settle(database, key, ours, ""))
        raise
    confined(lambda: _settle(database, key, ours, _text(done=True)))
    confined(lambda: _forget(database, name, key))


def _claim(database: Database, key: str) -> dict[str, str] | None:
    """Return this machine's note, or which machine has finished; None while another machine is doing the job."""
    ours = _text(done=False)
    with _connected(database) as connection:
        try:
            connection.execute(f"INSERT INTO {STATE} (name, value) VALUES (?, ?)", (key, ours))  # noqa: S608 - constant
            connection.commit()
        except interface.Error:
            connection.rollback()
        else:
            return {"ours": ours}
        row = connection.execute(f"SELECT value FROM {STATE} WHERE name = ?", (key,)).fetchone()  # noqa: S608 - constant
        connection.commit()
        if row is None:  # released just now, or the table isn't writable: then this attempt raises the reason
            connection.execute(f"INSERT INTO {STATE} (name, value) VALUES (?, ?)", (key, ours))  # noqa: S608 - constant
            connection.commit()
            return {"ours": ours}
        theirs = _understood(str(row[0]))
        if theirs["done"]:
            return {"by": str(theirs["by"])}
        if 0 <= time.time() - theirs["at"] + AHEAD_S < LIFE_S:
            return None
        return {"ours": ours} if _replaced(connection, key, str(row[0]), ours) else None


def _understood(text: str) -> dict[str, Any]:
    """Return another machine's note; if it isn't valid, the machine counts as dead."""
    try:
        theirs = json.loads(text)
    except (ValueError, RecursionError):
        theirs = None
    if not isinstance(theirs, dict):
        theirs = {}
    at, by = theirs.get("at"), theirs.get("by")
    return {
        "done": theirs.get("done") is True,
        "at": float(at) if isinstance(at, int | float) and 0 < at < FAR_S else 0.0,
        "by": by if isinstance(by, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,253}", by) else "another machine",
    }


def _replaced(connection: interface.Connection, key: str, before: str, after: str) -> bool:
    query = f"UPDATE {STATE} SET value = ? WHERE name = ? AND value = ?"  # noqa: S608 - constant
    changed = connection.execute(query, (after, key, before)).rowcount
    connection.commit()
    return bool(changed == 1)


def _settle(database: Database, key: str, claim: str, value: str) -> None:
    """Store that the job is done, or, without a ``value``, that any machine can do it."""
    with _connected(database) as connection:
        if value:
            _replaced(connection, key, claim, value)
        else:
            connection.execute(f"DELETE FROM {STATE} WHERE name = ? AND value = ?", (key, claim))  # noqa: S608 - constant
            connection.commit()


def _forget(database: Database, name: str, key: str) -> None:
    """Remove the notes of earlier periods, which sort before this one."""
    query = f"DELETE FROM {STATE} WHERE name LIKE ? AND name < ?"  # noqa: S608 - constant
    with _connected(database) as connection:
        connection.execute(query, (f"job:{name}:%", key))
        connection.commit()


@contextlib.contextmanager
def _connected(database: Database) -> Iterator[interface.Connection]:
    """Yield a connection; raises :class:`HostError` with the database's error."""
    try:
        with contextlib.closing(database.connect()) as connection:
            yield connection
    except interface.Error as error:
        message = f"{database}: {error}; {database.remedy(error, 'fix this on the server, and run this again')}"
        raise HostError(message) from None


def _text(*, done: bool) -> str:
    return json.dumps({"by": socket.gethostname(), "at": time.time(), "done": done})
