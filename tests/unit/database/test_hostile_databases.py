"""Database sections, files and servers that were made to attack their client."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from baikalctl import paths
from baikalctl.baikal import applied_passwords, config, current_database, health, release
from baikalctl.changes import staging, steps
from baikalctl.checks import check
from baikalctl.commands import apply
from baikalctl.database import driver, interface, mysql, postgresql, registry, sqlite_file, sync_triggers
from baikalctl.database.driver import Address
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.finding import FAILED
from baikalctl.host.tempdir import remove_tree
from tests.unit.samples import declared, here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.desired.state import DesiredState


ENDLESS = """
    ALTER TABLE users RENAME TO u;
    CREATE VIEW users AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)
    SELECT i AS id, 'x' AS username, 'x' AS digesta1 FROM n;
"""
SERVER: dict[str, object] = {"database_host": "db.example.org", "database_password": "s3cret"}


@pytest.fixture
def deployed(host: Path, release_standing: Path) -> DesiredState:
    """Have a host whose data is as declared, in a file."""
    assert host.is_dir()
    assert release_standing.is_dir()
    (release_standing / "html").mkdir()
    Path(paths.CURRENT).symlink_to(release_standing.name)
    good = declared(backup=False)
    Path(paths.DECLARED).write_text(good.to_json(), encoding="utf-8")
    apply.apply(good, lambda _: None)
    return good


def with_database(**section: object) -> None:
    """Have PHP's account write another database section."""
    rows = config.read()
    rows["database"] = {**rows["database"], **section}
    config.write(rows)


@pytest.mark.parametrize(
    ("prefix", "host", "named"),
    [
        ("pgsql", "127.0.0.1;sslmode=require;sslcert=/x/c.pem;sslkey=/var/lib/baikal/Specific/evil.so:x", "sslcert="),
        ("pgsql", "db;sslkey=engine:id", "sslkey=engine:id"),
        ("pgsql", "db;passfile=/root/.pgpass", "passfile="),
        ("pgsql", "db;service=x", "service=x"),
        ("pgsql", "db;options=-c x", "options=-c x"),
        ("pgsql", "db;host=elsewhere", "host=elsewhere"),
        ("pgsql", "db;port=5432;port", "'port'"),
        ("pgsql", "db;port=99999999", "port=99999999"),
        ("pgsql", "db;sslmode=off", "sslmode=off"),
        ("pgsql", "db;sslrootcert=relative", "sslrootcert=relative"),
        ("pgsql", "db,other", "pgsql_host"),
        ("pgsql", "db sslkey=x", "pgsql_host"),
        ("mysql", "db;unix_socket=/x", "unix_socket=/x"),
        ("mysql", "db;sslmode=require", "sslmode=require"),
        ("mysql", "db\n", "mysql_host"),
    ],
)
def test_an_option_that_we_do_not_write_is_named(prefix: str, host: str, named: str) -> None:
    """With any library that reads it: libpq loads what its sslkey names as a program."""
    with pytest.raises(HostError, match=r"baikal\.yaml has .* not allowed") as caught:
        Address.of({f"{prefix}_host": host}, prefix)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pgsql_dbname", "host=elsewhere sslkey=x:y"),
        ("pgsql_dbname", "postgresql://elsewhere/x"),
        ("pgsql_username", "a\x00b"),
        ("mysql_dbname", "x" * 65),
        ("mysql_ca_cert", "relative.pem"),
    ],
)
def test_a_name_that_a_library_may_take_for_more_is_named(key: str, value: str) -> None:
    """A database's name may be a whole list of options to libpq."""
    with pytest.raises(HostError, match=rf"baikal\.yaml has a {key} that is not allowed"):
        Address.of({key: value}, key.partition("_")[0])


@pytest.mark.parametrize("tls", ["verify", "off"])
@pytest.mark.parametrize("backend", ["mysql", "pgsql"])
def test_what_we_write_ourselves_is_allowed(host: Path, backend: str, tls: str) -> None:
    """With and without TLS."""
    assert host.is_dir()
    Path(paths.DATABASE_PASSWORD).write_text("s3cret\n", encoding="ascii")
    it = declared(**SERVER, database=backend, database_tls=tls)
    section = current_database.section(it)
    address = Address.of(section, backend)
    assert (address.host, address.password) == ("db.example.org", "s3cret")
    assert config.deviation(section, section) == ""


