"""The arguments and the environment of restic, and its errors; tests/e2e/test_restic.py runs it for real."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

import pytest

from baikalctl.backup import restic
from baikalctl.errors import HostError
from tests.unit.samples import declared

if TYPE_CHECKING:
    from pathlib import Path

    from baikalctl.desired.state import DesiredState


@pytest.fixture
def it(host: Path) -> DesiredState:
    """Return what is declared of a host with a repository."""
    for name, text in {
        "password": "a repository's password\n",
        "credentials": "AWS_ACCESS_KEY_ID=key\nX=a=b\n",
    }.items():
        (host / name).write_text(text, encoding="ascii")
    plain = declared(tls="off")
    kept = dataclasses.replace(
        plain.backup,
        repository=str(host / "repository"),
        password=str(host / "password"),
        credentials=str(host / "credentials"),
    )
    return dataclasses.replace(plain, backup=kept)


def with_repository(it: DesiredState, repository: str) -> DesiredState:
    """Return the same with another repository."""
    return dataclasses.replace(it, backup=dataclasses.replace(it.backup, repository=repository))


def test_no_secret_is_in_a_command_line(it: DesiredState) -> None:
    """Password and credentials come in files and its environment; so does an address, which may hold a login."""
    environment = restic._environment(with_repository(it, "rest:https://me:secret@example.org/"))
    assert environment["RESTIC_PASSWORD_FILE"] == it.backup.password
    assert environment["RESTIC_REPOSITORY"] == "rest:https://me:secret@example.org/"
    assert (environment["AWS_ACCESS_KEY_ID"], environment["X"]) == ("key", "a=b")
    assert "a repository's password" not in " ".join(environment.values())


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("rest:https://example.org:8000/x", "rest:https://me:p%40ss%2F@example.org:8000/x"),
        ("rest:https://you:other@example.org/", "rest:https://you:other@example.org/"),
        ("s3:https://example.org/bucket", "s3:https://example.org/bucket"),
        ("/srv/restic", "/srv/restic"),
    ],
)
def test_the_login_of_a_rest_server_comes_from_the_credentials(
    it: DesiredState, host: Path, repository: str, address: str
) -> None:
    """Older restics know it as a part of the address alone, which a setting in group_data can't keep."""
    (host / "credentials").write_text("RESTIC_REST_USERNAME=me\nRESTIC_REST_PASSWORD=p@ss/\n", encoding="ascii")
    assert restic._environment(with_repository(it, repository))["RESTIC_REPOSITORY"] == address


def test_an_error_has_restics_message_without_the_login(it: DesiredState) -> None:
    """Which a repository's address may hold, and restic repeats."""
    address = "rest:http://me:secret@127.0.0.1:9/"
    output = (
        f"warning\nFatal: unable to open config file: Head {address}config: connection refused\nIs there a repository"
    )
    done = subprocess.CompletedProcess[str]([], 1, "", output)
    text = str(restic._refused(with_repository(it, address), done))
    assert text == (
        "restic can't reach or use rest:http://[hidden]@127.0.0.1:9/: unable to open config file: "
        "Head rest:http://[hidden]@127.0.0.1:9/config: connection refused; "
        "check restic_repository, its password and credentials"
    )


@pytest.mark.parametrize("login", ["me:secret", "me:p@ss", "me:p/ss"])
def test_an_address_with_a_login_comes_from_the_credentials(it: DesiredState, host: Path, login: str) -> None:
    """The settings advise this for an address with a password; it replaces the setting's, and is never printed."""
    address = f"rest:https://{login}@nas.example.org/x"
    (host / "credentials").write_text(f"RESTIC_REPOSITORY={address}\n", encoding="ascii")
    plain = with_repository(it, "rest:https://nas.example.org/x")
    assert restic._environment(plain)["RESTIC_REPOSITORY"] == address
    output = f'Fatal: {address}: Head "{address.removeprefix("rest:")}config": refused'
    text = str(restic._refused(plain, subprocess.CompletedProcess[str]([], 1, "", output)))
    assert "rest:https://[hidden]@nas.example.org/x: Head" in text
    assert text.startswith("restic can't reach or use rest:https://nas.example.org/x: ")
    assert "ss@" not in text
    assert "secret" not in text


def test_unreadable_credentials_are_reported(it: DesiredState, host: Path) -> None:
    """With the file, and what to do."""
    (host / "credentials").unlink()
    with pytest.raises(
        HostError, match=r"^the restic credentials in .* can't be read .*; run the deploy again, as root$"
    ):
        restic.snapshots(it)


def test_a_missing_restic_is_reported(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image may lack it."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="restic is not installed; install the package restic"):
        restic.snapshots(it)


@pytest.mark.parametrize("name", ["restic:", "restic:../x", "restic:--help", "restic:ABCDEF12"])
def test_an_invalid_name_of_a_snapshot_is_refused(it: DesiredState, host: Path, name: str) -> None:
    """It never gets to restic."""
    with pytest.raises(HostError, match="is not the name of a snapshot; use restic:latest"):
        restic.fetch(it, name, host)


def test_without_a_repository_there_are_no_snapshots(it: DesiredState, host: Path) -> None:
    """It says which setting is missing."""
    with pytest.raises(HostError, match="restic_repository isn't set"):
        restic.fetch(with_repository(it, ""), "restic:latest", host)
