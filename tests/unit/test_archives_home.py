"""Archives that come home: whole and private, or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tasks import archives
from tasks.archives import PieceFact, bring_home

if TYPE_CHECKING:
    from pyinfra.api.host import Host

NAME = "baikal-20261125T031500Z.tar.gz"


class Answering:
    """A host that answers with what this machine's own shell says."""

    def __init__(self, name: str = "cal.example.org") -> None:
        """Answer every question, and change nothing on the way."""
        self.name, self.print_prefix = name, f"[{name}] "
        self.asked: list[int] = []
        self.lost_after = 99
        self.wrong = False

    def get_fact(self, fact: type[PieceFact], path: str, number: int, **_: object) -> bytes:
        """Run the fact's own command, and have it read what that says."""
        self.asked.append(number)
        if len(self.asked) > self.lost_after:
            return fact.default()
        command = ["/bin/sh", "-c", fact().command(path=path, number=number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        piece = fact().process(done.stdout.splitlines())
        return piece[:-1] + b"x" if self.wrong else piece


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have an archive of three pieces on the host; return what it has said of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(archives, "PIECE_MB", 1)
    place = tmp_path / "host's own" / NAME
    place.parent.mkdir()
    place.write_bytes(os.urandom((2 << 20) + 12345))
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    return {"path": str(place), "size": place.stat().st_size, "sha256": sha256, "counts": {}}


def home(host: Answering, said: dict[str, Any]) -> Path:
    """Bring the archive home."""
    return bring_home(cast("Host", host), said)


def test_it_arrives_whole_and_is_nobody_elses(said: dict[str, Any]) -> None:
    """Piece by piece, so that no archive is too large; once more is the same."""
    host = Answering()
    for _ in range(2):
        place = home(host, said)
        assert place == Path("backups/cal.example.org") / NAME
        assert place.read_bytes() == Path(said["path"]).read_bytes()
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (place.parent, place.parent.parent)] == [0o700] * 2
    assert host.asked == [0, 1, 2] * 2


def test_what_arrives_as_something_else_does_not_count(said: dict[str, Any]) -> None:
    """Lost on the way, changed on the way, or removed on the host: nothing is left of it here."""
    lost, changed = Answering(), Answering()
    lost.lost_after, changed.wrong = 1, True
    for host in (lost, changed):
        with pytest.raises(ValueError, match="bytes have arrived, and not as they were; run it again"):
            home(host, said)
    assert not list(Path("backups/cal.example.org").iterdir())


def test_one_that_came_home_before_stays_when_the_next_does_not(said: dict[str, Any]) -> None:
    """Nothing is ever replaced by half of something."""
    place = home(Answering(), said)
    before = place.read_bytes()
    lost = Answering()
    lost.lost_after = 2
    with pytest.raises(ValueError, match="run it again"):
        home(lost, said)
    assert place.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "folder"),
    [("@docker/ubuntu:24.04", "_docker_ubuntu_24.04"), ("../../etc", "__.._etc"), ("..", "_"), (".x", "_x")],
)
def test_a_hosts_name_leads_nowhere_else(said: dict[str, Any], name: str, folder: str) -> None:
    """Inventories call hosts whatever they like."""
    assert home(Answering(name), said).parent == Path("backups") / folder
