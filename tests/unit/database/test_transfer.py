"""Rows on their way: every value arrives as it was, and what can't be stored is named."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.database import interface, transfer
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from tests.unit.samples import SCHEMA, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

CALENDAR = "calendarobjects (id, calendardata, uri, calendarid, lastmodified, etag, size, firstoccurence)"
EVERY_KIND: dict[str, object] = {
    "text": "BEGIN:VEVENT\r\nSUMMARY:Zoë Groß 🗑 ' \" ; --\r\n",
    "bytes that are text": "Müllabfuhr".encode(),
    "bytes that are none": bytes(range(256)),
    "nothing in it": b"",
    "zeros": "a\0b",
    "much": "x" * 3_000_000,
    "a number": 7,
}


@pytest.fixture(autouse=True)
def _release(release_standing: Path) -> None:
    """Have a release's tables, which is the current one's too."""
    Path(paths.CURRENT).symlink_to(release_standing.name)


@pytest.fixture
def source(host: Path, empty_database: bytes) -> Path:
    """Return a file with a row of each kind, and gaps between the ids."""
    path = host / "source.sqlite"
    path.write_bytes(empty_database)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for number, value in enumerate(EVERY_KIND.values()):
            row = (3 * number + 5, value, f"{number}.ics", 1, 1700000000, "etag", 9, None)
            connection.execute(f"INSERT INTO {CALENDAR} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - our own names
        # As a client makes one: on SQLite, sabre/dav leaves the access of those NULL.
        connection.execute("INSERT INTO calendars (id, synctoken, components) VALUES (9, 47, 'VEVENT')")
        connection.execute(
            "INSERT INTO calendarinstances (id, calendarid, principaluri, uri, transparent) VALUES (3, 9, 'p', 'c', NULL)"
        )
        query = "INSERT INTO propertystorage (id, path, name, valuetype, value) VALUES (1, 'p', 'n', 1, ?)"
        connection.execute(query, (b"007",))
        connection.execute("INSERT INTO principals (id, uri, displayname) VALUES (4, 'principals/jo', 'jö')")
        connection.commit()
    return path


def change(path: Path, *statements: str) -> None:
    """Change a file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return what a query finds in a file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def loaded(source: Path) -> Path:
    """Return another file with the rows of the first."""
    target = source.with_name("target.sqlite")
    Sqlite(target).load(source, VERSION)
    return target


def copied(source: Path, manner: transfer.SqliteValues, schema: str | None = None) -> Path:
    """Return a file that got the rows as a server would take them."""
    target = source.with_name("served.sqlite")
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.executescript(schema or SCHEMA.read_text(encoding="utf-8"))
        transfer.copy(source, connection, manner)  # type: ignore[arg-type]
        connection.commit()
    return target


def test_every_value_arrives_as_it_was(source: Path) -> None:
    """With its id, ETag and sync token, byte for byte and as text or bytes, and nothing where nothing was."""
    target = loaded(source)
    for table in interface.TABLES:
        query = f"SELECT * FROM {table} ORDER BY id"  # noqa: S608 - our own names
        assert rows(target, query) == rows(source, query), table
    query = "SELECT calendardata, typeof(calendardata) FROM calendarobjects ORDER BY id"
    assert rows(target, query) == rows(source, query)
    assert transfer.difference(source, target) == transfer.difference(target, source) == ""


def test_what_was_there_before_goes(source: Path) -> None:
    """Rows of another life are replaced as a whole, and nothing half-made is seen."""
    target = source.with_name("target.sqlite")
    Sqlite(target).create(VERSION)
    change(target, "INSERT INTO users (username, digesta1) VALUES ('before', 'x')")
    loaded(source)
    assert rows(target, "SELECT * FROM users") == []
    assert sorted(path.name for path in target.parent.glob("target.*")) == ["target.sqlite"]


def test_more_rows_than_are_read_at_once_arrive(source: Path) -> None:
    """All of them, in order."""
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.executemany(
            "INSERT INTO users (username, digesta1) VALUES (?, 'x')",
            ((f"u{n}",) for n in range(transfer.AT_ONCE * 2 + 1)),
        )
        connection.commit()
    assert len(rows(loaded(source), "SELECT * FROM users")) == transfer.AT_ONCE * 2 + 1


