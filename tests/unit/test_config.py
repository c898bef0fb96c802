"""config.py, which pyinfra reads first."""

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
    """Yield the configuration that pyinfra has when it reads the file."""
    fresh = Config()  # type: ignore[no-untyped-call]
    ctx_config.set(fresh)  # type: ignore[no-untyped-call]
    yield fresh
    ctx_config.reset()


def test_at_least_100_hosts_are_deployed_in_parallel(config: Config) -> None:
    """Fewer only if the limit for open files of this machine is too low."""
    runpy.run_path(str(HOME / "config.py"))
    assert min(100, MAX_PARALLEL) <= config.PARALLEL <= MAX_PARALLEL


def test_older_pyinfra_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is an attribute of ``config``. pyinfra ignores a plain variable in the file."""
    monkeypatch.setattr(configs, "__version__", "3.9.2")
    with pytest.raises(PyinfraError, match="pyinfra version requirement not met"):
        runpy.run_path(str(HOME / "config.py"))
    assert not config.PARALLEL, "the rest of the file is not read"
