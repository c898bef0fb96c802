"""Moving in: data and passwords are taken over whole, the old installation isn't touched, and what was here is kept."""

from __future__ import annotations

import codecs
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
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


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
    """Import, and return the messages."""
    messages: list[str] = []
    import_.import_(old.folder, VERSION, replace=replace, say=messages.append)
    return messages


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
def test_an_old_installation_is_imported_completely(host: Path, version: str) -> None:
    """Accounts with their passwords and all settings are migrated and counted; the source is unchanged."""
    old = build(host / "old", version)
    before, wanted = listing(old.folder), digests(str(old.database))
    messages = move_in(old)
    assert listing(old.folder) == before
    assert messages == [
        f"import Baïkal {version}, migrated to {VERSION}",
        "clients get status 503 (try again later) until this is done",
        f"imported: Baïkal {version} → {VERSION}, {COUNTS}",
    ]
    assert digests(paths.SQLITE) == wanted
    configuration = config.read()
    assert configuration["system"]["configured_version"] == VERSION
    assert configuration["system"]["invite_from"] == "calendar@old.example.org"
    assert configuration["database"]["sqlite_file"] == paths.SQLITE
    assert configuration["database"]["encryption_key"] == "5d5b6ed8eb6ac7f5e0c0ab4b9a9c4a9b"
    assert configuration["database"]["mysql"] is False
    assert Path(paths.INSTALL_DISABLED).is_file()
    assert leftovers() == []
    assert not kept(), "there was nothing"


def test_an_empty_volume_gets_all_directories(old: OldInstallation) -> None:
    """Only the volume itself is there, as a new container has it."""
    for folder in (paths.CONFIG, paths.SPECIFIC, paths.STATE, paths.SESSIONS, paths.TLS):
        shutil.rmtree(folder)
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS
    modes = {Path(path).stat().st_mode & 0o777 for path in (paths.CONFIG, f"{paths.SPECIFIC}/db", paths.STATE)}
    assert modes == {0o700}


def test_the_parent_directory_is_accepted(old: OldInstallation) -> None:
    """As a release's zip unpacks: with baikal/ in it."""
    above = old.folder.with_name("www")
    above.mkdir()
    old.folder.rename(above / "baikal")
    move_in(OldInstallation(above))
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_relative_path_is_accepted(old: OldInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the current directory."""
    monkeypatch.chdir(old.folder.parent)
    move_in(OldInstallation(Path(old.folder.name)))
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_second_import_is_refused_without_replace(old: OldInstallation) -> None:
    """No data is replaced by mistake."""
    move_in(old)
    before = listing(Path(paths.SPECIFIC))
    assert "this host already has data" in refusal(old)
    assert "--replace" in refusal(old)
    assert listing(Path(paths.SPECIFIC)) == before


@pytest.mark.parametrize("existing", ["yaml", "database"])
def test_an_incomplete_installation_counts_as_data(old: OldInstallation, existing: str) -> None:
    """A yaml or a database alone."""
    shutil.copy(
        old.yaml if existing == "yaml" else old.database, paths.BAIKAL_YAML if existing == "yaml" else paths.SQLITE
    )
    assert "this host already has data" in refusal(old)
    move_in(old, replace=True)
    files = [str(path.relative_to(kept()[0])) for path in kept()[0].rglob("*") if path.is_file()]
    assert sorted(files) == sorted([staging.SECTION, staging.YAML if existing == "yaml" else staging.SQLITE])


def test_replaced_data_is_kept(old: OldInstallation, connection: sqlite_file.Connection) -> None:
    """In the backups, and the sentence says where."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('before', 'x')")
    connection.commit()
    connection.close()
    Path(paths.BAIKAL_YAML).write_text("system: {configured_version: 0.12.1}\n", encoding="utf-8")
    messages = move_in(old, replace=True)
    assert f"the existing data is kept in {kept()[0]}" in messages
    assert kept()[0].name.startswith("before-import-")
    assert names(str(kept()[0] / staging.SQLITE)) == ["before"]
    assert "0.12.1" in (kept()[0] / staging.YAML).read_text(encoding="utf-8")
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_damaged_database_can_be_replaced_and_is_kept_unchanged(old: OldInstallation) -> None:
    """That is when people need it most."""
    Path(paths.SQLITE).write_bytes(b"no database" * 1000)
    Path(paths.SQLITE + "-wal").write_bytes(b"nor a log" * 1000)
    move_in(old, replace=True)
    assert (kept()[0] / staging.SQLITE).read_bytes() == b"no database" * 1000
    assert (kept()[0] / f"{staging.SQLITE}-wal").is_file()
    assert not Path(paths.SQLITE + "-wal").exists()
    assert names(paths.SQLITE) == ACCOUNTS


