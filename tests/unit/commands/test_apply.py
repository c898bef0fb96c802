"""``baikalctl apply``, on a host's directories below a temporary one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.baikal import accounts, config, release
from baikalctl.changes import steps
from baikalctl.commands import apply
from baikalctl.database import sqlite
from baikalctl.errors import HostError
from baikalctl.host import boundary_child
from baikalctl.tls import certificate
from tests.unit.moving import needs_php, stand_release
from tests.unit.samples import VERSION, declared, here, user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from baikalctl.desired.state import DesiredState


pytestmark = pytest.mark.usefixtures("release_standing")

JO = user("jo", calendars=[{"name": "work", "share": [{"with": "ann"}]}])
WANTED = {"users": [JO, user("ann")]}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(scope="module")
def pair() -> str:
    """Return a self-signed certificate and its key, made once: openssl takes its time."""
    return certificate.self_signed(declared().names)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, empty_database: bytes, pair: str) -> None:
    """Have databases and certificates copied instead of made; both are made for real in their own tests."""

    def create(self: sqlite.Sqlite, version: str) -> None:
        assert (self.path, version) == (Path(paths.SQLITE), VERSION)
        Path(paths.SQLITE).touch(mode=0o600)
        Path(paths.SQLITE).write_bytes(empty_database)

    def self_signed(names: Sequence[str]) -> str:
        assert tuple(names) == ("cal.example.org",)
        return pair

    monkeypatch.setattr(sqlite.Sqlite, "create", create)
    monkeypatch.setattr(certificate, "self_signed", self_signed)


def applied(it: DesiredState) -> list[str]:
    """Apply ``it``, and return the messages."""
    messages: list[str] = []
    apply.apply(it, messages.append)
    return messages


def tables() -> dict[str, list[Any]]:
    """Return the rows about people, in the order of their content; numbers depend on the order of making."""
    queries = {
        "users": "SELECT username, digesta1 FROM users ORDER BY 1",
        "principals": "SELECT uri, displayname FROM principals ORDER BY 1",
        "calendars": "SELECT principaluri, uri, access FROM calendarinstances ORDER BY 1, 2",
        "books": "SELECT principaluri, uri FROM addressbooks ORDER BY 1, 2",
    }
    if not Path(paths.SQLITE).exists():
        return {name: [] for name in queries}
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file below ``root``, but what SQLite leaves next to a database that was only read."""
    files = {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {
        name: content
        for name, content in files.items()
        if not name.endswith("-shm") and (content or not name.endswith("-wal"))
    }


def execute(statement: str) -> None:
    """Change the database like another program."""
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as connection:
        connection.execute(statement)
        connection.commit()


def system() -> dict[str, Any]:
    """Return Baïkal's own settings."""
    return config.read()["system"]


def test_a_new_host_matches_the_settings() -> None:
    """Certificate, database, closed installer, accounts, configuration with the administrator, and a memory of it."""
    it = declared(**WANTED, timezone="UTC")
    messages = applied(it)
    assert messages[0].startswith("make a self-signed certificate: ")
    assert messages[1:4] == [f"activate Baïkal {VERSION}", "create the database", "disable the web installer"]
    assert messages[-2:] == ["set in baikal.yaml: all of it", "record which passwords were declared"]
    assert Path(paths.INSTALL_DISABLED).is_file()
    assert Path(f"{it.served}.pem").is_file()
    assert system()["admin_passwordhash"] == it.admin_hash
    assert system()["configured_version"] == VERSION
    assert [name for name, _ in tables()["users"]] == ["ann", "jo"]
    with contextlib.closing(here().connect()) as connection:
        assert here().missing_tuning(connection) == []


def test_a_second_run_changes_nothing(host: Path) -> None:
    """Nothing is pending, nothing is printed, no file is written."""
    it = declared(**WANTED)
    applied(it)
    before = tree(host)
    assert steps.pending(it) == []
    assert applied(it) == []
    assert tree(host) == before


def test_a_plan_lists_the_steps_and_takes_none(host: Path) -> None:
    """On a fresh host, and on one where something differs."""
    it = declared(**WANTED)
    before = tree(host)
    planned = steps.pending(it)
    assert tree(host) == before
    assert "create the database" in planned
    assert "create 2 accounts" in planned
    applied(it)
    other = declared(users=[user("jo", password="new")], timezone="UTC", caldav=False)
    before = tree(host)
    planned = steps.pending(other)
    after = {path: content for path, content in tree(host).items() if not path.endswith(("-wal", "-shm"))}
    assert after == {path: content for path, content in before.items() if not path.endswith(("-wal", "-shm"))}
    assert planned == applied(other)


def test_only_differences_are_changed() -> None:
    """One changed setting is one step, named."""
    applied(declared(**WANTED))
    assert applied(declared(**WANTED, carddav=False)) == ["set in baikal.yaml: card_enabled"]
    assert system()["card_enabled"] is False


def test_files_with_verifiers_are_only_readable_for_their_owner() -> None:
    """The memory of passwords, the configuration, the database."""
    applied(declared(**WANTED))
    for path in (paths.APPLIED, paths.BAIKAL_YAML, paths.SQLITE, f"{declared().served}.pem"):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_nothing_on_the_host_has_a_password(host: Path) -> None:
    """Neither a file nor the output."""
    messages = applied(declared(admin_password="hunter2-hunter2", users=[user(password="hunter3-hunter3")]))
    everything = b"".join(tree(host).values()) + "".join(messages).encode()
    assert b"hunter" not in everything


def test_the_administrators_password_is_set_when_its_declaration_changes() -> None:
    """And not on every run: what was chosen in the admin pages stays."""
    applied(declared())
    configuration = config.read()
    configuration["system"]["admin_passwordhash"] = "chosen"
    config.write(configuration)
    assert applied(declared()) == []
    assert system()["admin_passwordhash"] == "chosen"
    other = declared(admin_password="another")
    assert applied(other) == ["set in baikal.yaml: admin_passwordhash", "record which passwords were declared"]
    assert system()["admin_passwordhash"] == other.admin_hash


def test_a_users_password_is_set_when_its_declaration_changes() -> None:
    """The password that jo chose stays until another one is declared."""
    applied(declared(users=[user("jo")]))
    execute("UPDATE users SET digesta1 = 'chosen'")
    assert applied(declared(users=[user("jo")])) == []
    other = declared(users=[user("jo", password="another")])
    assert applied(other) == ["set the declared password of jo", "record which passwords were declared"]
    assert tables()["users"] == [("jo", other.users[0].digest)]


def test_declaring_an_account_again_resets_no_password() -> None:
    """Who was taken out of the settings for a while is remembered."""
    applied(declared(users=[user("jo")]))
    execute("UPDATE users SET digesta1 = 'chosen'")
    applied(declared(users=[]))
    assert applied(declared(users=[user("jo")])) == []
    assert tables()["users"] == [("jo", "chosen")]


def test_an_account_that_was_removed_and_declared_again_gets_the_declared_password() -> None:
    """The old account's memory went with it."""
    applied(declared(users=[user("jo")]))
    applied(declared(users=[{"name": "jo", "state": "absent"}]))
    it = declared(users=[user("jo")])
    applied(it)
    assert tables()["users"] == [("jo", it.users[0].digest)]
    assert steps.pending(it) == []


def test_removing_an_account_makes_an_archive_first(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The archive has the account, only root can read it, and its path is printed."""
    applied(declared(**WANTED))
    messages = applied(declared(users=[{"name": "jo", "state": "absent"}, user("ann")]))
    assert messages[:2] == [
        "make a backup before the accounts are removed: jo",
        "remove the account jo with its calendars and address books",
    ]
    (copy,) = Path(paths.BACKUPS).iterdir()
    assert str(copy) in capsys.readouterr().out
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    shutil.unpack_archive(copy, host / "unpacked", filter="data")
    with contextlib.closing(sqlite3.connect(host / "unpacked/database.sqlite")) as connection:
        assert connection.execute("SELECT username FROM users ORDER BY 1").fetchall() == [("ann",), ("jo",)]
    assert [name for name, _ in tables()["users"]] == ["ann"]
    assert host.is_dir()


def test_without_a_removal_no_archive_is_made() -> None:
    """An absent account that is gone already costs nothing."""
    it = declared(users=[{"name": "gone", "state": "absent"}])
    applied(it)
    assert steps.pending(it) == []
    assert not Path(paths.BACKUPS).exists()


def hold(version: str) -> None:
    """Have data of another version."""
    applied(declared())
    configuration = config.read()
    configuration["system"]["configured_version"] = version
    config.write(configuration)


def test_data_of_a_newer_version_is_not_changed(host: Path) -> None:
    """Baïkal never goes back: the sentence says what to run, and nothing was done."""
    hold("0.13.0")
    before = tree(host)
    for act in (applied, steps.pending):
        with pytest.raises(HostError, match=r"the data is of Baïkal 0\.13\.0; 0\.12\.1 is older.* use release"):
            act(declared(**WANTED))
    assert tree(host) == before


@needs_php
def test_data_of_an_older_version_is_upgraded_and_settings_are_applied(release_standing: Path) -> None:
    """All of it before anybody uses it; what an upgrade makes, only the upgraded data tells."""
    shutil.rmtree(release_standing)
    stand_release()
    hold("0.11.1")
    before = tree(Path(paths.DATA))
    assert steps.pending(declared(**WANTED)) == [f"upgrade Baïkal from 0.11.1 to {VERSION}"]
    assert tree(Path(paths.DATA)) == before
    applied(declared(**WANTED))
    assert system()["configured_version"] == VERSION
    assert [name for name, _ in tables()["users"]] == ["ann", "jo"]
    assert steps.pending(declared(**WANTED)) == []


@needs_php
@pytest.mark.usefixtures("host")
def test_a_failed_upgrade_changes_nothing() -> None:
    """The release that stands here has no upgrade to run."""
    hold("0.11.1")
    before = tree(Path(paths.DATA))
    with pytest.raises(HostError, match=r"the upgrade from Baïkal 0\.11\.1 to 0\.12\.1 failed and was rolled back: "):
        applied(declared(**WANTED))
    assert tree(Path(paths.DATA)) == before
    assert release.current() == VERSION
    (archive,) = Path(paths.BACKUPS).iterdir()
    assert archive.name.endswith("-before-upgrade.tar.gz")


def test_a_database_that_vanished_is_not_replaced_by_an_empty_one(host: Path) -> None:
    """A disk may have failed, and an empty calendar would hide that."""
    applied(declared())
    for path in Path(paths.SQLITE).parent.iterdir():
        path.unlink()
    before = tree(host)
    with pytest.raises(HostError, match=r"restore a backup, .*or, to start empty, move the yaml file away"):
        applied(declared())
    assert tree(host) == before


def test_a_damaged_configuration_stops_everything(host: Path) -> None:
    """It is not written over."""
    applied(declared())
    Path(paths.BAIKAL_YAML).write_text("system: [", encoding="utf-8")
    before = tree(host)
    with pytest.raises(HostError, match=r"baikal\.yaml can't be parsed"):
        applied(declared(timezone="Europe/Paris"))
    assert tree(host) == before


@pytest.mark.parametrize("content", ["", "{", "[1"])
def test_a_damaged_file_of_applied_passwords_is_replaced(content: str) -> None:
    """Declared passwords are set again, and the file is replaced."""
    it = declared(users=[user("jo")])
    applied(it)
    Path(paths.APPLIED).write_text(content, encoding="utf-8")
    assert applied(it) == ["record which passwords were declared"]
    assert json.loads(Path(paths.APPLIED).read_text(encoding="utf-8"))["jo"] == accounts.fingerprint(it.users[0].digest)


def test_an_enabled_installer_is_disabled() -> None:
    """That file blocks other people from the form for the database."""
    applied(declared())
    Path(paths.INSTALL_DISABLED).unlink()
    assert applied(declared()) == ["disable the web installer"]
    assert Path(paths.INSTALL_DISABLED).is_file()


def test_a_dropped_index_is_created_again() -> None:
    """Speed is a declared state as well."""
    applied(declared())
    execute("DROP INDEX baikalctl_cards_uri")
    assert applied(declared()) == ["add indexes and triggers to the database: index baikalctl_cards_uri"]
    assert steps.pending(declared()) == []


class PulledPlug(Exception):  # noqa: N818 - not an error of the code
    """Stands for any error that ends a run."""


@pytest.fixture
def number(request: pytest.FixtureRequest) -> int:
    """Return at which sentence a run is interrupted. Each fourth run reads data in real child processes, as in ``steps``.

    The others call confined functions directly, which saves hundreds of forks. The ``_own`` fixture resets this.
    """
    at = int(request.param)
    boundary_child.inside = at % 4 != 0
    return at


@pytest.mark.parametrize("number", range(15), indirect=True)
def test_a_first_run_interrupted_at_any_step_is_finished_by_the_next(number: int) -> None:
    """Whichever sentence was the last, the next run ends where an undisturbed one does; accounts come all or none."""
    it = declared(**WANTED)
    messages = []

    def interrupt(sentence: str) -> None:
        messages.append(sentence)
        if len(messages) > number:
            raise PulledPlug

    with contextlib.suppress(PulledPlug):
        apply.apply(it, interrupt)
    assert [name for name, _ in tables()["users"]] in ([], ["ann", "jo"])
    applied(it)
    assert steps.pending(it) == []
    assert [name for name, _ in tables()["users"]] == ["ann", "jo"]
    assert [access for name, _, access in tables()["calendars"] if name == "principals/ann"].count(2) == 1
    assert system()["admin_passwordhash"] == it.admin_hash


@pytest.mark.parametrize("number", range(8), indirect=True)
def test_an_interrupted_later_run_changes_no_accounts(number: int) -> None:
    """Of several changes to accounts, all are made or none."""
    applied(declared(**WANTED))
    before = tables()
    it = declared(
        users=[user("jo", password="new"), {"name": "ann", "state": "absent"}, user("bob", display_name="Bob")]
    )
    messages = []

    def interrupt(sentence: str) -> None:
        messages.append(sentence)
        if len(messages) > number:
            raise PulledPlug

    with contextlib.suppress(PulledPlug):
        apply.apply(it, interrupt)
    names = [name for name, _ in tables()["users"]]
    assert tables() == before or names == ["bob", "jo"]
    applied(it)
    assert [name for name, _ in tables()["users"]] == ["bob", "jo"]
    assert steps.pending(it) == []


@as_root
@pytest.mark.parametrize("name", ["BAIKAL_YAML", "SQLITE", "INSTALL_DISABLED"])
def test_a_wrong_owner_is_corrected(name: str) -> None:
    """As after ``sudo cp`` of a backup: PHP could no longer write."""
    applied(declared())
    file = Path(getattr(paths, name))
    os.chown(file, 65534, 65534)
    file.chmod(0o644)
    assert applied(declared()) == [f"change the owner of {file} to {paths.USER}, mode 0600"]
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)


@as_root
def test_a_link_in_place_of_data_is_not_followed(host: Path) -> None:
    """Root gives nothing away that a link leads to."""
    applied(declared())
    outside = host / "outside"
    outside.touch()
    outside.chmod(0o644)
    os.chown(outside, 65534, 65534)
    Path(paths.INSTALL_DISABLED).unlink()
    Path(paths.INSTALL_DISABLED).symlink_to(outside)
    with pytest.raises(HostError, match="put the file itself there"):
        applied(declared())
    assert (outside.stat().st_uid, stat.S_IMODE(outside.stat().st_mode)) == (65534, 0o644)


@as_root
def test_a_host_without_the_account_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was removed, and the deploy creates it again."""
    monkeypatch.setattr(paths, "USER", "no-such-account")
    with pytest.raises(HostError, match=r"there is no account no-such-account: .*run the deploy first"):
        steps.pending(declared())


def test_data_in_another_database_than_declared_is_an_error(host: Path) -> None:
    """An empty database must not replace it: the remedy is printed, and nothing is changed."""
    applied(declared(**WANTED))
    server = {"database": "pgsql", "database_host": "db.example.org", "database_password": "hunter2"}
    Path(paths.DATABASE_PASSWORD).write_text("hunter2\n", encoding="ascii")
    before = tree(host)
    with pytest.raises(HostError, match=r"is in the database .*; run baikalctl database move") as caught:
        applied(declared(**WANTED, **server))
    assert "hunter2" not in str(caught.value)
    assert tree(host) == before
