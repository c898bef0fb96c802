"""Images that the deploy bakes, in both ways; the lab keeps them until one of their sources changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from baikalctl import paths
from tests.lab.container import LABELS
from tests.lab.deploying import REPOSITORY, pyinfra
from tests.lab.engine import Engine, locked
from tests.lab.errors import LabError
from tests.lab.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


BASE: Final = "debian:13"
"""The distribution of the base in the Dockerfile."""
SOURCES: Final = (
    *("baikalctl", "tasks", "templates", "group_data", "config.py", "deploy.py", "inventory.py"),
    *("requirements-deploy.lock", "Dockerfile", ".dockerignore"),
)
BUILD_LIMIT_S: Final = 900
TEMPORARY: Final = "baikal-lab/another"
"""Images of a single process; their tags begin with its id."""


def baked(engine: Engine, release: Release, distribution: str = BASE) -> str:
    """Return the tag of the image that ``pyinfra @docker/…`` bakes on a distribution."""
    tag = f"baikal-lab/baked:{distribution.replace(':', '-')}-{_digest(release)}"
    with locked(f"baked-{distribution.replace(':', '-')}"):
        if not engine.has_image(tag):
            engine.say(f"lab: baking {tag} (half a minute)")
            _bake(engine, release, base_image(engine, distribution).tag, tag)
            _remove_older(engine, tag)
    return tag


@contextlib.contextmanager
def baked_on(engine: Engine, base: str, release: Release, tree: Path = REPOSITORY) -> Iterator[str]:
    """Yield the tag of an image that the checkout ``tree`` bakes on another image; it is removed at the end of the block."""
    tag = f"{TEMPORARY}:{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _bake(engine, release, base, tag, tree)
        yield tag
    finally:
        engine.docker("rmi", "-f", tag, check=False)


@contextlib.contextmanager
def packages_alone(engine: Engine, image: str) -> Iterator[str]:
    """Yield the tag of a base image with the packages of a baked one; it is removed at the end of the block.

    Baking on it takes seconds.
    """
    tag = f"{TEMPORARY}:{os.getpid()}-{secrets.token_hex(4)}"
    ours = (paths.LIBRARY, paths.COMMAND, paths.CODE, "/etc/baikal")
    name = engine.docker("create", *LABELS, "--entrypoint", "rm", image, "-r", *ours).strip()
    try:
        engine.docker("start", "--attach", name)
        metadata = ("ENTRYPOINT []", 'CMD ["bash"]', "HEALTHCHECK NONE")
        engine.docker("commit", *(word for line in metadata for word in ("--change", line)), name, tag)
        yield tag
    finally:
        engine.docker("rm", "-f", "-v", name, check=False)
        engine.docker("rmi", "-f", tag, check=False)


def _bake(engine: Engine, release: Release, base: str, tag: str, tree: Path = REPOSITORY) -> None:
    """Bake an image on another one with the deploy of the checkout ``tree``, and set its ``tag``."""
    name = f"baikal:{release.version}"
    with free_name(engine, name):
        outcome = pyinfra(f"@docker/{base}", "-y", *release_data(release), tree=tree)
        if outcome.status or not engine.has_image(name):
            if unfinished := re.search(r"image ID: (\w+)", outcome.output):  # pyinfra commits the image anyway
                engine.docker("rmi", "-f", unfinished[1], check=False)
            message = f"the deploy did not bake an image:\n{outcome.output[-4000:]}"
            raise LabError(message)
        engine.docker("tag", name, tag)
        engine.docker("rmi", name)


@contextlib.contextmanager
def free_name(engine: Engine, name: str) -> Iterator[None]:
    """Free the name of an image for the block, and restore it afterwards if it was the user's; one block at a time."""
    aside = f"{name}-set-aside"
    with locked("baked-name"):
        if engine.has_image(name):
            engine.docker("tag", name, aside)
            engine.docker("rmi", name)
        try:
            yield
        finally:
            if engine.has_image(aside):  # perhaps by a run that was killed
                engine.docker("tag", aside, name)
                engine.docker("rmi", aside)


def built(engine: Engine, release: Release, distribution: str = BASE) -> str:
    """Return the tag of the image that ``docker build`` makes of the Dockerfile on a distribution."""
    tag = f"baikal-lab/built:{distribution.replace(':', '-')}-{_digest(release)}"
    with locked(f"built-{distribution.replace(':', '-')}"):
        if not engine.has_image(tag):
            engine.say(f"lab: building {tag} (half a minute)")
            build(release, base_image(engine, distribution).tag, tag)
            _remove_older(engine, tag)
    return tag


