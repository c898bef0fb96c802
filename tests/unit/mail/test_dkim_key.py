"""The key that signs mail."""

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
    """Return the state of a host that signs its mail, with an account of this machine as the signer."""
    assert host.is_dir()
    monkeypatch.setattr(paths, "DKIM_USER", me["owner"])
    Path(paths.DKIM).mkdir(parents=True)
    return desired_state(dataclasses.replace(settings(), mail="postfix"))


def take(declared: DesiredState) -> list[str]:
    """Execute all steps and return their descriptions."""
    sentences = []
    for sentence, act in dkim_key.steps(declared):
        sentences.append(sentence)
        act()
    return sentences


def test_the_key_is_created_once_and_only_the_signer_can_read_it(signed: DesiredState) -> None:
    """A second run keeps it, because DNS has its public half."""
    assert take(signed) == [f"create the key {signed.mail.key} to sign mail"]
    key = Path(signed.mail.key)
    made = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert take(signed) == []
    assert key.read_bytes() == made
    assert [path.name for path in Path(paths.DKIM).iterdir()] == ["baikal.cal.example.org.pem"]


def test_a_dry_run_creates_no_key(signed: DesiredState) -> None:
    """It reports what would be done."""
    assert len(list(dkim_key.steps(signed))) == 1
    assert not Path(signed.mail.key).exists()


def test_a_key_that_other_accounts_can_read_gets_its_owner_and_mode(
    signed: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example after a restore. The key itself is kept."""
    monkeypatch.setattr(dkim_key, "privileged", lambda: True)
    take(signed)
    key = Path(signed.mail.key)
    made = key.read_bytes()
    key.chmod(0o644)
    assert take(signed) == [f"make {key} readable for {paths.DKIM_USER} alone"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes() == made


def test_another_selector_has_its_own_key(signed: DesiredState) -> None:
    """The old key is kept while the new one is added to DNS."""
    take(signed)
    other = dataclasses.replace(signed, mail=dataclasses.replace(signed.mail, selector="next"))
    assert take(other) == [f"create the key {paths.DKIM}/next.cal.example.org.pem to sign mail"]
    assert Path(signed.mail.key).is_file()


def test_without_signing_there_is_no_step(host: Path) -> None:
    """No account is looked up either."""
    assert host.is_dir()
    assert take(desired_state(dataclasses.replace(settings(), mail="postfix", dkim_selector=""))) == []
    assert take(desired_state(settings())) == []


def test_a_missing_signer_is_an_error(signed: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is the deploy, which installs it."""
    monkeypatch.setattr(paths, "DKIM_USER", "nobody-has-this-name")
    with pytest.raises(HostError, match="the package opendkim is not installed; run the deploy"):
        take(signed)
