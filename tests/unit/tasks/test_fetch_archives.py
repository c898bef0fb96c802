"""Archives that come home: whole and private, or not at all, whatever the host says of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from baikalctl.backup import catalog as names
from tasks import fetch_archives
from tasks.fetch_archives import PieceFact, announced, bring_home, bring_or_complain

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta

HOST = "cal.example.org"
DAY_S = 24 * 3600
SHA256 = "0" * 64
COUNTS = {"users": 2, "calendars": 3, "calendarobjects": 1812, "addressbooks": 2, "cards": 1}


def name(age_s: float = 0, label: str = "") -> str:
    """Return what an archive of that age is called."""
    return names.name(time.time() - age_s, label)


class Answering:
    """A host that answers with what this machine's own shell says."""

    def __init__(self, name: str = HOST) -> None:
        """Answer every question, and change nothing on the way."""
        self.name, self.print_prefix = name, f"[{name}] "
        self.asked: list[int] = []
        self.lost_after = 99
        self.wrong = False
        self.more = b""

    def get_fact(self, fact: type[PieceFact], path: str, number: int, **_: object) -> bytes:
        """Run the fact's own command, and have it read what that says."""
        self.asked.append(number)
        if len(self.asked) > self.lost_after:
            return fact.default()
        command = ["/bin/sh", "-c", fact().command(path=path, number=number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        piece = fact().process(done.stdout.splitlines())
        return piece[:-1] + b"x" if self.wrong else piece + self.more


class Said:
    """What a host's command has printed."""

    def __init__(self, *lines: str) -> None:
        """Keep the lines."""
        self.stdout_lines = list(lines)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have an archive of three pieces on the host; return what it has said of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch_archives, "PIECE_MB", 1)
    place = tmp_path / "host's own" / name()
    place.parent.mkdir()
    place.write_bytes(os.urandom((2 << 20) + 12345))
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    return {"path": str(place), "size": place.stat().st_size, "sha256": sha256, "counts": COUNTS}


def home(host: Answering, said: dict[str, Any]) -> Path:
    """Bring the archive home."""
    return bring_home(cast("Host", host), announced(json.dumps(said)))


def complaint(caplog: pytest.LogCaptureFixture, *lines: str) -> str:
    """Return what the operator reads where a host has printed ``lines`` that can't be used; nothing was asked of it."""
    host = Answering()
    with caplog.at_level(logging.INFO, "pyinfra"):
        assert not bring_or_complain(cast("Host", host), cast("OperationMeta", Said(*lines)))
    assert host.asked == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    return caplog.records[0].getMessage()


def present() -> list[str]:
    """Return the names of all files that have come home."""
    return sorted(path.name for path in Path("backups").rglob("*") if path.is_file())


def test_it_arrives_whole_and_is_nobody_elses(said: dict[str, Any]) -> None:
    """Piece by piece, so that no archive is too large."""
    host = Answering()
    place = home(host, said)
    assert place == Path("backups") / HOST / Path(said["path"]).name
    assert place.read_bytes() == Path(said["path"]).read_bytes()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (place.parent, place.parent.parent)] == [0o700] * 2
    assert host.asked == [0, 1, 2]
    assert present() == [place.name]


