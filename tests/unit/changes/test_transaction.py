"""Each change of the data or the release succeeds completely or is rolled back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config, release
from baikalctl.changes import migration, staging, transaction
from baikalctl.cli import main
from baikalctl.commands import import_ as import_command
from baikalctl.commands import move_database
from baikalctl.commands import upgrade as upgrade_command
from baikalctl.database import postgresql
from baikalctl.errors import HostError
from baikalctl.host import maintenance, php_cli
from baikalctl.host.atomic_write import write
from tests.lab.old_installation import PASSWORDS, build
from tests.unit.elsewhere import Elsewhere
from tests.unit.moving import KILLED, dies, empty, fails, leftovers, names, needs_php, stand_release, steps
from tests.unit.samples import VERSION, declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState


pytestmark = needs_php
OLD = "0.11.1"
ACCOUNTS = sorted(PASSWORDS)
OURS = sorted(f"our {name}" for name in PASSWORDS)
"""The accounts of this host, where others come from elsewhere."""
SERVER: dict[str, object] = {
    "database": "pgsql",
    "database_host": "db.example.org",
    "database_password": "hunter2",
    "database_name": "elsewhere",
}


def silent(_: str) -> None:
    """Say nothing."""


class Host:
    """A host with data of a release that serves, a newer release, another installation and another database."""

    def __init__(self, root: Path) -> None:
        """Have all of it stand."""
        for version in (OLD, VERSION):
            stand_release(version)
        self.other = build(root / "other", VERSION)
        self.template = build(root / "template", OLD)
        whole = self.template.yaml.read_text(encoding="utf-8")
        self.template.yaml.write_text(whole.replace("Digest", "Basic"), encoding="utf-8")
        execute("UPDATE users SET username = 'our ' || username", str(self.template.database))
        Path(paths.DATABASE_PASSWORD).write_text("hunter2\n", encoding="ascii")
        self.stand()

    def stand(self) -> None:
        """Have the data be as it was at the beginning."""
        empty()
        shutil.rmtree(f"{paths.DATA}/elsewhere", ignore_errors=True)
        shutil.copy(self.template.yaml, paths.BAIKAL_YAML)
        shutil.copy(self.template.database, paths.SQLITE)
        Path(paths.INSTALL_DISABLED).touch()
        write(Path(paths.APPLIED), '{"": "fingerprint"}\n')
        write(Path(paths.TLS) / "files-cal.example.org.pem", "certificate")
        release.activate(OLD)

    def upgrade(self, finish: Callable[[], None] | None = None) -> None:
        """Have the newer release serve."""
        transaction.recover(silent)
        configuration = config.read()
        if migration.older_version(configuration, VERSION):
            upgrade_command.upgrade(configuration, configuration["database"], VERSION, silent, finish or apply)

    def import_(self) -> None:
        """Take the other installation over."""
        import_command.import_(self.other.folder, VERSION, replace=True, say=silent)

    @staticmethod
    def move() -> None:
        """Take the data to the other database."""
        transaction.recover(silent)
        move_database.move(declared(**SERVER), silent, apply)


def apply() -> None:
    """Apply settings to new data: this changes every file that apply may change."""
    where = f"{paths.DATA}/elsewhere/elsewhere.sqlite" if elsewhere() else paths.SQLITE
    execute("INSERT INTO users (username, digesta1) VALUES ('declared', 'x')", where)
    configuration = config.read()
    configuration["system"]["timezone"] = "UTC"
    config.write(configuration)
    write(Path(paths.APPLIED), '{"": "fingerprint", "declared": "another"}\n')


def elsewhere() -> bool:
    """Tell whether the yaml names the other database."""
    return bool(config.read()["database"]["backend"] == "pgsql")


def execute(statement: str, file: str) -> None:
    """Change a database."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def standing() -> dict[str, object]:
    """Return the data to the last byte, and the release that serves."""
    folders = (paths.CONFIG, paths.SPECIFIC, paths.TLS)
    files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    applied = [Path(paths.APPLIED)] if Path(paths.APPLIED).is_file() else []
    return {str(path): path.read_bytes() for path in (*files, *applied)} | {"release": release.current()}


def as_it_was(before: dict[str, object]) -> None:
    """Check everything after a rollback."""
    assert standing() == before
    assert leftovers() == []
    assert transaction.interrupted() == maintenance.reason() == ""
    assert not list(Path(paths.BACKUPS).glob("[!.]*")), "what is in place again is not kept a second time"


