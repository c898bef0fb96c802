"""What nullmailer is told, read as nullmailer reads it, and what a machine and a container have for it."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.desired.state import REALM
from baikalctl.rendering.container import baked, render_contained
from baikalctl.rendering.machine import render
from tests.unit.samples import PLATFORM, RELAY, settings

if TYPE_CHECKING:
    from baikalctl.rendering.model import File, FileSet

REMOTES = f"{paths.NULLMAILER}/remotes"
OPEN: dict[str, object] = {"mail": "relay", "relay_host": "smtp.example.net"}
PASSWORDS = (
    "plain",
    "it's",
    'say "x"',
    "back\\slash",
    "ends\\",
    "$HOME and `id`",
    "# no comment",
    "a:b:c",
    "two  spaces",
    "'",
    '"',
    "''\"\"\\\\",
    "--pass=x --insecure",
    "%s {{ x }} {% y %}",
    "!~*?[a]<>|&;",
)
WRITING = "/tmp"  # noqa: S108 - where nullmailer writes a message before it is in the queue


def words(line: str) -> list[str]:
    """Split a line as nullmailer's parse_args does: quotes of both kinds, and backslashes outside single ones."""
    found: list[str] = []
    word, within, letters = None, "", iter(line)
    for letter in letters:
        if within == "'" and letter != "'":
            word = (word or "") + letter
        elif letter == within:
            within = ""
        elif letter == "\\":
            word = (word or "") + next(letters)
        elif within:
            word = (word or "") + letter
        elif letter in "'\"":
            within, word = letter, word or ""
        elif letter.isspace():
            found += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    assert not within, "a quote that nobody closes"
    return found if word is None else [*found, word]


def files(found: FileSet) -> dict[str, File]:
    """Return the files by path."""
    return {file.path: file for file in found.files}


def machine(**changed: object) -> dict[str, File]:
    """Return a machine's files."""
    return files(render(settings(**changed), PLATFORM))


def remote(**changed: object) -> list[str]:
    """Return the words that nullmailer reads: the host, the protocol and its options."""
    lines = machine(**changed)[REMOTES].content.decode().splitlines()
    (line,) = [line for line in lines if line and not line.startswith("#")]
    return words(line)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", ["cal", "cal@example.org", "o'neill", 'a"b\\c', "#cal$"])
def test_a_relay_gets_name_and_password_as_they_are(name: str, password: str) -> None:
    """Whatever they have in them."""
    found = remote(**RELAY | {"relay_user": name, "relay_password": password})
    assert found[-2:] == [f"--user={name}", f"--pass={password}"]
    assert len(found) == 7


def test_tls_is_asked_for_and_checked_unless_somebody_says_none() -> None:
    """From the first byte on or not, with the system's authorities or one of one's own."""
    system = "--x509cafile=/etc/ssl/certs/ca-certificates.crt"
    assert remote(**OPEN) == ["smtp.example.net", "smtp", "--port=587", "--starttls", system]
    assert remote(**OPEN, relay_tls="tls") == ["smtp.example.net", "smtp", "--port=465", "--tls", system]
    assert remote(**OPEN, relay_ca="/etc/ca.pem", relay_port=2525)[2:] == [
        "--port=2525",
        "--starttls",
        "--x509cafile=/etc/ca.pem",
    ]
    assert remote(**OPEN, relay_tls="none") == ["smtp.example.net", "smtp", "--port=25"]
    assert "--insecure" not in remote(**RELAY)


def test_every_line_ends() -> None:
    """Nullmailer reads lines."""
    for changed in (OPEN, RELAY, OPEN | {"relay_tls": "none"}):
        for path, file in machine(**changed).items():
            if path.startswith(paths.NULLMAILER):
                assert file.content.endswith(b"\n"), path


