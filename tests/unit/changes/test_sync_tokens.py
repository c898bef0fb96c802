"""After a restore, a client that requests the changes since its token gets all differences."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.changes import sync_tokens
from baikalctl.database.sqlite import Sqlite
from tests.unit.samples import here

if TYPE_CHECKING:
    from baikalctl.database import sqlite_file

pytestmark = pytest.mark.usefixtures("release_standing")


class Calendar:
    """A calendar as sabre/dav keeps it: each write is a row among the changes, and the token grows."""

    def __init__(self, connection: sqlite_file.Connection) -> None:
        """Make it, empty."""
        self.connection = connection
        self.number = connection.insert("calendars", synctoken=1, components="VEVENT")
        connection.insert(
            "calendarinstances", calendarid=self.number, principaluri="principals/jo", uri="default", access=1
        )

    def put(self, uri: str, etag: str) -> None:
        """Store an object, or another text of it."""
        changed = self.connection.execute(
            "UPDATE calendarobjects SET etag = ? WHERE calendarid = ? AND uri = ?", (etag, self.number, uri)
        ).rowcount
        if not changed:
            row = {"calendardata": "x", "lastmodified": 1, "size": 1, "uri": uri, "etag": etag}
            self.connection.insert("calendarobjects", calendarid=self.number, **row)
        self._changed(uri, 2 if changed else 1)

    def delete(self, uri: str) -> None:
        """Remove an object."""
        self.connection.execute("DELETE FROM calendarobjects WHERE calendarid = ? AND uri = ?", (self.number, uri))
        self._changed(uri, 3)

    def _changed(self, uri: str, operation: int) -> None:
        token = self.token()
        self.connection.insert("calendarchanges", uri=uri, synctoken=token, calendarid=self.number, operation=operation)
        self.connection.execute("UPDATE calendars SET synctoken = ? WHERE id = ?", (token + 1, self.number))
        self.connection.commit()

    def token(self) -> int:
        """Return what a client is given."""
        return token(self.connection, self.number)


def token(connection: sqlite_file.Connection, number: int) -> int:
    """Return a calendar's token."""
    (token,) = connection.execute("SELECT synctoken FROM calendars WHERE id = ?", (number,)).fetchone()
    return int(token)


def changes_since(path: Path, number: int, since: int) -> dict[str, int]:
    """Return the answer for the token ``since``: the last operation by object, as in sabre/dav."""
    with contextlib.closing(Sqlite(path).connect()) as connection:
        query = "SELECT uri, operation FROM calendarchanges WHERE calendarid = ? AND synctoken >= ? ORDER BY synctoken"
        return dict(connection.execute(query, (number, since)).fetchall())


@pytest.fixture
def calendar(connection: sqlite_file.Connection) -> Calendar:
    """Give a calendar with two objects."""
    calendar = Calendar(connection)
    calendar.put("a.ics", "1")
    calendar.put("b.ics", "1")
    return calendar


@pytest.fixture
def archive(calendar: Calendar, tmp_path: Path) -> Path:
    """Give what an archive of that calendar holds."""
    assert calendar.number
    here().snapshot(tmp_path / "archive.sqlite")
    return tmp_path / "archive.sqlite"


def test_a_client_that_synchronised_after_the_archive_gets_the_differences(calendar: Calendar, archive: Path) -> None:
    """Changed objects are listed, added ones as deleted, and deleted ones as changed; the token grows."""
    tokens = [calendar.token()]
    for write in (("c.ics", "1"), ("a.ics", "2"), ("a.ics", "1"), ("d.ics", "1")):
        calendar.put(*write)
        tokens.append(calendar.token())
    calendar.delete("b.ics")
    tokens.append(calendar.token())
    assert sync_tokens.continue_tokens(archive, Path(paths.SQLITE)) == 4
    expected = {"a.ics": 2, "b.ics": 2, "c.ics": 3, "d.ics": 3}
    for since in tokens:
        assert changes_since(archive, calendar.number, since) == expected
    with contextlib.closing(Sqlite(archive).connect()) as connection:
        assert token(connection, calendar.number) == tokens[-1] + 1
    assert changes_since(archive, calendar.number, tokens[-1] + 1) == {}


def test_without_differences_no_change_is_listed(calendar: Calendar, archive: Path) -> None:
    """Neither is the token another."""
    before = archive.read_bytes()
    assert sync_tokens.continue_tokens(archive, Path(paths.SQLITE)) == 0
    assert archive.read_bytes() == before
    assert calendar.token() == 3


@pytest.mark.parametrize("before", ["nothing", "damaged", "another's", "older"])
def test_with_unknown_tokens_every_object_is_listed(
    calendar: Calendar, archive: Path, tmp_path: Path, before: str
) -> None:
    """With a token that no client can have had: clients compare ETags, and fetch what they don't have."""
    before_file = tmp_path / "before.sqlite"
    shutil.copy(archive, before_file)
    if before == "damaged":
        before_file.write_bytes(before_file.read_bytes()[:8192] + b"\xff" * 4096)
    with contextlib.closing(Sqlite(archive).connect()) as connection:
        connection.execute("UPDATE calendars SET synctoken = 40")
        connection.commit()
    if before == "another's":
        with contextlib.closing(Sqlite(before_file).connect()) as connection:
            connection.execute("UPDATE calendarinstances SET principaluri = 'principals/ann'")
            connection.execute("UPDATE calendars SET synctoken = 50")
            connection.commit()
    assert sync_tokens.continue_tokens(archive, None if before == "nothing" else before_file) == 2
    assert changes_since(archive, calendar.number, 39 + sync_tokens.LEAP) == {"a.ics": 2, "b.ics": 2}
    with contextlib.closing(Sqlite(archive).connect()) as connection:
        assert token(connection, calendar.number) == 41 + sync_tokens.LEAP