def arrived(kind: str) -> None:
    """Look at the new data."""
    configuration = config.read()
    assert elsewhere() is (kind == "move")
    assert configuration["system"]["configured_version"] == release.current() == (OLD if kind == "move" else VERSION)
    wanted = {"upgrade": [*OURS, "declared"], "import": ACCOUNTS, "move": [*OURS, "declared"]}[kind]
    file = f"{paths.DATA}/elsewhere/elsewhere.sqlite" if kind == "move" else paths.SQLITE
    assert names(file) == sorted(wanted)
    assert leftovers() == []
    assert maintenance.reason() == ""
    (kept,) = Path(paths.BACKUPS).iterdir()
    assert names(str(kept / staging.SQLITE)) == OURS


@pytest.fixture
def it(host: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host with data."""
    monkeypatch.setattr(postgresql, "Postgresql", Elsewhere)
    return Host(host)


@pytest.fixture(params=["upgrade", "import", "move"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return which change is made."""
    return str(request.param)


@pytest.fixture
def act(it: Host, kind: str) -> Callable[[], None]:
    """Return what makes the change."""
    return {"upgrade": it.upgrade, "import": it.import_, "move": it.move}[kind]


def test_a_change_succeeds(act: Callable[[], None], kind: str) -> None:
    """With real data and processes."""
    act()
    arrived(kind)


@pytest.mark.usefixtures("untried")
def test_a_change_killed_at_any_step_is_rolled_back_and_made_by_the_next_run(
    it: Host, act: Callable[[], None], kind: str
) -> None:
    """No client gets a part of it, and the next run starts with exactly the old data."""
    before = standing()
    seen = set()
    for step in steps(act, it.stand):
        begun, touched = bool(transaction.interrupted()), standing() != before
        assert maintenance.reason() or not (begun and touched), step
        transaction.recover(silent)
        if touched and not begun:
            arrived(kind)
        else:
            as_it_was_but_for_halves(before)
            act()
            arrived(kind)
        seen.add((begun, touched))
    assert {(False, False), (True, False), (True, True)} <= seen


def as_it_was_but_for_halves(before: dict[str, object]) -> None:
    """Check everything after the rollback of a killed change: an incomplete copy may be left in the backups."""
    shutil.rmtree(f"{paths.BACKUPS}/.new", ignore_errors=True)
    for path in Path(paths.BACKUPS).glob("*"):
        shutil.rmtree(path)  # killed between the keeping, and remembering it
    for path in Path(paths.STATE).glob(".*.new"):
        path.unlink()
    assert standing() == before
    assert leftovers() == []
    assert transaction.interrupted() == ""


@pytest.mark.usefixtures("untried")
def test_a_rollback_killed_at_any_step_is_finished_by_the_next_run(
    it: Host, act: Callable[[], None], kind: str
) -> None:
    """As when the power goes twice."""
    before = standing()

    def stand() -> None:
        it.stand()
        assert dies(functools.partial(act_until_used, act), 10**6)

    for step in steps(lambda: transaction.recover(silent), stand):
        assert maintenance.reason() or standing() == before, (kind, step)
        transaction.recover(silent)
        as_it_was_but_for_halves(before)


def act_until_used(act: Callable[[], None]) -> None:
    """Make a change, and be gone when everything is in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "_use", lambda _: os._exit(KILLED))
        act()


@pytest.mark.usefixtures("untried")
def test_a_full_disk_changes_nothing(it: Host, act: Callable[[], None]) -> None:
    """Each access to a file is made to fail once: the error is reported, and no recovery is necessary."""
    before = standing()
    for step in steps(act, it.stand, fails):
        if transaction.interrupted():  # at the very last, when all was done
            transaction.recover(silent)
        if standing() == before:
            assert leftovers() == [], step
            assert maintenance.reason() == "", step


@pytest.mark.usefixtures("untried")
def test_a_disk_that_stays_full_keeps_maintenance_on_until_the_rollback_succeeds(
    it: Host, act: Callable[[], None]
) -> None:
    """As soon as there is room again, the next run puts back what was kept."""
    before = standing()
    closed = 0
    for step in steps(act, it.stand, functools.partial(fails, lasting=True)):
        if transaction.interrupted():
            assert standing() == before or maintenance.reason(), step
            closed += bool(maintenance.reason())
            transaction.recover(silent)
            as_it_was_but_for_halves(before)
        else:
            assert maintenance.reason() == "", step
    assert closed


def failed(act: Callable[[], None]) -> str:
    """Make a change that fails, and return the message."""
    before = standing()
    with pytest.raises(HostError) as caught:
        act()
    as_it_was(before)
    return str(caught.value)


WORDS = {
    "upgrade": f"the upgrade from Baïkal {OLD} to {VERSION}",
    "import": "the import of ",
    "move": "the move from the database {sqlite} to the database elsewhere elsewhere",
}


def test_new_data_that_does_not_work_is_not_put_in_place(act: Callable[[], None], kind: str) -> None:
    """It was tested, and PHP's own message is reported."""
    for version in (OLD, VERSION):
        page = Path(paths.CODE) / version / "html/dav.php"
        page.write_text("<?php throw new Error('out of luck');", encoding="utf-8")
    messages = failed(act)
    assert messages.startswith(WORDS[kind].format(sqlite=paths.SQLITE))
    assert " failed and was rolled back: Baïkal 0.1" in messages
    assert "out of luck" in messages


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (HostError("out of luck; wait"), " failed and was rolled back: out of luck; wait"),
        (sqlite3.OperationalError("disk I/O"), " failed and was rolled back: disk I/O; fix this, and run this again"),
        (
            OSError(28, "No space left"),
            " failed and was rolled back: [Errno 28] No space left; free disk space in DATA, and run this again",
        ),
    ],
)
def test_an_error_after_the_switch_rolls_back(it: Host, error: Exception, messages: str) -> None:
    """It was in place already, and changed."""

    def finish() -> None:
        apply()
        raise error

    expected = f"the upgrade from Baïkal {OLD} to {VERSION}{messages}".replace("DATA", paths.DATA)
    assert failed(lambda: it.upgrade(finish)) == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ZeroDivisionError()])
