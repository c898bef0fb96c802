"""The findings of the check about backups."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.backup import status as backup_status
from baikalctl.checks import backup
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from tests.unit.samples import declared

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState

NOW = 1795604400.0
"""Noon in Berlin; the next is due a quarter after three."""
HOUR, DAY = 3600, 86400


@pytest.fixture
def it(host: Path, monkeypatch: pytest.MonkeyPatch) -> DesiredState:
    """Return what is declared of a host on a certain day."""
    assert host.is_dir()
    monkeypatch.setattr(time, "time", lambda: NOW)
    return declared(timezone="Europe/Berlin")


def one(it: DesiredState) -> Finding:
    """Return the only finding."""
    (finding,) = backup.findings(it)
    return finding


def test_a_new_archive_is_ok(it: DesiredState) -> None:
    """With its age, its size, and when the next is due."""
    backup_status.remember(success=NOW - 9 * HOUR, size=5 << 20)
    assert one(it) == Finding("backup", OK, "the newest archive is 9 hours old, 5.0 MiB; the next is due in 15 hours")


def test_an_archive_of_another_machine_counts(it: DesiredState) -> None:
    """It is of the same data."""
    backup_status.remember(success=NOW - 9 * HOUR, by="cal2")
    assert "9 hours old, made by cal2, which uses the same database" in one(it).message


def test_a_new_machine_is_ok_until_its_first_archive_is_due(it: DesiredState) -> None:
    """From when its timer is there on, or the container's first start, or else from now."""
    assert one(it) == Finding("backup", OK, "no archive has been made yet; the next is due in 15 hours")
    timer = Path(paths.BACKUP_TIMER)
    timer.parent.mkdir(parents=True)
    timer.touch()
    os.utime(timer, (NOW - 1.6 * DAY, NOW - 1.6 * DAY))
    assert one(it).status == WARNING
    backup_status.remember(since=NOW - HOUR)
    assert one(it).status == OK


@pytest.mark.parametrize(
    ("hours", "status", "words"),
    [
        (30, OK, "the next is due"),
        (37, WARNING, "and the next is overdue"),
        (73, FAILED, "and no backup was attempted"),
    ],
)
def test_an_overdue_archive_is_reported(it: DesiredState, hours: int, status: str, words: str) -> None:
    """After one and a half periods it is a warning, after three a failure."""
    backup_status.remember(success=NOW - hours * HOUR)
    finding = one(it)
    assert (finding.status, words in finding.message) == (status, True)
    assert finding.remedy == ("" if status == OK else "run baikalctl backup; it prints what is wrong")


def test_periods_are_those_of_the_schedule(it: DesiredState) -> None:
    """With one each hour, two hours are too long."""
    hourly = dataclasses.replace(it, backup=dataclasses.replace(it.backup, schedule="hourly"))
    backup_status.remember(success=NOW - 2 * HOUR)
    assert one(hourly).status == WARNING
    assert one(it).status == OK


def test_a_failed_attempt_is_reported_with_its_reason(it: DesiredState) -> None:
    """As a warning while the newest archive is young; as a failure when it is old."""
    backup_status.remember(success=NOW - HOUR, error="the disk is full")
    assert (one(it).status, "the last attempt failed: the disk is full" in one(it).message) == (WARNING, True)
    backup_status.remember(success=NOW - 4 * DAY)
    assert (one(it).status, "the last attempt failed: the disk is full" in one(it).message) == (FAILED, True)


def test_a_running_backup_is_no_failure(it: DesiredState) -> None:
    """A check may run at any time."""
    backup_status.remember(success=NOW - DAY, error=backup_status.UNDER_WAY)
    assert one(it).status == OK


def test_an_archive_missing_in_restic_is_reported(it: DesiredState) -> None:
    """The archive is there all the same; without a repository there is nothing to say."""
    backup_status.remember(success=NOW, upload_error="the network is down")
    assert one(it).status == OK
    uploading = dataclasses.replace(it, backup=dataclasses.replace(it.backup, repository="sftp:a@b:/c"))
    _, finding = backup.findings(uploading)
    assert finding.status == WARNING
    assert f"only in {paths.BACKUPS}, not in the restic repository: the network is down" in finding.message


def test_backups_that_are_off_are_reported(it: DesiredState) -> None:
    """The settings say so."""
    off = dataclasses.replace(it, backup=dataclasses.replace(it.backup, on=False))
    assert one(off) == Finding("backup", OK, "is off: no archives are made on a schedule")


def test_a_clock_that_was_ahead_hides_no_overdue_archive(it: DesiredState) -> None:
    """A success in the future is one of now at best; what can't be read is as if there were nothing."""
    backup_status.remember(success=NOW + 900 * DAY)
    assert "0 minutes old" in one(it).message
    (Path(paths.STATE) / "backup.json").write_text("{", encoding="ascii")
    assert one(it).message.startswith("no archive has been made yet")
