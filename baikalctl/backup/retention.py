"""Which archives to keep: the newest of each of the last days, weeks and months, and those made before a change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo

DAY_S = 86400
LABELLED = 3
"""Number of archives made before a change that are always kept."""
LABELLED_S = 7 * DAY_S
"""For so many seconds, the first of each day is kept as well: long enough to notice a problem. Not all of them, because a
container whose upgrade fails is restarted again and again."""
YOUNG_S = 7200
"""Seconds; younger archives are kept, because another program may be downloading one."""
AHEAD_S = 3600
"""Seconds; an archive dated further in the future than this is from a wrong clock."""


class Dated(Protocol):
    """An archive or the like, with a date."""

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch."""

    @property
    def label(self) -> str:
        """Why it was made; empty for those made on schedule or by hand."""


D = TypeVar("D", bound=Dated)
PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
}


def to_keep(archives: Iterable[D], keep: dict[str, int], now: float, zone: tzinfo = UTC) -> list[D]:
    """Return the ``archives`` to keep, the newest first; ``keep`` has a number for each of PERIODS.

    For each kind of period (day, ISO week and month, in ``zone``), the newest archive of so many periods is kept. Periods
    without an archive don't count, so that a server that was off for a year loses none. The newest archive is always kept.
    Archives dated in the future, because the clock was wrong, are counted separately: else they would replace new ones.
    """
    ordered = sorted(archives, key=lambda archive: archive.created, reverse=True)
    labelled = [archive for archive in ordered if archive.label]
    recent = [archive for archive in labelled if now - archive.created < LABELLED_S]
    first = {datetime.fromtimestamp(archive.created, zone).date(): archive for archive in recent}
    wanted = [*labelled[:LABELLED], *first.values()]
    wanted += [archive for archive in ordered if not archive.label and abs(now - archive.created) < YOUNG_S]
    ahead = [archive for archive in ordered if archive.created > now + AHEAD_S]
    past = [archive for archive in ordered if archive.created <= now + AHEAD_S]
    for part in (ahead, past):
        wanted += part[:1]
        plain = [archive for archive in part if not archive.label]
        for name, period in PERIODS.items():
            newest: dict[object, D] = {}
            for archive in plain:
                newest.setdefault(period(datetime.fromtimestamp(archive.created, zone)), archive)
            wanted += list(newest.values())[: keep[name]]
    chosen = {id(archive) for archive in wanted}
    return [archive for archive in ordered if id(archive) in chosen]
