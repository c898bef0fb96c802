"""Upgrades: what serves afterwards, what stays installed, and what goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config, release
from baikalctl.changes import staging
from baikalctl.commands import upgrade
from baikalctl.errors import HostError
from tests.lab.old_installation import build
from tests.unit.elsewhere import Elsewhere
from tests.unit.moving import names, needs_php, stand_release
from tests.unit.samples import VERSION, here

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [needs_php, pytest.mark.usefixtures("_installed", "untried")]
OLDEST, OLD = "0.10.1", "0.11.1"


@pytest.fixture
def _installed(host: Path) -> None:
    """Have data of a release that serves, an older one that served before, and a newer one."""
    for version in (OLDEST, OLD, VERSION):
        stand_release(version)
    (Path(paths.CODE) / ".hidden").mkdir()
    old = build(host / "old", OLD)
    old.yaml.rename(paths.BAIKAL_YAML)
    old.database.rename(paths.SQLITE)
    release.activate(OLD)


def upgraded(version: str = VERSION, finish: Callable[[], None] = lambda: None) -> list[str]:
    """Upgrade, and return the messages."""
    messages: list[str] = []
    configuration = config.read()
    upgrade.upgrade(configuration, configuration["database"], version, messages.append, finish)
    return messages


def installed() -> list[str]:
    """Return what is installed."""
    return sorted(path.name for path in Path(paths.CODE).iterdir() if not path.is_symlink())


def test_the_previous_release_stays_and_older_ones_are_removed() -> None:
    """One is enough for second thoughts."""
    messages = upgraded()
    assert release.current() == VERSION
    assert installed() == [".hidden", OLD, VERSION]
    assert (
        messages[-1] == f"Baïkal {VERSION} is active; {OLD} stays installed and its data is kept until the next upgrade"
    )
    stand_release("0.12.2")
    upgraded("0.12.2")
    assert (release.current(), installed()) == ("0.12.2", [".hidden", VERSION, "0.12.2"])


def test_a_failed_upgrade_removes_no_release() -> None:
    """And the old one serves."""

    def finish() -> None:
        assert release.current() == VERSION
        raise HostError("out of luck")

    with pytest.raises(HostError, match="out of luck"):
        upgraded(finish=finish)
    assert (release.current(), installed()) == (OLD, [".hidden", OLDEST, OLD, VERSION])


def test_settings_are_applied_to_new_data_before_clients_use_it() -> None:
    """It is in place by then, and still closed."""
    seen = []
    upgraded(finish=lambda: seen.append((config.read()["system"]["configured_version"], names(paths.SQLITE))))
    assert seen == [(VERSION, ["Bo.Berg", "anna"])]
    assert config.read()["database"]["sqlite_file"] == paths.SQLITE, "the yaml named another container's path"


def test_the_rows_of_a_server_are_copied_twice() -> None:
    """One to be changed, and one to tell whether it was: rows that are the same need no loading."""
    elsewhere = Elsewhere({"backend": "pgsql", "pgsql_dbname": "elsewhere"})
    elsewhere.load(Path(paths.SQLITE), VERSION)
    with staging.incoming() as folder:
        upgrade.copy_here(elsewhere)
        assert not staging.differs()
        assert (folder / staging.BEFORE).is_file()
    with staging.incoming() as folder:
        upgrade.copy_here(here())
        assert not (folder / staging.BEFORE).exists()
        assert names(str(folder / staging.SQLITE)) == ["Bo.Berg", "anna"]
