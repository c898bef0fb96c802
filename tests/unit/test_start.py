"""What a container says before it touches anything; what it then does, the end-to-end tests show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from baikalctl import paths, start
from baikalctl.faults import HostError, SettingsError

RIGHT = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": "s"}


@pytest.fixture
def file(host: Path) -> Path:
    """Return where settings.toml is mounted."""
    assert host.is_dir()
    return Path(paths.SETTINGS_FILE)


@pytest.mark.usefixtures("host")
def test_without_a_file_the_environment_says_it_all() -> None:
    """The usual docker run."""
    assert start.read_settings(RIGHT).hostname == "cal.example.org"


def test_the_environment_overrides_the_file(file: Path) -> None:
    """One file for all, and a variable for once."""
    file.write_text('hostname = "a.example.org"\nadmin_password = "s"\nhttp_port = 8080\n', encoding="utf-8")
    found = start.read_settings({"BAIKAL_HOSTNAME": "b.example.org"})
    assert (found.hostname, found.http_port) == ("b.example.org", 8080)


def test_a_fault_names_what_the_reader_wrote(file: Path) -> None:
    """The setting where it stands in the file, the variable where it is one or is missing altogether."""
    file.write_text('http_port = 0\nhttps_port = 0\nusers = [{name = "a b", password = "x"}]\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        start.read_settings({"BAIKAL_HTTPS_PORT": "x", "BAIKAL_ADMIN_PASSWORD_FILE": "/nowhere"})
    assert [fault.setting for fault in caught.value.faults] == [
        "BAIKAL_HTTPS_PORT",
        "BAIKAL_ADMIN_PASSWORD",
        "users[0].name",
        "http_port",
        "BAIKAL_HOSTNAME",
    ]


def test_a_variable_that_a_secret_refers_to_is_no_unknown_setting(file: Path) -> None:
    """Whatever its name begins with."""
    file.write_text('users = [{name = "jo", password = {env = "BAIKAL_JO"}}]\n', encoding="utf-8")
    assert start.read_settings(RIGHT | {"BAIKAL_JO": "secret"}).users[0].name == "jo"
    with pytest.raises(SettingsError, match="BAIKAL_JOE: no such setting"):
        start.read_settings(RIGHT | {"BAIKAL_JO": "secret", "BAIKAL_JOE": "x"})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"hostname = cal.example.org", "is not TOML: .*write lines such as"), (b"\xff", "is not UTF-8 text; save it")],
)
def test_a_file_that_is_none_is_said_in_one_line(file: Path, content: bytes, said: str) -> None:
    """With what to write."""
    file.write_bytes(content)
    with pytest.raises(HostError, match=said) as caught:
        start.read_settings(RIGHT)
    assert "\n" not in str(caught.value)


def test_a_directory_in_the_files_place_is_explained(file: Path) -> None:
    """Docker makes one where the file to mount isn't there."""
    file.mkdir()
    with pytest.raises(HostError, match="is a directory: the file that should be mounted there doesn't exist"):
        start.read_settings(RIGHT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_with_the_account(file: Path) -> None:
    """Mounted files keep their owner."""
    file.touch(mode=0)
    with pytest.raises(HostError, match=f"can't be read by uid {os.geteuid()}; give that account the file"):
        start.read_settings(RIGHT)
