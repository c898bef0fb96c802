"""The Dockerfile, and the metadata of an image, which are only there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.rendering.machine import packages
from baikalctl.settings import load
from baikalctl.settings.model import DEFINITIONS
from tasks.image import DOCKERFILE, metadata
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from pathlib import Path


def instructions() -> list[str]:
    """Return the first words of what the last stage says."""
    lines = metadata(DOCKERFILE.read_text(encoding="utf-8")).splitlines()
    return [line.split()[0] for line in lines if re.match(r"[A-Z]", line)]


def test_legacy_builder_stops_at_the_first_instruction_that_runs() -> None:
    """It doesn't know --mount; without it, the error would come only after the packages are installed."""
    first = next(line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if line.startswith("RUN"))
    assert first.startswith("RUN --mount=")


def test_own_zip_is_ignored_by_git_and_reaches_the_build() -> None:
    """In the folder that the Dockerfile names."""
    path = "releases/baikal-0.12.1.zip"
    assert f"BAIKAL_ARCHIVE={path}" in DOCKERFILE.read_text(encoding="utf-8")
    assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=HOME, check=False).returncode == 0
    assert "!releases" in (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_the_last_stage_has_nothing_but_metadata() -> None:
    """So that any builder can add it to what pyinfra baked, without the rest of the file."""
    names = instructions()
    assert {"ENTRYPOINT", "HEALTHCHECK", "VOLUME", "EXPOSE", "STOPSIGNAL", "LABEL"} < set(names)
    assert not {"RUN", "COPY", "ADD", "FROM"} & set(names)


def test_the_metadata_say_what_the_settings_say() -> None:
    """Ports, volume and release."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    ports = f"{DEFINITIONS['http_port'].raw_default} {DEFINITIONS['https_port'].raw_default}"
    assert f"\nEXPOSE {ports}\n" in text
    assert f"\nVOLUME {paths.DATA}\n" in text
    assert set(re.findall(r"ARG BAIKAL_VERSION=(\S+)", text)) == {DEFINITIONS["baikal_version"].raw_default}


NASTY = """a "b" 'c' $(touch hit) `touch hit` ${HOME} \\ \\n ; touch hit #&|é"""


PYINFRA = """
import json, sys
from pyinfra_cli.util import parse_cli_arg
assert sys.argv[1:6] == ["-m", "pyinfra", "-y", "@local", "deploy.py"], sys.argv
assert set(sys.argv[6::2]) == {"--data"}, sys.argv
data = (word.partition("=") for word in sys.argv[7::2])
print(json.dumps({name: parse_cli_arg(value) for name, _, value in data}))
"""
"""In pyinfra's place: what it takes its arguments for. In a process of its own, since its command line changes threads."""


def handed_over(tmp_path: Path, **arguments: str) -> dict[str, object]:
    """Run the build's own command with these build arguments; return the data that pyinfra gets, as it reads them."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    command = text[text.index("json() {") : text.index("\n\nFROM ${BASE}")]
    python, pyinfra = tmp_path / "python", tmp_path / "taken.py"
    pyinfra.write_text(PYINFRA, encoding="utf-8")
    script = f'#!/bin/sh\n[ "$1" != -m ] || set -- {pyinfra} "$@"\nexec {sys.executable} "$@"\n'
    python.write_text(script, encoding="utf-8")
    python.chmod(0o755)
    every = dict.fromkeys(("BAIKAL_VERSION", "BAIKAL_ARCHIVE", "BAIKAL_SHA256", "ACME_DNS_PLUGIN", "RESTIC"), "")
    line = command.replace("/media/bin/python", str(python))
    done = subprocess.run(
        ["/bin/sh", "-euc", line], env=every | arguments, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {path.name for path in tmp_path.iterdir()} == {"python", "taken.py"}, "nothing of a value was run"
    data: dict[str, object] = json.loads(done.stdout)
    return data


@pytest.mark.parametrize(
    "values", [("0.12.1", "releases/ä b.zip", "", 'say "hello"'), ("1", NASTY, " two  words ", "true")]
)
def test_a_builds_arguments_reach_the_deploy_as_they_are(tmp_path: Path, values: tuple[str, ...]) -> None:
    """Quotes, spaces, and what a shell would run; a number stays the text that a setting is."""
    names = ("baikal_version", "baikal_archive", "baikal_sha256", "acme_dns_plugin")
    data = handed_over(tmp_path, **{name.upper(): value for name, value in zip(names, values, strict=True)})
    assert tuple(data[name] for name in names) == values


@pytest.mark.parametrize(("argument", "baked"), [("", False), ("yes", True)])
def test_restic_is_baked_if_the_build_argument_is_set(tmp_path: Path, argument: str, baked: bool) -> None:  # noqa: FBT001 - parametrised
    """It would be a sixth of the image; what the build hands to the deploy is a repository of no matter where."""
    repository = handed_over(tmp_path, RESTIC=argument)["restic_repository"]
    image = load.from_data({"restic_repository": repository}, image=True)
    assert ("restic" in packages(image, image=True)) == baked


def test_each_stage_that_takes_a_distribution_takes_the_one_that_is_pinned() -> None:
    """By the digest, if one is set; and the image names its base."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["${DISTRIBUTION}${DISTRIBUTION_DIGEST:+@$DISTRIBUTION_DIGEST}"] * 2 + ["${BASE}"]
    end = metadata(text)
    assert 'org.opencontainers.image.base.name="${DISTRIBUTION}"' in end
    assert 'org.opencontainers.image.base.digest="${DISTRIBUTION_DIGEST}"' in end


def test_a_build_gets_what_the_deploy_needs() -> None:
    """Every folder of the product is let through, and what pip installs there is locked."""
    through = (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()
    product = {"baikalctl", "tasks", "templates", "group_data", "config.py", "deploy.py", "inventory.py"}
    assert product <= {line.removeprefix("!") for line in through}
    locked = (HOME / "requirements-deploy.lock").read_text(encoding="utf-8")
    packages = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", locked, re.MULTILINE))
    developers = dict(
        re.findall(r"^([a-z0-9.-]+)==(\S+)", (HOME / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {re.split(r"[<>=]", name)[0] for name in packages} <= set(pinned)
    assert {name: developers.get(name) for name in pinned} == pinned, "the same versions as are tested"
