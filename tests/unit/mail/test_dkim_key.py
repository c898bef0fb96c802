"""The key that mail is signed with."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.desired.build import desired_state
from baikalctl.errors import HostError
from baikalctl.mail import dkim_key
from tests.unit.samples import settings

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState


@pytest.fixture
def signed(host: Path, monkeypatch: pytest.MonkeyPatch, me: dict[str, str]) -> DesiredState:
    """Return what a host is told whose mail is signed, by an account that this machine has."""
    assert host.is_dir()
    monkeypatch.setattr(paths, "DKIM_USER", me["owner"])
    Path(paths.DKIM).mkdir(parents=True)
    return desired_state(dataclasses.replace(settings(), mail="postfix"))


def take(declared: DesiredState) -> list[str]:
    """Take all steps and return their sentences."""
    said = []
    for sentence, act in dkim_key.steps(declared):
        said.append(sentence)
        act()
    return said


def test_the_key_is_made_once_and_is_the_signers_alone(signed: DesiredState) -> None:
    """A second run finds it, and leaves it as the DNS has it."""
    assert take(signed) == [f"create the key {signed.mail.key} to sign mail"]
    key = Path(signed.mail.key)
    made = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert take(signed) == []
    assert key.read_bytes() == made
    assert [path.name for path in Path(paths.DKIM).iterdir()] == ["baikal.cal.example.org.pem"]


def test_looking_makes_nothing(signed: DesiredState) -> None:
    """A dry run tells what would be done."""
    assert len(list(dkim_key.steps(signed))) == 1
    assert not Path(signed.mail.key).exists()


def test_a_key_that_others_can_read_is_given_back(signed: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restore, say; the key itself stays."""
    monkeypatch.setattr(dkim_key, "privileged", lambda: True)
    take(signed)
    key = Path(signed.mail.key)
    made = key.read_bytes()
    key.chmod(0o644)
    assert take(signed) == [f"make {key} readable for {paths.DKIM_USER} alone"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes() == made


def test_another_selector_has_a_key_of_its_own(signed: DesiredState) -> None:
    """While the DNS is told of the new one, the old one still is what it was."""
    take(signed)
    other = dataclasses.replace(signed, mail=dataclasses.replace(signed.mail, selector="next"))
    assert take(other) == [f"create the key {paths.DKIM}/next.cal.example.org.pem to sign mail"]
    assert Path(signed.mail.key).is_file()


def test_without_signing_there_is_no_step(host: Path) -> None:
    """And no account is asked for."""
    assert host.is_dir()
    assert take(desired_state(dataclasses.replace(settings(), mail="postfix", dkim_selector=""))) == []
    assert take(desired_state(settings())) == []


def test_without_the_signers_package_it_is_said(signed: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is the deploy, which installs it."""
    monkeypatch.setattr(paths, "DKIM_USER", "nobody-has-this-name")
    with pytest.raises(HostError, match="the package opendkim is not installed; run the deploy"):
        take(signed)
