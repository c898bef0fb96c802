"""Work that several machines share: one does it, however they meet."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.backup import lease
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError


class Shared(Sqlite):
    """A file that passes for a server's database."""

    backend = "pgsql"


@pytest.fixture
def shared(host: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a database on the host that others have too."""
    assert host.is_dir()
    path = Path(paths.SQLITE)
    path.write_bytes(empty_database)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE baikalctl_state (name VARCHAR(190) PRIMARY KEY, value TEXT)")
        connection.commit()
    monkeypatch.setattr(lease, "LOOK_S", 0.005)
    return path


def rows(path: Path) -> list[str]:
    """Return what is written down."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM baikalctl_state ORDER BY name")]


def test_with_sqlite_this_machine_always_does_the_job(host: Path, empty_database: bytes) -> None:
    """There is no table for leases, and no other machine."""
    assert host.is_dir()
    Path(paths.SQLITE).write_bytes(empty_database)
    for _ in range(2):
        with lease.once(Sqlite(Path(paths.SQLITE)), "backup", "1") as job:
            assert job.mine


def test_only_one_of_many_machines_does_the_job(shared: Path) -> None:
    """All others wait until it has finished, and get the name of that machine."""
    done: list[bool] = []
    together = threading.Barrier(6)

    def run() -> None:
        together.wait()
        with lease.once(Shared(Path(paths.SQLITE)), "backup", "20261125T021500Z") as job:
            if job.mine:
                time.sleep(0.02)
            done.append(job.mine)
            assert job.by == ("" if job.mine else socket.gethostname())

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count(True) == 1
    assert len(done) == 6
    assert done[0] is True
    assert rows(shared) == ["job:backup:20261125T021500Z"]


def test_each_period_has_its_own_lease(shared: Path) -> None:
    """And what was written down of those before is gone."""
    for period in ("20261125T021500Z", "20261126T021500Z"):
        with lease.once(Shared(Path(paths.SQLITE)), "backup", period) as job:
            assert job.mine
    assert rows(shared) == ["job:backup:20261126T021500Z"]


def test_any_machine_can_repeat_a_failed_job(shared: Path) -> None:
    """The next machine does it."""
    with pytest.raises(RuntimeError), lease.once(Shared(Path(paths.SQLITE)), "backup", "1"):
        raise RuntimeError
    assert rows(shared) == []
    with lease.once(Shared(Path(paths.SQLITE)), "backup", "1") as job:
        assert job.mine


def test_another_machine_does_the_job_of_a_dead_one_after_an_hour(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not sooner, and by one alone; if it wasn't dead after all, it takes nothing back."""
    now = time.time()
    clock = [now]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    with lease.once(Shared(Path(paths.SQLITE)), "backup", "1") as first:
        assert first.mine
        asked = threading.Event()

        def pass_time(_: float) -> None:
            clock[0] += 1000
            asked.set()

        monkeypatch.setattr(time, "sleep", pass_time)
        with lease.once(Shared(Path(paths.SQLITE)), "backup", "1") as second:
            assert second.mine
        assert asked.is_set()
        assert clock[0] - now >= lease.LIFE_S
    assert rows(shared) == ["job:backup:1"]


def test_an_error_of_the_database_is_reported(shared: Path) -> None:
    """In a sentence that names it; our table may have been taken away."""
    with contextlib.closing(sqlite3.connect(shared)) as connection:
        connection.execute("DROP TABLE baikalctl_state")
    message = rf"^the database {shared}: no such table: baikalctl_state; fix this on the server, and run this again$"
    with pytest.raises(HostError, match=message), lease.once(Shared(Path(paths.SQLITE)), "backup", "1"):
        pytest.fail("it was begun")


def test_a_job_that_failed_with_its_database_reports_its_own_error(shared: Path) -> None:
    """Not that it can't be given back either."""

    def work() -> None:
        with contextlib.closing(sqlite3.connect(shared)) as connection:
            connection.execute("DROP TABLE baikalctl_state")
        message = "the work"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="the work"), lease.once(Shared(Path(paths.SQLITE)), "backup", "1"):
        work()