def test_operator_sees_how_much_was_saved(said: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A line for each host, with accounts, events and contacts, and the archive."""
    with caplog.at_level(logging.INFO, "pyinfra"):
        assert bring_or_complain(cast("Host", Answering()), cast("OperationMeta", Said("", json.dumps(said))))
    path = Path("backups") / HOST / Path(said["path"]).name
    assert caplog.messages == [f"[{HOST}] 2 accounts, 1,812 events and 1 contact saved in {path}"]


@pytest.mark.parametrize("counts", [None, [], {"users": -1}, {"users": "\x1b[2J"}, {"users": True}, {"cards": 1 << 63}])
def test_counts_that_are_no_numbers_are_refused(
    said: dict[str, Any], caplog: pytest.LogCaptureFixture, counts: object
) -> None:
    """A compromised host may print anything."""
    line = complaint(caplog, json.dumps(said | {"counts": counts}))
    assert "didn't describe how many accounts, events and contacts it has; check that host" in line


def test_archive_that_is_at_home_already_is_not_transferred_again(said: dict[str, Any]) -> None:
    """The same name with the same content is no error."""
    place, host = home(Answering(), said), Answering()
    before = place.stat()
    assert home(host, said) == place
    assert host.asked == []
    assert (place.stat().st_ino, place.stat().st_mtime) == (before.st_ino, before.st_mtime)


def test_what_arrives_as_something_else_does_not_count(said: dict[str, Any]) -> None:
    """Lost on the way, changed on the way, or removed on the host: nothing is left of it here."""
    lost, changed = Answering(), Answering()
    lost.lost_after, changed.wrong = 1, True
    for host in (lost, changed):
        with pytest.raises(ValueError, match="bytes have arrived, and not as they were; run it again"):
            home(host, said)
    assert present() == []


def test_archive_with_other_content_never_replaces_one(said: dict[str, Any]) -> None:
    """A compromised host can't replace what was saved before it was compromised."""
    place = home(Answering(), said)
    before = place.read_bytes()
    Path(said["path"]).write_bytes(b"poison")
    changed = said | {"size": 6, "sha256": hashlib.sha256(b"poison").hexdigest()}
    with pytest.raises(ValueError, match=r"is here already, with other content, and was kept.*run backup\.py again"):
        home(Answering(), changed)
    assert place.read_bytes() == before
    assert present() == [place.name]


def test_archive_that_appears_during_the_transfer_is_kept(said: dict[str, Any]) -> None:
    """The file gets its name only if there is none of that name."""
    host = Answering()
    place = fetch_archives.folder_of(HOST) / Path(said["path"]).name

    def other(fact: type[PieceFact], path: str, number: int, **_: object) -> bytes:
        place.write_bytes(b"other")
        return Answering.get_fact(host, fact, path, number)

    host.get_fact = other  # type: ignore[method-assign]
    with pytest.raises(OSError, match="File exists"):
        home(host, said)
    assert place.read_bytes() == b"other"
    assert present() == [place.name]


@pytest.mark.parametrize(
    "path",
    [
        "/var/backups/baikal/archive.tar.gz",
        "/var/backups/baikal/",
        "/var/backups/baikal/baikal-20261325T031500Z.tar.gz",
        "/var/backups/baikal/baikal-20261125T031500Z-.tar.gz",
        "/var/backups/baikal/baikal-20261125T031500Z.tar.gz\n",
        "/var/backups/baikal/baikal-２０２６1125T031500Z.tar.gz",
        "/var/backups/baikal/.ssh",
        "",
    ],
)
def test_name_that_is_no_archive_name_is_refused(caplog: pytest.LogCaptureFixture, path: str) -> None:
    """Nothing but baikal-TIME[-LABEL].tar.gz is written on the operator's machine."""
    line = complaint(caplog, json.dumps({"path": path, "size": 4, "sha256": SHA256}))
    assert f"[{HOST}] " in line
    assert "which is no name of an archive" in line
    assert "check that host" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    "stamp",
    ["99991231T235959Z", "20250101T000000Z", name(-2 * DAY_S)[7:23], name(2 * DAY_S)[7:23]],
    ids=["far", "last year", "in two days", "two days ago"],  # the same in each process of the tests
)
def test_creation_time_that_is_not_today_is_refused(caplog: pytest.LogCaptureFixture, stamp: str) -> None:
    """A date in the future would be what restore.py takes from then on; one in the past, a place in the history."""
    path = f"/var/backups/baikal/baikal-{stamp}.tar.gz"
    line = complaint(caplog, json.dumps({"path": path, "size": 4, "sha256": SHA256}))
    assert f"[{HOST}] " in line
    assert f"baikal-{stamp}.tar.gz" in line
    assert "compare the clocks of both machines" in line


