"""Archives of a container: in its volume, by its own clock, with and without privileges."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.lab.container import Container, Volume
from tests.lab.engine import Engine, wait_until

CONFINED: Final = (
    "--user=4711:4711",
    "--read-only",
    "--tmpfs=/run/baikal:mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
)
"""The fewest powers that a container can have."""
LIMIT_S: Final = 60
OFF_SINCE: Final = """
import json, pathlib, time
place = pathlib.Path("/var/lib/baikal/state/backup.json")
told = json.loads(place.read_text()) if place.exists() else {}
told = {**told, "since": time.time() - 3 * 86400, "success": 0, "attempt": 0, "error": ""}
place.write_text(json.dumps(told))
"""
"""Has the container remember that it was to make archives since three days ago, and has made none."""


@pytest.mark.parametrize("options", [(), CONFINED], ids=["root", "confined"])
def test_an_archive_that_was_missed_is_made_at_the_start(engine: Engine, image: str, options: tuple[str, ...]) -> None:
    """In the volume, so that it outlives the container, and whole; the doctor is content again."""
    with Volume(engine) as volume:
        with Container.run(engine, image, volume=volume, options=options) as container:
            assert wait_until(lambda: "is due in" in container.execute("baikalctl", "check"), LIMIT_S)
            assert container.execute("baikalctl", "backup", "list").startswith("there are no archives yet")
            container.execute("/usr/bin/python3", "-c", OFF_SINCE)
            assert "nothing has tried" in container.execute("baikalctl", "check", check=False)
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


def test_with_backups_off_there_is_no_service_for_it(engine: Engine, image: str) -> None:
    """And by hand one can be made all the same."""
    with Container.run(engine, image, environment={"BAIKAL_BACKUP": "false"}) as container:
        assert container.execute("ls", "/run/baikal/service").split() == ["certificate", "nginx", "php"]
        assert "is off: no archives are made on a schedule" in container.execute("baikalctl", "check")
        assert "/baikal-" in container.execute("baikalctl", "backup")
