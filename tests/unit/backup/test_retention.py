"""What is kept of a year's archives, looked at day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from baikalctl.backup import retention

KEEP = {"daily": 7, "weekly": 4, "monthly": 12}
BEGIN = datetime(2026, 1, 1, 3, 15, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """An archive."""

    created: float
    label: str = ""

    def __str__(self) -> str:
        """Return its day, and why it was made."""
        return f"{datetime.fromtimestamp(self.created, UTC):%m-%d} {self.label}".strip()


def at(moment: datetime, label: str = "") -> Made:
    """Return the archive of a moment."""
    return Made(moment.timestamp(), label)


def thin(archives: list[Made], now: datetime, keep: dict[str, int] = KEEP) -> list[Made]:
    """Return what is left, the newest first."""
    return retention.to_keep(archives, keep, now.timestamp())


def simulated(days: int, step: timedelta = DAY, begin: datetime = BEGIN) -> list[Made]:
    """Return what is left after an archive was made, and others thrown away, at each step of so many days."""
    archives: list[Made] = []
    now = begin
    while now < begin + days * DAY:
        archives = thin([*archives, at(now)], now)
        now += step
    return archives


def test_daily_archives_of_a_year() -> None:
    """Seven days, the ends of four weeks, and the ends of twelve months: of this month, the newest."""
    left = simulated(365)
    assert [str(made) for made in left] == [
        *("12-31", "12-30", "12-29", "12-28", "12-27", "12-26", "12-25"),  # 12-27 is a Sunday too
        *("12-20", "12-13"),
        *("11-30", "10-31", "09-30", "08-31", "07-31", "06-30", "05-31", "04-30", "03-31", "02-28", "01-31"),
    ]


def test_on_each_day_of_a_year_all_periods_have_an_archive() -> None:
    """Of each of the last 7 days, 4 weeks and 12 months that has passed, there is one: its newest."""
    archives: list[Made] = []
    for number in range(365):
        now = BEGIN + number * DAY
        archives = thin([*archives, at(now)], now)
        days = {datetime.fromtimestamp(made.created, UTC).date() for made in archives}
        so_far = [(BEGIN + other * DAY).date() for other in range(number + 1)]
        weeks = {day.isocalendar()[:2]: day for day in so_far}
        months = {(day.year, day.month): day for day in so_far}
        expected = {*so_far[-7:], *list(weeks.values())[-4:], *list(months.values())[-12:]}
        assert days == expected, now
        assert len(archives) <= sum(KEEP.values())


def test_hourly_archives_of_a_year() -> None:
    """Of each day the last hour; of today, the newest alone."""
    left = simulated(365, timedelta(hours=1))
    assert len(left) == 20  # the hour before, 7 days, 2 weeks and 10 months that end on none of the others
    moments = [datetime.fromtimestamp(made.created, UTC) for made in left]
    assert moments.pop(1).hour == 1
    assert (moments[0] - BEGIN).days == 364
    assert all(moment.hour in (23, 2) for moment in moments)


def test_applying_retention_twice_removes_no_more() -> None:
    """Removing archives by hand a second time has no effect."""
    left = simulated(100)
    assert thin(left, BEGIN + 99 * DAY) == left


def test_a_server_that_was_off_for_a_year_loses_no_archive() -> None:
    """Days without an archive don't count."""
    left = simulated(60)
    later = BEGIN + 500 * DAY
    after = thin([*left, at(later)], later)
    # One place of each kind is the new one's.
    assert [str(made) for made in after] == [
        "05-16",
        "03-01",
        "02-28",
        "02-27",
        "02-26",
        "02-25",
        "02-24",
        "02-22",
        "02-15",
        "01-31",
    ]


@pytest.mark.parametrize("keep", [{"daily": 0, "weekly": 0, "monthly": 0}, {"daily": 1, "weekly": 0, "monthly": 0}])
def test_the_newest_archive_always_stays(keep: dict[str, int]) -> None:
    """To have no archives, an operator turns backups off."""
    archives = [at(BEGIN + number * DAY) for number in range(9)]
    assert thin(archives, BEGIN + 9 * DAY, keep) == [archives[-1]]
    assert thin([], BEGIN, keep) == []


def test_labelled_archives_have_their_own_rules() -> None:
    """Three at least, and all of a week; and they take no day's place."""
    archives = [at(BEGIN + number * DAY, "before-upgrade") for number in range(5)]
    plain = [at(BEGIN + number * DAY + timedelta(hours=-1)) for number in range(5)]
    assert set(thin([*archives, *plain], BEGIN + 5 * DAY)) == {*archives, *plain}
    much_later = thin([*archives, *plain], BEGIN + 50 * DAY)
    assert set(much_later) == {*archives[2:], *plain}


def test_archives_of_the_last_two_hours_stay() -> None:
    """Another program may be downloading one while the next is made."""
    archives = [at(BEGIN + timedelta(minutes=minutes)) for minutes in (0, 1, 60, 119)]
    assert set(thin(archives, BEGIN + timedelta(minutes=119))) == set(archives)
    assert thin(archives, BEGIN + timedelta(hours=9)) == [archives[-1]]


def test_a_labelled_archive_that_is_the_newest_stays() -> None:
    """However old."""
    archives = [at(BEGIN, "before-removal")]
    assert thin(archives, BEGIN + 999 * DAY) == archives


def test_a_clock_that_was_years_ahead_removes_no_archive() -> None:
    """What was made then stays for itself, and what is made now is kept as if there were none of it."""
    ahead = [at(BEGIN + (5000 + number) * DAY) for number in range(40)]
    archives = simulated(40)
    now = BEGIN + 40 * DAY
    left = thin([*ahead, *archives, at(now)], now)
    assert at(now) in left
    assert set(left) & set(archives) == set(thin([*archives, at(now)], now)) - {at(now)}
    assert set(left) & set(ahead) == set(thin(ahead, BEGIN + 5040 * DAY))


def test_a_clock_that_is_years_behind_removes_no_archive() -> None:
    """A machine without a battery begins in 1970: what it makes then is kept, and so is what was made before."""
    archives = simulated(100)
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    for hour in range(48):
        now = begin + timedelta(hours=hour)
        left = thin([*archives, at(now)], now)
        assert set(left) == {*archives, at(now)}


def test_days_are_those_of_the_servers_time_zone() -> None:
    """In Auckland, one o'clock in the morning is yesterday in UTC."""
    zone = ZoneInfo("Pacific/Auckland")
    archives = [at(datetime(2026, 6, 5, hour, tzinfo=zone)) for hour in (1, 9, 23)]
    only = {"daily": 9, "weekly": 0, "monthly": 0}
    assert retention.to_keep(archives, only, archives[-1].created, zone) == [archives[-1]]
    assert retention.to_keep(archives, only, archives[-1].created) == [archives[-1], archives[1]]


def test_a_container_that_restarts_repeatedly_does_not_fill_the_disk() -> None:
    """Each start of one whose upgrade fails makes an archive before: the newest stay, and the first of each day."""
    archives: list[Made] = []
    for number in range(1000):
        now = BEGIN + timedelta(minutes=5 * number)
        archives = thin([*archives, at(now, "before-upgrade")], now)
    assert len(archives) <= 3 + 4
    assert at(BEGIN, "before-upgrade") in archives
