"""Import into a container: from the volumes of another image, and from our older image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.baking import baked
from tests.lab.container import Container, Volume
from tests.lab.old_installation import ADMIN_PASSWORD, COUNTS, EVENTS, PASSWORDS, OldInstallation, build, listing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.engine import Engine
    from tests.lab.release import Release


@pytest.fixture
def old(tmp_path: Path) -> OldInstallation:
    """Return the two volumes of a container of the popular image, as directories, readable by all accounts."""
    return build(tmp_path / "old", "0.10.1")


def import_volumes(
    engine: Engine, image: str, old: OldInstallation, volume: Volume, *words: str, user: str = "0"
) -> str:
    """Import the old volumes, mounted read-only, and return the output."""
    mounts = [f"--volume={old.folder / name}:/old/{name}:ro" for name in ("config", "Specific")]
    options = [*mounts, "--user", user]
    with Container.run(
        engine, image, "import", "/old", *words, volume=volume, options=options, ports=(), ready=False
    ) as container:
        status = container.exit_status()
        return f"status {status}\n{container.log()}"


def events(container: Container, name: str) -> set[str]:
    """Return the titles of a user's events, with the old password."""
    calendar = container.account(name, PASSWORDS[name]).calendar()
    return {str(event.icalendar_component["SUMMARY"]) for event in calendar.events()}


@pytest.mark.parametrize("user", ["0", "4711:4711"])
def test_volumes_of_another_image_are_imported(
    engine: Engine, image: str, old: OldInstallation, volume: Volume, user: str
) -> None:
    """Into an empty volume, as root or another user; then users log in with their old passwords, and no data is changed."""
    before = listing(old.folder)
    output = import_volumes(engine, image, old, volume, user=user)
    assert output.startswith("status 0\n"), output
    assert COUNTS in output
    assert listing(old.folder) == before
    with Container.run(
        engine, image, volume=volume, options=["--user", user], environment={"BAIKAL_USERS": None}
    ) as new:
        for name in PASSWORDS:
            assert events(new, name) == set(EVENTS[name])
        assert ADMIN_PASSWORD not in new.log()
        assert "a container is serving this data; stop it" in import_volumes(
            engine, image, old, volume, "--replace", user=user
        )
    assert "this host already has data" in import_volumes(engine, image, old, volume, user=user)
    replaced = import_volumes(engine, image, old, volume, "--replace", user=user)
    assert "the existing data is kept in /var/lib/baikal/backups/before-import-" in replaced, (
        "in the volume, and not in the container"
    )


def test_an_image_with_a_newer_release_migrates_the_volume(
    engine: Engine, image: str, release: Release, old: OldInstallation, volume: Volume
) -> None:
    """At its start, on a copy, and the old data is kept; an image with an older release refuses to serve it."""
    assert "status 0" in import_volumes(engine, image, old, volume)
    older = {"Specific": "db/db.sqlite", "config": "baikal.yaml"}
    with Container.run(engine, image, volume=volume) as container:
        for folder, file in older.items():
            content = (old.folder / folder / file).read_bytes()
            path = f"/var/lib/baikal/{folder}/{file}"
            engine.docker("exec", "-i", container.name, "sh", "-c", f"rm -f {path}-*; cat > {path}", input=content)
        container.execute(
            "sed", "-i", "s|sqlite_file: .*|sqlite_file: /var/lib/baikal/Specific/db/db.sqlite|", f"{path}"
        )
        assert not container.serving(), "its data is of another version now"
        container.kill()
        container.start()
        assert f"migrate a copy of the data from Baïkal 0.10.1 to {release.version}" in container.log()
        assert events(container, "anna") == set(EVENTS["anna"])
        kept = container.execute("sh", "-c", "cd /var/lib/baikal/backups/before-upgrade-0.10.1-to-*; find -type f")
        assert {"./config/baikal.yaml", "./Specific/db/db.sqlite"} <= set(kept.split())
        newer = "s/configured_version: .*/configured_version: 99.0.0/"
        container.execute("sed", "-i", newer, "/var/lib/baikal/config/baikal.yaml")
    with Container.run(engine, baked(engine, release), volume=volume, ready=False) as container:
        assert container.exit_status() == 1
        assert f"the data is of Baïkal 99.0.0; {release.version} is older" in container.log()
