"""The metadata of an image stand in the Dockerfile, and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib

import pytest

from baikalctl import paths
from baikalctl.settings import DEFINITIONS, Settings
from tasks.distribution import needed
from tasks.image import DOCKERFILE, metadata
from tests.unit.samples import HOME


def instructions() -> list[str]:
    """Return the first words of what the last stage says."""
    lines = metadata(DOCKERFILE.read_text(encoding="utf-8")).splitlines()
    return [line.split()[0] for line in lines if re.match(r"[A-Z]", line)]


def test_the_last_stage_has_nothing_but_metadata() -> None:
    """So that any builder can add it to what pyinfra baked, without the rest of the file."""
    said = instructions()
    assert {"ENTRYPOINT", "HEALTHCHECK", "VOLUME", "EXPOSE", "STOPSIGNAL", "LABEL"} < set(said)
    assert not {"RUN", "COPY", "ADD", "FROM"} & set(said)


def test_the_metadata_say_what_the_settings_say() -> None:
    """Ports, volume and release."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    ports = f"{DEFINITIONS['http_port'].raw_default} {DEFINITIONS['https_port'].raw_default}"
    assert f"\nEXPOSE {ports}\n" in text
    assert f"\nVOLUME {paths.DATA}\n" in text
    assert set(re.findall(r"ARG BAIKAL_VERSION=(\S+)", text)) == {DEFINITIONS["baikal_version"].raw_default}


@pytest.mark.parametrize(("given", "baked"), [("", False), ("yes", True)])
def test_restic_is_baked_where_the_build_is_told_so(given: str, baked: bool) -> None:  # noqa: FBT001 - parametrised
    """It would be a sixth of the image; what the build hands to the deploy is a repository of no matter where."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    (expression,) = re.findall(r"--data (\S*restic_repository\S*)", text)
    said = subprocess.run(
        ["/bin/sh", "-c", f"echo {expression}"], env={"RESTIC": given}, capture_output=True, text=True, check=True
    ).stdout
    repository = json.loads(said.partition("=")[2])
    image = Settings.from_data({"restic_repository": repository}, image=True)
    assert ("restic" in needed(image, booted=False)) == baked


def test_a_build_gets_what_the_deploy_needs() -> None:
    """Every folder of the product is let through, and what pip installs there is locked."""
    through = (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()
    product = {"baikalctl", "tasks", "templates", "group_data", "config.py", "deploy.py", "inventory.py"}
    assert product <= {line.removeprefix("!") for line in through}
    locked = (HOME / "requirements-deploy.lock").read_text(encoding="utf-8")
    needed = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", locked, re.MULTILINE))
    developers = dict(
        re.findall(r"^([a-z0-9.-]+)==(\S+)", (HOME / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {re.split(r"[<>=]", name)[0] for name in needed} <= set(pinned)
    assert {name: developers.get(name) for name in pinned} == pinned, "the same versions as are tested"
