"""Images of the deploy, which are the same in both ways of building; and a deploy by @local."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.lab.baking import BASE, baked, built, release_data
from tests.lab.container import LABELS
from tests.lab.deploying import PYINFRA, REPOSITORY, Outcome, pyinfra
from tests.lab.engine import Engine, locked
from tests.lab.images import BUILDING, PACKAGES, base_image, machine_image
from tests.lab.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


ENGINE_FILES: Final = re.compile(r"(\.dockerenv|dev|proc|sys|etc/(hostname|hosts|mtab|resolv\.conf))(/.*)?")
"""Files that the engine adds to every container."""
VARYING_FILES: Final = re.compile(r"etc/shadow-?|var/lib/apt/extended_states")
"""Files that contain a date, or lines in random order."""
BUILD_FILES: Final = (
    *("*/pyinfra*", "*/pip", "*/pip-*", "*/pip3", "*/ensurepip*", "*/pip.conf", "venv", "*.pyc.*", "root/.cache*"),
    *(
        "var/lib/apt/lists/?*",
        "var/cache/apt/*.bin",
        "var/cache/apt/archives/*.deb",
        "var/log/apt/?*",
        "var/log/dpkg.log",
    ),
    *(
        "tmp/?*",
        "media/?*",
        "mnt/?*",
        "run/secrets*",
        "*.baikal-new",
        "*.baikal-old",
        "opt/baikal/.*",
        "*/releases/*.zip",
    ),
)
"""Patterns of files that only the build needs."""
MOST_ABOVE_THE_BASE: Final = 126_000_000
"""Bytes: 130 MB are the limit."""
METADATA: Final = {
    "Entrypoint": ["baikalctl"],
    "Cmd": ["start"],
    "Volumes": {"/var/lib/baikal": {}},
    "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
    "StopSignal": "SIGTERM",
    "User": "",
    "Healthcheck": {
        "Test": ["CMD", "baikalctl", "health"],
        "Interval": 30_000_000_000,
        "Timeout": 10_000_000_000,
        "StartPeriod": 30_000_000_000,
        "Retries": 3,
    },
}


class Entry(NamedTuple):
    """One file, directory or link of an image; ``content`` is a checksum, or a link's target."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    content: str


@pytest.fixture
def bakery(engine: Engine) -> Iterator[list[Outcome]]:
    """Yield a list for the outcomes of bakes. Images are removed afterwards, also untagged ones of dry and failed runs.

    It locks out other bakes on this machine, because all images have the same name at first.
    """
    with locked("baked-name"):
        if engine.docker("image", "ls", "-q", "baikal").strip():
            pytest.skip("there are images called baikal on this machine, which this test would remove")
        outcomes: list[Outcome] = []
        yield outcomes
        committed = [match[1] for outcome in outcomes if (match := re.search(r"image ID: (\w+)", outcome.output))]
        named = engine.docker("image", "ls", "-q", "baikal").split()
        for image in (*committed, *named):
            engine.docker("rmi", "-f", image, check=False)


@pytest.fixture(scope="module")
def made(engine: Engine, release: Release) -> dict[str, str]:
    """Return both images, by their way of building."""
    return {"baked": baked(engine, release), "built": built(engine, release)}


@pytest.fixture(scope="module")
def trees(engine: Engine, made: dict[str, str]) -> dict[str, dict[str, Entry]]:
    """Return the files of each image, by path."""
    return {how: tree(engine, image) for how, image in made.items()}


