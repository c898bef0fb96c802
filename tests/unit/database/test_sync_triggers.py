"""Sync tokens on SQLite: in any order of sabre/dav's statements, a client that syncs gets all changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from baikalctl.database import sync_triggers
from tests.unit.samples import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.database.sqlite_file import Connection


pytestmark = pytest.mark.usefixtures("release_standing")

FIRST = 7
"""The number that the calendar begins with."""


@pytest.fixture
def calendar(connection: Connection) -> Connection:
    """Give a tuned database with a calendar that has no change yet."""
    here().tune(connection)
    connection.insert("calendars", id=1, synctoken=FIRST, components="VEVENT")
    connection.commit()
    return connection


def note(connection: Connection, uri: str, calendar: int = 1) -> None:
    """Note a change, as the first statement of sabre/dav's ``addChange``."""
    connection.execute(
        "INSERT INTO calendarchanges (uri, synctoken, calendarid, operation)"
        " SELECT ?, synctoken, ?, 1 FROM calendars WHERE id = ?",
        (uri, calendar, calendar),
    )
    connection.commit()


def count(connection: Connection) -> None:
    """Raise the calendar's number, as the second."""
    connection.execute("UPDATE calendars SET synctoken = synctoken + 1 WHERE id = 1")
    connection.commit()


def token(connection: Connection) -> int:
    """Return the number that a client finds in the calendar's properties."""
    (number,) = connection.execute("SELECT synctoken FROM calendars WHERE id = 1").fetchone()
    return int(number)


def changes(connection: Connection, since: int) -> tuple[list[str], int]:
    """Return the changes and the next token that a client gets: sabre/dav's ``getChangesForCalendar``."""
    query = "SELECT uri, synctoken FROM calendarchanges WHERE synctoken >= ? AND calendarid = 1 ORDER BY synctoken"
    rows = connection.execute(query, (since,)).fetchall()
    return [uri for uri, _ in rows], max([since, *(number + 1 for _, number in rows)])


def test_one_change_after_the_other_has_the_numbers_that_baikal_gives_them(calendar: Connection) -> None:
    """Without anybody in between nothing is different: one number a change, and the calendar's is the next."""
    for number, uri in enumerate(("a", "b", "c"), 1):
        note(calendar, uri)
        count(calendar)
        assert token(calendar) == FIRST + number
    assert changes(calendar, FIRST) == (["a", "b", "c"], FIRST + 3)
    assert changes(calendar, FIRST + 2) == (["c"], FIRST + 3)


def test_a_client_that_syncs_between_two_changes_gets_the_second(calendar: Connection) -> None:
    """Two writers have noted their changes before either has raised the number."""
    note(calendar, "a")
    first, number = changes(calendar, FIRST)
    note(calendar, "b")
    assert first == ["a"]
    assert changes(calendar, number)[0] == ["b"]
    count(calendar)
    count(calendar)
    note(calendar, "c")
    count(calendar)
    assert changes(calendar, changes(calendar, number)[1])[0] == []
    assert changes(calendar, number)[0] == ["b", "c"]


def test_a_client_that_takes_the_calendars_number_misses_nothing_afterwards(calendar: Connection) -> None:
    """At any moment of its sync."""
    steps: list[Callable[[], None]] = [
        partial(note, calendar, "a"),
        partial(note, calendar, "b"),
        partial(count, calendar),
    ]
    for step in steps:
        step()
        seen, number = set(changes(calendar, FIRST)[0]), token(calendar)
        note(calendar, later := f"after-{number}-{len(seen)}")
        assert later in changes(calendar, number)[0]


def test_a_writer_that_died_between_its_statements_blocks_no_other(calendar: Connection) -> None:
    """The next one sets the calendar's token above both changes, so that clients see that there are changes."""
    note(calendar, "a")
    note(calendar, "b")
    count(calendar)
    assert token(calendar) == changes(calendar, FIRST)[1] == FIRST + 2


def test_calendars_are_numbered_each_by_itself(calendar: Connection) -> None:
    """Another calendar's changes have nothing to do with it."""
    calendar.insert("calendars", id=2, synctoken=100, components="VEVENT")
    note(calendar, "x", calendar=2)
    note(calendar, "a")
    assert changes(calendar, FIRST) == (["a"], FIRST + 1)


def test_without_the_triggers_the_second_change_is_missed(calendar: Connection) -> None:
    """The reason for the triggers; if this fails, the copies of sabre/dav's statements in this test are wrong."""
    for name in sync_triggers.SQLITE:
        calendar.execute(f"DROP TRIGGER {name}")
    note(calendar, "a")
    _, number = changes(calendar, FIRST)
    note(calendar, "b")
    assert changes(calendar, number)[0] == []
