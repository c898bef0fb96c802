"""Which passwords were declared last: one that somebody has chosen since stays, until another is declared.

Of accounts, machines that share a database remember it there together; of the administrator, whose password is in
baikal.yaml, each for itself.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.database import interface
from baikalctl.host.atomic_write import write
from baikalctl.host.boundary import confined
from baikalctl.host.safe_copy import open_untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.database.interface import Database


LARGEST = 4 << 20
"""Bytes of such a file; of 10,000 accounts it has 1 MB."""
FINGERPRINT = re.compile("[0-9a-f]{64}")
MOST, LONGEST_NAME = 10_000, 200
ADMINISTRATOR = ""
"""The name that stands for the administrator, and that no account can have."""


def read(database: Database) -> dict[str, str]:
    """Return the fingerprint of each password that was declared last, by account; ``database`` has the accounts."""
    mine = of_this_host()
    return confined(lambda: all_of(database, mine)) if database.shared else mine


def of_this_host() -> dict[str, str]:
    """Return what this machine remembers by itself, in a file of root's."""
    try:
        return _understood(Path(paths.APPLIED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def all_of(database: Database, mine: Mapping[str, str]) -> dict[str, str]:
    """Return ``mine`` with what machines that share the database ``database`` remember there; within the boundary."""
    shared = _understood(database.noted(interface.PASSWORDS)) if database.shared else {}
    shared.pop(ADMINISTRATOR, None)  # each machine's own
    return {**mine, **shared}


def store(database: Database, applied: dict[str, str]) -> None:
    """Remember these fingerprints, for :func:`read`."""
    write(Path(paths.APPLIED), _text(applied))
    if database.shared:
        noted = _text({name: value for name, value in applied.items() if name != ADMINISTRATOR})
        confined(lambda: database.note(interface.PASSWORDS, noted))


def take_over(archived: Path, target: Path) -> None:
    """Write the fingerprints in a file of an archive to ``target``, if it is there: only they are taken out of it."""
    if archived.is_file() and archived.stat().st_size <= LARGEST:
        with open_untrusted(archived) as stream:
            found = confined(lambda: _understood(stream.read().decode("utf-8", "replace")), keep=(stream.fileno(),))
        target.parent.mkdir(exist_ok=True)
        # The administrator's password is always set as declared: an archive may be anybody's.
        known = {str(name): str(value) for name, value in found.items() if name != ADMINISTRATOR}
        write(target, _text(known))


def _text(applied: dict[str, str]) -> str:
    return json.dumps(applied, ensure_ascii=False, indent=1) + "\n"


def _understood(text: str) -> dict[str, str]:
    """Return fingerprints by account, of a text that may come from a database or an archive."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    marks = (
        (name, value)
        for name, value in found.items()
        if isinstance(value, str) and FINGERPRINT.fullmatch(value) and name.isprintable() and len(name) <= LONGEST_NAME
    )
    return dict(itertools.islice(marks, MOST))
