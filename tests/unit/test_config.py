"""What pyinfra is told before anything else."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING

import pytest
from pyinfra.api import config as configs
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import MAX_PARALLEL
from pyinfra.context import ctx_config

from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def config() -> Iterator[Config]:
    """Give a configuration as pyinfra has it when it reads the file."""
    fresh = Config()  # type: ignore[no-untyped-call]
    ctx_config.set(fresh)  # type: ignore[no-untyped-call]
    yield fresh
    ctx_config.reset()


def test_more_hosts_are_worked_on_at_a_time(config: Config) -> None:
    """But no more than this machine may have files open for."""
    runpy.run_path(str(HOME / "config.py"))
    assert min(100, MAX_PARALLEL) <= config.PARALLEL <= MAX_PARALLEL


def test_an_older_pyinfra_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name in the file would say nothing to pyinfra."""
    monkeypatch.setattr(configs, "__version__", "3.9.2")
    with pytest.raises(PyinfraError, match="pyinfra version requirement not met"):
        runpy.run_path(str(HOME / "config.py"))
    assert not config.PARALLEL, "nothing after it counts"
