"""Schedules: the last and the next time, and systemd's form."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from baikalctl.settings import schedule

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str, zone: ZoneInfo = BERLIN) -> float:
    """Return a local time in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("now", "last", "following"),
    [
        ("2026-11-25 03:14", "2026-11-24 03:15", "2026-11-25 03:15"),
        ("2026-11-25 03:15", "2026-11-25 03:15", "2026-11-26 03:15"),
        ("2026-11-25 23:59", "2026-11-25 03:15", "2026-11-26 03:15"),
        ("2026-12-31 12:00", "2026-12-31 03:15", "2027-01-01 03:15"),
    ],
)
def test_time_of_day_is_due_once_a_day(now: str, last: str, following: str) -> None:
    """In the server's time zone."""
    assert schedule.last_due("03:15", local(now), BERLIN) == local(last)
    assert schedule.next_due("03:15", local(now), BERLIN) == local(following)


def test_hourly_is_due_at_the_full_hour() -> None:
    """In any time zone."""
    now = local("2026-11-25 03:14")
    assert schedule.last_due("hourly", now, BERLIN) == local("2026-11-25 03:00")
    assert schedule.next_due("hourly", now, BERLIN) == local("2026-11-25 04:00")


@pytest.mark.parametrize("time", ["00:00", "02:30", "03:15", "23:59"])
@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "UTC"])
def test_time_of_day_is_due_on_every_day_of_a_year(time: str, name: str) -> None:
    """Also when clocks change: two times are a day apart, plus or minus an hour at most."""
    zone = ZoneInfo(name)
    now = begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    times = []
    while now < begin + 365 * schedule.DAY_S:
        now = schedule.next_due(time, now, zone)
        assert schedule.last_due(time, now, zone) == now
        times.append(now)
    assert len(times) in (365, 366)
    assert max(b - a for a, b in itertools.pairwise(times)) <= schedule.DAY_S + schedule.HOUR_S
    assert min(b - a for a, b in itertools.pairwise(times)) >= schedule.DAY_S - schedule.HOUR_S


def test_period_is_an_hour_or_a_day() -> None:
    """``baikalctl check`` uses it to find overdue backups."""
    assert (schedule.period_s("hourly"), schedule.period_s("03:15")) == (3600, 86400)


def test_unknown_time_zone_is_utc() -> None:
    """The schedule still works."""
    assert schedule.zone("Europe/Berlin") == BERLIN
    assert schedule.zone("Nowhere/At_All").utcoffset(None) == timedelta(0)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
@pytest.mark.parametrize("when", ["03:15", "hourly", "23:59"])
def test_systemd_has_the_same_next_time(when: str) -> None:
    """``systemd-analyze`` prints it."""
    text = schedule.on_calendar(when, "Europe/Berlin")
    base = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    command = ["systemd-analyze", "calendar", f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", text]
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "TZ": "UTC"}
    ).stdout
    expected = datetime.fromtimestamp(schedule.next_due(when, base.timestamp(), BERLIN), UTC)
    assert f"{expected:%Y-%m-%d %H:%M:%S} UTC" in output