def with_release(engine: Engine, image: str, release: Release) -> str:
    """Return the tag of a copy of a baked image with another release, installed by the image's own baikalctl.

    An older or newer image takes only seconds this way. The caller removes it.
    """
    tag = f"{TEMPORARY}:{os.getpid()}-{secrets.token_hex(4)}"
    install = 'baikalctl release "$1" /tmp/release.zip --sha256 "$2"'
    script = f'old=$(readlink current); {install}; rm -r "./$old"; rm /tmp/release.zip'
    options = ("--workdir", "/opt/baikal", "--entrypoint", "/bin/sh")
    words = (script, "release", release.version, release.sha256)
    name = engine.docker("create", *LABELS, *options, image, "-euc", *words).strip()
    try:
        engine.docker("cp", str(release.path), f"{name}:/tmp/release.zip")
        engine.docker("start", "--attach", name)
        metadata = ('ENTRYPOINT ["baikalctl"]', 'CMD ["start"]', "WORKDIR /")
        changes = [word for line in metadata for word in ("--change", line)]
        engine.docker("commit", *changes, name, tag)
    finally:
        engine.docker("rm", "-f", "-v", name, check=False)
    return tag


def _remove_older(engine: Engine, tag: str) -> None:
    """Remove older images of the same kind whose sources have changed, unless a container uses one."""
    name, _, version = tag.partition(":")
    same = f"{name}:{version.rpartition('-')[0]}-"
    for older in engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name).split():
        if older.startswith(same) and older != tag:
            engine.docker("rmi", older, check=False)


def build(release: Release, base: str, tag: str, *options: str) -> float:
    """Run ``docker build`` of the Dockerfile on a base with further ``options``, and return how many seconds it took."""
    with tempfile.TemporaryDirectory(prefix="baikal-lab-") as folder:
        context = Path(folder) / "context"
        for name in SOURCES:
            copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy2
            context.mkdir(exist_ok=True)
            copy(REPOSITORY / name, context / name)
        (context / "releases").mkdir()
        shutil.copy2(release.path, context / "releases")
        arguments = {
            "DISTRIBUTION": base,
            "BAIKAL_VERSION": release.version,
            "BAIKAL_ARCHIVE": f"releases/{release.path.name}",
            "BAIKAL_SHA256": release.sha256,
        }
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        began = time.monotonic()
        _build([*options, *words, *_secrets(Path(folder)), "--tag", tag, str(context)])
        return time.monotonic() - began


def release_data(release: Release, **others: str) -> list[str]:
    """Return pyinfra's arguments that select the lab's release and set ``others``."""
    values = {
        "baikal_archive": str(release.path),
        "baikal_version": f'"{release.version}"',
        "baikal_sha256": f'"{release.sha256}"',
        **others,
    }
    return [word for name, value in values.items() for word in ("--data", f"{name}={value}")]


def _build(arguments: list[str]) -> None:
    """Run ``docker build`` with BuildKit, with the first client that has it: a newer one may lack its plug-in."""
    clients = [client for client in (shutil.which("docker"), "/usr/bin/docker") if client and Path(client).exists()]
    output = ""
    for client in dict.fromkeys(clients):
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        command = [client, "build", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=BUILD_LIMIT_S, check=False
        )
        if not done.returncode:
            return
        output += f"{client}: {(done.stderr or done.stdout)[-3000:]}\n"
    message = f"docker build failed:\n{output}"
    raise LabError(message)


def _secrets(folder: Path) -> list[str]:
    """Return options that pass this machine's pip configuration, if any, to pip in the build."""
    config = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    values = {}
    for line in config.stdout.splitlines():
        name, _, value = line.partition("=")
        values[name.rsplit(".", 1)[-1]] = value.strip("'")
    certificates = Path(values.get("cert", ""))
    lines = [f"{name} = {values[name]}" for name in ("index-url", "trusted-host", "proxy") if name in values]
    if certificates.is_file():
        lines.append("cert = /run/secrets/ca.crt")
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines]) + "\n")
    options = ["--secret", f"id=pip.conf,src={folder / 'pip.conf'}"]
    return [*options, "--secret", f"id=ca.crt,src={certificates}"] if certificates.is_file() else options


def _digest(release: Release) -> str:
    """Return a digest of everything that goes into an image."""
    digest = hashlib.sha256(release.sha256.encode())
    for name in SOURCES:
        ingredient = REPOSITORY / name
        for path in sorted(ingredient.rglob("*")) if ingredient.is_dir() else [ingredient]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