@pytest.mark.parametrize(
    "answer",
    [
        '{"size": "4"}',
        '{"path": "/x", "size": "4", "sha256": ""}',
        "[]",
        "[1, 2]",
        "null",
        "4",
        '"text"',
        "",
        "no JSON",
        "{",
        "[" * 100_000,
        "9" * 10_000,
        json.dumps({"path": 4, "size": 4, "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": 4}),
        json.dumps({"path": f"/{name()}", "size": float("nan"), "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": float("inf"), "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": 4.5, "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": True, "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": -4, "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": [], "sha256": SHA256}),
        json.dumps({"path": f"/{name()}", "size": 4, "sha256": 5}),
        json.dumps({"path": f"/{name()}", "size": 4, "sha256": "x" * 64}),
    ],
    ids=range(23),  # what is in them differs from process to process
)
def test_answer_of_another_shape_is_one_red_line(caplog: pytest.LogCaptureFixture, answer: str) -> None:
    """It names the host and the remedy; pyinfra would print a traceback."""
    line = complaint(caplog, "a line before it", answer)
    assert f"[{HOST}] the archive can't be brought home: " in line
    assert "check that host: baikalctl backup --json" in line


def test_host_that_printed_nothing_is_one_red_line(caplog: pytest.LogCaptureFixture) -> None:
    """Its command may have been replaced by one that is silent."""
    assert "check that host: baikalctl backup --json" in complaint(caplog)


def test_first_archive_of_a_host_is_limited(said: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host can't fill the operator's disk; the message says how a large archive is taken over by hand."""
    monkeypatch.setattr(fetch_archives, "LEAST_LIMIT_BYTES", 2 << 20)
    host = Answering()
    with pytest.raises(
        ValueError, match=r"is larger than 2 MiB, the limit .*copy it there yourself, once: scp "
    ) as told:
        home(host, said)
    assert f"backups/{HOST}/" in str(told.value)
    assert host.asked == []
    assert present() == []


def test_limit_grows_with_the_newest_archive(said: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the newest, which the operator may have copied there."""
    monkeypatch.setattr(fetch_archives, "LEAST_LIMIT_BYTES", 1 << 20)
    folder = fetch_archives.folder_of(HOST)
    folder.mkdir(parents=True)
    (folder / name(DAY_S)).write_bytes(bytes(1 << 19))
    (folder / name(3 * DAY_S)).write_bytes(bytes(1 << 20))
    with pytest.raises(ValueError, match="is larger than 2 MiB"):
        home(Answering(), said)
    (folder / name(3600)).write_bytes(bytes(1 << 20))
    assert home(Answering(), said).read_bytes() == Path(said["path"]).read_bytes()


def test_more_than_was_announced_is_not_kept(said: dict[str, Any]) -> None:
    """Also where a single answer is larger than what was asked for."""
    host = Answering()
    host.more = bytes(1 << 20)
    with pytest.raises(ValueError, match="not as they were; run it again"):
        home(host, said)
    assert present() == []
    host.more = bytes(said["size"])
    with pytest.raises(ValueError, match=f"^0 of {said['size']} bytes"):
        home(host, said)


def test_unexpected_error_is_one_red_line(
    said: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an answer leads to: this host is red, and pyinfra goes on with the others."""

    def broken(*_: object) -> Path:
        raise TypeError("no such thing")

    monkeypatch.setattr(fetch_archives, "bring_home", broken)
    assert "TypeError: no such thing; check that host" in complaint(caplog, json.dumps(said))


def test_one_that_came_home_before_stays_when_the_next_does_not(said: dict[str, Any]) -> None:
    """Half of an archive replaces nothing."""
    place = home(Answering(), said)
    before = place.read_bytes()
    lost = Answering()
    lost.lost_after = 2
    following = Path(said["path"]).with_name(name(label="next"))
    following.write_bytes(before)
    with pytest.raises(ValueError, match="run it again"):
        home(lost, said | {"path": str(following)})
    assert place.read_bytes() == before
    assert present() == [place.name]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("@docker/ubuntu:24.04", "_docker_ubuntu_24.04"), ("../../etc", "__.._etc"), ("..", "_"), (".x", "_x")],
)
def test_a_hosts_name_leads_nowhere_else(said: dict[str, Any], name: str, folder: str) -> None:
    """Inventories call hosts whatever they like."""
    assert home(Answering(name), said).parent == Path("backups") / folder