def test_what_servers_want_a_value_for_gets_the_one_that_they_have(source: Path) -> None:
    """And so it is the same for clients: nothing differs."""
    change(source, "DELETE FROM calendarobjects WHERE calendardata IN (x'00', 7) OR id IN (11, 17)")
    change(source, "UPDATE calendarobjects SET firstoccurence = -86400, lastmodified = 0")
    change(source, "DELETE FROM propertystorage")  # SQLite alone would make a number of a text such as 007
    for manner, least in ((transfer.MysqlValues(), 0), (transfer.PostgresqlValues(), 1)):
        served = copied(source, manner)
        query = "SELECT access, calendarorder, share_invitestatus, transparent FROM calendarinstances"
        assert rows(served, query) == [(1, 0, 2, 0)]
        assert rows(served, "SELECT DISTINCT firstoccurence, lastmodified FROM calendarobjects") == [(least, least)]
        assert transfer.difference(source, served) == transfer.difference(served, source) == ""
        served.unlink()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bytes that are none", r"calendarobjects, id 11 \(2\.ics\) can't be stored in that database: .*utf-8"),
        (
            "zeros",
            r"calendarobjects, id 17 \(4\.ics\) can't be stored in that database: it has a zero byte; fix or delete",
        ),
    ],
)
def test_a_value_that_is_no_text_is_named_where_only_text_can_be(source: Path, kind: str, reason: str) -> None:
    """By its table, id and address."""
    others = ", ".join(str(3 * number + 5) for number, name in enumerate(EVERY_KIND) if name != kind)
    change(source, f"DELETE FROM calendarobjects WHERE id IN ({others})")  # noqa: S608 - our own numbers
    with pytest.raises(HostError, match=reason):
        copied(source, transfer.PostgresqlValues())


def test_a_row_that_is_refused_is_named_among_many(source: Path) -> None:
    """Hundreds are sent together; the one that it is about is looked for."""
    whole = SCHEMA.read_text(encoding="utf-8")
    strict = re.sub(
        r"\n    lastmodified INTEGER", "\n    lastmodified INTEGER CHECK (lastmodified < 2000000000)", whole
    )
    assert strict != whole
    change(source, "UPDATE calendarobjects SET lastmodified = 3000000000 WHERE id = 14")
    with pytest.raises(HostError, match=r"calendarobjects, id 14 \(3\.ics\) can't be stored .*: CHECK .*; fix"):
        copied(source, transfer.SqliteValues(), strict)


def test_a_row_without_a_name_is_named_by_its_number(source: Path) -> None:
    """As changes are."""
    whole = SCHEMA.read_text(encoding="utf-8")
    change(source, "INSERT INTO groupmembers (id, principal_id, member_id) VALUES (6, 1, 2)")
    strict = whole.replace("member_id INTEGER NOT NULL", "member_id INTEGER NOT NULL CHECK (member_id > 2)")
    with pytest.raises(HostError, match=r"^groupmembers, id 6 can't be stored"):
        copied(source, transfer.SqliteValues(), strict)


@pytest.mark.parametrize("statement", ["ALTER TABLE users ADD COLUMN colour TEXT", "CREATE TABLE colours (id INTEGER)"])
def test_what_the_tables_have_not_is_not_left_behind(source: Path, statement: str) -> None:
    """Data of a newer release: nothing is lost without a word."""
    change(source, statement)
    with pytest.raises(
        HostError, match=r"tables of this release lack columns of the data \(no such .*colour.*\); use the rel"
    ):
        loaded(source)
    assert not source.with_name("target.sqlite").exists()


@pytest.mark.parametrize("name", ["x) SELECT 1; --", "a b", "", "1x"])
def test_a_column_with_an_odd_name_is_refused(source: Path, name: str) -> None:
    """It would become part of a statement."""
    change(source, f'ALTER TABLE users ADD COLUMN "{name}" TEXT')
    with pytest.raises(HostError, match=f"the table users has a column '{re.escape(name)}', which is none of Baïkal's"):
        loaded(source)


def test_tables_that_are_nobodys_are_left_out(source: Path) -> None:
    """SQLite's own, ours, and such with an odd name."""
    change(source, "ANALYZE", "CREATE TABLE baikalctl_state (name TEXT)", 'CREATE TABLE "a; b" (id INTEGER)')
    assert transfer.difference(source, loaded(source)) == ""


