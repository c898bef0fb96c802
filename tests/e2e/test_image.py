"""The same deploy into an image: tagged only when all went well; and on this machine itself, by @local."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.distribution import PACKAGES
from tests.lab.deploying import PYINFRA, REPOSITORY, Outcome, pyinfra
from tests.lab.images import base_image, machine_image
from tests.lab.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


@pytest.fixture
def bakery(engine: Engine) -> Iterator[list[Outcome]]:
    """Give a list for the outcomes of bakes: pyinfra commits a nameless image each time, which goes with the named one."""
    if engine.docker("image", "ls", "-q", "baikal").strip():
        pytest.skip("there are images called baikal on this machine, which this test would remove")
    outcomes: list[Outcome] = []
    yield outcomes
    committed = [found[1] for outcome in outcomes if (found := re.search(r"image ID: (\w+)", outcome.output))]
    named = engine.docker("image", "ls", "-q", "baikal").split()
    for image in (*named, *committed):
        engine.docker("rmi", "-f", image, check=False)


def _data(release: Release, **others: str) -> list[str]:
    values = {"baikal_archive": str(release.path), "baikal_version": f'"{release.version}"', **others}
    return [word for name, value in values.items() for word in ("--data", f"{name}={value}")]


def test_the_deploy_bakes_a_tagged_image(engine: Engine, release: Release, bakery: list[Outcome]) -> None:
    """`pyinfra @docker/IMAGE deploy.py`: code and tools, no host name, no data, no password; then a second bake on it."""
    tag = f"baikal:{release.version}"
    base = f"@docker/{base_image(engine, 'debian:12').tag}"
    dry = pyinfra(base, "--dry", *_data(release))
    bakery.append(dry)
    assert engine.docker("image", "ls", "-q", "baikal").strip() == "", "a dry run names nothing"
    failed = pyinfra(base, "-y", *_data(release, baikal_sha256="0" * 64))
    bakery.append(failed)
    assert failed.status == 1
    assert engine.docker("image", "ls", "-q", "baikal").strip() == "", "a failed run names nothing"

    baked = pyinfra(base, "-y", *_data(release))
    bakery.append(baked)
    assert baked.status == 0, baked.output
    assert f"tagged {tag}" in baked.output
    seen = engine.docker(
        *("run", "--rm", tag, "sh", "-c"),
        "readlink /opt/baikal/current; baikalctl --help; ls /var/lib/baikal/config /etc/baikal /etc/nginx/conf.d; "
        "stat -c '%U %a' /opt/baikal/current/html/dav.php; nginx -v 2>&1; php-fpm* -v 2>/dev/null || true",
    )
    assert seen.startswith(release.version)
    assert "baikal.yaml" not in seen
    assert "declared.json" not in seen
    assert "root 644" in seen

    again = pyinfra(f"@docker/{tag}", "-y", "--json", *_data(release))
    bakery.append(again)
    assert again.status == 0, again.output
    assert again.changed == [f"Image | Tag the image {tag}"], "a bake on a baked image changes only its name"


def test_a_container_that_was_there_is_provisioned_and_not_named(
    engine: Engine, release: Release, bakery: list[Outcome]
) -> None:
    """Somebody's running container gets everything, keeps running, and no image is made of it."""
    tag = base_image(engine, "debian:13").tag
    container = engine.docker("run", "-d", tag, "sleep", "600").strip()
    try:
        outcome = pyinfra(f"@docker/{container}", "-y", *_data(release))
        bakery.append(outcome)
        assert outcome.status == 0, outcome.output
        assert engine.docker("image", "ls", "-q", "baikal").strip() == ""
        assert engine.docker("exec", container, "readlink", "/opt/baikal/current").strip() == release.version
    finally:
        engine.docker("rm", "-f", "-v", container)


def test_a_machine_provisions_itself_by_local(engine: Engine, release: Release) -> None:
    """@local, on a machine that has this checkout and its Python: serving, and a second run changes nothing."""
    interpreter = Path(sys.executable).resolve().parent.parent
    shared = {REPOSITORY, interpreter, release.path.resolve()}
    mounts = [part for path in shared for part in ("-v", f"{path}:{path}:ro")]
    data = [*_data(release), "--data", "hostname=localhost"]
    pyinfra_there = (
        f"cd {REPOSITORY} && BAIKAL_ADMIN_PASSWORD=x {PYINFRA} -y --json @local deploy.py {shlex.join(data)}"
    )
    with Machine.start(engine, machine_image(engine, "debian:12", PACKAGES), options=mounts) as machine:
        machine.run(pyinfra_there, timeout=600)
        second = json.loads(machine.run(pyinfra_there, timeout=600))
        assert second["results"]["totals"]["success"] == 0
        assert "ok       answer" in machine.run("baikalctl check")
