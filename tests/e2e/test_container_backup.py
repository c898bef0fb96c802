"""Archives of a container: in its volume, by its own timer, with and without privileges."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.lab.container import UNPRIVILEGED, Container, Volume
from tests.lab.engine import Engine, wait_until

LIMIT_S: Final = 60
OFF_SINCE: Final = """
import json, pathlib, time
path = pathlib.Path("/var/lib/baikal/state/backup.json")
state = json.loads(path.read_text()) if path.exists() else {}
state = {**state, "since": time.time() - 3 * 86400, "success": 0, "attempt": 0, "error": ""}
path.write_text(json.dumps(state))
"""
"""Changes the recorded state: backups have been on for three days, and none was made."""


@pytest.mark.parametrize("options", [(), UNPRIVILEGED], ids=["root", "confined"])
def test_missed_archive_is_made_at_the_start(engine: Engine, image: str, options: tuple[str, ...]) -> None:
    """It is complete and in the volume, so it outlives the container; check is satisfied again."""
    with Volume(engine) as volume:
        with Container.run(engine, image, volume=volume, options=options) as container:
            assert wait_until(lambda: "is due in" in container.execute("baikalctl", "check"), LIMIT_S)
            assert container.execute("baikalctl", "backup", "list").startswith("there are no archives yet")
            container.execute("/usr/bin/python3", "-c", OFF_SINCE)
            assert "no backup was attempted" in container.execute("baikalctl", "check", check=False)
        with Container.run(engine, image, volume=volume, options=options) as container:

            def made() -> bool:
                return bool(json.loads(container.execute("baikalctl", "backup", "list", "--json")))

            assert wait_until(made, LIMIT_S)
            assert "is undamaged: made on " in container.execute("baikalctl", "backup", "verify")
            (line,) = [line for line in container.log().splitlines() if "/baikal-" in line]
            assert "1 calendar" in line or "calendars" in line
            assert "the newest archive is " in container.execute("baikalctl", "check")
            assert container.execute("ls", "-A", "/var/lib/baikal/backups").split() == [
                each["archive"] for each in json.loads(container.execute("baikalctl", "backup", "list", "--json"))
            ]


def test_no_backup_service_runs_with_backups_off(engine: Engine, image: str) -> None:
    """The command still makes one."""
    with Container.run(engine, image, environment={"BAIKAL_BACKUP": "false"}) as container:
        assert container.execute("ls", "/run/baikal/service").split() == ["certificate", "nginx", "php"]
        assert "is off: no archives are made on a schedule" in container.execute("baikalctl", "check")
        assert "/baikal-" in container.execute("baikalctl", "backup")
