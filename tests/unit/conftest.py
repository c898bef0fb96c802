"""The directories of a host below a temporary root, so that tests can call the code of hosts without changes.

Also makes tests faster: temporary files are in memory, and expensive preparations are made once.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import grp
import os
import pwd
import shutil
import tempfile
import zoneinfo
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.changes import migration, staging, trial_run
from baikalctl.database import interface, sqlite, sqlite_file
from baikalctl.host import boundary_child
from baikalctl.mail import nullmailer
from tests.unit.samples import SCHEMA, VERSION, here

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """List the time zones of this machine only once (27 ms; hundreds of tests make settings), and use no proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        patch.setattr(zoneinfo, "available_timezones", functools.cache(zoneinfo.available_timezones))
        yield


@pytest.fixture(scope="session", autouse=True)
def _frozen_heap() -> None:
    """Exclude the collected tests and their modules from garbage collection.

    Tests fork thousands of times. A collection in a child writes to every object's header, so the kernel would copy
    the whole heap for each child.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """Return a directory in memory if the machine has /dev/shm, because disks are slower; removed at the end."""
    shared = "/dev/shm"  # noqa: S108 - only the parent; the directory in it has a random name
    folder = Path(tempfile.mkdtemp(prefix="baikal-unit-", dir=shared if os.access(shared, os.W_OK) else None))
    yield folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    """Return a temporary directory, as pytest's own, but in memory."""
    return Path(tempfile.mkdtemp(dir=memory))


@pytest.fixture
def me() -> dict[str, str]:
    """Return the account that runs the tests as the ``owner`` and ``group`` of files."""
    return {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch, me: dict[str, str]) -> None:
    """Have the data belong to the account that runs the tests, unless a test says otherwise.

    Also restore ``boundary_child.inside``, which a test may change.
    """
    monkeypatch.setattr(paths, "USER", me["owner"])
    monkeypatch.setattr(boundary_child, "inside", False)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every path of a host below a temporary root, whose owner owns the data too; return that root."""
    for name, value in vars(paths).items():
        if name.isupper() and isinstance(value, str) and value.startswith("/"):
            monkeypatch.setattr(paths, name, f"{tmp_path}{value}")
    private = (
        paths.CONFIG,
        f"{paths.SPECIFIC}/db",
        paths.SESSIONS,
        paths.TLS,
        paths.ISSUED,
        paths.ACME,
        paths.STAMPS,
        paths.STATE,
        paths.SPECIFIC,
        paths.KEPT,
    )
    for folder in (
        *private,
        paths.CHALLENGES,
        paths.CODE,
        paths.LIBRARY,
        str(Path(paths.DECLARED).parent),
        str(Path(paths.COMMAND).parent),
    ):
        Path(folder).mkdir(mode=0o700 if folder in private else 0o755, parents=True, exist_ok=True)
        Path(folder).chmod(0o700 if folder in private else 0o755)
    # No service runs on the host. The web server of this machine must not be asked.
    systemctl = tmp_path / "programs/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text("#!/bin/sh\necho inactive\nexit 3\n", encoding="ascii")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def release_standing(host: Path) -> Path:
    """Write the files of an installed release that ``baikalctl`` reads; return its directory."""
    folder = host / paths.CODE[len(str(host)) + 1 :] / VERSION
    schema = folder / "Core/Resources/Db/SQLite/db.sql"
    schema.parent.mkdir(parents=True)
    schema.write_bytes(SCHEMA.read_bytes())
    return folder


@pytest.fixture(scope="session")
def empty_database(memory: Path) -> bytes:
    """Return an empty database of Baïkal's, made once."""
    database = memory / "empty.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interface, "schema", lambda *_: SCHEMA.read_text(encoding="utf-8"))
        sqlite.Sqlite(database).create(VERSION)
    return database.read_bytes()


@pytest.fixture
def connection(host: Path, empty_database: bytes) -> Iterator[sqlite_file.Connection]:
    """Have an empty database of Baïkal's on the ``host``; return a connection to it."""
    assert host.is_dir()
    Path(paths.SQLITE).touch(mode=0o600)
    Path(paths.SQLITE).write_bytes(empty_database)
    with contextlib.closing(here().connect()) as opened:
        yield opened


@pytest.fixture
def spool(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty queue of nullmailer on the host, and a journalctl that prints its log; return its folder."""
    folder = host / "var/spool/nullmailer"
    for name, path in (("SPOOL", folder), ("QUEUE", folder / "queue"), ("FAILED", folder / "failed")):
        path.mkdir(parents=True)
        monkeypatch.setattr(nullmailer, name, path)
    monkeypatch.setattr(nullmailer, "TRIGGER", folder / "trigger")
    monkeypatch.setattr(nullmailer, "ACCOUNT", paths.USER)
    journal = host / "programs/journalctl"
    journal.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "--unit nullmailer" ] && cat {folder.parent}/journal\n', encoding="utf-8"
    )
    journal.chmod(0o755)
    return folder


@pytest.fixture
def container(spool: Path, host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the host be a container; return where nullmailer's log is."""
    assert spool.is_dir()
    Path(paths.SERVICES).mkdir(parents=True)
    folder = host / "run-mail"
    folder.mkdir()
    monkeypatch.setattr(nullmailer, "LOG", folder / "current")
    return folder


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the trial run and the call of PHP, because hundreds of runs would take long. Other tests have both."""

    def upgrade(version: str) -> str:
        file = Path(paths.INCOMING) / staging.YAML
        configuration = config.understood(file)
        configuration["system"]["configured_version"] = version
        config.write(configuration, file)
        return migration.UPGRADED

    monkeypatch.setattr(trial_run, "try_out", lambda *_: None)
    monkeypatch.setattr(migration, "_upgrade", upgrade)
