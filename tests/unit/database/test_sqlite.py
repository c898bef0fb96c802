"""The database: made whole or not at all, made fast, and looked at honestly."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.database import interface, sqlite, sqlite_file, sync_triggers
from baikalctl.errors import HostError
from tests.unit.samples import VERSION, here

pytestmark = pytest.mark.usefixtures("release_standing")


def test_a_new_database_has_baikals_tables(connection: sqlite_file.Connection) -> None:
    """The schema is the release's own."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"users", "principals", "calendars", "calendarinstances", "addressbooks", "cards"} <= tables


def test_a_new_database_is_its_owners_alone(host: Path) -> None:
    """Only its owner can read it, and no temporary file stays."""
    assert host.is_dir()
    here().create(VERSION)
    assert stat.S_IMODE(Path(paths.SQLITE).stat().st_mode) == 0o600
    assert [path.name for path in Path(paths.SQLITE).parent.iterdir()] == ["db.sqlite"]


def test_a_schema_that_fails_leaves_no_database(host: Path) -> None:
    """There is all of it or none, and the next attempt starts afresh."""
    assert host.is_dir()
    schema = Path(paths.CODE) / VERSION / "Core/Resources/Db/SQLite/db.sql"
    whole = schema.read_text(encoding="utf-8")
    schema.write_text("CREATE TABLE users (id INTEGER);\nCREATE NONSENSE;\n", encoding="utf-8")
    with pytest.raises(sqlite3.Error):
        here().create(VERSION)
    assert not Path(paths.SQLITE).exists()
    schema.write_text(whole, encoding="utf-8")
    here().create(VERSION)
    assert Path(paths.SQLITE).exists()


def test_leftovers_of_an_interrupted_run_do_not_prevent_the_next(host: Path) -> None:
    """Half a database under the temporary name is thrown away."""
    assert host.is_dir()
    Path(paths.SQLITE).with_name(".db.sqlite.new").write_bytes(b"half")
    here().create(VERSION)
    with contextlib.closing(here().connect()) as opened:
        assert interface.first_number(opened, "SELECT count(*) FROM users") == 0


def test_a_database_that_is_not_there_is_not_made_by_looking(host: Path) -> None:
    """SQLite would make an empty one, and Baïkal would answer 500 from then on."""
    assert host.is_dir()
    with pytest.raises(HostError, match=r"db\.sqlite does not exist"):
        here().connect()
    assert not Path(paths.SQLITE).exists()


