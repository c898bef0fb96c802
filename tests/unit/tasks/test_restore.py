"""restore.py chooses the archive: a compromised host can't influence the choice."""

from __future__ import annotations

import json
import logging
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pyinfra.api.exceptions import DeployError

from baikalctl.backup import archive, catalog, extract
from tasks.fetch_archives import local_folder
from tasks.restore import choose_archive, result_shown
from tests.unit.archives import content, member, repacked

if TYPE_CHECKING:
    from pathlib import Path

    from pyinfra.api.host import Host
    from pyinfra.api.operation import OperationMeta

HOST = "cal.example.org"
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@pytest.fixture
def sound(host: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return the bytes of a good archive, in a directory without other archives."""
    folder = host / "content"
    folder.mkdir()
    path = archive.write(folder, content(folder, empty_database)).path
    monkeypatch.chdir(host)
    local_folder(HOST).mkdir(parents=True)
    return path.read_bytes()


def put(text: bytes, *, created_ago_s: float, arrived_ago_s: float, name: str = "") -> Path:
    """Write a downloaded archive with a creation time in its name, and a time of arrival."""
    now = time.time()
    path = local_folder(HOST) / (name or catalog.name(now - created_ago_s, ""))
    path.write_bytes(text)
    os.utime(path, (now - arrived_ago_s,) * 2)
    return path


def choice(**data: str) -> str:
    """Return the archive that is chosen for the host."""
    inventory = SimpleNamespace(get_active_hosts=list)
    host: Any = SimpleNamespace(name=HOST, data=data, state=SimpleNamespace(inventory=inventory))
    return choose_archive(cast("Host", host))


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["baikalctl: verify it", "baikalctl: restored: 2 accounts, 3 events"], "restored: 2 accounts, 3 events"),
        (["baikalctl: restored: \x1b[2J"], "restored: \\u001b[2J"),
        ([], "restored"),
    ],
)
def test_operator_sees_how_much_was_restored(caplog: pytest.LogCaptureFixture, lines: list[str], shown: str) -> None:
    """A line for each host; what a host prints can't control the terminal."""
    done = cast("OperationMeta", SimpleNamespace(stdout_lines=lines))
    (command,) = result_shown._inner(restored=done)
    with caplog.at_level(logging.INFO, "pyinfra"):
        assert command.function(None, SimpleNamespace(print_prefix=f"[{HOST}] "))
    assert caplog.messages == [f"[{HOST}] {shown}"]


def test_newest_archive_is_chosen(sound: bytes) -> None:
    """By the time in its name, also if the files were copied from another machine and have new dates."""
    put(sound, created_ago_s=3 * DAY_S, arrived_ago_s=0)
    newest = put(sound, created_ago_s=DAY_S, arrived_ago_s=0)
    put(sound, created_ago_s=2 * DAY_S, arrived_ago_s=0)
    assert choice() == str(newest)


@pytest.mark.parametrize("name", ["baikal-99991231T235959Z.tar.gz", "baikal-20991231T235959Z-x.tar.gz"])
def test_date_in_the_future_is_not_chosen(sound: bytes, name: str) -> None:
    """Such a file may have been downloaded by a version that didn't check names."""
    good = put(sound, created_ago_s=DAY_S, arrived_ago_s=DAY_S)
    put(sound, created_ago_s=0, arrived_ago_s=HOUR_S, name=name)
    assert choice() == str(good)


def test_archive_is_not_newer_than_its_arrival(sound: bytes) -> None:
    """If the clock of a host was ahead by hours, an archive from before the repair isn't preferred to later ones."""
    put(sound, created_ago_s=-20 * HOUR_S, arrived_ago_s=2 * HOUR_S)
    repaired = put(sound, created_ago_s=HOUR_S, arrived_ago_s=HOUR_S)
    assert choice() == str(repaired)


@pytest.mark.parametrize(
    "name", ["baikal-zzz.tar.gz", "baikal-20991125T031500Z-Z.tar.gz", "baikal-２０９９1125T031500Z.tar.gz"]
)
def test_other_names_are_not_chosen(sound: bytes, name: str) -> None:
    """They sort after every archive."""
    good = put(sound, created_ago_s=DAY_S, arrived_ago_s=DAY_S)
    put(sound, created_ago_s=0, arrived_ago_s=0, name=name)
    assert choice() == str(good)


def test_links_and_directories_are_not_chosen(sound: bytes) -> None:
    """Downloads are regular files only."""
    good = put(sound, created_ago_s=DAY_S, arrived_ago_s=DAY_S)
    (local_folder(HOST) / catalog.name(time.time(), "link")).symlink_to(good)
    (local_folder(HOST) / catalog.name(time.time(), "folder")).mkdir()
    assert choice() == str(good)


def test_host_without_archives_is_an_error(sound: bytes) -> None:
    """With the folder and the remedy; a file with another name in the folder is ignored."""
    put(sound, created_ago_s=0, arrived_ago_s=0, name="baikal-99991231T235959Z.tar.gz")
    with pytest.raises(DeployError) as caught:
        choice()
    assert str(caught.value) == (
        f"{HOST}: backups/{HOST} has no archive of this host; set one with --data restore_from=PATH, or --data "
        "restore_from=latest for the newest archive on the host itself"
    )


def test_archive_of_any_name_is_chosen_if_it_is_set(sound: bytes, tmp_path: Path) -> None:
    """The operator decides."""
    put(sound, created_ago_s=0, arrived_ago_s=0)
    own = tmp_path / "before the move.tar.gz"
    own.write_bytes(sound)
    assert choice(restore_from=str(own)) == str(own)


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    "error", [ValueError("of no use"), OverflowError("too large"), PermissionError(13, "Permission denied")]
)
def test_manifest_that_cannot_be_read_is_a_clean_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """One line that names the host; nothing was changed."""

    def unreadable(_: Path) -> None:
        raise error

    put(b"", created_ago_s=0, arrived_ago_s=0)
    monkeypatch.setattr(extract, "read_manifest", unreadable)
    with pytest.raises(DeployError, match=rf"^{HOST}: .*({error.args[-1]}).*choose another archive"):
        choice()


@pytest.mark.usefixtures("sound")
def test_hostile_manifest_is_a_clean_error() -> None:
    """Its names reach the operator's terminal as text."""
    text = json.dumps({"archive": "baikal-deploy", "format": 1, "files": {"tls/\x1b[2J": {}}}).encode()
    path = put(b"", created_ago_s=0, arrived_ago_s=0)
    repacked(path, [member("manifest.json", text)])
    with pytest.raises(DeployError) as caught:
        choice()
    assert "can't be part of an archive" in str(caught.value)
    assert str(caught.value).isprintable()
