"""Fingerprints of the last declared passwords: a password that its user has chosen since stays until another is declared.

Machines that share a database store those of accounts there. The administrator's password is in baikal.yaml, so each
machine stores its own fingerprint.
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
"""Maximum bytes of the file; with 10,000 accounts it has 1 MB."""
FINGERPRINT = re.compile("[0-9a-f]{64}")
MOST, LONGEST_NAME = 10_000, 200
ADMINISTRATOR = ""
"""The name for the administrator in these files; no account can have it."""


def read(database: Database) -> dict[str, str]:
    """Return the fingerprints of the last declared passwords, by account; ``database`` has the accounts."""
    own = of_this_host()
    return confined(lambda: all_of(database, own)) if database.shared else own


def of_this_host() -> dict[str, str]:
    """Return the fingerprints in root's own file on this machine."""
    try:
        return _understood(Path(paths.APPLIED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def all_of(database: Database, own: Mapping[str, str]) -> dict[str, str]:
    """Return ``own`` and the fingerprints that machines share in the ``database``; to be called within the boundary."""
    shared = _understood(database.noted(interface.PASSWORDS)) if database.shared else {}
    shared.pop(ADMINISTRATOR, None)  # each machine has its own
    return {**own, **shared}


def store(database: Database, applied: dict[str, str]) -> None:
    """Store these fingerprints for :func:`read`."""
    write(Path(paths.APPLIED), _text(applied))
    if database.shared:
        noted = _text({name: value for name, value in applied.items() if name != ADMINISTRATOR})
        confined(lambda: database.note(interface.PASSWORDS, noted))


def take_over(archived: Path, target: Path) -> None:
    """Write the fingerprints in a file of an archive, if it exists, to ``target``; nothing else is copied from it."""
    if archived.is_file() and archived.stat().st_size <= LARGEST:
        with open_untrusted(archived) as stream:
            archived_marks = confined(
                lambda: _understood(stream.read().decode("utf-8", "replace")), keep=(stream.fileno(),)
            )
        target.parent.mkdir(exist_ok=True)
        # The administrator's password is always set as declared, because archives are untrusted.
        known = {str(name): str(value) for name, value in archived_marks.items() if name != ADMINISTRATOR}
        write(target, _text(known))


def _text(applied: dict[str, str]) -> str:
    return json.dumps(applied, ensure_ascii=False, indent=1) + "\n"


def _understood(text: str) -> dict[str, str]:
    """Return the valid fingerprints by account in a text from a database or an archive."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    marks = (
        (name, value)
        for name, value in fields.items()
        if isinstance(value, str) and FINGERPRINT.fullmatch(value) and name.isprintable() and len(name) <= LONGEST_NAME
    )
    return dict(itertools.islice(marks, MOST))
