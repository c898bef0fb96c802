"""Schedules: every hour, or every day at a time in the server's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

HOURLY = "hourly"
HOUR_S = 3600
DAY_S = 24 * HOUR_S


def zone(name: str) -> tzinfo:
    """Return the time zone of that name; UTC if the host doesn't have it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def period_s(schedule: str) -> int:
    """Return the time between two runs, in seconds; it differs by an hour on days when clocks change."""
    return HOUR_S if schedule == HOURLY else DAY_S


def last_due(schedule: str, now: float, where: tzinfo) -> float:
    """Return the last scheduled time at or before ``now``, in seconds since the epoch."""
    return max(moment for moment in _around(schedule, now, where) if moment <= now)


def next_due(schedule: str, now: float, where: tzinfo) -> float:
    """Return the first scheduled time after ``now``."""
    return min(moment for moment in _around(schedule, now, where) if moment > now)


def on_calendar(schedule: str, zone_name: str) -> str:
    """Return the schedule as systemd writes it (systemd.time, "Calendar events")."""
    return HOURLY if schedule == HOURLY else f"*-*-* {schedule}:00 {zone_name}"


def _around(schedule: str, now: float, where: tzinfo) -> list[float]:
    """Return scheduled times before and after ``now``."""
    if schedule == HOURLY:
        hour = now // HOUR_S * HOUR_S
        return [hour, hour + HOUR_S]
    hour, minute = (int(part) for part in schedule.split(":"))
    today = datetime.fromtimestamp(now, where).date()
    days = (today + timedelta(days=number) for number in (-2, -1, 0, 1, 2))
    # If the clocks skip this time, the result is as long after midnight as on other days; if they repeat it, the first.
    return [datetime(day.year, day.month, day.day, hour, minute, tzinfo=where).timestamp() for day in days]
