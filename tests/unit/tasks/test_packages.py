"""The distribution's packages: which are installed, and none of their services starts too early."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pyinfra.context import ctx_host

from baikalctl import paths
from baikalctl.rendering import postfix
from baikalctl.rendering.machine import packages as machine_packages
from baikalctl.rendering.mail import BAIKALCTL_PACKAGES
from tasks.machine import AptLockFact
from tasks.operations.packages import CONFIGURE, installed
from tests.lab.images import PACKAGES
from tests.unit.samples import settings

if TYPE_CHECKING:
    from pathlib import Path

TWO_BROKEN = """Setting up halfway (1.0) ...
dpkg: error processing package halfway (--configure):
Errors were encountered while processing:
 halfway
 other"""


@pytest.mark.parametrize(
    ("changed", "packages"),
    [
        ({"mail": "off"}, ()),
        ({"mail": "relay", "relay_user": "cal"}, ("nullmailer", *BAIKALCTL_PACKAGES)),
        ({}, ("postfix", "opendkim", *BAIKALCTL_PACKAGES)),
        ({"dkim_selector": ""}, ("postfix", *BAIKALCTL_PACKAGES)),
        ({"relay_user": "cal"}, ("postfix", "libsasl2-modules", "opendkim", *BAIKALCTL_PACKAGES)),
    ],
    ids=["no mail", "a relay", "signed", "unsigned", "a login"],
)
def test_a_machine_gets_what_its_mail_needs(changed: dict[str, str], packages: tuple[str, ...]) -> None:
    """An image never gets Postfix."""
    wanted = dataclasses.replace(settings(), **{"mail": "postfix"} | changed)  # type: ignore[arg-type]
    assert set(machine_packages(wanted, image=False)) == {*PACKAGES, *packages}
    assert not {"postfix", "opendkim"} & set(machine_packages(wanted, image=True))


@pytest.mark.parametrize(
    ("package", "version"),
    [("3.7.11-0+deb12u1", (3, 7, 11)), ("3.10.13-0+deb13u1", (3, 10, 13)), ("1:3.8.6-1", (3, 8, 6)), ("", (0, 0, 0))],
)
def test_the_version_is_read_from_the_package(package: str, version: tuple[int, int, int]) -> None:
    """Without the epoch and the distribution's suffix."""
    assert postfix.version(package) == version


def commands(*packages: str, booted: bool = True) -> list[str]:
    """Return the commands that install ``packages``."""
    preparing = SimpleNamespace(state=SimpleNamespace(is_executing=False))
    with ctx_host.use(preparing):
        return [str(command) for command in installed._inner(packages=packages, booted=booted)]


def test_no_service_starts_before_it_has_our_configuration() -> None:
    """A condition holds the units back, and is removed when the packages are installed."""
    held = {
        "nginx": paths.SITE,
        "postfix": paths.POSTFIX_ALIASES,
        "postfix@": paths.POSTFIX_ALIASES,
        "opendkim": paths.POSTFIX_ALIASES,
    }
    before, install = commands("nginx", "postfix", "opendkim")
    for unit, path in held.items():
        drop_in = f"/run/systemd/system/{unit}.service.d/baikal-hold.conf"
        assert f"ConditionPathExists={path}\\n' > {drop_in}" in before
        assert drop_in in install.split("' EXIT; ")[0]
    assert before.index("systemctl daemon-reload") < before.index("dpkg --configure")
    assert "postfix/main_mailer_type select No configuration" in before


def test_packages_without_a_service_have_no_condition() -> None:
    """The same in an image, where no service can start."""
    for texts in (commands("certbot"), commands("nginx", booted=False)):
        assert not [command for command in texts if "systemctl" in command or "debconf" in command]


def lock_holder(*locks: Path) -> str:
    """Return the answer of this machine to the question for a process that holds one of the ``locks``."""
    command = AptLockFact().command(locks=tuple(map(str, locks)))
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    return AptLockFact().process(lines) if lines else AptLockFact.default()


def test_process_that_holds_a_lock_of_apt_is_found(tmp_path: Path) -> None:
    """Apt and dpkg lock with fcntl; a lock file that exists and isn't locked is left by every run of theirs."""
    free, held = tmp_path / "lists", tmp_path / "frontend"
    free.touch()
    with held.open("w") as file:
        assert lock_holder(free, held, tmp_path / "missing") == ""
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert lock_holder(free, held).endswith(f" (process {os.getpid()})")
        assert lock_holder(free) == ""


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            TWO_BROKEN,
            "ERROR: dpkg can't configure halfway other: run dpkg --configure -a on the host, fix what it reports",
        ),
        (
            "dpkg: error: unexpected end of file",
            "ERROR: dpkg can't configure a package: run dpkg --configure -a on the host, fix what it reports",
        ),
    ],
    ids=["two packages", "another error"],
)
def test_half_configured_package_is_named(tmp_path: Path, output: str, line: str) -> None:
    """Dpkg's own last line is only the name of the package."""
    dpkg = tmp_path / "dpkg"
    dpkg.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit 1\n", encoding="utf-8")
    dpkg.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(["/bin/sh", "-c", CONFIGURE], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == f"{line}\n{output}\n"
