"""Which archives to keep: the newest of each of the last days, weeks and months, and those from before something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo

DAY_S = 86400
LABELLED = 3
"""So many of those that were made before something are kept,"""
LABELLED_S = 7 * DAY_S
"""and for so long the first of each day: by then, somebody has noticed what went wrong. Not all of them, because a
container whose upgrade fails is started again and again."""
YOUNG_S = 7200
"""Whatever is younger stays: somebody may just be bringing it elsewhere."""
AHEAD_S = 3600
"""What is dated further ahead than this is of a clock that was wrong."""


class Dated(Protocol):
    """What is kept or not."""

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch."""

    @property
    def label(self) -> str:
        """Why it was made; nothing for those by the clock and by hand."""


D = TypeVar("D", bound=Dated)
PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
}


def to_keep(archives: Iterable[D], keep: dict[str, int], now: float, zone: tzinfo = UTC) -> list[D]:
    """Return those of ``archives`` that are to be kept, the newest first; ``keep`` has a number for each of PERIODS.

    Of the last so many days, ISO weeks and months of ``zone`` that have any, the newest of each; days without don't
    count, so that a server that was off for a year loses none. The newest of all stays whatever is asked for. What is
    dated in the future, because the clock was wrong, is counted by itself: else it would push out what is made now.
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