def test_libpq_gets_nothing_that_it_loads_or_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options that we write ourselves are set last, so that none of the yaml's can take their place."""
    values: dict[str, Any] = {}

    class Psycopg2:
        Error = ValueError

        @staticmethod
        def connect(**options: object) -> None:
            values.update(options)
            raise ValueError

    monkeypatch.setattr(driver, "load_driver", lambda *_: Psycopg2)
    with pytest.raises(HostError, match="can't be reached"):
        registry.of({"backend": "pgsql", "pgsql_host": "db;port=1;sslmode=require", "pgsql_dbname": "b"}).connect()
    assert values["sslkey"] == values["sslcert"] == values["passfile"] == "/nonexistent"
    assert set(values) <= {
        *("host", "port", "dbname", "user", "password", "sslmode", "connect_timeout", "client_encoding"),
        *("sslkey", "sslcert", "passfile", "gssencmode"),
    }


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"backend": "pgsql", "pgsql_host": "127.0.0.1;sslkey=/x.so:x", "pgsql_dbname": "b"}, "pgsql_host"),
        ({"backend": "mysql", "mysql_host": "elsewhere", "mysql_dbname": "b"}, "the data is in the MySQL database b"),
        ({"mysql": True, "mysql_host": "elsewhere", "mysql_dbname": "b"}, "the data is in the MySQL database b"),
        ({"sqlite_file": "/etc/shadow"}, "names the database file '/etc/shadow'"),
    ],
)
def test_root_connects_to_nothing_that_was_not_declared(
    deployed: DesiredState, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], key: str
) -> None:
    """Health, check and apply say what differs, and no connection is made."""
    with_database(**changed)
    monkeypatch.setattr(mysql.Mysql, "connect", lambda *_, **__: pytest.fail("it connected"))
    monkeypatch.setattr(postgresql.Postgresql, "connect", lambda *_, **__: pytest.fail("it connected"))
    assert key in health.look(deployed).unreadable
    findings = {finding.subject: finding for finding in check.run_checks(deployed)}
    assert (findings["database"].status, findings["declared"].status) == (FAILED, FAILED)
    with pytest.raises(HostError, match=r"baikal|declared"):
        apply.apply(deployed, lambda _: None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mysql_host", "elsewhere;port=3306"),
        ("mysql_username", "another"),
        ("mysql_password", "another"),
        ("mysql_ca_cert", ""),
    ],
)
def test_all_of_a_servers_section_counts(host: Path, key: str, value: str) -> None:
    """The account and the options, too; the message names the key and no password."""
    assert host.is_dir()
    Path(paths.DATABASE_PASSWORD).write_text("s3cret\n", encoding="ascii")
    it = declared(**SERVER, database="mysql")
    rows: config.Configuration = {"database": {**current_database.section(it), key: value}}
    with pytest.raises(
        HostError, match=rf"database\.{key} in .* differs from the settings; run baikalctl apply"
    ) as caught:
        current_database.compared(current_database.section(it), rows)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (ENDLESS, "the view 'users'"),
        ("CREATE TRIGGER x AFTER INSERT ON users BEGIN DELETE FROM users; END", "the trigger 'x'"),
        ("CREATE VIRTUAL TABLE x USING fts5(y)", "the virtual table 'x'"),
    ],
)
def test_what_acts_by_itself_in_a_database_is_refused_by_name(
    deployed: DesiredState, statement: str, what: str
) -> None:
    """It neither runs nor holds root's commands up."""
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.executescript(statement)
    assert what in health.look(deployed).unreadable
    with pytest.raises(HostError, match=what):
        apply.apply(deployed, lambda _: None)


