"""Future releases, made from the stand-in: with a new migration, and with the errors that one can have."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION: Final = "0.13.0"
"""Newer than every existing release."""

UPGRADE: Final = "Core/Frameworks/BaikalAdmin/Controller/Install/VersionUpgrade.php"
STEPS: Final = "        // A stand-in for a future release has its own steps here.\n"
STEP: Final = """\
        if (version_compare($sVersionFrom, '@VERSION@', '<')) {
            $pdo->exec('ALTER TABLE users ADD COLUMN disabled SMALLINT NOT NULL DEFAULT 0');
            $pdo->exec("UPDATE principals SET displayname = 'of @VERSION@' WHERE displayname IS NULL");
@THEN@        }
"""
FAILS: Final = "            throw new \\Exception('step 2 of 3 has failed, as this stand-in is designed to');\n"
DIES: Final = "            exit(255);\n"


class Kind(StrEnum):
    """What is special about a future release."""

    PLAIN = "plain"
    """Nothing: no migration step, like every release since 0.10.0."""
    NEW_STEP = "new-step"
    """Its migration adds ``users.disabled``, which logins need; a new database has the column from the start."""
    FAILS_HALF_WAY = "fails-half-way"
    """The same, but after adding the column, the migration fails with a message."""
    DIES_HALF_WAY = "dies-half-way"
    """The same, but PHP ends without a message, as if out of memory."""
    ANSWERS_500 = "answers-500"
    """Migrates correctly; then every DAV request is answered with 500."""
    REFUSES_WRITES = "refuses-writes"
    """Migrates correctly; then only requests that write an object are answered with 500."""


def make(root: Path, kind: Kind, version: str) -> None:
    """Change the unpacked stand-in in ``root`` into a release of this kind."""
    if kind is Kind.PLAIN:
        return
    then = {Kind.FAILS_HALF_WAY: FAILS, Kind.DIES_HALF_WAY: DIES}.get(kind, "")
    step = STEP.replace("@THEN@", then).replace("@VERSION@", version)
    _change(root / UPGRADE, lambda text: text.replace(STEPS, step))
    _change(
        root / "Core/Frameworks/Standin/Dav/Authentication.php",
        lambda text: text.replace("WHERE username = ?'", "WHERE username = ? AND disabled = 0'"),
    )
    for schema in (root / "Core/Resources/Db").glob("*/db.sql"):
        _change(
            schema,
            lambda text: re.sub(
                r"(CREATE TABLE users \([^;]*?)\n\)", r"\1,\n    disabled SMALLINT NOT NULL DEFAULT 0\n)", text
            ),
        )
    broken = {Kind.ANSWERS_500: "true", Kind.REFUSES_WRITES: "$_SERVER['REQUEST_METHOD'] === 'PUT'"}.get(kind)
    if broken:
        fails = f"if ({broken}) {{\n    http_response_code(500);\n    exit('as this stand-in is designed to');\n}}\n"
        _change(root / "html/dav.php", lambda text: text.replace("Standin\\Dav", f"{fails}Standin\\Dav"))


def _change(file: Path, how: Callable[[str], str]) -> None:
    """Change a file's text; ValueError if nothing changes, because the stand-in has changed."""
    before = file.read_text(encoding="utf-8")
    after = how(before)
    if after == before:
        message = f"{file} no longer has the text that a future release changes; see tests/lab/future_release.py"
        raise ValueError(message)
    file.write_text(after, encoding="utf-8")
