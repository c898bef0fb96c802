"""Fixtures of the end-to-end tests: an engine, a release, machines, and secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TESTED_WITH, note
from tests.lab import release as releases
from tests.lab.baking import BASE, baked
from tests.lab.container import Volume
from tests.lab.engine import Engine, cache_directory, ensure_engine
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.images import PACKAGES, base_image, machine_image
from tests.lab.leftovers import remove_leftovers
from tests.lab.machine import Machine
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.lab.release import Release


os.environ["BAIKAL_ADMIN_PASSWORD"] = PASSWORD


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI, a skipped test counts as failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return a container engine; if it was started for the tests, tests/conftest.py stops it after all workers."""
    try:
        answering = ensure_engine()
    except LabError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"end-to-end tests need a container engine: {error}")
    remove_leftovers(answering)
    return answering


@pytest.fixture(scope="session")
def release() -> Release:
    """Return the release that all tests install; the report's end names it."""
    installed = releases.obtain(cache_directory())
    note(TESTED_WITH, f"release: Baïkal {installed.version}, {installed.origin}")
    return installed


@pytest.fixture(scope="session")
def image(engine: Engine, release: Release) -> str:
    """Return the image that the deploy bakes on the base in the Dockerfile."""
    note(TESTED_WITH, f"base: {BASE}, {base_image(engine, BASE).origin}")
    return baked(engine, release)


@pytest.fixture(scope="module")
def boot(engine: Engine) -> Iterator[Callable[..., Machine]]:
    """Yield a function that boots machines; warm ones have the packages preinstalled.

    They are removed after the module's last test: the kernel's limit of inotify watches allows only some systemds.
    """
    booted: list[Machine] = []

    def start(distribution: str = "debian:12", *, warm: bool = True) -> Machine:
        booted.append(_booted(engine, distribution, warm=warm))
        return booted[-1]

    yield start
    for machine in booted:
        machine.remove()


@pytest.fixture(scope="session")
def server(engine: Engine, release: Release) -> Iterator[Server]:
    """Yield a deployed server, for tests that don't change it permanently."""
    with _booted(engine, "debian:12", warm=True) as machine:
        server = Server(machine, release)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        yield server


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    """Yield an empty volume."""
    with Volume(engine) as made:
        yield made


def _booted(engine: Engine, distribution: str, *, warm: bool) -> Machine:
    image = machine_image(engine, distribution, PACKAGES if warm else ())
    note(TESTED_WITH, f"base: {distribution}, {base_image(engine, distribution).origin}")
    return Machine.start(engine, image)
