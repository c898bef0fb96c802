"""Archives are downloaded complete and private, or not at all, even if the host describes them wrongly."""

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
from tasks.fetch_archives import PieceFact, announced, download, download_or_log

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta

HOST = "cal.example.org"
DAY_S = 24 * 3600
SHA256 = "0" * 64
COUNTS = {"users": 2, "calendars": 3, "calendarobjects": 1812, "addressbooks": 2, "cards": 1}


def name(age_s: float = 0, label: str = "") -> str:
    """Return the name of an archive of that age."""
    return names.name(time.time() - age_s, label)


class Answering:
    """A host whose commands run in this machine's own shell."""

    def __init__(self, name: str = HOST) -> None:
        """Answer each question with the unchanged output."""
        self.name, self.print_prefix = name, f"[{name}] "
        self.asked: list[int] = []
        self.lost_after = 99
        self.wrong = False
        self.more = b""

    def get_fact(self, fact: type[PieceFact], path: str, number: int, **_: object) -> bytes:
        """Run the fact's own command, and let the fact read the output."""
        self.asked.append(number)
        if len(self.asked) > self.lost_after:
            return fact.default()
        command = ["/bin/sh", "-c", fact().command(path=path, number=number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        piece = fact().process(done.stdout.splitlines())
        return piece[:-1] + b"x" if self.wrong else piece + self.more


class Output:
    """The output of a host's command."""

    def __init__(self, *lines: str) -> None:
        """Keep the lines."""
        self.stdout_lines = list(lines)


@pytest.fixture
def description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Create an archive of three pieces on the host; return the host's description of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch_archives, "PIECE_MB", 1)
    path = tmp_path / "host's own" / name()
    path.parent.mkdir()
    path.write_bytes(os.urandom((2 << 20) + 12345))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"path": str(path), "size": path.stat().st_size, "sha256": sha256, "counts": COUNTS}


def downloaded(host: Answering, description: dict[str, Any]) -> Path:
    """Download the archive."""
    return download(cast("Host", host), announced(json.dumps(description)))


def error_line(caplog: pytest.LogCaptureFixture, *lines: str) -> str:
    """Return the error for ``lines`` that a host has printed and that can't be used; the host was asked nothing."""
    host = Answering()
    with caplog.at_level(logging.INFO, "pyinfra"):
        assert not download_or_log(cast("Host", host), cast("OperationMeta", Output(*lines)))
    assert host.asked == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    return caplog.records[0].getMessage()


def local_files() -> list[str]:
    """Return the names of all files that were downloaded."""
    return sorted(path.name for path in Path("backups").rglob("*") if path.is_file())


def test_downloaded_archive_is_complete_and_private(description: dict[str, Any]) -> None:
    """Piece by piece, so that no archive is too large."""
    host = Answering()
    path = downloaded(host, description)
    assert path == Path("backups") / HOST / Path(description["path"]).name
    assert path.read_bytes() == Path(description["path"]).read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700] * 2
    assert host.asked == [0, 1, 2]
    assert local_files() == [path.name]


def test_operator_sees_how_much_was_saved(description: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A line for each host, with accounts, events and contacts, and the archive."""
    with caplog.at_level(logging.INFO, "pyinfra"):
        assert download_or_log(cast("Host", Answering()), cast("OperationMeta", Output("", json.dumps(description))))
    path = Path("backups") / HOST / Path(description["path"]).name
    assert caplog.messages == [f"[{HOST}] 2 accounts, 1,812 events and 1 contact saved in {path}"]


@pytest.mark.parametrize("counts", [None, [], {"users": -1}, {"users": "\x1b[2J"}, {"users": True}, {"cards": 1 << 63}])
def test_counts_that_are_no_numbers_are_refused(
    description: dict[str, Any], caplog: pytest.LogCaptureFixture, counts: object
) -> None:
    """A compromised host may print anything."""
    line = error_line(caplog, json.dumps(description | {"counts": counts}))
    assert "didn't describe how many accounts, events and contacts it has; check that host" in line


def test_archive_that_was_downloaded_before_is_not_transferred_again(description: dict[str, Any]) -> None:
    """The same name with the same content is no error."""
    path, host = downloaded(Answering(), description), Answering()
    before = path.stat()
    assert downloaded(host, description) == path
    assert host.asked == []
    assert (path.stat().st_ino, path.stat().st_mtime) == (before.st_ino, before.st_mtime)


def test_damaged_or_incomplete_archive_is_not_kept(description: dict[str, Any]) -> None:
    """Pieces are lost or changed during the transfer: no file is left on this machine."""
    lost, changed = Answering(), Answering()
    lost.lost_after, changed.wrong = 1, True
    for host in (lost, changed):
        with pytest.raises(ValueError, match=r"bytes have arrived, or their checksum is wrong; run backup\.py again"):
            downloaded(host, description)
    assert local_files() == []


def test_archive_with_other_content_never_replaces_one(description: dict[str, Any]) -> None:
    """A compromised host can't replace what was saved before it was compromised."""
    path = downloaded(Answering(), description)
    before = path.read_bytes()
    Path(description["path"]).write_bytes(b"poison")
    changed = description | {"size": 6, "sha256": hashlib.sha256(b"poison").hexdigest()}
    with pytest.raises(ValueError, match=r"exists already and has other content; it was kept; run backup\.py again"):
        downloaded(Answering(), changed)
    assert path.read_bytes() == before
    assert local_files() == [path.name]


def test_archive_that_appears_during_the_transfer_is_kept(description: dict[str, Any]) -> None:
    """The file gets its name only if no other file has it."""
    host = Answering()
    local = fetch_archives.local_folder(HOST) / Path(description["path"]).name

    def other(fact: type[PieceFact], path: str, number: int, **_: object) -> bytes:
        local.write_bytes(b"other")
        return Answering.get_fact(host, fact, path, number)

    host.get_fact = other  # type: ignore[method-assign]
    with pytest.raises(OSError, match="File exists"):
        downloaded(host, description)
    assert local.read_bytes() == b"other"
    assert local_files() == [local.name]


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
def test_name_that_is_not_an_archive_name_is_refused(caplog: pytest.LogCaptureFixture, path: str) -> None:
    """Nothing but baikal-TIME[-LABEL].tar.gz is written on the operator's machine."""
    line = error_line(caplog, json.dumps({"path": path, "size": 4, "sha256": SHA256}))
    assert f"[{HOST}] " in line
    assert "which is not the name of an archive" in line
    assert "check that host" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    "stamp",
    ["99991231T235959Z", "20250101T000000Z", name(-2 * DAY_S)[7:23], name(2 * DAY_S)[7:23]],
    ids=["far", "last year", "in two days", "two days ago"],  # the same in each process of the tests
)
def test_creation_time_that_is_not_today_is_refused(caplog: pytest.LogCaptureFixture, stamp: str) -> None:
    """restore.py would choose an archive with a date in the future each time; one in the past would falsify the history."""
    path = f"/var/backups/baikal/baikal-{stamp}.tar.gz"
    line = error_line(caplog, json.dumps({"path": path, "size": 4, "sha256": SHA256}))
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
def test_answer_in_another_form_is_one_error_line(caplog: pytest.LogCaptureFixture, answer: str) -> None:
    """It names the host and the remedy; pyinfra would print a traceback."""
    line = error_line(caplog, "a line before it", answer)
    assert f"[{HOST}] the archive can't be downloaded: " in line
    assert "check that host: baikalctl backup --json" in line