def test_a_journal_that_names_a_file_to_delete_is_refused(deployed: DesiredState, host: Path) -> None:
    """SQLite deletes a super-journal when it rolls back: that could have been any file of root's."""
    victim = host / "victim"
    victim.touch()
    name = str(victim).encode()
    checksum = sum(name) & 0xFFFFFFFF
    size = Path(paths.SQLITE).stat().st_size
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">iIIII", 0, 0, size // 4096, 512, 4096)
    page = b"\x40\x00\x00\x01"  # the page with SQLite's locks, which never has any data
    tail = page + name + struct.pack(">II", len(name), checksum) + bytes.fromhex("d9d505f920a163d7")
    Path(f"{paths.SQLITE}-journal").write_bytes(header.ljust(512, b"\0") + tail)
    assert "names another file to be deleted (a super-journal)" in health.look(deployed).unreadable
    with pytest.raises(HostError, match="super-journal"):
        confined(lambda: here().snapshot(Path(paths.DATA) / "copy"))
    assert victim.exists()


def test_nothing_in_a_schema_is_trusted(connection: sqlite_file.Connection) -> None:
    """Functions with side effects don't run from indexes, defaults and checks."""
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


class Mysql:
    """A server that says what it likes: a man in the middle that has removed what protects the password."""

    def __init__(self, capabilities: int, switch_to: bytes = b"") -> None:
        """Listen at :attr:`port`, greet with ``capabilities``, and ask for the log-in ``switch_to``."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.received = b""
        self._capabilities, self._switch_to = capabilities, switch_to
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def end(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._socket.accept()[0] as connection:
            connection.settimeout(5)
            low, high = self._capabilities & 0xFFFF, self._capabilities >> 16
            greeting = b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"12345678\0" + struct.pack("<H", low)
            greeting += b"\x21" + struct.pack("<HH", 2, high) + b"\x15" + bytes(10) + b"123456789012\0"
            greeting += b"mysql_native_password\0"
            self._send(connection, 0, greeting)
            self.received += connection.recv(4096)
            if self._switch_to:
                self._send(connection, 2, b"\xfe" + self._switch_to + b"\0" + b"salt\0")
                self.received += connection.recv(4096)

    @staticmethod
    def _send(connection: socket.socket, number: int, packet: bytes) -> None:
        connection.sendall(struct.pack("<I", len(packet))[:3] + bytes([number]) + packet)


PLUGIN_AUTH, SSL, BASIC = 1 << 19, 1 << 11, 0x0200 | 0x8000 | 0x0008 | 0x0001
"""Capabilities (MySQL's mysql_com.h); the last are those of protocol 4.1, secure connection, and a database."""


@contextlib.contextmanager
def serving(capabilities: int, switch_to: bytes = b"") -> Iterator[Mysql]:
    """Have such a server."""
    server = Mysql(capabilities, switch_to)
    try:
        yield server
    finally:
        server.end()


def connected(port: int, *, tls: bool) -> None:
    """Connect as is declared."""
    section = {
        "backend": "mysql",
        "mysql_host": f"127.0.0.1;port={port}",
        "mysql_dbname": "baikal",
        "mysql_username": "baikal",
        "mysql_password": "s3cret-password",
        "mysql_ca_cert": "/etc/ssl/certs/ca-certificates.crt" if tls else "",
    }
    registry.of(section).connect()


def test_without_tls_a_server_gets_nothing_where_the_settings_want_it() -> None:
    """Not even the account's name is sent: PyMySQL itself would continue in clear text."""
    with (
        serving(BASIC | PLUGIN_AUTH) as server,
        pytest.raises(HostError, match="offers no TLS, which the settings require"),
    ):
        connected(server.port, tls=True)
    assert server.received == b""


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b"mysql_old_password"])
def test_a_server_that_asks_for_the_password_in_clear_text_does_not_get_it(plugin: bytes) -> None:
    """With any settings."""
    with serving(BASIC | PLUGIN_AUTH, plugin) as server, pytest.raises(HostError, match="in an unsafe way"):
        connected(server.port, tls=False)
    assert b"s3cret" not in server.received
    assert b"baikal" in server.received, "it got as far as the log-in"


def test_a_server_without_plugins_gets_no_log_in() -> None:
    """It would get the password in MySQL 4's form, which can be reversed."""
    with serving(BASIC, b"") as server, pytest.raises(HostError, match="too old"):
        connected(server.port, tls=False)
    assert server.received == b""


