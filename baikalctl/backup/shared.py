"""Scheduled backups of machines that share a database: one of them makes the backup of a period, and notes it there.

The machine holds the lock ``backup`` of the database (:func:`baikalctl.baikal.current_database.exclusive`) during its
backup. If it dies, the server releases the lock, and the next machine makes the backup, because nothing was noted.
"""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

from baikalctl.host.boundary import confined

if TYPE_CHECKING:
    from baikalctl.database.interface import Database

NAME = "backup"
"""The name of the lock and of the note. Rows ``job:backup:PERIOD`` of older versions are ignored."""


def made_by(database: Database, period: str) -> str:
    """Return the machine that has made the backup of ``period``, or nothing."""
    return str(confined(lambda: _understood(database.noted(NAME), period)))


def note_made(database: Database, period: str) -> None:
    """Note that this machine has made the backup of ``period``; raises :class:`HostError`."""
    text = json.dumps({"period": period, "by": socket.gethostname()})
    confined(lambda: database.note(NAME, text))


def _understood(text: str, period: str) -> str:
    """Return which machine has noted that ``period`` is done; a note that can't be read counts as none."""
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(note, dict) or note.get("period") != period:
        return ""
    by = note.get("by")
    return by if isinstance(by, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,253}", by) else "another machine"