def test_a_file_that_is_read_is_not_written_to(source: Path) -> None:
    """Neither by copying nor by comparing."""
    before = source.read_bytes()
    source.chmod(0o400)
    loaded(source)
    copied(source, transfer.SqliteValues())
    transfer.difference(source, source)
    assert source.read_bytes() == before
    assert sorted(path.name for path in source.parent.glob("source.*")) == ["source.sqlite"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE calendarobjects SET etag = 'other' WHERE id = 8", "calendarobjects, id 8 (1.ics) has another etag"),
        ("UPDATE calendars SET synctoken = 48", "calendars, id 9 has another synctoken"),
        ("UPDATE calendarobjects SET calendardata = x'00'", "calendarobjects, id 5 (0.ics) has another calendardata"),
        ("UPDATE calendarobjects SET id = 1000 WHERE id = 8", "calendarobjects, id 8 (1.ics) has another id"),
        ("UPDATE propertystorage SET value = 7", "propertystorage, id 1 (p) has another value"),
        ("UPDATE calendarinstances SET access = 2", "calendarinstances, id 3 (c) has another access"),
        ("UPDATE principals SET displayname = NULL", "principals, id 4 (principals/jo) has another displayname"),
        ("UPDATE principals SET email = ''", "principals, id 4 (principals/jo) has another email"),
        ("UPDATE calendarobjects SET firstoccurence = 5", "calendarobjects, id 5 (0.ics) has another firstoccurence"),
        ("DELETE FROM principals", "principals, id 4 (principals/jo) is in only one of them"),
        (
            "INSERT INTO users (id, username, digesta1) VALUES (1, 'new', 'x')",
            "users, id 1 (new) is in only one of them",
        ),
        ("DROP TABLE cards", "cards: no such table: cards"),
        ("ALTER TABLE cards RENAME COLUMN etag TO tag", "cards: no such column: etag"),
    ],
)
def test_each_kind_of_difference_is_reported(source: Path, statement: str, reason: str) -> None:
    """The first one, by the row that it is in."""
    target = loaded(source)
    change(target, statement)
    assert transfer.difference(source, target) == reason


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calendarobjects SET calendardata = CAST(calendardata AS BLOB) WHERE id = 5",
        "UPDATE calendarobjects SET calendardata = CAST(calendardata AS TEXT) WHERE id = 8",
        "UPDATE calendarinstances SET access = 1, calendarorder = 0, transparent = 0, share_invitestatus = NULL",
        "UPDATE propertystorage SET value = CAST(value AS BLOB)",
        "CREATE INDEX another ON cards (uri)",
    ],
)
def test_what_databases_only_keep_differently_is_no_difference(source: Path, statement: str) -> None:
    """Text or its bytes, nothing or the default, and how fast it is."""
    target = loaded(source)
    change(target, statement)
    assert transfer.difference(source, target) == transfer.difference(target, source) == ""


def test_what_a_server_gives_is_written_with_every_row_and_column(source: Path, host: Path) -> None:
    """Also what the current release's tables haven't, or want a value for; and "007" is no number."""
    target = host / "snapshot.sqlite"
    raw: list[tuple[str, list[str], list[tuple[object, ...]]]] = [
        ("propertystorage", ["id", "path", "name", "valuetype", "value"], [(1, "p", "n", 1, b"007")]),
        ("users", ["id", "username", "digesta1", "colour"], [(2, memoryview("jö".encode()), None, "red")]),
        ("colours", ["id", "name"], [(1, b"\xff")]),
    ]
    transfer.write(target, raw)
    assert rows(target, "SELECT value, typeof(value) FROM propertystorage") == [(b"007", "blob")]
    assert rows(target, "SELECT id, username, digesta1, colour FROM users") == [(2, "jö", None, "red")]
    assert rows(target, "SELECT id, name FROM colours") == [(1, b"\xff")]
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in host.glob("snapshot.*")] == ["snapshot.sqlite"]
    assert source.is_file()


def test_what_the_data_has_not_the_file_has_not(host: Path) -> None:
    """In an image the current release may be newer than the data: its own migration adds what is new."""
    target = host / "snapshot.sqlite"
    transfer.write(target, [("users", ["id", "username"], [(2, "jo")]), ("cards", ["id", "uri"], [])])
    assert transfer.all_columns(target) == {"users": ["id", "username"], "cards": ["id", "uri"]}
    assert rows(target, "SELECT * FROM users") == [(2, "jo")]


@pytest.mark.parametrize("act", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no database" * 100)])
def test_a_source_that_is_none_replaces_nothing(source: Path, act: Callable[[Path], object]) -> None:
    """What was there stays."""
    target = loaded(source)
    before = target.read_bytes()
    act(source)
    with pytest.raises(sqlite3.Error):
        loaded(source)
    assert target.read_bytes() == before
