"""Moving in: data and passwords are taken over whole, the old installation isn't touched, and what was here is kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import staging, transaction
from baikalctl.changes.steps import pending
from baikalctl.cli import main
from baikalctl.commands import apply, import_, import_source
from baikalctl.errors import HostError
from baikalctl.host import maintenance
from tests.lab.old_installation import COUNTS, PASSWORDS, OldInstallation, build, listing
from tests.unit.moving import KILLED, dies, empty, leftovers, names, needs_php, stand_release, steps
from tests.unit.samples import HOME, VERSION, declared

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.database import sqlite_file


pytestmark = needs_php
ACCOUNTS = sorted(PASSWORDS)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(autouse=True)
def release(host: Path) -> Path:
    """Have a release stand on every host here; return its directory."""
    assert host.is_dir()
    return stand_release()


@pytest.fixture
def old(host: Path) -> OldInstallation:
    """Return an old installation of the release's own version, which needs no migration."""
    return build(host / "old", VERSION)


def move_in(old: OldInstallation, *, replace: bool = False) -> list[str]:
    """Import, and return what was said."""
    said: list[str] = []
    import_.import_(old.folder, VERSION, replace=replace, say=said.append)
    return said


def digests(path: str) -> dict[str, str]:
    """Return the password verifiers in a database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT username, digesta1 FROM users"))


def refusal(old: OldInstallation, *, replace: bool = False) -> str:
    """Return what an import that is refused says; it must have touched neither side."""
    before = listing(old.folder)
    with pytest.raises(HostError) as caught:
        move_in(old, replace=replace)
    assert listing(old.folder) == before
    assert leftovers() == []
    return str(caught.value)


def kept() -> list[Path]:
    """Return what is kept of replaced data."""
    return sorted(Path(paths.BACKUPS).glob("*"))


@pytest.mark.parametrize("version", ["0.9.5", "0.10.1", "0.11.1"])
def test_an_old_installation_moves_in_with_everything(host: Path, version: str) -> None:
    """Accounts with their passwords and all settings; migrated, said in numbers, and not a byte of it changed."""
    old = build(host / "old", version)
    before, wanted = listing(old.folder), digests(str(old.database))
    said = move_in(old)
    assert listing(old.folder) == before
    assert said == [
        f"take over Baïkal {version}, migrated to {VERSION}",
        "clients are told to come again in a moment",
        f"taken over: Baïkal {version} → {VERSION}, {COUNTS}",
    ]
    assert digests(paths.SQLITE) == wanted
    found = config.read()
    assert found["system"]["configured_version"] == VERSION
    assert found["system"]["invite_from"] == "calendar@old.example.org"
    assert found["database"]["sqlite_file"] == paths.SQLITE
    assert found["database"]["encryption_key"] == "5d5b6ed8eb6ac7f5e0c0ab4b9a9c4a9b"
    assert found["database"]["mysql"] is False
    assert Path(paths.INSTALL_DISABLED).is_file()
    assert leftovers() == []
    assert not kept(), "there was nothing"


def test_a_volume_that_is_still_empty_gets_what_the_data_needs(old: OldInstallation) -> None:
    """Only the volume itself is there, as a new container has it."""
    for folder in (paths.CONFIG, paths.SPECIFIC, paths.STATE, paths.SESSIONS, paths.TLS):
        shutil.rmtree(folder)
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS
    modes = {Path(path).stat().st_mode & 0o777 for path in (paths.CONFIG, f"{paths.SPECIFIC}/db", paths.STATE)}
    assert modes == {0o700}


def test_the_directory_above_is_understood_too(old: OldInstallation) -> None:
    """As a release's zip unpacks: with baikal/ in it."""
    above = old.folder.with_name("www")
    above.mkdir()
    old.folder.rename(above / "baikal")
    move_in(OldInstallation(above))
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_relative_path_is_understood(old: OldInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody types it."""
    monkeypatch.chdir(old.folder.parent)
    move_in(OldInstallation(Path(old.folder.name)))
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_second_import_is_refused_without_replace(old: OldInstallation) -> None:
    """Nobody's data is replaced by mistake."""
    move_in(old)
    before = listing(Path(paths.SPECIFIC))
    assert "there is data here already" in refusal(old)
    assert "--replace" in refusal(old)
    assert listing(Path(paths.SPECIFIC)) == before


@pytest.mark.parametrize("there", ["yaml", "database"])
def test_half_of_an_installation_is_data_too(old: OldInstallation, there: str) -> None:
    """A yaml or a database alone."""
    shutil.copy(old.yaml if there == "yaml" else old.database, paths.BAIKAL_YAML if there == "yaml" else paths.SQLITE)
    assert "there is data here already" in refusal(old)
    move_in(old, replace=True)
    files = [str(path.relative_to(kept()[0])) for path in kept()[0].rglob("*") if path.is_file()]
    assert sorted(files) == sorted([staging.SECTION, staging.YAML if there == "yaml" else staging.SQLITE])


def test_what_is_replaced_is_kept(old: OldInstallation, connection: sqlite_file.Connection) -> None:
    """In the backups, and the sentence says where."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('before', 'x')")
    connection.commit()
    connection.close()
    Path(paths.BAIKAL_YAML).write_text("system: {configured_version: 0.12.1}\n", encoding="utf-8")
    said = move_in(old, replace=True)
    assert f"what is there is kept in {kept()[0]}" in said
    assert kept()[0].name.startswith("before-import-")
    assert names(str(kept()[0] / staging.SQLITE)) == ["before"]
    assert "0.12.1" in (kept()[0] / staging.YAML).read_text(encoding="utf-8")
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_damaged_database_can_be_replaced_and_is_kept_as_it_is(old: OldInstallation) -> None:
    """That is when people need it most."""
    Path(paths.SQLITE).write_bytes(b"no database" * 1000)
    Path(paths.SQLITE + "-wal").write_bytes(b"nor a log" * 1000)
    move_in(old, replace=True)
    assert (kept()[0] / staging.SQLITE).read_bytes() == b"no database" * 1000
    assert (kept()[0] / f"{staging.SQLITE}-wal").is_file()
    assert not Path(paths.SQLITE + "-wal").exists()
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_write_ahead_log_of_the_old_installation_counts(old: OldInstallation) -> None:
    """Its server was killed: what was acknowledged stands in the log alone, and the log isn't touched."""

    def write_and_be_killed() -> None:
        connection = sqlite3.connect(old.database)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO users (username, digesta1) VALUES ('late', 'x')")
        connection.commit()
        os._exit(0)

    assert not dies(write_and_be_killed, 10**6)
    assert Path(f"{old.database}-wal").stat().st_size
    before = listing(old.folder)
    move_in(old)
    assert listing(old.folder) == before
    assert names(paths.SQLITE) == [*ACCOUNTS, "late"]


def test_a_database_in_write_ahead_mode_without_its_log_is_only_read(old: OldInstallation) -> None:
    """SQLite would make two files beside it, even for reading."""
    with contextlib.closing(sqlite3.connect(old.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = listing(old.folder)
    move_in(old)
    assert listing(old.folder) == before
    assert names(paths.SQLITE) == ACCOUNTS


def test_half_a_transaction_of_the_old_installation_is_rolled_back_in_the_copy(old: OldInstallation) -> None:
    """Its server was killed in the middle of a write; the journal beside it has what was there before."""

    def write_and_be_killed() -> None:
        connection = sqlite3.connect(old.database)
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(3000):
            values = (f"half{number}", "x" * 200)
            connection.execute("INSERT INTO users (username, digesta1) VALUES (?, ?)", values)
        os._exit(0)

    assert not dies(write_and_be_killed, 10**6)
    assert Path(f"{old.database}-journal").stat().st_size
    before = listing(old.folder)
    move_in(old)
    assert listing(old.folder) == before
    assert names(paths.SQLITE) == ACCOUNTS


def test_an_old_server_that_still_writes_gives_a_consistent_copy(old: OldInstallation, host: Path) -> None:
    """Two rows far from each other, which are always changed together, are found the same."""
    with contextlib.closing(sqlite3.connect(old.database)) as connection:
        connection.executescript("""
            CREATE TABLE one (n INTEGER);
            INSERT INTO one VALUES (0);
            CREATE TABLE apart AS SELECT zeroblob(40000000);
            CREATE TABLE two (n INTEGER);
            INSERT INTO two VALUES (0);
        """)
    writer = os.fork()
    if writer == 0:
        connection = sqlite3.connect(old.database, timeout=30)
        while True:
            connection.executescript("BEGIN; UPDATE one SET n = n + 1; UPDATE two SET n = n + 1; COMMIT")
            time.sleep(0.001)  # as any server that has other things to do
    seen = []
    try:
        for number in range(5):
            folder = host / f"copy{number}"
            folder.mkdir()
            fresh = import_source.copy_files(import_source.find(old.folder), old.database, folder)
            import_source.recover(fresh, old.database)
            with contextlib.closing(sqlite3.connect(fresh)) as copy:
                seen.append(copy.execute("SELECT one.n, two.n FROM one, two").fetchone())
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert all(one == two for one, two in seen), seen
    assert len(set(seen)) > 1, "it did write"


def test_an_old_server_that_never_pauses_in_write_ahead_mode_has_to_be_stopped(
    old: OldInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it without a write beside it is only safe while nobody writes."""
    monkeypatch.setattr(import_source, "PATIENCE_SECONDS", 0.3)
    stop = threading.Event()
    with contextlib.closing(sqlite3.connect(old.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")

    def write() -> None:
        with contextlib.closing(sqlite3.connect(old.database, timeout=30)) as connection:
            while not stop.is_set():
                connection.execute("UPDATE users SET digesta1 = hex(randomblob(16))")
                connection.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(HostError, match="is being written to all the time; stop the old server, and run again"):
            move_in(old)
    finally:
        stop.set()
        writer.join()
    assert not Path(paths.SQLITE).exists()


def test_the_path_in_the_yaml_is_the_old_containers(host: Path) -> None:
    """Also where the database has another name, and where that path exists here and is somebody else's."""
    (host / "var/www/baikal/Specific/db").mkdir(parents=True)
    foreign = host / "var/www/baikal/Specific/db/mine.sqlite"
    foreign.write_bytes(b"somebody else's")
    old = build(host / "old", VERSION, sqlite=str(foreign))
    old.database.rename(old.database.with_name("mine.sqlite"))
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_database_outside_of_the_installation_is_not_read(host: Path) -> None:
    """The yaml could name any file of the host; the message says what to do if it is right."""
    old = build(host / "old", VERSION, sqlite=str(host / "elsewhere.db"))
    old.database.rename(host / "elsewhere.db")
    with pytest.raises(HostError, match=r"if .*/elsewhere\.db is the database, copy it to .*/Specific/db/db\.sqlite$"):
        move_in(old)
    shutil.copy(host / "elsewhere.db", old.database)
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_path_that_climbs_out_of_the_installation_is_not_followed(host: Path) -> None:
    """The yaml is somebody else's word."""
    old = build(host / "old", VERSION, sqlite="/x/Specific/../../secret")
    (host / "secret").write_bytes(b"secret")
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda old: shutil.rmtree(old.folder / "config"),
            r"holds no installation .*expected config/baikal\.yaml and Sp",
        ),
        (lambda old: shutil.rmtree(old.folder), r"holds no installation of Baïkal"),
        (
            lambda old: shutil.rmtree(old.folder / "Specific"),
            r"the database isn't there: looked for .*give its Specific/",
        ),
        (
            lambda old: old.yaml.write_text("system: [", encoding="utf-8"),
            r"baikal\.yaml can't be parsed: .*; restore it from a backup",
        ),
        (lambda old: old.yaml.write_bytes(b"\xff\xfe"), r"baikal\.yaml can't be parsed"),
        (lambda old: old.yaml.write_text("- a\n", encoding="utf-8"), r"baikal\.yaml can't be parsed"),
        (lambda old: old.yaml.write_text("system: a\n", encoding="utf-8"), r"baikal\.yaml can't be parsed"),
        (
            lambda old: old.yaml.write_text("system: {}\n", encoding="utf-8"),
            "no configured_version: .* never installed",
        ),
        (lambda old: old.database.write_bytes(b"x" * 5000), r"db\.sqlite is damaged \(.+\); take a backup"),
        (lambda old: old.database.write_bytes(b""), r"isn't Baïkal's \(no such table: users\)"),
        (lambda old: old.database.write_bytes(old.database.read_bytes()[:9000]), "is damaged"),
    ],
)
def test_what_cannot_be_taken_over_is_said(old: OldInstallation, wrong: object, said: str) -> None:
    """With what was expected, or what to do; nothing is here afterwards."""
    assert callable(wrong)
    wrong(old)
    with pytest.raises(HostError, match=said):
        move_in(old)
    assert not Path(paths.BAIKAL_YAML).exists()
    assert not Path(paths.SQLITE).exists()
    assert leftovers() == []


def edit(old: OldInstallation, pattern: str, text: str) -> None:
    """Change the old yaml."""
    old.yaml.write_text(re.sub(pattern, text, old.yaml.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "text", "said"),
    [
        (
            "backend: sqlite",
            "backend: pgsql",
            "all is as it was: (the PostgreSQL database .* can't be reached|.*psycopg2)",
        ),
        ("backend: sqlite", "mysql: true", "all is as it was: (the MySQL database .* can't be reached|.*pymysql)"),
        (re.escape(VERSION), "0.12.2", r"is of Baïkal 0\.12\.2, and 0\.12\.1 is older"),
        (re.escape(VERSION), "0.2.3", "too new to migrate"),
    ],
)
def test_an_installation_that_cannot_be_taken_over_is_refused(
    old: OldInstallation, pattern: str, text: str, said: str
) -> None:
    """It is too new or too old, or on a server that isn't reached."""
    edit(old, pattern, text)
    edit(old, "_host: ''", "_host: 127.0.0.1;port=1")
    assert re.search(said, refusal(old))


def test_an_installation_from_before_the_yaml_is_told_to_be_upgraded_first(old: OldInstallation) -> None:
    """Older than 0.7, with PHP files for its settings."""
    old.yaml.unlink()
    (old.folder / "Specific/config.php").touch()
    assert "older than 0.7, without a baikal.yaml; upgrade it to 0.9.5 first" in refusal(old)


def test_the_hosts_own_data_is_no_source(old: OldInstallation) -> None:
    """Somebody gave the target twice."""
    move_in(old)
    assert "is where this host's own data lives" in refusal(OldInstallation(Path(paths.DATA)), replace=True)


def test_a_host_without_a_release_is_told_to_deploy_first(
    old: OldInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, which asks what is current."""
    assert main(["import", str(old.folder)]) == 1
    assert "no release of Baïkal is installed here; run the deploy first" in capsys.readouterr().err
    Path(paths.CURRENT).symlink_to("0.11.1")
    assert main(["import", str(old.folder)]) == 1
    assert "Baïkal 0.11.1 is not installed here; run the deploy first" in capsys.readouterr().err


def test_the_command_imports_into_the_current_release(old: OldInstallation, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what was taken over."""
    Path(paths.CURRENT).symlink_to(VERSION)
    assert main(["import", str(old.folder)]) == 0
    assert f"taken over: Baïkal {VERSION} → {VERSION}, {COUNTS}\n" in capsys.readouterr().out
    assert main(["import", str(old.folder), "--replace"]) == 0
    assert "what is there is kept in" in capsys.readouterr().out


def test_data_that_a_container_serves_is_not_replaced(old: OldInstallation) -> None:
    """It holds its lock for as long as it runs."""
    with Path(paths.SERVING).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refusal(old) == "a container is serving this data; stop it, import, and start it again"
    move_in(old)


def as_nobody(act: Callable[[], object], host: Path) -> bool:
    """Do ``act`` as a user who owns the data and nothing else, as a container may run; tell whether it went well."""
    nobody = pwd.getpwnam("nobody")
    for path in (Path(paths.DATA), *Path(paths.DATA).rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for path in (host, host.parent):
        path.chmod(0o755)
    backups = Path(paths.BACKUPS)  # in an image, a link that leads into the volume
    backups.parent.mkdir(parents=True)
    backups.symlink_to(f"{paths.DATA}/backups")
    Path(paths.DECLARED).touch()
    Path(paths.DECLARED).parent.chmod(0o700)

    def become_nobody_and_act() -> None:
        os.setuid(nobody.pw_uid)
        os.chdir("/")
        try:
            act()
        except Exception:  # noqa: BLE001 - whatever it is, it is told by the status
            traceback.print_exc()
            os._exit(KILLED)

    return not dies(become_nobody_and_act, 10**6)


@as_root
@pytest.mark.parametrize("part", ["config/baikal.yaml", "config", "Specific/db/db.sqlite", "Specific"])
def test_a_source_that_this_user_cannot_read_is_one_sentence(old: OldInstallation, host: Path, part: str) -> None:
    """With the path and the remedy."""
    (old.folder / part).chmod(0o600)

    def attempt() -> None:
        with pytest.raises(HostError, match=rf"{part}\S* can't be read by this user; run the import as root"):
            move_in(old)

    assert as_nobody(attempt, host)


@as_root
def test_an_ordinary_user_can_move_in(old: OldInstallation, host: Path) -> None:
    """In a container that runs as one, where what is declared and the code are root's."""
    Path(paths.CURRENT).symlink_to(VERSION)
    assert as_nobody(lambda: move_in(old), host)
    assert names(paths.SQLITE) == ACCOUNTS
    assert Path(paths.SQLITE).stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_what_is_declared_on_a_machine_is_applied_to_what_moved_in(old: OldInstallation) -> None:
    """Its own accounts keep their passwords; the administrator's is the declared one; declared settings count."""
    it = declared(timezone="UTC")
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    wanted = digests(str(old.database))
    move_in(old)
    system = config.read()["system"]
    assert digests(paths.SQLITE) == wanted
    assert system["admin_passwordhash"] == it.admin_hash
    assert (system["timezone"], system["dav_auth_type"]) == ("UTC", "Basic")


def test_the_administrators_password_stays_the_declared_one_where_it_was_applied_before(old: OldInstallation) -> None:
    """A deploy came first, and remembers that it has set it."""
    it = declared()
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    apply.apply(it, lambda _: None)
    move_in(old, replace=True)
    assert config.read()["system"]["admin_passwordhash"] == it.admin_hash
    assert pending(it) == []


def test_another_realm_is_said_and_kept(old: OldInstallation) -> None:
    """It is part of every password's verifier; one of another realm is never set, as nobody could log in with it."""
    Path(paths.DECLARED).write_text(declared().to_json(), encoding="utf-8")
    apply.apply(declared(), lambda _: None)
    edit(old, "auth_realm: BaikalDAV", "auth_realm: SabreDAV")
    before = re.findall(r"admin_passwordhash: (\w+)", old.yaml.read_text(encoding="utf-8"))
    said = move_in(old, replace=True)
    assert any(
        "its auth_realm is 'SabreDAV': the passwords of its accounts and of its administrator" in line for line in said
    )
    system = config.read()["system"]
    assert (system["auth_realm"], system["admin_passwordhash"]) == ("SabreDAV", *before)
    with pytest.raises(HostError, match="declared password of admin is of 'BaikalDAV', so its user could not log in"):
        apply.apply(declared(admin_password="another"), lambda _: None)


@pytest.mark.usefixtures("untried")
def test_an_import_that_is_killed_anywhere_leaves_an_empty_host_empty_or_all_of_it(old: OldInstallation) -> None:
    """However far it came, the same command ends where an undisturbed one does, or is told that it is done."""
    before = listing(old.folder)
    seen = set()
    for step in steps(lambda: move_in(old), empty):
        begun = bool(transaction.interrupted())
        transaction.recover(lambda _: None)
        assert maintenance.reason() == transaction.interrupted() == "", step
        there = {Path(path).exists() for path in (paths.BAIKAL_YAML, paths.SQLITE)}
        assert len(there) == 1, step
        with pytest.raises(HostError, match="data here already") if there == {True} else contextlib.nullcontext():
            move_in(old)
        assert names(paths.SQLITE) == ACCOUNTS, step
        assert config.read()["system"]["configured_version"] == VERSION, step
        assert Path(paths.INSTALL_DISABLED).is_file()
        assert leftovers() == [], step
        assert not any(map(staging.holds, kept())), step
        seen.add((begun, *there))
    assert seen == {(False, False), (True, False), (False, True)}
    assert listing(old.folder) == before


@pytest.mark.usefixtures("untried")
def test_another_import_after_one_that_was_killed_begins_afresh(old: OldInstallation, host: Path) -> None:
    """Nothing of the first is left, so the second is neither refused nor mixed with it."""
    other = build(host / "other", VERSION)
    edit(other, "old.example.org", "other.example.org")
    for _ in steps(lambda: move_in(old), empty):
        if transaction.interrupted() and Path(paths.SQLITE).exists():
            move_in(other)
            assert config.read()["system"]["invite_from"] == "calendar@other.example.org"
            return
    pytest.fail("it was never interrupted half-way")


def test_help_says_what_a_source_is() -> None:
    """On the command line."""
    command = [sys.executable, "-m", "baikalctl", "import", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HOME)
    assert "directory that holds its config/ and Specific/" in done.stdout


def test_what_was_kept_of_a_servers_database_is_taken_from_beside_its_yaml(host: Path, old: OldInstallation) -> None:
    """Not from the server, which has other data by now, and may be away."""
    kept = host / "before-restore"
    for part in (staging.YAML, staging.SQLITE):
        (kept / part).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(old.yaml, kept / staging.YAML)
    shutil.copy(old.database, kept / staging.SQLITE)
    found = config.understood(kept / staging.YAML)
    found["database"] = {"backend": "mysql", "mysql_host": "nowhere.invalid"}
    config.write(found, kept / staging.YAML)
    assert not isinstance(import_source.find(kept).database, Path)
    (kept / staging.SECTION).write_text('{"backend": "mysql"}', encoding="utf-8")
    assert import_source.find(kept).database == kept / staging.SQLITE