def tree(engine: Engine, image: str) -> dict[str, Entry]:
    """Return the files of an image, by path, without those of the engine."""
    container = engine.docker("create", *LABELS, image).strip()
    try:
        with subprocess.Popen([engine.command, "export", container], stdout=subprocess.PIPE) as exporting:
            assert exporting.stdout
            files = {}
            with tarfile.open(fileobj=exporting.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.rstrip("/")
                    if not ENGINE_FILES.fullmatch(path):
                        stream = archive.extractfile(member) if member.isreg() else None
                        content = hashlib.sha256(stream.read()).hexdigest() if stream else member.linkname
                        size = member.size if stream else 0
                        files[path] = Entry(member.type, member.mode, member.uid, member.gid, size, content)
    finally:
        engine.docker("rm", "-f", "-v", container)
    assert len(files) > 3000
    return files


def untagged(engine: Engine, base: str) -> set[str]:
    """Return the untagged images on a base; those on other bases belong to others."""
    first = engine.docker("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", base)
    images = engine.docker("image", "ls", "-q", "--filter", "dangling=true").split()
    layers = {
        image: engine.docker("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", image, check=False)
        for image in images
    }
    return {image for image, layer in layers.items() if layer == first}


def test_both_ways_of_building_an_image_give_the_same_files(trees: dict[str, dict[str, Entry]]) -> None:
    """By pyinfra and by the Dockerfile: type, mode, owner, link target, size and content of every path are the same."""
    one, other = trees["baked"], trees["built"]
    assert sorted(one.keys() ^ other.keys()) == []
    differing = [path for path in one if one[path] != other[path]]
    assert [path for path in differing if not VARYING_FILES.fullmatch(path)] == []
    assert [path for path in differing if one[path]._replace(content="") != other[path]._replace(content="")] == []


@pytest.mark.parametrize("how", ["baked", "built"])
def test_image_has_no_files_of_its_build(trees: dict[str, dict[str, Entry]], how: str) -> None:
    """No pyinfra, no pip, no lists or logs of apt, nothing in /tmp, and no data."""
    matches = [path for path in trees[how] if any(fnmatch(path, pattern) for pattern in BUILD_FILES)]
    assert matches == []
    assert [path for path in trees[how] if path.startswith(("var/lib/baikal/", "run/baikal/"))] == []


@pytest.mark.parametrize("how", ["baked", "built"])
def test_image_has_the_metadata_of_the_dockerfile(
    engine: Engine, made: dict[str, str], release: Release, how: str
) -> None:
    """Entry point, health check, volume, ports, signal and labels are those of the Dockerfile, in both ways."""
    image = json.loads(engine.docker("image", "inspect", made[how]))[0]
    config = image["Config"]
    assert {name: config.get(name) for name in METADATA} == METADATA
    assert [line for line in config["Env"] if not line.startswith("PATH=")] == []
    labels = {name: text for name, text in config["Labels"].items() if name.startswith("org.opencontainers.image.")}
    assert labels["org.opencontainers.image.version"] == release.version
    assert (labels["org.opencontainers.image.base.name"], labels["org.opencontainers.image.base.digest"]) == (
        base_image(engine, BASE).tag,
        "",
    )
    named = re.findall(r"org\.opencontainers\.image\.[\w.]+", (REPOSITORY / "Dockerfile").read_text())
    assert set(named) == labels.keys()
    inherited = json.loads(engine.docker("image", "inspect", base_image(engine, BASE).tag))[0]["Config"]["Labels"] or {}
    assert config["Labels"].keys() == labels.keys() | inherited.keys()


@pytest.mark.parametrize("how", ["baked", "built"])
def test_an_image_is_small(engine: Engine, made: dict[str, str], how: str) -> None:
    """The size without its base is that of all layers together, including files that a later layer removes."""
    sizes = [
        int(engine.docker("image", "inspect", "-f", "{{.Size}}", name))
        for name in (made[how], base_image(engine, BASE).tag)
    ]
    assert 0 < sizes[0] - sizes[1] <= MOST_ABOVE_THE_BASE


def test_the_deploy_bakes_a_tagged_image(engine: Engine, release: Release, bakery: list[Outcome]) -> None:
    """`pyinfra @docker/IMAGE deploy.py`: code and tools, without host name, data and password; then a second bake on it."""
    tag = f"baikal:{release.version}"
    standing = base_image(engine, "debian:12").tag
    before = untagged(engine, standing)
    base = f"@docker/{standing}"
    dry = pyinfra(base, "--dry", *release_data(release))
    bakery.append(dry)
    assert engine.docker("image", "ls", "-q", "baikal").strip() == "", "a dry run tags no image"
    failed = pyinfra(base, "-y", *release_data(release, baikal_sha256="0" * 64))
    bakery.append(failed)
    assert failed.status == 1
    assert engine.docker("image", "ls", "-q", "baikal").strip() == "", "a failed run tags no image"

    assert len(untagged(engine, standing) - before) == 2, "pyinfra's own image, one for each of these runs"
    outcome = pyinfra(base, "-y", *release_data(release))
    bakery.append(outcome)
    assert outcome.status == 0, outcome.output
    assert f"tagged {tag}" in outcome.output
    assert len(untagged(engine, standing) - before) == 2, "a bake leaves only the tagged image"
    containers = engine.docker("ps", "-a", "--format", "{{.Image}} {{.Names}}").splitlines()
    ours = [line for line in containers if line.startswith(f"{standing} ") and BUILDING not in line]
    assert ours == [], "and no container, except of another test's build"
    seen = engine.docker(
        *("run", "--rm", "--entrypoint", "sh", tag, "-c"),
        "readlink /opt/baikal/current; baikalctl --help; find /var/lib/baikal /run/baikal -mindepth 1; "
        "cat /etc/baikal/* 2>&1; stat -c '%U %a' /opt/baikal/current/html/dav.php; nginx -v 2>&1",
    )
    assert seen.startswith(release.version)
    assert "nginx/" in seen
    assert "/var/lib/baikal/" not in seen
    assert "/run/baikal/" not in seen
    assert "/etc/baikal/declared.json: No such file" in seen
    assert "root 644" in seen

    again = pyinfra(f"@docker/{tag}", "-y", "--json", *release_data(release))
    bakery.append(again)
    assert again.status == 0, again.output
    assert again.changed == [f"Tag image {tag}"], "a bake on a baked image changes only its tag"


def test_existing_container_is_provisioned_without_an_image(
    engine: Engine, release: Release, bakery: list[Outcome]
) -> None:
    """A user's running container is provisioned, keeps running, and no image is made of it."""
    tag = base_image(engine, "debian:13").tag
    container = engine.docker("run", "-d", *LABELS, tag, "sleep", "600").strip()
    try:
        outcome = pyinfra(f"@docker/{container}", "-y", *release_data(release))
        bakery.append(outcome)
        assert outcome.status == 0, outcome.output
        assert engine.docker("image", "ls", "-q", "baikal").strip() == ""
        assert engine.docker("exec", container, "readlink", "/opt/baikal/current").strip() == release.version
    finally:
        engine.docker("rm", "-f", "-v", container)


def test_machine_provisions_itself_with_local(engine: Engine, release: Release) -> None:
    """With @local, on a machine with this checkout and its Python: it serves, and a second run changes nothing."""
    interpreter = Path(sys.executable).resolve().parent.parent
    shared = {REPOSITORY, PYINFRA.parent.parent.resolve(), interpreter, release.path.resolve()}
    mounts = [part for path in shared for part in ("-v", f"{path}:{path}:ro")]
    data = [*release_data(release), "--data", "hostname=localhost"]
    pyinfra_there = (
        f"cd {REPOSITORY} && BAIKAL_ADMIN_PASSWORD=x {PYINFRA} -y --json @local deploy.py {shlex.join(data)}"
    )
    with Machine.start(engine, machine_image(engine, "debian:12", PACKAGES), options=mounts) as machine:
        machine.run(pyinfra_there, timeout=600)
        second = json.loads(machine.run(pyinfra_there, timeout=600))
        assert second["results"]["totals"]["success"] == 0
        assert "ok       answer" in machine.run("baikalctl check")