@pytest.mark.parametrize(
    "content", [b"this is not a database, in spite of its name" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_database_asks_for_a_backup(host: Path, content: bytes) -> None:
    """The sentence names the file and the remedy."""
    assert host.is_dir()
    Path(paths.SQLITE).write_bytes(content)
    with pytest.raises(HostError, match=r"db\.sqlite can't be read \(.+\); restore it from a backup"):
        here().connect()


def test_reading_changes_nothing(connection: sqlite_file.Connection) -> None:
    """A connection for reading refuses to write."""
    assert interface.first_number(connection, "SELECT count(*) FROM users") == 0
    with contextlib.closing(here().connect(read_only=True)) as reader:
        assert interface.first_number(reader, "SELECT count(*) FROM users") == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO users (username, digesta1) VALUES ('x', 'x')")


def test_missing_tuning_is_reported_and_then_added(connection: sqlite_file.Connection) -> None:
    """Baïkal's schema lacks every one of our indexes and triggers, and the write-ahead log; a second look finds nothing."""
    missing = here().missing_tuning(connection)
    triggers = [f"trigger {name}" for name in sync_triggers.SQLITE]
    assert missing == [*(f"index {name}" for name in sqlite.INDEXES), *triggers, "write-ahead log"]
    here().tune(connection)
    assert here().missing_tuning(connection) == []
    here().tune(connection)
    assert here().missing_tuning(connection) == []


def test_one_index_that_an_upgrade_took_away_is_noticed(connection: sqlite_file.Connection) -> None:
    """Only that one is named."""
    here().tune(connection)
    connection.execute("DROP INDEX baikalctl_cards_uri")
    connection.commit()
    assert here().missing_tuning(connection) == ["index baikalctl_cards_uri"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT id FROM calendarobjects WHERE calendarid = 1 AND uri = 'a'", "baikalctl_calendarobjects_uri"),
        ("SELECT id FROM calendarobjects WHERE uid = 'a'", "baikalctl_calendarobjects_uid"),
        ("SELECT id FROM cards WHERE addressbookid = 1 AND uri = 'a'", "baikalctl_cards_uri"),
        ("SELECT id FROM addressbooks WHERE principaluri = 'a' AND uri = 'a'", "baikalctl_addressbooks_uri"),
        ("SELECT id FROM schedulingobjects WHERE principaluri = 'a'", "baikalctl_schedulingobjects_uri"),
        ("SELECT id FROM groupmembers WHERE member_id = 1", "baikalctl_groupmembers_member"),
    ],
)
def test_the_queries_of_every_request_use_an_index(connection: sqlite_file.Connection, query: str, index: str) -> None:
    """SQLite's own plan for sabre/dav's queries names ours instead of a scan."""
    here().tune(connection)
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert index in plan
    assert "SCAN" not in plan


def test_old_data_with_duplicates_can_be_tuned(connection: sqlite_file.Connection) -> None:
    """The indexes aren't unique, because early versions wrote some objects twice."""
    insert = "INSERT INTO cards (addressbookid, uri) VALUES (1, 'twin')"
    connection.execute(insert)
    connection.execute(insert)
    here().tune(connection)
    assert here().missing_tuning(connection) == []


def test_reads_continue_during_a_write(connection: sqlite_file.Connection) -> None:
    """That is what the write-ahead log is for; and nothing acknowledged is lost when the power goes."""
    here().tune(connection)
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    assert synchronous == 2, "FULL"
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('x', 'x')")
    with contextlib.closing(here().connect()) as other:
        assert interface.first_number(other, "SELECT count(*) FROM users") == 0


def test_the_journal_is_switched_when_others_let_go(connection: sqlite_file.Connection) -> None:
    """SQLite fails at once while another connection reads; we wait."""
    held, release = threading.Event(), threading.Event()

    def read_for_a_while() -> None:
        with contextlib.closing(sqlite3.connect(paths.SQLITE)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM users").fetchone()
            held.set()
            release.wait(5)

    reader = threading.Thread(target=read_for_a_while)
    reader.start()
    assert held.wait(5)
    threading.Timer(0.1, release.set).start()
    sqlite._set_wal(connection)
    reader.join()
    assert sqlite._journal_mode(connection) == "wal"


def test_a_journal_that_cannot_be_switched_is_an_error(
    connection: sqlite_file.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its patience the sentence says to run again."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        connection.execute("PRAGMA busy_timeout = 10")
        start = time.monotonic()
        with pytest.raises(
            HostError, match=r"write-ahead log of the database can't be turned on .*run again when it is less busy"
        ):
            sqlite._set_wal(connection)
        assert time.monotonic() - start < 2


def test_a_sound_database_has_nothing_wrong(connection: sqlite_file.Connection) -> None:
    """The whole of it is read, and the answer is nothing."""
    assert here().integrity(connection) == ""


def test_damage_in_the_middle_is_found(connection: sqlite_file.Connection) -> None:
    """Damage that leaves the file openable is still found by the thorough look."""
    connection.execute("PRAGMA journal_mode = DELETE")
    rows = [(f"user{number}", "x" * 100) for number in range(500)]
    connection.executemany("INSERT INTO users (username, digesta1) VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    file = Path(paths.SQLITE)
    content = bytearray(file.read_bytes())
    content[-8192:-4096] = b"\xff" * 4096
    file.write_bytes(content)
    with contextlib.closing(here().connect()) as opened:
        try:
            result = here().integrity(opened)
        except sqlite3.DatabaseError as error:
            result = str(error)
    assert result


def test_a_copy_has_everything_that_was_committed(connection: sqlite_file.Connection, tmp_path: Path) -> None:
    """Also what is only in the write-ahead log yet, and it is its owner's alone."""
    here().tune(connection)
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('jo', 'x')")
    connection.commit()
    copy = tmp_path / "copy.sqlite"
    sqlite.save_copy(connection, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not (tmp_path / ".copy.sqlite.new").exists()
    with contextlib.closing(sqlite.Sqlite(copy).connect()) as opened:
        assert opened.execute("SELECT username FROM users").fetchall() == [("jo",)]
        assert here().integrity(opened) == ""
