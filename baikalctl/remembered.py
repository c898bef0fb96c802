"""Which passwords were declared last: one that somebody has chosen since stays, until another is declared.

Of accounts, machines that share a database remember it there together; of the administrator, whose password is in
baikal.yaml, each for itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import database, paths
from baikalctl.boundary import confined
from baikalctl.copying import opened
from baikalctl.writing import write

if TYPE_CHECKING:
    from baikalctl.database import Database

LARGEST = 4 << 20
"""Bytes of such a file; of 10,000 accounts it has 1 MB."""
ADMINISTRATOR = ""
"""The name that stands for the administrator, and that no account can have."""


def read(here: Database) -> dict[str, str]:
    """Return the fingerprint of each password that was declared last, by account; ``here`` has the accounts."""
    try:
        own = _understood(Path(paths.APPLIED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        own = {}
    if not here.shared:
        return own
    shared = confined(lambda: _understood(here.noted(database.PASSWORDS)))
    return {**own, **shared}


def store(here: Database, applied: dict[str, str]) -> None:
    """Remember these fingerprints, for :func:`read`."""
    write(Path(paths.APPLIED), _text(applied))
    if here.shared:
        noted = _text({name: value for name, value in applied.items() if name != ADMINISTRATOR})
        confined(lambda: here.note(database.PASSWORDS, noted))


def take(archived: Path, target: Path) -> None:
    """Write the fingerprints in a file of an archive to ``target``, if it is there: only they are taken out of it."""
    if archived.is_file():
        with opened(archived, largest=LARGEST) as stream:
            found = confined(lambda: _understood(stream.read().decode("utf-8", "replace")), keep=(stream.fileno(),))
        target.parent.mkdir(exist_ok=True)
        write(target, _text({str(name): str(value) for name, value in found.items()}))


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
    return {name: value for name, value in found.items() if isinstance(value, str)}
