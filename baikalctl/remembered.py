"""Which passwords were declared last: one that somebody has chosen since stays, until another is declared.

Of accounts, machines that share a database remember it there together; of the administrator, whose password is in
baikal.yaml, each for itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import database, paths
from baikalctl.privilege import as_owner
from baikalctl.writing import write

if TYPE_CHECKING:
    from baikalctl.database import Database

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
    with as_owner():
        shared = _understood(here.noted(database.PASSWORDS))
    return {**own, **shared}


def store(here: Database, applied: dict[str, str]) -> None:
    """Remember these fingerprints, for :func:`read`."""
    write(Path(paths.APPLIED), _text(applied))
    if here.shared:
        with as_owner():
            here.note(
                database.PASSWORDS, _text({name: value for name, value in applied.items() if name != ADMINISTRATOR})
            )


def _text(applied: dict[str, str]) -> str:
    return json.dumps(applied, ensure_ascii=False, indent=1) + "\n"


def _understood(text: str) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(text)
    except ValueError:
        return {}
    return found
