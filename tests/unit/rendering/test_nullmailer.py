"""nullmailer's configuration, parsed as nullmailer does, and its files on machines and in containers."""

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
    words: list[str] = []
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
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    assert not within, "a quote without its end"
    return words if word is None else [*words, word]


def files(file_set: FileSet) -> dict[str, File]:
    """Return the files by path."""
    return {file.path: file for file in file_set.files}


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
def test_name_and_password_for_the_relay_are_unchanged(name: str, password: str) -> None:
    """With any special characters."""
    file_set = remote(**RELAY | {"relay_user": name, "relay_password": password})
    assert file_set[-2:] == [f"--user={name}", f"--pass={password}"]
    assert len(file_set) == 7


def test_tls_is_used_and_verified_unless_it_is_none() -> None:
    """From the first byte or not, with the system's CAs or the operator's own."""
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


def test_every_line_has_a_newline() -> None:
    """Nullmailer reads lines."""
    for changed in (OPEN, RELAY, OPEN | {"relay_tls": "none"}):
        for path, file in machine(**changed).items():
            if path.startswith(paths.NULLMAILER):
                assert file.content.endswith(b"\n"), path


def test_only_nullmailer_and_root_read_the_password() -> None:
    """On a machine through its group. Only root can read the password for `baikalctl check`."""
    file_set = machine(**RELAY)
    remotes, password = file_set[REMOTES], file_set[paths.RELAY_PASSWORD]
    assert (remotes.owner, remotes.group, remotes.mode) == ("root", "mail", 0o640)
    assert (password.owner, password.group, password.mode) == ("root", "root", 0o600)
    assert password.content == b"relay-secret\n"
    with_it = {path for path, file in file_set.items() if b"relay-secret" in file.content}
    assert with_it == {REMOTES, paths.RELAY_PASSWORD}


def test_no_password_file_without_a_login() -> None:
    """Or without mail."""
    assert paths.RELAY_PASSWORD not in machine(**OPEN)
    off = [path for path in machine() if not path.startswith(paths.LIBRARY)]
    assert not [path for path in off if "nullmailer" in path or "relay" in path]


def test_queue_is_tried_every_few_minutes_and_for_a_week() -> None:
    """In seconds, one file each."""
    file_set = machine(**RELAY)
    times = {name: int(file_set[f"{paths.NULLMAILER}/{name}"].content) for name in ("maxpause", "queuelifetime")}
    assert times == {"maxpause": 300, "queuelifetime": 604800}
    assert file_set[f"{paths.NULLMAILER}/helohost"].content == b"cal.example.org\n"


def test_nullmailer_is_reloaded_when_its_files_change() -> None:
    """It starts at boot. Without mail there is no such service."""
    file_set = render(settings(**RELAY), PLATFORM)
    service = next(each for each in file_set.services if each.unit == "nullmailer")
    assert {REMOTES, "/etc/systemd/system/nullmailer.service.d/baikal.conf"} <= set(service.reads)
    assert "nullmailer" not in {each.unit for each in render(settings(), PLATFORM).services}


def test_php_sends_mail_through_the_filter_only() -> None:
    """With the sender's address. With mail off, no PHP program can send mail."""
    pool = "/etc/php/8.2/fpm/pool.d/baikal.conf"
    line = "php_admin_value[sendmail_path] = "
    assert f"{line}/bin/false\n" in machine()[pool].content.decode()
    wanted = f"{line}{paths.COMMAND} sendmail --from noreply@cal.example.org\n"
    assert wanted in machine(**RELAY)[pool].content.decode()


@pytest.mark.parametrize("account", ["baikal", "", "root"])
def test_queue_of_a_container_is_in_the_volume_and_its_relay_in_run(account: str) -> None:
    """Both belong to PHP's account, which fills the queue."""
    file_set = render_contained(settings(**RELAY), dataclasses.replace(PLATFORM, php_user=account), REALM)
    remotes = files(file_set)[f"{paths.RUN}{REMOTES}"]
    assert (remotes.owner, remotes.group, remotes.mode) == (account, account, 0o640)
    folders = {each.path: each for each in file_set.directories}
    for path in (paths.SPOOL, f"{paths.SPOOL}/queue", f"{paths.SPOOL}{WRITING}", f"{paths.SPOOL}/failed"):
        assert (folders[path].owner, folders[path].mode) == (account, 0o700)
    for path in (f"{paths.RUN}{REMOTES}", f"{paths.RUN}{paths.RELAY_PASSWORD}"):
        assert str(PurePosixPath(path).parent) in folders


def test_a_container_without_mail_has_no_queue_and_no_relay() -> None:
    """Mail is off by default."""
    file_set = render_contained(settings(), PLATFORM, REALM)
    everything = [*(each.path for each in file_set.files), *(each.path for each in file_set.directories)]
    assert not [path for path in everything if "nullmailer" in path or "relay" in path or path.startswith(paths.SPOOL)]


def test_an_image_has_a_service_for_mail() -> None:
    """A start links it only if there is mail."""
    run = files(baked())[f"{paths.LAID_OUT}/mail/run"]
    assert run.mode == 0o755
    assert run.content.endswith(f"' {paths.RUN}/mail\n".encode())
    # What is written into a folder of that account's is written as that account.
    begin = run.content.index(b"exec $as sh -c '")
    assert begin < run.content.index(b'exec /usr/sbin/nullmailer-send > "$0/pipe" 2>&1')