def test_any_exception_rolls_back(it: Host, error: BaseException) -> None:
    """Ctrl-C, a signal or a bug: the exception is raised again after the rollback."""
    before = standing()

    def finish() -> None:
        apply()
        raise error

    with pytest.raises(type(error)):
        it.upgrade(finish)
    as_it_was(before)


def test_a_closed_terminal_does_not_stop_the_rollback(it: Host) -> None:
    """The connection through which it was begun is gone, and so is where to say things."""
    before = standing()

    def say(_: str) -> None:
        raise BrokenPipeError

    def finish() -> None:
        raise HostError("out of luck")

    change = transaction.Change(
        what="a change",
        label="change",
        version=OLD,
        target=transaction.declared_database(),
        prepare=lambda: _copied(it),
        finish=finish,
    )
    with pytest.raises(HostError, match="a change failed and was rolled back: out of luck"):
        transaction.carry_out(change, say)
    as_it_was(before)


def _copied(it: Host) -> config.Configuration:
    upgrade_command.copy_here(transaction.declared_database())
    return config.understood(it.template.yaml)


def test_a_rollback_removes_files_that_came_with_the_new_data(it: Host) -> None:
    """On a host without data: the memory of passwords that were set is of data that is no more."""
    empty()
    before = standing()

    def prepare() -> config.Configuration:
        shutil.copy(it.template.database, Path(paths.INCOMING) / staging.SQLITE)
        return config.understood(it.template.yaml)

    def finish() -> None:
        apply()
        raise HostError("out of luck")

    target = transaction.declared_database()
    change = transaction.Change(
        what="a change", label="change", version=VERSION, target=target, prepare=prepare, finish=finish
    )
    with pytest.raises(HostError, match="out of luck"):
        transaction.carry_out(change, silent)
    Path(paths.INSTALL_DISABLED).unlink()  # no harm, and closed is what it is to be
    as_it_was(before)


SYSTEMCTL = """\
#!/bin/sh
echo $* >> {asked}
case $2 in
    is-active) test ! -e {asked}.stopped ;;
    kill) touch {asked}.stopped ;;
    start) rm {asked}.stopped ;;
esac
"""
"""PHP that ends when it is asked to."""


