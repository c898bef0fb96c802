"""All that people have on a server, seen through DAV by each with his own log-in, and what of it is different."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.lab.dav import Dav

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOGETHER: Final = 100
"""Objects that one request asks for."""
THREADS: Final = 4


@dataclass
class Contents:
    """What there is, by address below the user: two people see the same shared calendar each at his own."""

    tokens: dict[str, str] = field(default_factory=dict)
    """The sync token of each calendar and address book."""
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """ETag and bytes of each object."""

    def __str__(self) -> str:
        """Say how much it is."""
        return f"{len(self.objects):,} objects in {len(self.tokens):,} collections"


def fetch_all(
    url: str, people: Mapping[str, str], headers: Mapping[str, str] | None = None, *, exact: bool = True
) -> Contents:
    """Fetch every object of all ``people``, passwords by name, from the server at ``url``.

    Each is fetched by itself, as the answer to a multiget lacks the CR of its lines; where ``exact`` is false, those
    answers do, which is faster. What was fetched in one way can't be compared with what was in the other. Raises LabError
    if anything isn't answered as it must be, or if a listing has what can't be fetched.
    """
    contents = Contents()
    with ThreadPoolExecutor(THREADS) as pool:
        for part in pool.map(
            lambda person: _of(Dav(url, person[0], person[1], headers or {}), exact=exact), people.items()
        ):
            contents.tokens |= part.tokens
            contents.objects |= part.objects
    return contents


def compare(before: Contents, after: Contents, *, tokens: bool = True) -> list[str]:
    """Return what is different, one sentence each, or nothing; sync tokens only where they are asked for."""
    return [*_differences(before, after), *(_of_tokens(before, after) if tokens else ())]


def _of(dav: Dav, *, exact: bool) -> Contents:
    part = Contents(dav.collections())
    for collection in part.tokens:
        etags = dav.listing(collection)
        if exact:
            part.objects |= {href: dav.object(href) for href in etags}
            continue
        hrefs = iter(etags)
        while batch := list(itertools.islice(hrefs, TOGETHER)):
            objects = dav.objects(collection, batch)
            part.objects |= {href: objects.get(href, (etags[href], b"is listed, and not given out")) for href in batch}
    dav.close()
    return part


def _differences(before: Contents, after: Contents) -> Iterator[str]:
    for href in sorted(before.tokens.keys() - after.tokens.keys()):
        yield f"{href} is gone, with all that was in it"
    for href in sorted(after.tokens.keys() - before.tokens.keys()):
        yield f"{href} is new"
    for href in sorted(before.objects.keys() | after.objects.keys()):
        if href not in after.objects:
            yield f"{href} is gone"
        elif href not in before.objects:
            yield f"{href} is new"
        else:
            was, now = before.objects[href], after.objects[href]
            if was[1] != now[1]:
                yield f"{href} has other bytes: {_first(was[1], now[1])}"
            if was[0] != now[0]:
                yield f"{href} has another ETag: {was[0]} became {now[0]}"


def _of_tokens(before: Contents, after: Contents) -> Iterator[str]:
    for href in sorted(before.tokens.keys() & after.tokens.keys()):
        if before.tokens[href] != after.tokens[href]:
            yield f"{href} has another sync token: {before.tokens[href]} became {after.tokens[href]}"


def _first(was: bytes, now: bytes) -> str:
    """Show where two objects begin to differ."""
    pairs = itertools.zip_longest(was, now)
    at = next(index for index, (one, other) in enumerate(pairs) if one != other)
    shown = slice(max(0, at - 20), at + 20)
    return f"from byte {at} on, {was[shown]!r} became {now[shown]!r}; {len(was)} bytes became {len(now)}"
