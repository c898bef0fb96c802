"""What the distribution's packages are called, and how they come without anything of theirs starting."""

from __future__ import annotations

import dataclasses

import pytest

from baikalctl import paths
from baikalctl.rendering import postfix
from baikalctl.rendering.machine import packages as machine_packages
from baikalctl.rendering.mail import BAIKALCTL_PACKAGES
from tasks.operations.packages import installed
from tests.lab.images import PACKAGES
from tests.unit.samples import settings


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
    """An epoch and what the distribution adds are none of it."""
    assert postfix.version(package) == version


def commands(*packages: str, booted: bool = True) -> list[str]:
    """Return what is run to install ``packages``."""
    return [str(command) for command in installed._inner(packages=packages, booted=booted)]


def test_nothing_starts_before_it_has_our_configuration() -> None:
    """Not even for a moment; and when the packages are there, nothing of that is left."""
    held = {
        "nginx": paths.SITE,
        "postfix": paths.POSTFIX_ALIASES,
        "postfix@": paths.POSTFIX_ALIASES,
        "opendkim": paths.POSTFIX_ALIASES,
    }
    before, install = commands("nginx", "postfix", "opendkim")
    for unit, path in held.items():
        place = f"/run/systemd/system/{unit}.service.d/baikal-hold.conf"
        assert f"ConditionPathExists={path}\\n' > {place}" in before
        assert place in install.split("' EXIT; ")[0]
    assert before.index("systemctl daemon-reload") < before.index("dpkg --configure")
    assert "postfix/main_mailer_type select No configuration" in before


def test_what_comes_without_a_service_waits_for_nothing() -> None:
    """And where nothing is booted, nothing can start."""
    for said in (commands("certbot"), commands("nginx", booted=False)):
        assert not [command for command in said if "systemctl" in command or "debconf" in command]