@pytest.fixture
def machine(host: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have the host be a machine with systemd, on which a server is declared; return its port."""
    assert Path(paths.BOOTED).is_relative_to(host)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    Path(paths.BOOTED).mkdir(parents=True)
    served = dataclasses.replace(declared(tls="off", http_port=port), services=("php8.2-fpm",))
    Path(paths.DECLARED).write_text(served.to_json(), encoding="utf-8")
    monkeypatch.setenv("BAIKAL_PATH_CONFIG", f"{paths.CONFIG}/")
    monkeypatch.setenv("BAIKAL_PATH_SPECIFIC", f"{paths.SPECIFIC}/")
    return port


@pytest.fixture
def serving(it: Host, machine: int) -> Iterator[int]:
    """Have the newer release serve there; return the port."""
    assert it.template.yaml.is_file()
    environment = {**php_cli.environment(paths.DATA), "TMPDIR": paths.SPECIFIC}
    command = [php_cli.program(), "-S", f"127.0.0.1:{machine}", "-t", f"{paths.CODE}/{VERSION}/html"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", machine)):
                break
        yield machine
        server.kill()


@pytest.mark.usefixtures("machine")
def test_new_data_without_an_answer_is_rolled_back(it: Host) -> None:
    """Everything is in place, but no server answers."""
    assert "can't be reached" in failed(it.upgrade)


@pytest.mark.usefixtures("serving")
def test_new_data_is_tested_before_clients_use_it(it: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a temporary account, while other clients get status 503."""
    closed = Path(paths.DATA) / "closed"
    real = transaction._visit

    def visit(served: DesiredState, target: Database, token: str) -> None:
        closed.write_text(maintenance.reason(), encoding="utf-8")
        real(served, target, token)

    monkeypatch.setattr(transaction, "_visit", visit)
    it.upgrade()
    assert closed.read_text(encoding="utf-8") == f"the upgrade from Baïkal {OLD} to {VERSION}"
    closed.unlink()
    arrived("upgrade")


@pytest.mark.usefixtures("serving")
def test_new_data_with_wrong_answers_is_rolled_back(it: Host) -> None:
    """What a client stores isn't what it gets back."""
    page = Path(paths.CODE) / VERSION / "html/dav.php"
    whole = page.read_text(encoding="utf-8")

    def finish() -> None:
        page.write_text(whole.replace("case 'GET':", "case 'GET': echo 'x';"), encoding="utf-8")

    assert "check.ics returns another text than was stored" in failed(lambda: it.upgrade(finish))


def test_a_failed_rollback_keeps_maintenance_on_and_names_the_kept_data(it: Host) -> None:
    """Until the operator has fixed the cause; then the command in the message rolls back."""
    before = standing()
    assert dies(functools.partial(act_until_used, it.upgrade), 10**6)
    journal = json.loads(Path(paths.JOURNAL).read_text(encoding="utf-8"))
    directory = Path(paths.SQLITE).parent
    directory.rename(directory.with_name("away"))
    directory.touch()
    messages: list[str] = []
    for _ in range(2):
        with pytest.raises(
            HostError,
            match=r"the upgrade from .* can't be rolled back \(.*\); the previous data is in .*, and run baikalctl",
        ) as caught:
            transaction.recover(messages.append)
        assert journal["kept"] in str(caught.value)
        assert transaction.interrupted() == maintenance.reason() == f"the upgrade from Baïkal {OLD} to {VERSION}"
        assert messages == []
    directory.unlink()
    directory.with_name("away").rename(directory)
    assert main(["recover"]) == 0
    as_it_was(before)


@pytest.mark.usefixtures("it")
def test_a_failed_rollback_reports_both_errors() -> None:
    """What was there is kept."""
    messages: list[str] = []

    def finish() -> None:
        shutil.rmtree(Path(paths.SQLITE).parent)
        raise HostError("out of luck")

    configuration = config.read()
    with pytest.raises(HostError, match=r"can't be rolled back .* the previous data is in "):
        upgrade_command.upgrade(configuration, configuration["database"], VERSION, messages.append, finish)
    assert messages[-1].endswith(" failed (out of luck); rolling back")
    (kept,) = Path(paths.BACKUPS).iterdir()
    assert names(str(kept / staging.SQLITE)) == OURS


def test_recover_without_a_journal_ends_maintenance(it: Host) -> None:
    """The power failed between removing the journal and ending maintenance; otherwise nothing is done."""
    before = standing()
    messages: list[str] = []
    transaction.recover(messages.append)
    maintenance.on("the upgrade")
    transaction.recover(messages.append, booting=True)
    as_it_was(before)
    assert messages == []
    assert it.template.database.is_file()


@pytest.mark.usefixtures("machine")
def test_recover_at_boot_starts_no_service(it: Host, host: Path) -> None:
    """It comes by itself, and is not waited for."""
    before = standing()
    asked = host / "asked"
    (host / "programs/systemctl").write_text(SYSTEMCTL.format(asked=asked), encoding="ascii")
    assert dies(functools.partial(act_until_used, it.upgrade), 10**6)
    verbs = [line.split()[1] for line in asked.read_text(encoding="ascii").splitlines()]
    assert verbs == [*("is-active", "kill", "is-active", "stop"), *("is-enabled", "is-active", "reset-failed", "start")]
    asked.unlink()
    transaction.recover(silent, booting=True)
    assert standing() == before
    assert maintenance.reason(), "it opens when PHP answers"
    transaction.recover(silent, booting=True)
    as_it_was(before)
    assert not asked.exists()


def test_old_kept_data_is_removed(it: Host) -> None:
    """The three newest stay, and all other files in that directory."""
    other = Path(paths.BACKUPS) / "before-removal-20260101T000000Z.sqlite"
    for _ in range(5):
        it.import_()
        other.touch()
    assert len(list(Path(paths.BACKUPS).iterdir())) == 4
    assert other.is_file()


def test_a_row_that_differs_rolls_back_the_move(it: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one is compared; and the next attempt isn't refused for what the first has left there."""
    real = Elsewhere.load

    def load(self: Elsewhere, source: Path, version: str, *, exactly: bool = False) -> None:
        real(self, source, version, exactly=exactly)
        execute("UPDATE calendarobjects SET etag = 'x' WHERE id = 2", str(self.file.path))

    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "load", load)
        messages = failed(it.move)
    assert messages.endswith(
        "failed and was rolled back: the copy differs from the original: calendarobjects, id 2 (1.ics) has another etag"
    )
    it.move()
    arrived("move")


def test_a_move_to_a_database_with_data_is_refused(it: Host) -> None:
    """No data is replaced by mistake, and data that is already there, or that doesn't exist, isn't moved."""
    it.move()
    messages: list[str] = []
    move_database.move(declared(**SERVER), messages.append)
    assert messages == ["the data is already in the database elsewhere elsewhere"]
    whole = (Path(paths.DATA) / "elsewhere/elsewhere.sqlite").read_bytes()
    shutil.copy(it.template.yaml, paths.BAIKAL_YAML)
    with pytest.raises(
        HostError, match=r"elsewhere already contains data \(3 accounts, .*\); empty it, or set another"
    ):
        it.move()
    assert (Path(paths.DATA) / "elsewhere/elsewhere.sqlite").read_bytes() == whole
    Path(paths.BAIKAL_YAML).unlink()
    with pytest.raises(HostError, match="this host has no data yet, so there is nothing to move"):
        it.move()


def test_changes_to_rows_of_a_server_are_rolled_back(it: Host) -> None:
    """Its rows were unchanged, so none was loaded; then settings were applied to them."""
    it.move()
    file = Path(paths.DATA) / "elsewhere/elsewhere.sqlite"
    before = names(str(file))
    configured = config.read()

    def finish() -> None:
        execute("DELETE FROM users", str(file))
        raise HostError("out of luck")

    with pytest.raises(HostError, match="out of luck"):
        upgrade_command.upgrade(configured, configured["database"], VERSION, silent, finish)
    assert names(str(file)) == before
    assert config.read() == configured
    assert (Elsewhere(configured["database"]).version(), release.current()) == (OLD, OLD)
    assert leftovers() == []


def test_an_image_without_the_old_release_restores_its_rows(it: Host) -> None:
    """As of an upgrade whose container failed or was killed: only the new release is in the image that takes it back."""
    it.move()
    configured = config.read()
    shutil.rmtree(f"{paths.CODE}/{OLD}")
    release.activate(VERSION)

    def finish() -> None:
        raise HostError("out of luck")

    with pytest.raises(HostError, match="out of luck"):
        upgrade_command.upgrade(configured, configured["database"], VERSION, silent, finish)
    assert config.read() == configured
    assert (Elsewhere(configured["database"]).version(), release.current()) == (OLD, VERSION)


def test_a_move_back_to_sqlite_succeeds(it: Host) -> None:
    """From elsewhere to this host."""
    it.move()
    settings = {"database": "sqlite"}
    move_database.move(declared(**settings), silent)
    assert not elsewhere()
    assert names(paths.SQLITE) == sorted([*OURS, "declared"])
    assert leftovers() == []
