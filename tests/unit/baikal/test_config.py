"""baikal.yaml, merged by meaning."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.desired.build import desired_state
from baikalctl.errors import HostError
from tests.unit.samples import RELAY, VERSION, declared, settings

HASH = "f" * 64
OWN: config.Configuration = {
    "system": {
        "configured_version": "0.11.1",
        "timezone": "Europe/Paris",
        "card_enabled": True,
        "cal_enabled": True,
        "dav_auth_type": "Digest",
        "admin_passwordhash": HASH,
        "failed_access_message": "unknown %u",
        "auth_realm": "BaikalDAV",
        "invite_from": "calendar@example.org",
        "base_uri": "",
        "some_later_key": {"of": ["Baïkal's"]},
    },
    "database": {"backend": "sqlite", "sqlite_file": paths.SQLITE, "encryption_key": "stays", "port": 5},
    "a_section_of_its_own": {"x": 1},
}
PASSWORD = "it's a; 'secret' "
SERVER: dict[str, object] = {"database_host": "db.example.org", "database_password": PASSWORD}
MYSQL, PGSQL = SERVER | {"database": "mysql"}, SERVER | {"database": "pgsql"}
OF_MYSQL = {
    "backend": "mysql",
    "mysql": True,
    "mysql_host": "db.example.org;port=3306",
    "mysql_dbname": "baikal",
    "mysql_username": "baikal",
    "mysql_password": PASSWORD,
    "mysql_ca_cert": paths.AUTHORITIES,
}
SILENCE = ";".join(config.SILENCE)
OF_PGSQL = {
    "backend": "pgsql",
    "mysql": False,
    "pgsql_host": f"db.example.org;port=5432;{SILENCE};sslmode=verify-full;sslrootcert={paths.AUTHORITIES}",
    "pgsql_dbname": "baikal",
    "pgsql_username": "baikal",
    "pgsql_password": PASSWORD,
}


def merged(current: config.Configuration | None = None, **changed: object) -> config.Configuration:
    """Return what is written where ``found`` stands and settings are ``changed``."""
    it = declared(**changed)
    section = config.database_section(it.database, PASSWORD if it.database.password else "")
    return config.merge(current or {}, it.system, section, VERSION)


def section(**changed: object) -> dict[str, object]:
    """Return the keys of the database that is declared."""
    return config.database_section(declared(**changed).database, PASSWORD)


def test_a_first_installation_has_all_that_baikal_needs() -> None:
    """The installer's keys are there, so that Baïkal never offers its wizard."""
    first = merged(timezone="UTC")
    assert first["system"] == {
        "configured_version": VERSION,
        "invite_from": "",
        "failed_access_message": "user %u authentication failure for Baikal",
        "auth_realm": "BaikalDAV",
        "admin_passwordhash": "",
        "timezone": "UTC",
        "cal_enabled": True,
        "card_enabled": True,
        "dav_auth_type": "Basic",
        "base_uri": "",
    }
    assert first["database"]["backend"] == "sqlite"
    assert first["database"]["sqlite_file"] == paths.SQLITE
    assert first["database"]["mysql"] is False


def test_every_installation_has_a_key_of_its_own() -> None:
    """The encryption key is random, and long."""
    one, other = (merged()["database"]["encryption_key"] for _ in range(2))
    assert one != other
    assert len(one) == 64


def test_declared_keys_are_set() -> None:
    """The file gets the values of the settings, with any values before."""
    system = merged(OWN, timezone="UTC", carddav=False, dav_auth="basic", base_path="/cal")["system"]
    assert (system["timezone"], system["card_enabled"], system["cal_enabled"]) == ("UTC", False, True)
    assert (system["dav_auth_type"], system["base_uri"]) == ("Basic", "/cal/")


@pytest.mark.parametrize(
    ("changed", "sender"),
    [({}, ""), (RELAY | {"mail_from": "cal@example.org"}, "cal@example.org")],
    ids=["off", "relay"],
)
def test_the_sender_of_invitations_is_set_on_every_run(changed: dict[str, object], sender: str) -> None:
    """What Baïkal's own page had written there would have invitations vanish where no mail leaves."""
    assert merged(OWN, **changed)["system"]["invite_from"] == sender


