"""Hostile files that PHP's account can write in place of configuration, database, journals and mail."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.fuzzing import Tree

    Change = Callable[[Path, Tree], object]

ESCAPES: Final = "\x1b[2J\x1b]52;c;eA==\x07\u202e\u2028"
SPARSE: Final = 8 << 30
INTEGERS: Final = (0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 10**30, 10**400)
VALUES: Final[tuple[Any, ...]] = (
    *(*INTEGERS, True, None, 1e999, -1e999, float("nan"), 0.5, "", "0", "x" * 70_000, ESCAPES, "\ud800", "\0", "../x"),
    *(
        "/etc/passwd",
        "99991231T235959Z",
        "00000101T000000Z",
        "20261332T256161Z",
        [],
        {},
        [[]],
        {"a": {}},
        "sqlite",
        "mysql",
    ),
)
YAML: Final = "config/baikal.yaml"
DATABASE: Final = "Specific/db/db.sqlite"


def _bytes(text: bytes) -> Change:
    return lambda path, _: path.write_bytes(text)


def _instead(make: Callable[[Path], object]) -> Change:
    def change(path: Path, _: Tree) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return change


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def _link_to_victim(path: Path, tree: Tree) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(tree.victim)


FILES: Final[dict[str, Change]] = {
    "missing": _instead(lambda _: None),
    "a FIFO": _instead(os.mkfifo),
    "a directory": _instead(lambda path: path.mkdir()),
    "a link to a file of root": _link_to_victim,
    "a link to a directory": _instead(lambda path: path.symlink_to("/")),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to an endless file": _instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to a terminal": _instead(lambda path: path.symlink_to("/dev/tty")),
    "a huge file": _instead(_sparse),
    "an empty file": _bytes(b""),
    "zeros": _bytes(bytes(100_000)),
    "not text": _bytes(bytes(range(256)) * 100),
    "text for terminals": _bytes(ESCAPES.encode() * 100),
    "one long line": _bytes(b"x" * 8_000_000),
}
"""What may be in place of a file. (Hard links to root's files are in the tests of the functions that open files.)"""

BOMB: Final = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def _yaml(**changes: Any) -> Change:  # noqa: ANN401 - any value of yaml
    def change(path: Path, _: Tree) -> None:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            section, separator, key = name.partition("__")
            if separator:
                fields[section][key] = value
            else:
                fields[section] = value
        path.write_text(yaml.safe_dump(fields, allow_unicode=False), encoding="utf-8")

    return change


def _of_server(host: str) -> Change:
    names = {f"database__pgsql_{name}": "x" for name in ("dbname", "username", "password")}
    return _yaml(database__backend="pgsql", database__pgsql_host=host, **names)


ZONES: Final[tuple[Any, ...]] = ("../../etc", ESCAPES, [1], None)
BACKENDS: Final[tuple[Any, ...]] = ("", "oracle", ESCAPES, [], None, 4)
PLACES: Final[tuple[Any, ...]] = (
    *("/etc/passwd", "/dev/zero", "../../../../etc/passwd", "", ESCAPES, [], None, "file:x?mode=rwc", "x\0y"),
)
NOT_SECTIONS: Final[tuple[Any, ...]] = ([], "x", 4, None, {})
YAML_ATTACKS: Final[dict[str, Change]] = {
    "aliases that expand": _bytes(f"{BOMB}system: {{configured_version: *a8}}\ndatabase: {{}}\n".encode()),
    "aliases everywhere": _bytes(f"{BOMB}system: *a8\ndatabase: *a8\n".encode()),
    "an alias to itself": _bytes(b"system: &a {configured_version: *a}\ndatabase: &b [*b]\n"),
    "deep nesting": _bytes(b"[" * 100_000),
    "deep mappings": _bytes(b"{a: " * 50_000),
    "a program": lambda path, tree: path.write_text(f"system: !!python/object/apply:os.remove [{tree.victim}]\n"),
    "a list": _bytes(b"- system\n- database\n"),
    "text": _bytes(b"system\n"),
    "UTF-16": lambda path, _: path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16")),
    "several documents": _bytes(b"---\nsystem: {}\n---\ndatabase: {}\n"),
    "many lines": _bytes(b"a: b\n" * 50_000),
    "a long number": _bytes(b"system: {configured_version: " + b"9" * 100_000 + b"}\n"),
    "sexagesimal numbers": _bytes(b"system: {configured_version: 1" + b":59" * 5_000 + b"}\ndatabase: {}\n"),
    "a merge of itself": _bytes(b"system: &a\n  <<: *a\n  configured_version: 0.12.1\ndatabase: {}\n"),
    "dates": _bytes(b"system: {configured_version: 9999-99-99}\ndatabase: {}\n"),
    **{f"version {value!r:.30}": _yaml(system__configured_version=value) for value in VALUES if value != "\ud800"},
    **{f"time zone {value!r:.30}": _yaml(system__timezone=value) for value in ZONES},
    **{f"system {value!r}": _yaml(system=value) for value in NOT_SECTIONS},
    **{f"database {value!r}": _yaml(database=value) for value in NOT_SECTIONS},
    **{f"backend {value!r:.30}": _yaml(database__backend=value) for value in BACKENDS},
    **{f"SQLite at {value!r:.30}": _yaml(database__sqlite_file=value) for value in PLACES},
    "a link as SQLite's file": lambda path, tree: _yaml(database__sqlite_file=str(tree.victim))(path, tree),
    "an OpenSSL engine": _of_server("127.0.0.1;port=9;sslmode=require;sslcert=/srv/c.pem;sslkey=/srv/evil.so:x"),
    "a service file": _of_server("127.0.0.1;port=9;service=x;passfile=/etc/shadow"),
    "a server's name for terminals": _of_server(ESCAPES),
    "many servers": _of_server(",".join(["127.0.0.1"] * 2_000)),
    "the settings of MySQL": _yaml(
        database__backend="mysql", database__mysql_host="127.0.0.1;port=9", database__mysql_dbname=[]
    ),
}


def _sql(*statements: str) -> Change:
    def change(path: Path, _: Tree) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = ON")
            for statement in statements:
                connection.execute(statement)

    return change


def _schema(*statements: str) -> Change:
    return _sql("PRAGMA writable_schema = ON", *statements, "PRAGMA writable_schema = OFF")


def _endless(table: str) -> Change:
    columns = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, i AS username FROM n"
    return _sql(f"DROP TABLE {table}", f"CREATE VIEW {table} AS {columns}")


def _unnamed(path: Path, tree: Tree) -> None:
    _schema("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')")(path, tree)
    _sql("UPDATE users SET username = NULL", "UPDATE principals SET uri = NULL")(path, tree)


SQL_ATTACKS: Final[dict[str, Change]] = {
    **{f"{table} without end": _endless(table) for table in ("users", "principals", "calendars", "calendarobjects")},
    "a view of a view": _sql("CREATE VIEW a AS SELECT * FROM users", "CREATE VIEW b AS SELECT * FROM a"),
    "a view that names a missing table": _sql("DROP TABLE users", f'CREATE VIEW users AS SELECT * FROM "{ESCAPES}"'),  # noqa: S608 - hostile it is meant to be
    "a trigger": _sql("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM principals; END"),
    "a virtual table": _sql("CREATE VIRTUAL TABLE evil USING fts5(a)"),
    "a hidden virtual table": _schema(
        "INSERT INTO sqlite_master VALUES ('table', 'evil', 'evil', 0, 'CREATE/**/VIRTUAL TABLE evil USING fts5(a)')"
    ),
    "a check that takes long": _sql(
        "CREATE TABLE evil (v, CHECK (length(hex(zeroblob(60000000 + length(v)))) > 0))",
        "PRAGMA ignore_check_constraints = ON",
        *["INSERT INTO evil VALUES ('x')"] * 100,
    ),
    "an index that takes long": _sql(
        "CREATE TABLE evil (v)",
        "CREATE INDEX i ON evil (length(hex(zeroblob(1000 + length(v)))))",
        "INSERT INTO evil VALUES (1)",
    ),
    "a computed column": _sql("ALTER TABLE users ADD COLUMN evil AS (hex(zeroblob(300000000)))"),
    "schema that isn't SQL": _schema(f"UPDATE sqlite_master SET sql = '{ESCAPES}' WHERE name = 'users'"),  # noqa: S608
    "two tables on one page": _schema("UPDATE sqlite_master SET rootpage = 3"),
    "a table on a page that doesn't exist": _schema(
        "UPDATE sqlite_master SET rootpage = 2147483647 WHERE name = 'users'"
    ),
    "many tables": _sql(*[f"CREATE TABLE t{number} (a)" for number in range(500)]),
    "tables with names for terminals": _sql(f'CREATE TABLE "{ESCAPES}" (a)'),
    "accounts with names for terminals": _sql(f"UPDATE users SET username = '{ESCAPES}' || id"),  # noqa: S608
    "names that are bytes": _sql(
        "UPDATE users SET username = CAST(x'ff00fe' || id AS BLOB)",
        "UPDATE principals SET uri = CAST(x'ff00' || id AS BLOB), email = x'ff'",
    ),
    "names that are numbers": _sql(
        "UPDATE users SET username = id", "UPDATE principals SET uri = id, displayname = 1.5"
    ),
    "names that are missing": _unnamed,
    "long names": _sql("UPDATE users SET username = hex(zeroblob(5000000)) || id"),
    "large values": _sql("UPDATE users SET digesta1 = zeroblob(20000000)"),
    "users without a column": _sql("ALTER TABLE users RENAME COLUMN username TO name"),
    "no tables": _instead(lambda path: _sql("PRAGMA user_version = 1")(path, NO_TREE)),
    "text in another encoding": _instead(
        lambda path: _sql("PRAGMA encoding = 'UTF-16le'", "CREATE TABLE users (id, username)")(path, NO_TREE)
    ),
    "a future version of the format": lambda path, _: path.write_bytes(
        path.read_bytes()[:18] + b"\x09\x09" + path.read_bytes()[20:]
    ),
}
NO_TREE: Any = None


def _rollback(path: Path) -> None:
    """Switch the database to rollback journals; SQLite then takes an existing journal for that of a crash."""
    database = path.with_name(path.name.rpartition("-")[0])
    _sql("PRAGMA journal_mode = DELETE")(database, NO_TREE)


def super_journal(path: Path, tree: Tree) -> None:
    """Write a journal that names a file of root as its super-journal, which SQLite deletes at the end of a rollback."""
    _rollback(path)
    database = path.with_name(path.name.rpartition("-")[0])
    magic = bytes.fromhex("d9d505f920a163d7")
    name = os.fsencode(tree.victim)
    pages, size = database.stat().st_size // 4096, 4096
    header = magic + struct.pack(">IIIII", 0, 0, pages, 512, size)
    tail = struct.pack(">I", 2**30 // size + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    path.write_bytes(header.ljust(512, b"\0") + tail)


def _noise(path: Path, _: Tree) -> None:
    _rollback(path)
    path.write_bytes(bytes(range(256)) * 64)


def _itself(path: Path, _: Tree) -> None:
    _rollback(path)
    path.write_bytes(path.with_name(path.name.rpartition("-")[0]).read_bytes())


JOURNALS: Final[dict[str, Change]] = {
    "a file of root as super-journal": super_journal,
    "noise": _noise,
    "the database itself": _itself,
}

_BODY: Final = b"\n\nSubject: x\n\nbody\n"
MESSAGES: Final[dict[str, Change]] = {
    "a million recipients": _bytes(b"cal@example.org\n" + b"bob@example.net\n" * 200_000 + _BODY),
    "no recipient": _bytes(b"cal@example.org" + _BODY),
    "recipients for terminals": _bytes(b"cal@example.org\n" + ESCAPES.encode() + b"@example.net" + _BODY),
    "recipients that are bytes": _bytes(b"\xff\xfe\n\xff@\xfe" + _BODY),
    "a reason for terminals": _bytes(b"X-Baikal-Kept: " + ESCAPES.encode() + b"\nTo: bob@example.net" + _BODY),
    "a malformed envelope": _bytes(b"X-Baikal-Kept: x\nX-Baikal-Envelope: \xff\xff\n" + _BODY),
    "an empty envelope": _bytes(b"X-Baikal-Kept: x\nX-Baikal-Envelope: \n" + _BODY),
    "a name for terminals": lambda path, _: path.with_name(f"{ESCAPES}.eml").write_bytes(b"x" + _BODY),
    "a name of bytes": lambda path, _: path.with_name(os.fsdecode(b"\xff\xfe.eml")).write_bytes(b"x" + _BODY),
    "a name with a line end": lambda path, _: path.with_name("1\n[x] all is well.eml").write_bytes(b"x" + _BODY),
    "a long number as its name": lambda path, _: path.with_name("9" * 200 + ".eml").write_bytes(b"x" + _BODY),
    "many messages": lambda path, _: [path.with_name(f"{number}.1.eml").write_bytes(b"x") for number in range(500)],
}
