"""Every error in the input is one line, for all hosts together, and no host is changed."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Final

import pytest

from baikalctl.output import escaped
from baikalctl.settings.known_releases import KNOWN_RELEASES
from tests.lab.deploying import pyinfra
from tests.lab.old_php import old_php
from tests.lab.release import Release, standin
from tests.lab.server import Server
from tests.unit.settings.cases import REFUSED
from tests.unit.settings.cases.common import SECRET, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.machine import Entry, Machine


HOSTS_A_RUN = 8
"""The number of concurrent connections that sshd accepts without dropping any (its MaxStartups is 10)."""
TOUCHABLE = ("/etc", "/opt", "/usr/local", "/var/lib/baikal", "/var/lib/dpkg/status", "/srv")


@pytest.fixture(scope="module")
def bare(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a machine without any deploy."""
    return Server(boot(warm=False), release)


SAME_MACHINE: Final = "is the same machine as "
"""A fault that all hosts but the first have here, because these tests have only one machine."""


@pytest.fixture
def before(bare: Server) -> dict[str, Entry]:
    """Return a snapshot of the machine, to compare with later."""
    return bare.machine.snapshot(TOUCHABLE)


def test_every_wrong_setting_is_one_line_and_changes_nothing(
    bare: Server, before: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit tests' whole table of wrong settings, with one host for each, on a real machine."""
    for variable, value in VARIABLES.items():
        monkeypatch.setenv(variable, value)
    assert len(REFUSED) >= 50
    cases = [refused for refused in REFUSED if _is_plain(refused.data)]
    assert len(cases) >= len(REFUSED) - 5
    numbered = list(enumerate(cases))
    for start in range(0, len(numbered), HOSTS_A_RUN):
        batch = numbered[start : start + HOSTS_A_RUN]
        hosts = []
        for number, refused in batch:
            _, data = bare.host(users=[], hostname="cal.example.org")
            if {"baikal_version", "baikal_archive"} & set(refused.data):
                del data["baikal_sha256"]
            if "baikal_version" in refused.data and "baikal_archive" not in refused.data:
                del data["baikal_archive"]
            hosts.append((f"case-{number}", data | dict(refused.data)))
        outcome = pyinfra(hosts, "-y", "--json")
        assert outcome.status == 1, outcome.output
        assert "nothing was changed on any host" in outcome.output
        assert SECRET not in outcome.output
        for number, refused in batch:
            lines = [line for line in outcome.output.splitlines() if line.strip().startswith(f"case-{number}: ")]
            lines = [line for line in lines if SAME_MACHINE not in line]
            assert len(lines) == 1, (refused.line, lines)
            assert f"case-{number}: {escaped(refused.line)}" in lines[0], (refused.line, lines)
    assert bare.machine.snapshot(TOUCHABLE) == before


def test_all_errors_of_all_hosts_are_reported_together(bare: Server, before: dict[str, Entry]) -> None:
    """Two hosts, three faults, one run."""
    good = bare.host()[1]
    hosts = [("one", good | {"http_port": 0, "tlss": "off"}), ("two", good | {"hostname": "a b"}), ("three", good)]
    outcome = pyinfra(hosts, "-y")
    assert outcome.status == 1
    for part in ("one: http_port = 0", "one: tlss: no such setting; did you mean tls?", 'two: hostname = "a b"'):
        assert part in outcome.output
    assert [SAME_MACHINE in line for line in outcome.output.splitlines() if "three:" in line] == [True]
    assert bare.machine.snapshot(TOUCHABLE) == before


def test_types_guessed_by_data_option_are_refused(bare: Server, before: dict[str, Entry]) -> None:
    """The option --data of pyinfra guesses types: a password becomes a number, 0.10 becomes 0.1."""
    outcome = pyinfra([bare.host()], "-y", "--data", "admin_password=12345", "--data", "baikal_version=0.10")
    assert outcome.status == 1
    assert "admin_password: is a secret and must be a reference" in outcome.output
    assert "12345" not in outcome.output
    assert "baikal_version = 0.1: is not text, but float; --data guesses types" in outcome.output
    assert bare.machine.snapshot(TOUCHABLE) == before


def test_archive_that_is_not_the_release_is_refused_locally(
    bare: Server, before: dict[str, Entry], tmp_path: Path
) -> None:
    """Not a zip, a path outside the directory, a wrong checksum, another version, a missing file: before any change."""
    noise, escaping = tmp_path / "noise.zip", tmp_path / "escaping.zip"
    noise.write_bytes(b"this is not a zip archive")
    with zipfile.ZipFile(bare.release.path) as source, zipfile.ZipFile(escaping, "w") as target:
        for member in source.infolist():
            target.writestr(member, source.read(member))
        target.writestr("baikal/../../../etc/cron.d/evil", "* * * * * root true\n")
    unofficial = standin(tmp_path, "0.12.1")
    newer = "0.11.1" if bare.release.version != "0.11.1" else "0.12.1"
    for changes, words in (
        ({"baikal_archive": str(noise), "baikal_sha256": ""}, "noise.zip is not a zip archive; use the release's zip"),
        (
            {"baikal_archive": str(escaping), "baikal_sha256": ""},
            "'baikal/../../../etc/cron.d/evil', which is outside baikal/",
        ),
        ({"baikal_sha256": "0" * 64}, f"not {'0' * 64}: it is damaged, or another release; download it again"),
        (
            {"baikal_archive": str(unofficial.path), "baikal_version": "0.12.1", "baikal_sha256": ""},
            f"its SHA-256 is {unofficial.sha256}, not {KNOWN_RELEASES['0.12.1']}; use the official one, or",
        ),
        ({"baikal_version": newer}, f"set baikal_version to {bare.release.version}"),
        ({"baikal_archive": str(tmp_path / "none.zip")}, "is not a file on this machine"),
    ):
        outcome = bare.deploy(**changes)
        assert outcome.status == 1
        assert words in outcome.output
    assert bare.machine.snapshot(TOUCHABLE) == before


@pytest.mark.parametrize(
    ("user", "data", "words"),
    [
        ("deployer", {}, "isn't root; set _sudo = True for this host, or log in as root"),
        ("nosudo", {}, "isn't root; set _sudo = True for this host, or log in as root"),
        ("nosudo", {"_sudo": True}, "sudo"),
    ],
)
def test_user_without_privileges_gets_the_remedy(
    bare: Server, before: dict[str, Entry], user: str, data: dict[str, object], words: str
) -> None:
    """Without root and sudo: one line with the remedy, no traceback, no prompt, and no hang."""
    name, root = bare.host()
    host = (
        {key: value for key, value in root.items() if not key.startswith("ssh_")} | bare.machine.ssh_data(user) | data
    )
    outcome = pyinfra([(name, host)], "-y")
    assert outcome.status == 1
    assert words in outcome.output
    assert "Traceback" not in outcome.output
    assert bare.machine.snapshot(TOUCHABLE) == before


def test_a_host_with_too_old_a_php_is_refused_with_the_remedy(bare: Server) -> None:
    """As on Ubuntu 22.04, where apt offers 8.1: reported before the first change."""
    with old_php(bare.machine):
        before = bare.machine.snapshot(TOUCHABLE)
        outcome = bare.deploy()
        assert outcome.status == 1
        assert "has PHP 8.1, and Baïkal 0.12.1 needs 8.2; set baikal_version to 0.11.1" in outcome.output
        assert bare.machine.snapshot(TOUCHABLE) == before


def test_an_unreachable_host_is_named(bare: Server) -> None:
    """A closed port: status 1, and the host's name."""
    name, data = bare.host()
    outcome = pyinfra([(name, data | {"ssh_port": 1})], "-y")
    assert outcome.status == 1
    assert name in outcome.output


def _is_plain(value: object) -> bool:
    """Whether an inventory file of the lab, which is JSON, can contain the value."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False