@pytest.mark.parametrize("key", ["admin_passwordhash", "failed_access_message", "some_later_key", "auth_realm"])
def test_what_an_administrator_chose_survives(key: str) -> None:
    """Undeclared keys stay, including unknown ones."""
    assert merged(OWN, timezone="UTC")["system"][key] == OWN["system"][key]


def test_undeclared_sections_stay() -> None:
    """The database's section and unknown ones keep their keys."""
    result = merged(OWN)
    assert result["a_section_of_its_own"] == {"x": 1}
    assert result["database"] == OWN["database"] | {"mysql": False}


def test_a_server_is_written_in_baikals_own_keys() -> None:
    """Port and TLS are part of the host's value, because Baïkal copies that unchanged into PDO's data source name."""
    assert section(**MYSQL) == OF_MYSQL
    assert section(**PGSQL) == OF_PGSQL
    other = {"database_port": 6432, "database_name": "dav", "database_user": "jo", "database_ca": "/ca.pem"}
    assert section(**MYSQL, **other) == OF_MYSQL | {
        "mysql_host": "db.example.org;port=6432",
        "mysql_dbname": "dav",
        "mysql_username": "jo",
        "mysql_ca_cert": "/ca.pem",
    }
    assert section(**PGSQL, **other)["pgsql_host"] == (
        f"db.example.org;port=6432;{SILENCE};sslmode=verify-full;sslrootcert=/ca.pem"
    )


def test_without_tls_no_server_is_asked_for_it() -> None:
    """Neither of them upgrades by itself, or checks a certificate that it was not to check."""
    assert section(**MYSQL, database_tls="off") == OF_MYSQL | {"mysql_ca_cert": ""}
    assert section(**PGSQL, database_tls="off") == OF_PGSQL | {
        "pgsql_host": f"db.example.org;port=5432;{SILENCE};sslmode=disable"
    }


@pytest.mark.parametrize(("database", "socket"), [("mysql", "localhost"), ("pgsql", "/var/run/postgresql")])
def test_a_server_on_the_machine_is_reached_by_its_socket(database: str, socket: str) -> None:
    """As the account that PHP runs as, without a password and without TLS."""
    own = dataclasses.replace(settings(), database=database, database_host="local", database_user="baikal")
    message = config.database_section(desired_state(own).database, "")
    assert message[f"{database}_host"] == socket
    assert message[f"{database}_username"] == "baikal"
    # Baïkal refuses to serve without any for MySQL; the server looks at none.
    assert message[f"{database}_password"] == {"mysql": config.NOT_ASKED_FOR, "pgsql": ""}[database]
    assert message.get("mysql_ca_cert", "") == ""


@pytest.mark.parametrize(("declaration", "message"), [(MYSQL, OF_MYSQL), (PGSQL, OF_PGSQL)], ids=["mysql", "pgsql"])
def test_a_first_installation_has_the_declared_server(declaration: dict[str, Any], message: dict[str, object]) -> None:
    """And an encryption key, as any has."""
    written = merged(**declaration)["database"]
    assert len(written.pop("encryption_key")) == 64
    assert written == message


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (PGSQL | {"database_host": "db2.example.org"}, {"pgsql_host": "db2.example.org"}),
        (PGSQL | {"database_port": 6432}, {"pgsql_host": "port=6432"}),
        (PGSQL | {"database_ca": "/ca.pem"}, {"pgsql_host": "sslrootcert=/ca.pem"}),
        (PGSQL | {"database_tls": "off"}, {"pgsql_host": "sslmode=disable"}),
        (PGSQL | {"database_user": "jo"}, {"pgsql_username": "jo"}),
    ],
    ids=["host", "port", "CA", "TLS", "account"],
)
def test_how_the_same_database_is_reached_is_declared(declaration: dict[str, object], message: dict[str, str]) -> None:
    """A server that has moved, or has another certificate, still has the data; undeclared keys stay."""
    stored: config.Configuration = {
        "database": OF_PGSQL | {"pgsql_password": "old", "encryption_key": "stays", "sqlite_file": "/x"}
    }
    written = merged(stored, **declaration)["database"]
    for key, part in message.items():
        assert part in written[key]
    assert (written["pgsql_password"], written["encryption_key"], written["sqlite_file"]) == (PASSWORD, "stays", "/x")
    assert merged({"database": written}, **declaration)["database"] == written