def test_a_write_ahead_log_of_the_old_installation_is_imported(old: OldInstallation) -> None:
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
    """SQLite would create two files next to it, even for reading."""
    with contextlib.closing(sqlite3.connect(old.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = listing(old.folder)
    move_in(old)
    assert listing(old.folder) == before
    assert names(paths.SQLITE) == ACCOUNTS


def test_half_a_transaction_of_the_old_installation_is_rolled_back_in_the_copy(old: OldInstallation) -> None:
    """Its server was killed in the middle of a write; the journal next to it has the previous content."""

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
    """Reading it without writing to its directory is only safe while no process writes."""
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
        with pytest.raises(HostError, match="is written to all the time; stop the old server, and run this again"):
            move_in(old)
    finally:
        stop.set()
        writer.join()
    assert not Path(paths.SQLITE).exists()


def test_the_path_in_the_yaml_may_be_from_the_old_container(host: Path) -> None:
    """Also if the database has another name, and if that path exists on this host with other content."""
    (host / "var/www/baikal/Specific/db").mkdir(parents=True)
    foreign = host / "var/www/baikal/Specific/db/mine.sqlite"
    foreign.write_bytes(b"other content")
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


def test_a_path_out_of_the_installation_is_not_followed(host: Path) -> None:
    """The yaml may be hostile."""
    old = build(host / "old", VERSION, sqlite="/x/Specific/../../secret")
    (host / "secret").write_bytes(b"secret")
    move_in(old)
    assert names(paths.SQLITE) == ACCOUNTS


@pytest.mark.parametrize(
    ("wrong", "messages"),
    [
        (
            lambda old: shutil.rmtree(old.folder / "config"),
            r"contains no installation .*must contain config/baikal\.yaml and Sp",
        ),
        (lambda old: shutil.rmtree(old.folder), r"contains no installation of Baïkal"),
        (
            lambda old: shutil.rmtree(old.folder / "Specific"),
            r"the database .* does not exist; copy the old Specific/",
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
            "no configured_version: .* never finished",
        ),
        (lambda old: old.database.write_bytes(b"x" * 5000), r"db\.sqlite is damaged \(.+\); use an undamaged backup"),
        (lambda old: old.database.write_bytes(b""), r"isn't Baïkal's \(no such table: users\)"),
        (lambda old: old.database.write_bytes(old.database.read_bytes()[:9000]), "is damaged"),
    ],
)
def test_a_source_without_an_installation_is_refused_with_the_reason(
    old: OldInstallation, wrong: object, messages: str
) -> None:
    """With what was expected, or what to do; nothing is here afterwards."""
    assert callable(wrong)
    wrong(old)
    with pytest.raises(HostError, match=messages):
        move_in(old)
    assert not Path(paths.BAIKAL_YAML).exists()
    assert not Path(paths.SQLITE).exists()
    assert leftovers() == []


def edit(old: OldInstallation, pattern: str, text: str) -> None:
    """Change the old yaml."""
    old.yaml.write_text(re.sub(pattern, text, old.yaml.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "text", "messages"),
    [
        (
            "backend: sqlite",
            "backend: pgsql",
            "was rolled back: (the PostgreSQL database .* can't be reached|.*psycopg2)",
        ),
        ("backend: sqlite", "mysql: true", "was rolled back: (the MySQL database .* can't be reached|.*pymysql)"),
        (re.escape(VERSION), "0.12.2", r"is of Baïkal 0\.12\.2; 0\.12\.1 is older"),
        (re.escape(VERSION), "0.2.3", "can't migrate"),
    ],
)
def test_an_installation_that_cannot_be_imported_is_refused(
    old: OldInstallation, pattern: str, text: str, messages: str
) -> None:
    """It is too new or too old, or on a server that isn't reached."""
    edit(old, pattern, text)
    edit(old, "_host: ''", "_host: 127.0.0.1;port=1")
    assert re.search(messages, refusal(old))


def test_an_installation_without_a_yaml_must_be_upgraded_first(old: OldInstallation) -> None:
    """Older than 0.7, with PHP files for its settings."""
    old.yaml.unlink()
    (old.folder / "Specific/config.php").touch()
    assert "older than 0.7, without a baikal.yaml; upgrade it to 0.9.5 first" in refusal(old)


def test_the_hosts_own_data_is_refused_as_source(old: OldInstallation) -> None:
    """The operator named the target as source."""
    move_in(old)
    assert "is this host's own data" in refusal(OldInstallation(Path(paths.DATA)), replace=True)


def test_a_host_without_a_release_must_be_deployed_first(
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
    assert f"imported: Baïkal {VERSION} → {VERSION}, {COUNTS}\n" in capsys.readouterr().out
    assert main(["import", str(old.folder), "--replace"]) == 0
    assert "the existing data is kept in" in capsys.readouterr().out


def test_data_of_a_running_container_is_not_replaced(old: OldInstallation) -> None:
    """It holds its lock for as long as it runs."""
    with Path(paths.SERVING).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refusal(old) == "a container is serving this data; stop it, import, and start it again"
    move_in(old)


def as_unprivileged(act: Callable[[], object], host: Path) -> bool:
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

    def drop_privileges_and_act() -> None:
        codecs.lookup("idna")  # connections need this module, and Python may be installed in root's home
        os.setuid(nobody.pw_uid)
        os.chdir("/")
        try:
            act()
        except Exception:  # noqa: BLE001 - any error is in the exit status
            traceback.print_exc()
            os._exit(KILLED)

    return not dies(drop_privileges_and_act, 10**6)


@as_root
@pytest.mark.parametrize("part", ["config/baikal.yaml", "config", "Specific/db/db.sqlite", "Specific"])
def test_an_unreadable_source_is_reported_in_one_line(old: OldInstallation, host: Path, part: str) -> None:
    """With the path and the remedy."""
    (old.folder / part).chmod(0o600)

    def attempt() -> None:
        with pytest.raises(HostError, match=rf"{part}\S* can't be read by this user; run the import as root"):
            move_in(old)

    assert as_unprivileged(attempt, host)


@as_root
def test_an_ordinary_user_can_import(old: OldInstallation, host: Path) -> None:
    """In a container that runs as one, where what is declared and the code are root's."""
    Path(paths.CURRENT).symlink_to(VERSION)
    assert as_unprivileged(lambda: move_in(old), host)
    assert names(paths.SQLITE) == ACCOUNTS
    assert Path(paths.SQLITE).stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_the_settings_of_a_machine_are_applied_to_imported_data(old: OldInstallation) -> None:
    """Its own accounts keep their passwords; the administrator's is the declared one; declared settings count."""
    it = declared(timezone="UTC")
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    wanted = digests(str(old.database))
    move_in(old)
    system = config.read()["system"]
    assert digests(paths.SQLITE) == wanted
    assert system["admin_passwordhash"] == it.admin_hash
    assert (system["timezone"], system["dav_auth_type"]) == ("UTC", "Basic")


def test_the_administrators_password_stays_the_declared_one(old: OldInstallation) -> None:
    """A deploy came first, and remembers that it has set it."""
    it = declared()
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    apply.apply(it, lambda _: None)
    move_in(old, replace=True)
    assert config.read()["system"]["admin_passwordhash"] == it.admin_hash
    assert pending(it) == []


def test_another_realm_is_reported_and_kept(old: OldInstallation) -> None:
    """It is part of every password's verifier; one of another realm is never set, because no user could log in with it."""
    Path(paths.DECLARED).write_text(declared().to_json(), encoding="utf-8")
    apply.apply(declared(), lambda _: None)
    edit(old, "auth_realm: BaikalDAV", "auth_realm: SabreDAV")
    before = re.findall(r"admin_passwordhash: (\w+)", old.yaml.read_text(encoding="utf-8"))
    messages = move_in(old, replace=True)
    assert any(
        "its auth_realm is 'SabreDAV': the imported passwords of accounts and administrator still work" in line
        for line in messages
    )
    system = config.read()["system"]
    assert (system["auth_realm"], system["admin_passwordhash"]) == ("SabreDAV", *before)
    with pytest.raises(HostError, match="declared password of admin is for 'BaikalDAV', so this user could not log in"):
        apply.apply(declared(admin_password="another"), lambda _: None)


@pytest.mark.usefixtures("untried")
def test_an_import_killed_at_any_step_leaves_all_data_or_none(old: OldInstallation) -> None:
    """The same command then has the result of an undisturbed one, or reports that the data exists."""
    before = listing(old.folder)
    seen = set()
    for step in steps(lambda: move_in(old), empty):
        begun = bool(transaction.interrupted())
        transaction.recover(lambda _: None)
        assert maintenance.reason() == transaction.interrupted() == "", step
        existing = {Path(path).exists() for path in (paths.BAIKAL_YAML, paths.SQLITE)}
        assert len(existing) == 1, step
        with pytest.raises(HostError, match="already has data") if existing == {True} else contextlib.nullcontext():
            move_in(old)
        assert names(paths.SQLITE) == ACCOUNTS, step
        assert config.read()["system"]["configured_version"] == VERSION, step
        assert Path(paths.INSTALL_DISABLED).is_file()
        assert leftovers() == [], step
        assert not any(map(staging.holds, kept())), step
        seen.add((begun, *existing))
    assert seen == {(False, False), (True, False), (False, True)}
    assert listing(old.folder) == before


@pytest.mark.usefixtures("untried")
def test_an_import_after_a_killed_one_starts_from_the_beginning(old: OldInstallation, host: Path) -> None:
    """Nothing of the first is left, so the second is neither refused nor mixed with it."""
    other = build(host / "other", VERSION)
    edit(other, "old.example.org", "other.example.org")
    for _ in steps(lambda: move_in(old), empty):
        if transaction.interrupted() and Path(paths.SQLITE).exists():
            move_in(other)
            assert config.read()["system"]["invite_from"] == "calendar@other.example.org"
            return
    pytest.fail("it was never interrupted half-way")


def test_the_help_describes_the_source() -> None:
    """On the command line."""
    command = [sys.executable, "-m", "baikalctl", "import", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HOME)
    assert "directory of the other installation, with config/ and Specific/" in " ".join(done.stdout.split())


def test_kept_rows_of_a_server_are_imported_from_the_folder(host: Path, old: OldInstallation) -> None:
    """Not from the server, which has other data by now, and may be away."""
    kept = host / "before-restore"
    for part in (staging.YAML, staging.SQLITE):
        (kept / part).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(old.yaml, kept / staging.YAML)
    shutil.copy(old.database, kept / staging.SQLITE)
    configuration = config.understood(kept / staging.YAML)
    configuration["database"] = {"backend": "mysql", "mysql_host": "nowhere.invalid"}
    config.write(configuration, kept / staging.YAML)
    assert not isinstance(import_source.find(kept).database, Path)
    (kept / staging.SECTION).write_text('{"backend": "mysql"}', encoding="utf-8")
    assert import_source.find(kept).database == kept / staging.SQLITE