def test_a_damaged_yaml_is_no_reason_to_look_elsewhere(deployed: DesiredState) -> None:
    """The declared file is read all the same."""
    Path(paths.BAIKAL_YAML).write_text(yaml.safe_dump(["broken"]), encoding="utf-8")
    data = health.look(deployed)
    assert (data.unreadable, data.accounts) == ("", 0)
    assert "can't be parsed" in data.unknown


TRAVERSAL = (
    "0.12.1/../../../var/lib/baikal/Specific",
    "0.12.1\x00",
    "0.12.1\n",
    "../x",
    "1" * 5000,
    "٠.١٢.١",
    "0.12.1-x/..",
)


@pytest.mark.parametrize("version", TRAVERSAL)
def test_a_version_that_is_none_is_no_directory(deployed: DesiredState, version: str) -> None:
    """It comes from baikal.yaml, which PHP's account writes, or from a database, and names a directory of root's."""
    rows = config.read()
    rows["system"]["configured_version"] = version
    Path(paths.BAIKAL_YAML).write_text(yaml.safe_dump(rows), encoding="utf-8")
    with pytest.raises(HostError, match=r"configured_version is not a version|has a very long value"):
        config.read()
    with pytest.raises(HostError, match="is not a version of Baïkal"):
        release.activate(version)
    with pytest.raises(HostError, match="can't be part of a file's name"):
        staging.keep(f"upgrade-{version}/..", here())
    assert health.look(deployed).unknown
    assert Path(paths.CURRENT).readlink() == Path(deployed.version)


@pytest.mark.parametrize(
    "noted",
    [
        "[" * 10_000,
        "[1]",
        '{"a": {}}',
        '{"": "' + "0" * 64 + '"}',
        '{"jo": "not a fingerprint"}',
        '{"\\u001b[2J": "' + "0" * 64 + '"}',
        '{"\\ud800": "' + "0" * 64 + '"}',
    ],
)
def test_notes_of_a_shared_database_are_read_as_what_they_should_be(noted: str) -> None:
    """An attacker with the database's password can write them, and they go into archives and files of root's."""

    class Shared(Sqlite):
        shared = True

        def noted(self, name: str) -> str:
            return noted if name == interface.PASSWORDS else ""

    assert applied_passwords.all_of(Shared(Path("x")), {"": "own"}) == {"": "own"}


@pytest.mark.parametrize("kind", ["Trigger", "table", "x"])
def test_what_a_statement_does_counts_and_not_what_it_is_called(deployed: DesiredState, kind: str) -> None:
    """SQLite believes the statement alone."""
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute("CREATE TRIGGER evil AFTER UPDATE ON users BEGIN DELETE FROM users; END")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET type = ?, rootpage = 2 WHERE name = 'evil'", [kind])
        connection.commit()
    assert "evil" in health.look(deployed).unreadable


def test_a_folder_of_any_depth_is_removed(host: Path) -> None:
    """Python's own way ends at a thousand levels: no later backup would work."""
    top = host / "deep"
    top.mkdir()
    before = Path.cwd()
    os.chdir(top)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    remove_tree(top)
    assert not top.exists()


def test_a_trigger_with_one_of_our_names_is_replaced(deployed: DesiredState) -> None:
    """What it does is another's; text that SQLite has rewritten with quotation marks is left alone."""
    name = sync_triggers.TOKEN
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute("ALTER TABLE calendarchanges RENAME TO changes")
        connection.execute("ALTER TABLE changes RENAME TO calendarchanges")
    assert steps.pending(deployed) == []
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute("DROP TRIGGER baikalctl_calendar_token")
        connection.execute("CREATE TRIGGER baikalctl_calendar_token AFTER INSERT ON users BEGIN DELETE FROM users; END")
        connection.commit()
    assert steps.pending(deployed) == [f"add indexes and triggers to the database: trigger {name}"]
    apply.apply(deployed, lambda _: None)
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        query = "SELECT sql FROM sqlite_master WHERE name = ?"
        assert connection.execute(query, [name]).fetchone() == (sync_triggers.SQLITE[name],)