SQLITE = {"backend": "sqlite", "mysql": False, "sqlite_file": paths.SQLITE}


@pytest.mark.parametrize(
    ("current", "declaration", "words"),
    [
        (
            SQLITE,
            PGSQL,
            f"is in the database {paths.SQLITE}, but the settings say the PostgreSQL database baikal at db.example.org",
        ),
        ({"mysql": False}, MYSQL, "but the settings say the MySQL database baikal at db.example.org"),
        (
            OF_MYSQL,
            {},
            f"is in the MySQL database baikal at db.example.org, but the settings say the database {paths.SQLITE}",
        ),
        (
            OF_MYSQL,
            PGSQL,
            "is in the MySQL database baikal at db.example.org, but the settings say the PostgreSQL database baikal",
        ),
        (
            {"mysql": True, "mysql_host": "db", "mysql_dbname": "b"},
            {},
            "the data is in the MySQL database b at db, but",
        ),
        (
            OF_PGSQL,
            PGSQL | {"database_name": "dav"},
            "but the settings say the PostgreSQL database dav at db.example.org",
        ),
        ({"backend": "sqlite", "sqlite_file": "/x/db.sqlite"}, {}, "names the database file '/x/db.sqlite'"),
        (OF_MYSQL | {"mysql_host": "localhost"}, MYSQL, "is in the MySQL database baikal on this machine, but"),
        (OF_PGSQL | {"pgsql_host": "/run/postgresql"}, PGSQL, "is in the PostgreSQL database baikal on this machine"),
    ],
)
def test_a_section_that_tells_of_another_database_is_never_overwritten(
    current: dict[str, object], declaration: dict[str, object], words: str
) -> None:
    """The data is where the section says; the difference is reported without any password."""
    differing = config.differs(current, section(**declaration))
    assert words in differing
    assert PASSWORD not in differing
    assert merged({"database": current}, **declaration)["database"] == current


@pytest.mark.parametrize(
    ("current", "declaration"),
    [
        ({}, PGSQL),
        ({}, {}),
        ({"encryption_key": "x"}, {}),
        (SQLITE, {}),
        ({"mysql": False, "sqlite_file": paths.SQLITE}, {}),
        ({"mysql": True, "mysql_host": "db", "mysql_dbname": "baikal"}, MYSQL),
        (OF_PGSQL | {"pgsql_host": "db"}, PGSQL),
    ],
)
def test_the_same_database_differs_in_nothing(current: dict[str, object], declaration: dict[str, object]) -> None:
    """However old releases wrote it down, and where nothing is written down yet."""
    assert config.differs(current, section(**declaration)) == ""


@pytest.mark.parametrize("standing", ["0.9.5", "0.11.1", "0.99.0", ""])
def test_the_configured_version_is_never_changed(standing: str) -> None:
    """Writing it without the migration is how other deployments lose data."""
    current = {"system": {"configured_version": standing}}
    assert merged(current)["system"]["configured_version"] == standing


def test_merging_changes_nothing_that_it_was_given() -> None:
    """What was found can be compared with what is wanted."""
    before = yaml.safe_dump(OWN)
    merged(OWN, timezone="UTC")
    assert yaml.safe_dump(OWN) == before


def test_a_second_merge_changes_nothing() -> None:
    """A run with nothing to do finds nothing to do."""
    once = merged(OWN)
    assert merged(once) == once
    first = merged()
    assert merged(first) == first


