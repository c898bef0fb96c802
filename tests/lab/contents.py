"""Fetch all data of a server's users through DAV, each with their own login, and compare two such fetches."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.lab.dav import Dav

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BATCH: Final = 100
"""How many objects one request fetches."""
THREADS: Final = 4


@dataclass
class Contents:
    """All objects by address; a shared calendar appears once for each user who sees it."""

    tokens: dict[str, str] = field(default_factory=dict)
    """The sync token of each calendar and address book."""
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """ETag and bytes of each object."""

    def __str__(self) -> str:
        """Return the numbers of objects and collections."""
        return f"{len(self.objects):,} objects in {len(self.tokens):,} collections"


def fetch_all(
    url: str, people: Mapping[str, str], headers: Mapping[str, str] | None = None, *, exact: bool = True
) -> Contents:
    """Fetch every object of all ``people`` (passwords by user name) from the server at ``url``.

    With ``exact``, each object is fetched alone, because the answer to a multiget lacks the CR of its lines. Without, a
    multiget is used, which is faster. The two kinds of results can't be compared. Raises LabError on an unexpected
    answer, and if a listed object can't be fetched.
    """
    contents = Contents()
    with ThreadPoolExecutor(THREADS) as pool:
        for part in pool.map(
            lambda person: _of_user(Dav(url, person[0], person[1], headers or {}), exact=exact), people.items()
        ):
            contents.tokens |= part.tokens
            contents.objects |= part.objects
    return contents


def compare(before: Contents, after: Contents, *, tokens: bool = True) -> list[str]:
    """Return the differences, one sentence each; sync tokens are compared only with ``tokens``."""
    return [*_differences(before, after), *(_token_differences(before, after) if tokens else ())]


def _of_user(dav: Dav, *, exact: bool) -> Contents:
    part = Contents(dav.collections())
    for collection in part.tokens:
        etags = dav.listing(collection)
        if exact:
            part.objects |= {href: dav.object(href) for href in etags}
            continue
        hrefs = iter(etags)
        while batch := list(itertools.islice(hrefs, BATCH)):
            objects = dav.objects(collection, batch)
            part.objects |= {
                href: objects.get(href, (etags[href], b"is listed, but can't be fetched")) for href in batch
            }
    dav.close()
    return part


def _differences(before: Contents, after: Contents) -> Iterator[str]:
    for href in sorted(before.tokens.keys() - after.tokens.keys()):
        yield f"{href} is gone, with all its objects"
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
                yield f"{href} has other bytes: {_first_difference(was[1], now[1])}"
            if was[0] != now[0]:
                yield f"{href} has another ETag: {was[0]} became {now[0]}"


def _token_differences(before: Contents, after: Contents) -> Iterator[str]:
    for href in sorted(before.tokens.keys() & after.tokens.keys()):
        if before.tokens[href] != after.tokens[href]:
            yield f"{href} has another sync token: {before.tokens[href]} became {after.tokens[href]}"


def _first_difference(was: bytes, now: bytes) -> str:
    """Show the first difference between two objects."""
    pairs = itertools.zip_longest(was, now)
    at = next(index for index, (one, other) in enumerate(pairs) if one != other)
    shown = slice(max(0, at - 20), at + 20)
    return f"from byte {at} on, {was[shown]!r} became {now[shown]!r}; {len(was)} bytes became {len(now)}"