def test_host_that_printed_nothing_is_one_error_line(caplog: pytest.LogCaptureFixture) -> None:
    """A compromised host may have replaced its command."""
    assert "check that host: baikalctl backup --json" in error_line(caplog)


def test_first_archive_of_a_host_is_limited(description: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host can't fill the operator's disk; the message has the command that copies a large archive by hand."""
    monkeypatch.setattr(fetch_archives, "LEAST_LIMIT_BYTES", 2 << 20)
    host = Answering()
    with pytest.raises(
        ValueError, match=r"it has 2 MiB, and the limit is 2 MiB .*copy this archive once by hand: scp "
    ) as caught:
        downloaded(host, description)
    assert f"backups/{HOST}/" in str(caught.value)
    assert host.asked == []
    assert local_files() == []


def test_limit_grows_with_the_newest_archive(description: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the newest, which the operator may have copied there."""
    monkeypatch.setattr(fetch_archives, "LEAST_LIMIT_BYTES", 1 << 20)
    folder = fetch_archives.local_folder(HOST)
    folder.mkdir(parents=True)
    (folder / name(DAY_S)).write_bytes(bytes(1 << 19))
    (folder / name(3 * DAY_S)).write_bytes(bytes(1 << 20))
    with pytest.raises(ValueError, match="the limit is 2 MiB"):
        downloaded(Answering(), description)
    (folder / name(3600)).write_bytes(bytes(1 << 20))
    assert downloaded(Answering(), description).read_bytes() == Path(description["path"]).read_bytes()


def test_more_bytes_than_described_are_not_kept(description: dict[str, Any]) -> None:
    """Also if a single answer is larger than a piece."""
    host = Answering()
    host.more = bytes(1 << 20)
    with pytest.raises(ValueError, match=r"run backup\.py again"):
        downloaded(host, description)
    assert local_files() == []
    host.more = bytes(description["size"])
    with pytest.raises(ValueError, match=f"^0 of {description['size']} bytes"):
        downloaded(host, description)


def test_unexpected_error_is_one_error_line(
    description: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception marks this host as failed, and pyinfra continues with the others."""

    def broken(*_: object) -> Path:
        raise TypeError("no such thing")

    monkeypatch.setattr(fetch_archives, "download", broken)
    assert "TypeError: no such thing; check that host" in error_line(caplog, json.dumps(description))


def test_earlier_archive_is_kept_if_the_next_is_incomplete(description: dict[str, Any]) -> None:
    """An incomplete archive replaces no file."""
    path = downloaded(Answering(), description)
    before = path.read_bytes()
    lost = Answering()
    lost.lost_after = 2
    following = Path(description["path"]).with_name(name(label="next"))
    following.write_bytes(before)
    with pytest.raises(ValueError, match=r"run backup\.py again"):
        downloaded(lost, description | {"path": str(following)})
    assert path.read_bytes() == before
    assert local_files() == [path.name]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("@docker/ubuntu:24.04", "_docker_ubuntu_24.04"), ("../../etc", "__.._etc"), ("..", "_"), (".x", "_x")],
)
def test_name_of_a_host_stays_in_the_folder(description: dict[str, Any], name: str, folder: str) -> None:
    """An inventory may use any name for a host."""
    assert downloaded(Answering(name), description).parent == Path("backups") / folder
