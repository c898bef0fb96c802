"""Images: ours, baked by the deploy and built from its Dockerfile, compared with one from a typical HOWTO's Dockerfile."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.contenders import Bench, BenchmarkError
from bench.megabytes import above, by_group
from bench.report import OURS, Goal, Row, alternating
from tests.lab import baking
from tests.lab.deploying import pyinfra
from tests.lab.images import base_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.peers.payload import Wanted
    from tests.lab.engine import Engine


SECTION: Final = "Image"
BUILT: Final = f"{OURS}, docker build"
NAIVE: Final = "naive Dockerfile"
ALL: Final = "all of it"
BASES: Final = (baking.BASE, "debian:12")
"""The Dockerfile's own base first, which is used for times; then the one with the largest image."""
LIMIT_S: Final = 1800
MOST_MB: Final = 130
TIME_NOTE: Final = (
    "neither has a host name, data or a password. docker build without its cache first installs pyinfra, in a separate "
    "stage; the naive one has only nginx, PHP and Baïkal"
)
SIZE_NOTE: Final = (
    "ours has everything that a container needs at its start, and certbot for certificates; a mail queue will be added"
)


def rows(bench: Bench, wanted: Wanted) -> Iterator[Row]:
    """Yield the time to make each image, its size above its base, and the parts of that size; images are removed."""
    base = base_image(bench.engine, BASES[0]).tag
    bench.say(f"  {SECTION}: base image to image")
    makers: dict[str, Callable[[], float]] = {
        OURS: partial(_only_seconds, bench, _bake, wanted, base),
        BUILT: partial(_only_seconds, bench, _build, wanted, base),
        NAIVE: partial(_only_seconds, bench, _build_naively, wanted, base),
    }
    seconds = alternating(makers, bench.runs, bench.say)
    yield Row(section=SECTION, name=f"{BASES[0]} to image", unit="s", figures=seconds, note=TIME_NOTE)
    for distribution in BASES:
        yield from _sizes(bench, wanted, distribution)


def _sizes(bench: Bench, wanted: Wanted, distribution: str) -> Iterator[Row]:
    """Yield the size above a base, and then its parts; sizes are the same in every run, so one is enough."""
    bench.say(f"  {SECTION}: size above {distribution}")
    engine, base, tag = bench.engine, base_image(bench.engine, distribution).tag, _tag()
    with _removed(engine, tag):
        _build_naively(bench, wanted, base, tag)
        naive = above(engine, tag, base)
    with _removed(engine, tag):
        _bake(bench, wanted, base, tag)
        ours = by_group(engine, tag, base)
    figures = {OURS: [sum(ours.values())], NAIVE: [naive]}
    goals, name = (Goal(at_most=MOST_MB),), f"size above {distribution}"
    yield Row(section=SECTION, name=name, unit="MB", figures=figures, goals=goals, note=SIZE_NOTE)
    parts = {ALL: figures[OURS], **{group: [size] for group, size in ours.items()}}
    note = "files that the base lacks or that differ from it, by package or path"
    name = f"parts of the size above {distribution}"
    yield Row(section=SECTION, name=name, unit="MB", figures=parts, note=note, ours=ALL)


def _only_seconds(bench: Bench, make: Callable[[Bench, Wanted, str, str], float], wanted: Wanted, base: str) -> float:
    """Make an image, remove it, and return the seconds that it took."""
    tag = _tag()
    with _removed(bench.engine, tag):
        return make(bench, wanted, base, tag)


def _bake(bench: Bench, wanted: Wanted, base: str, tag: str) -> float:
    """Bake our image by the deploy and rename it to ``tag``; return the seconds that it took."""
    name = f"baikal:{wanted.version}"
    with baking.free_name(bench.engine, name):
        began = time.monotonic()
        outcome = pyinfra(f"@docker/{base}", "-y", *baking.release_data(bench.release))
        seconds = time.monotonic() - began
        if outcome.status or not bench.engine.has_image(name):
            message = f"{OURS} did not bake an image:\n{outcome.output[-4000:]}"
            raise BenchmarkError(message)
        bench.engine.docker("tag", name, tag)
        bench.engine.docker("rmi", name)
    return seconds


def _build(bench: Bench, _: Wanted, base: str, tag: str) -> float:
    """Do the same by ``docker build``, without cached layers."""
    with _cache_as_it_was(bench.engine):
        return baking.build(bench.release, base, tag, "--no-cache")


def _build_naively(bench: Bench, wanted: Wanted, base: str, tag: str) -> float:
    """Do the same with the naive Dockerfile; unpacking the release for it is part of the work."""
    with tempfile.TemporaryDirectory(prefix="baikal-bench-image-") as name:
        context = Path(name)
        shutil.copy(Path(__file__).parent / "peers" / "image" / "Dockerfile", context)
        shutil.copy(wanted.folder / "site.conf", context)
        arguments = ("build", "--no-cache", "--force-rm", "--build-arg", f"BASE={base}", "-t", tag, str(context))
        with _cache_as_it_was(bench.engine):
            began = time.monotonic()
            with zipfile.ZipFile(wanted.archive) as release:
                release.extractall(context)
            bench.engine.docker(*arguments, timeout=LIMIT_S)
            return time.monotonic() - began


def _tag() -> str:
    return f"baikal-bench:{secrets.token_hex(4)}"


@contextlib.contextmanager
def _removed(engine: Engine, tag: str) -> Iterator[None]:
    """Remove the image ``tag``, if it exists, at the end of the block."""
    try:
        yield
    finally:
        engine.docker("rmi", "-f", tag, check=False)


@contextlib.contextmanager
def _cache_as_it_was(engine: Engine) -> Iterator[None]:
    """Remove what builds in the block add to the builder's cache; existing entries are kept."""
    before = _cached(engine)
    try:
        yield
    finally:
        left = _cached(engine) - before
        while left:
            for entry in left:
                engine.docker("builder", "prune", "--all", "--force", "--filter", f"id={entry}", check=False)
            now = _cached(engine) & left
            if now == left:  # nothing more can be removed
                break
            left = now


def _cached(engine: Engine) -> set[str]:
    """Return the builder's cache entries; none if the engine doesn't list them."""
    output = engine.docker("system", "df", "-v", "--format", "{{json .BuildCache}}", check=False)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return {entry["ID"] for entry in json.loads(output)}
    return set()