def test_what_is_written_is_read_again(host: Path) -> None:
    """Umlauts, booleans and nesting survive the file."""
    assert host.is_dir()
    config.write(OWN | {"system": OWN["system"] | {"name": "Jürgens Kalender: #1"}})
    assert config.read() == OWN | {"system": OWN["system"] | {"name": "Jürgens Kalender: #1"}}


def test_booleans_are_yaml_booleans(host: Path) -> None:
    """Baïkal takes the text "false" for true."""
    assert host.is_dir()
    config.write(merged(caldav=False))
    assert "\n  cal_enabled: false\n" in Path(paths.BAIKAL_YAML).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["12e5", "0x1F", "1:30", "yes", "null", "~", "1_000", "2026-01-01", "ä: #", "'\"", ""])
def test_text_stays_text_for_baikals_reader_as_well(host: Path, text: str) -> None:
    """PHP's YAML takes more words for numbers than Python's, so every value that is text is quoted, and no key is."""
    assert host.is_dir()
    config.write({"database": {"pgsql_password": text, "port": 5}})
    (line,) = [line for line in Path(paths.BAIKAL_YAML).read_text(encoding="utf-8").splitlines() if "password" in line]
    assert line.startswith('  pgsql_password: "')
    assert line.endswith('"')
    assert config.read() == {"database": {"pgsql_password": text, "port": 5}}


def test_a_version_stays_text(host: Path) -> None:
    """Also one that YAML would take for a number."""
    assert host.is_dir()
    config.write({"system": {"configured_version": "0.12"}})
    assert config.read() == {"system": {"configured_version": "0.12"}}


def test_the_file_is_its_owners_alone(host: Path) -> None:
    """It has the administrator's verifier, and no temporary file stays."""
    Path(paths.BAIKAL_YAML).write_text("old: {}\n", encoding="utf-8")
    Path(paths.BAIKAL_YAML).chmod(0o666)
    Path(paths.BAIKAL_YAML).with_name(".baikal.yaml.new").write_text("interrupted", encoding="utf-8")
    config.write(OWN)
    assert stat.S_IMODE(Path(paths.BAIKAL_YAML).stat().st_mode) == 0o600
    assert [path.name for path in Path(paths.CONFIG).iterdir()] == ["baikal.yaml"]
    assert host.is_dir()


def test_what_cannot_be_written_leaves_the_old_file(host: Path) -> None:
    """The new one is finished before it takes the old one's place."""
    assert host.is_dir()
    config.write(OWN)
    unwritable: dict[str, Any] = {"system": {"timezone": object()}}
    with pytest.raises(HostError, match="cannot represent an object"):
        config.write(unwritable)
    assert config.read() == OWN


def test_a_host_without_the_file_has_nothing_configured(host: Path) -> None:
    """That is a first installation, and no fault."""
    assert host.is_dir()
    assert config.read() == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"- a\n- b\n",
        b"system:\n",
        b"system: text\n",
        b"system: {a: 1\n",
        b"\xff\xfe",
        b"a: !!python/name:os.system\n",
        b"system: {configured_version: 1.5}\n",
        b"system: {configured_version: " + b"1" * 50 + b"}\n",
        b"system: {auth_realm: [1]}\n",
        b"database: {backend: {}}\n",
        b"system: {a: 2026-01-01}\n",
        b"system: {a: &a x, b: *a}\n",
        b"system: {a: " + b"1" * 5000 + b"}\n",
        b"system: {a: " + b"[" * 10 + b"]" * 10 + b"}\n",
        b"a:\n" + b"[" * 100_000,
        b"system: {a: '" + b"x" * (1 << 20) + b"'}\n",
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_a_file_that_is_damaged_is_named_with_the_remedy(host: Path, content: bytes) -> None:
    """It is not taken for an empty one, which would start a new installation over the old data."""
    assert host.is_dir()
    Path(paths.BAIKAL_YAML).write_bytes(content)
    with pytest.raises(
        HostError, match=r"baikal\.yaml (can't be parsed: .*|has \d+ bytes.*); restore it from a backup"
    ):
        config.read()
