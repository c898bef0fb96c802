"""Closed for maintenance, and open again."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.host import maintenance


@pytest.fixture(autouse=True)
def _on_a_host(host: Path) -> None:
    assert host.is_dir()


def there() -> set[str]:
    """Return what the web server could find."""
    return {path.name for path in Path(paths.MAINTENANCE).iterdir()}


def test_it_is_closed_until_it_is_opened_and_says_what_for() -> None:
    """Also where a run that was killed had closed it, with a token and half a file left."""
    assert maintenance.reason() == ""
    maintenance.on("upgrade to 0.12.1")
    assert there() == {"on"}
    assert maintenance.reason() == "upgrade to 0.12.1"
    for name in ("0" * 32, "on.new"):
        (Path(paths.MAINTENANCE) / name).touch()
    maintenance.on("restore")
    assert maintenance.reason() == "restore"
    maintenance.off()
    assert there() == set()
    assert maintenance.reason() == ""


def test_opening_and_closing_can_be_repeated() -> None:
    """Also where the directory isn't there yet."""
    maintenance.off()
    for _ in range(2):
        maintenance.on("restore")
    for _ in range(2):
        maintenance.off()
    assert there() == set()


def test_a_token_is_worth_something_within_its_block() -> None:
    """No two are the same, and other accounts can't list the directory."""
    with maintenance.probing() as one, maintenance.probing() as other:
        assert re.fullmatch(r"[0-9a-f]{32}", one)
        assert there() == {one, other}
        assert stat.S_IMODE(Path(paths.MAINTENANCE).stat().st_mode) == 0o711
    assert there() == set()
