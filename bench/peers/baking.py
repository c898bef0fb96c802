"""Images: ours, baked by the deploy, beside one from a Dockerfile as a HOWTO has it."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import BenchmarkError
from bench.report import OURS, Goal, Row, alternating
from tests.lab.deploying import pyinfra
from tests.lab.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.contenders import Bench
    from bench.peers.payload import Wanted

SECTION = "Image"
DOCKERFILE = "Dockerfile"
BASE = "debian:12"
LIMIT_S = 1800
MOST_MIB = 124
"""130 MB, in the unit of the report."""
MADE = re.compile(r"image ID: (\w+)")
TAGGED = re.compile(r"tagged (\S+)")


def refuse_foreign(bench: Bench) -> None:
    """Raise :class:`BenchmarkError` if this machine has images of its own by the name that the deploy gives to its."""
    if bench.engine.docker("image", "ls", "-q", "baikal").strip():
        message = "there are images called baikal on this machine, which the benchmark would replace; rename them first"
        raise BenchmarkError(message)


def rows(bench: Bench, wanted: Wanted) -> Iterator[Row]:
    """Yield how long each image takes to make and how much larger than its base it is; none of them is kept."""
    base = base_image(bench.engine, BASE).tag
    sizes: dict[str, list[float]] = {OURS: [], DOCKERFILE: []}

    def ours() -> float:
        seconds, size = _bake(bench, wanted, base)
        sizes[OURS].append(size)
        return seconds

    def naive() -> float:
        seconds, size = _build(bench, wanted, base)
        sizes[DOCKERFILE].append(size)
        return seconds

    bench.say(f"  {SECTION}: base image to image")
    seconds = alternating({OURS: ours, DOCKERFILE: naive}, bench.runs, bench.say)
    note = "neither holds a name, data or a password; the Dockerfile's has nginx, PHP and Baïkal alone"
    yield Row(section=SECTION, name="base image to image", unit="s", figures=seconds, note=note)
    goals = (Goal(at_most=MOST_MIB),)
    yield Row(section=SECTION, name="size above the base", unit="MiB", figures=sizes, goals=goals)


def _bake(bench: Bench, wanted: Wanted, base: str) -> tuple[float, float]:
    """Return the seconds that our deploy takes to bake an image, and its size above the base."""
    values = {"baikal_archive": str(wanted.archive), "baikal_version": f'"{wanted.version}"'}
    data = [word for name, value in values.items() for word in ("--data", f"{name}={value}")]
    began = time.monotonic()
    outcome = pyinfra(f"@docker/{base}", "-y", *data)
    seconds = time.monotonic() - began
    # The commit has an image of its own, which lives on where the named one is only the same with metadata.
    committed, tagged = MADE.findall(outcome.output), TAGGED.findall(outcome.output)
    try:
        if outcome.status or not tagged:
            message = f"{OURS} did not bake an image:\n{outcome.output[-4000:]}"
            raise BenchmarkError(message)
        return seconds, _above(bench, tagged[0], base)
    finally:
        for image in (*tagged, *committed):
            bench.engine.docker("rmi", "-f", image, check=False)


def _build(bench: Bench, wanted: Wanted, base: str) -> tuple[float, float]:
    """Return the same of the Dockerfile's; that the release must be unpacked beside it is part of the work."""
    tag = f"baikal-bench:{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="baikal-bench-image-") as name:
        context = Path(name)
        shutil.copy(Path(__file__).parent / "image" / "Dockerfile", context)
        shutil.copy(wanted.folder / "site.conf", context)
        arguments = ("build", "--no-cache", "--force-rm", "--build-arg", f"BASE={base}", "-t", tag, str(context))
        try:
            began = time.monotonic()
            with zipfile.ZipFile(wanted.archive) as release:
                release.extractall(context)
            bench.engine.docker(*arguments, timeout=LIMIT_S)
            seconds = time.monotonic() - began
            return seconds, _above(bench, tag, base)
        finally:
            bench.engine.docker("rmi", "-f", tag, check=False)


def _above(bench: Bench, image: str, base: str) -> float:
    """Return by how many MiB ``image`` is larger than ``base``."""
    sizes = [int(bench.engine.docker("image", "inspect", "-f", "{{.Size}}", tag)) for tag in (image, base)]
    return (sizes[0] - sizes[1]) / 2**20