def test_only_nullmailer_and_root_read_the_password() -> None:
    """Its group on a machine; what the doctor logs in with is root's alone."""
    found = machine(**RELAY)
    remotes, password = found[REMOTES], found[paths.RELAY_PASSWORD]
    assert (remotes.owner, remotes.group, remotes.mode) == ("root", "mail", 0o640)
    assert (password.owner, password.group, password.mode) == ("root", "root", 0o600)
    assert password.content == b"relay-secret\n"
    with_it = {path for path, file in found.items() if b"relay-secret" in file.content}
    assert with_it == {REMOTES, paths.RELAY_PASSWORD}


def test_without_a_login_there_is_no_password_to_keep() -> None:
    """Nor where there is no mail."""
    assert paths.RELAY_PASSWORD not in machine(**OPEN)
    off = [path for path in machine() if not path.startswith(paths.LIBRARY)]
    assert not [path for path in off if "nullmailer" in path or "relay" in path]


def test_mail_leaves_minutes_after_a_relay_is_back_and_is_given_up_on_after_a_week() -> None:
    """In seconds, a file each."""
    found = machine(**RELAY)
    times = {name: int(found[f"{paths.NULLMAILER}/{name}"].content) for name in ("maxpause", "queuelifetime")}
    assert times == {"maxpause": 300, "queuelifetime": 604800}
    assert found[f"{paths.NULLMAILER}/helohost"].content == b"cal.example.org\n"


def test_a_machine_reloads_nullmailer_when_what_it_reads_changes() -> None:
    """And has it running at boot; without mail there is no such service."""
    found = render(settings(**RELAY), PLATFORM)
    service = next(each for each in found.services if each.unit == "nullmailer")
    assert {REMOTES, "/etc/systemd/system/nullmailer.service.d/baikal.conf"} <= set(service.reads)
    assert "nullmailer" not in {each.unit for each in render(settings(), PLATFORM).services}


def test_php_hands_mail_to_the_filter_or_to_nobody() -> None:
    """In the sender's name; off, even another program in PHP sends none."""
    pool = "/etc/php/8.2/fpm/pool.d/baikal.conf"
    line = "php_admin_value[sendmail_path] = "
    assert f"{line}/bin/false\n" in machine()[pool].content.decode()
    wanted = f"{line}{paths.COMMAND} sendmail --from noreply@cal.example.org\n"
    assert wanted in machine(**RELAY)[pool].content.decode()


@pytest.mark.parametrize("account", ["baikal", "", "root"])
def test_a_container_has_its_queue_in_the_volume_and_its_relay_in_memory(account: str) -> None:
    """Both its PHP account's, since that fills the queue itself."""
    found = render_contained(settings(**RELAY), dataclasses.replace(PLATFORM, php_user=account), REALM)
    remotes = files(found)[f"{paths.RUN}{REMOTES}"]
    assert (remotes.owner, remotes.group, remotes.mode) == (account, account, 0o640)
    folders = {each.path: each for each in found.directories}
    for path in (paths.SPOOL, f"{paths.SPOOL}/queue", f"{paths.SPOOL}{WRITING}", f"{paths.SPOOL}/failed"):
        assert (folders[path].owner, folders[path].mode) == (account, 0o700)
    for path in (f"{paths.RUN}{REMOTES}", f"{paths.RUN}{paths.RELAY_PASSWORD}"):
        assert str(PurePosixPath(path).parent) in folders


def test_a_container_without_mail_has_no_queue_and_no_relay() -> None:
    """It is off by default."""
    found = render_contained(settings(), PLATFORM, REALM)
    everything = [*(each.path for each in found.files), *(each.path for each in found.directories)]
    assert not [path for path in everything if "nullmailer" in path or "relay" in path or path.startswith(paths.SPOOL)]


def test_an_image_has_a_service_for_mail() -> None:
    """Which a start lays out only where there is mail."""
    run = files(baked())[f"{paths.LAID_OUT}/mail/run"]
    assert run.mode == 0o755
    assert run.content.endswith(f"' {paths.RUN}/mail\n".encode())
    # What is written into a folder of that account's is written as that account.
    begin = run.content.index(b"exec $as sh -c '")
    assert begin < run.content.index(b'exec /usr/sbin/nullmailer-send > "$0/pipe" 2>&1')
