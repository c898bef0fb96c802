"""``baikalctl backup list`` and ``verify``: list all archives and their contents, and verify one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.backup import catalog, extract
from baikalctl.backup.create import contents
from baikalctl.backup.status import in_words
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.tempdir import temporary_directory
from baikalctl.output import utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.desired.state import DesiredState


HEADER = ("TIME", "SIZE", "BAÏKAL", "LABEL", "CONTENTS", "ARCHIVE")


@dataclass(frozen=True, kw_only=True)
class Line:
    """An archive, a folder ``before-…``, or a snapshot in the restic repository."""

    archive: str
    """The argument for restore and verify."""
    time: str
    size: int = 0
    """In bytes; 0 for a snapshot, whose size is unknown."""
    baikal: str = ""
    label: str = ""
    counts: dict[str, int] | None = None
    """Rows by table."""
    error: str = ""
    """Why it can't be read."""


def lines(declared: DesiredState | None, say: Callable[[str], None]) -> list[Line]:
    """Return all archives, all folders ``before-…`` and, if a repository is declared, its snapshots, each newest first."""
    from baikalctl.backup import replaced_data

    archives = [_line(stored) for stored in catalog.all_archives()]
    archives += [_basics(stored) for stored in replaced_data.folders()]
    if declared and declared.backup.repository:
        from baikalctl.backup import restic

        try:
            archives += [
                Line(archive=f"{restic.PREFIX}{snapshot.identifier}", time=snapshot.time)
                for snapshot in restic.snapshots(declared)
            ]
        except HostError as error:
            say(str(error))
    return archives


def table(archives: list[Line]) -> str:
    """Return a table for people."""
    if not archives:
        return "there are no archives yet; run baikalctl backup to make one"
    rows = [HEADER, *(_cells(line) for line in archives)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_json(archives: list[Line]) -> str:
    """Return JSON for programs."""
    return json.dumps([asdict(line) for line in archives], indent=1)


def verify(value: str, declared: Callable[[], DesiredState]) -> str:
    """Return a sentence about a valid archive or snapshot; raises :class:`HostError` with the reason if it isn't valid."""
    from baikalctl.backup import restic, source

    with temporary_directory(directories.backups()) as folder:
        text = source.unpack(value, folder, declared)
    path = value if value.startswith(restic.PREFIX) else catalog.find(value)
    return (
        f"{path} is undamaged: made on {text.hostname}, {utc(text.created)}, Baïkal {text.baikal}, {contents(text.counts)}; "
        "all checksums match, and the database passed its integrity check"
    )


def _line(stored: catalog.StoredArchive) -> Line:
    line = _basics(stored)
    try:
        text = extract.read_manifest(stored.path)
    except (HostError, OSError) as error:
        return replace(line, error=str(error))
    return replace(line, baikal=text.baikal, counts=dict(text.counts))


def _basics(stored: catalog.StoredArchive) -> Line:
    return Line(archive=stored.path.name, time=utc(stored.created), size=stored.size, label=stored.label)


def _cells(line: Line) -> tuple[str, ...]:
    text = line.error or (contents(line.counts) if line.counts is not None else "")
    when = line.time if line.time.endswith("UTC") else line.time[:16].replace("T", " ")
    cells = (when, in_words(line.size) if line.size else "", line.baikal, line.label, text, line.archive)
    return tuple(map(output.escaped, cells))
