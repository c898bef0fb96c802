"""The manifest of an archive: its origin, and the size and checksum of each file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl.changes.members import APPLIED, DATABASE, SETTINGS, YAML, allowed, restored
from baikalctl.output import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "manifest.json"
OURS = "baikal-deploy"
"""The value of ``archive`` in our manifests; any other is from another program."""
FORMAT = 1
LARGEST = 4 << 20
"""Bytes of a manifest; one with :data:`MOST_FILES` files is smaller."""
MOST_FILES = 500


LONGEST_TEXT = 255
STAMP = "%Y%m%dT%H%M%SZ"
"""The format of times, in UTC: they sort as text, and are valid in file names everywhere."""


LARGEST_FILE = {YAML: 1 << 20, SETTINGS: 4 << 20, APPLIED: 4 << 20}
LARGEST_KEY = 64 << 10
"""Most bytes of these files, and of each certificate and key; only the database may have any size."""

_LABEL = re.compile(r"[a-z0-9-]{0,40}")
_STAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotOursError(ValueError):
    """It is not a manifest of baikalctl."""


class NewerError(ValueError):
    """Its format is newer than the ones this release supports."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive."""

    size: int
    """In bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of an archive."""

    created: float
    """In whole seconds since the epoch."""
    label: str
    """Why it was made, such as ``before-upgrade``; empty for one made on schedule or by hand."""
    hostname: str
    baikal: str
    """The version of Baïkal that the data is of."""
    php: str
    backend: str
    """The kind of database: ``sqlite``, ``mysql`` or ``pgsql``. In the archive, it is always an SQLite file."""
    counts: Mapping[str, int]
    """Rows by table."""
    files: Mapping[str, Member]

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        fields = dataclasses.asdict(self) | {"archive": OURS, "format": FORMAT, "created": format_time(self.created)}
        return json.dumps(fields, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @property
    def size(self) -> int:
        """The size of all files together, in bytes."""
        return sum(member.size for member in self.files.values())


def in_words(counts: Mapping[str, int]) -> str:
    """Return how many accounts, events and contacts a database with so many rows by table has."""
    nouns = {"users": "account", "calendarobjects": "event", "cards": "contact"}
    accounts, events, contacts = (counted(counts.get(table, 0), noun) for table, noun in nouns.items())
    return f"{accounts}, {events} and {contacts}"


def read(text: bytes) -> Manifest:
    """Return the manifest that :meth:`Manifest.to_json` wrote.

    Raises :class:`NotOursError`, :class:`NewerError`, or ``ValueError`` with the reason if our own isn't valid. The
    names of files are relative paths that :func:`baikalctl.changes.members.allowed` accepts.
    """
    if len(text) > LARGEST:
        raise ValueError(f"its manifest has {len(text)} bytes, more than {LARGEST}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise NotOursError("its manifest is not JSON") from None
    return of(fields)


def of(fields: object) -> Manifest:
    """Return the manifest from its parsed JSON; raises as :func:`read` does."""
    if not isinstance(fields, dict) or fields.get("archive") != OURS:
        raise NotOursError("its manifest is from another program")
    number = fields.get("format")
    if not isinstance(number, int) or not 0 < number < 1 << 31:
        raise ValueError("its format is not a valid number")
    if number > FORMAT:
        raise NewerError(str(number))
    try:
        return _understood(fields)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its manifest is incomplete ({type(error).__name__}: {error})") from None


def format_time(seconds: float) -> str:
    """Return a time in the format of names and manifests."""
    return time.strftime(STAMP, time.gmtime(seconds))


def parse_time(text: str) -> float:
    """Return the time that :func:`format_time` wrote; raises ``ValueError`` for anything else."""
    match = _STAMP.fullmatch(text)
    if not match:
        raise ValueError(f"{text[:40]!r} is not a time such as 20261125T031500Z")
    return dt.datetime(*map(int, match.groups()), tzinfo=dt.UTC).timestamp()  # type: ignore[arg-type, misc]


def label(text: str) -> str:
    """Return ``text`` if it can be the label of an archive; raises ``ValueError``."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"the label {text!r} is not valid; use lower-case letters, digits and hyphens")
    return text


def _understood(fields: dict[str, Any]) -> Manifest:
    files = {name: _member(name, member) for name, member in fields["files"].items()}
    if len(files) > MOST_FILES:
        raise ValueError(f"it names {len(files)} files, more than {MOST_FILES}")
    for name in files:
        folder = name.rpartition("/")[0]
        while folder:
            if folder in files:
                raise ValueError(f"it has {folder!r} as a file and as a folder")
            folder = folder.rpartition("/")[0]
    lacking = [name for name in (DATABASE, YAML) if name not in files]
    if lacking:
        raise ValueError(f"it has no {lacking[0]}")
    counts = {_text("counts", table): _count(rows) for table, rows in fields["counts"].items()}
    texts = {name: _text(name, fields[name]) for name in ("hostname", "baikal", "php", "backend")}
    created, label_ = parse_time(str(fields["created"])), label(str(fields["label"]))
    return Manifest(created=created, label=label_, counts=counts, files=files, **texts)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"its {name} is not a short text")
    return value


def _count(rows: object) -> int:
    if not isinstance(rows, int) or isinstance(rows, bool) or not 0 <= rows < 1 << 63:
        raise ValueError("its counts are not numbers of rows")
    return rows


def _member(name: str, fields: dict[str, Any]) -> Member:
    if not allowed(name):
        raise ValueError(f"it names {name!r}, which can't be part of an archive")
    size, sha256 = fields["size"], fields["sha256"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63 or not _SHA256.fullmatch(sha256):
        raise ValueError(f"size or checksum of {name!r} is not valid")
    if name != DATABASE and restored(name) and size > LARGEST_FILE.get(name, LARGEST_KEY):
        raise ValueError(f"{name!r} is larger than such a file may be")
    return Member(size=size, sha256=sha256)
