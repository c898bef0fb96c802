"""When something is done by the clock, as a person and as systemd understand it."""

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
def test_a_time_of_day(now: str, last: str, following: str) -> None:
    """In the server's time zone, whatever UTC says."""
    assert schedule.last_due("03:15", local(now), BERLIN) == local(last)
    assert schedule.next_due("03:15", local(now), BERLIN) == local(following)


def test_each_hour() -> None:
    """At the full one."""
    now = local("2026-11-25 03:14")
    assert schedule.last_due("hourly", now, BERLIN) == local("2026-11-25 03:00")
    assert schedule.next_due("hourly", now, BERLIN) == local("2026-11-25 04:00")


@pytest.mark.parametrize("time", ["00:00", "02:30", "03:15", "23:59"])
@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "UTC"])
def test_each_day_of_a_year_has_one(time: str, name: str) -> None:
    """Also those on which clocks change: between two there are a day and an hour at most, and never none."""
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


def test_periods() -> None:
    """What overdue is counted in."""
    assert (schedule.period_s("hourly"), schedule.period_s("03:15")) == (3600, 86400)


def test_a_zone_that_the_host_does_not_know_is_utc() -> None:
    """A day begins somewhere at any rate."""
    assert schedule.zone("Europe/Berlin") == BERLIN
    assert schedule.zone("Nowhere/At_All").utcoffset(None) == timedelta(0)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here to ask")
@pytest.mark.parametrize("when", ["03:15", "hourly", "23:59"])
def test_systemd_understands_the_same(when: str) -> None:
    """It is asked itself."""
    text = schedule.on_calendar(when, "Europe/Berlin")
    base = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    command = ["systemd-analyze", "calendar", f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", text]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "TZ": "UTC"}).stdout
    expected = datetime.fromtimestamp(schedule.next_due(when, base.timestamp(), BERLIN), UTC)
    assert f"{expected:%Y-%m-%d %H:%M:%S} UTC" in said
