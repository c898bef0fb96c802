"""Images: ours, baked by the deploy and built from its Dockerfile, beside one from a Dockerfile as a HOWTO has it."""

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
"""The Dockerfile's own base first, on which time is taken; then the one that needs most."""
LIMIT_S: Final = 1800
MOST_MB: Final = 130
TIME_NOTE: Final = (
    "neither holds a name, data or a password. docker build without its cache installs pyinfra first, in a stage of its "
    "own; the naive one has nginx, PHP and Baïkal alone"
)
SIZE_NOTE: Final = (
    "in ours is all that a container needs at its start, and certbot for those that ask for a certificate; "
    "a mail queue is to come"
)


def rows(bench: Bench, wanted: Wanted) -> Iterator[Row]:
    """Yield how long each image takes to make, how much larger than its base it is and why; none of them is kept."""
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
    """Yield the size above a base, and then what it is made of; packages are as large in every run, so one is enough."""
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
    note = "files that the base lacks or has otherwise, by the package or the place that they are from"
    name = f"where the megabytes above {distribution} are"
    yield Row(section=SECTION, name=name, unit="MB", figures=parts, note=note, ours=ALL)


def _only_seconds(bench: Bench, make: Callable[[Bench, Wanted, str, str], float], wanted: Wanted, base: str) -> float:
    """Return the seconds that an image takes to make, which is removed again."""
    tag = _tag()
    with _removed(bench.engine, tag):
        return make(bench, wanted, base, tag)


def _bake(bench: Bench, wanted: Wanted, base: str, tag: str) -> float:
    """Bake our image by the deploy and give it the name ``tag`` instead of its own; returns the seconds it took."""
    name = f"baikal:{wanted.version}"
    with baking.set_aside(bench.engine, name):
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
    """Do the same by ``docker build``, without any layer from before."""
    with _cache_as_it_was(bench.engine):
        return baking.build(bench.release, base, tag, "--no-cache")


def _build_naively(bench: Bench, wanted: Wanted, base: str, tag: str) -> float:
    """Do the same with the naive Dockerfile; that the release must be unpacked beside it is part of the work."""
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
    """Remove the image ``tag`` at the end of the block, if there is one."""
    try:
        yield
    finally:
        engine.docker("rmi", "-f", tag, check=False)


@contextlib.contextmanager
def _cache_as_it_was(engine: Engine) -> Iterator[None]:
    """Take back what a build in the block adds to the builder's cache, and nothing that was there."""
    before = _cached(engine)
    try:
        yield
    finally:
        left = _cached(engine) - before
        while left:
            for entry in left:
                engine.docker("builder", "prune", "--all", "--force", "--filter", f"id={entry}", check=False)
            now = _cached(engine) & left
            if now == left:  # nothing goes any more
                break
            left = now


def _cached(engine: Engine) -> set[str]:
    """Return what the builder keeps; nothing of an engine that doesn't tell."""
    output = engine.docker("system", "df", "-v", "--format", "{{json .BuildCache}}", check=False)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return {entry["ID"] for entry in json.loads(output)}
    return set()
