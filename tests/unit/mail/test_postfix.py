"""Postfix's queue."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import HostError
from baikalctl.mail import postfix
from baikalctl.mail.queue_protocol import Waiting

if TYPE_CHECKING:
    from pathlib import Path

# As Postfix 3.7 and 3.10 print it.
LINES = """\
{"queue_name": "maildrop", "queue_id": "4BF95184342", "arrival_time": 1795611328, "message_size": 142, \
"forced_expire": false, "sender": "MAILER-DAEMON", "recipients": [{"address": "d@example.com"}]}
{"queue_name": "deferred", "queue_id": "2B88F184337", "arrival_time": 1795611327, "message_size": 1348, \
"forced_expire": false, "sender": "noreply@cal.example.org", "recipients": [{"address": "a@example.com", \
"delay_reason": "Connection refused"}, {"address": "b@example.com", "delay_reason": "Connection refused"}]}
{"queue_name": "hold", "queue_id": "3B88F184337", "arrival_time": 1795611329, "message_size": 1348, \
"forced_expire": false, "sender": "x@example.org", "recipients": [{"address": "c@example.com"}]}
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a fake Postfix whose queue is a directory with the deferred message of :data:`LINES`; return the directory."""
    spool, programs = tmp_path / "spool", tmp_path / "programs"
    for folder in (spool, programs):
        folder.mkdir()
    (spool / "2B88F184337").write_bytes("Subject: spät\n\n.\nFrom here\n\nend".encode())
    (spool / "lines").write_text(LINES.splitlines()[1] + "\n", encoding="utf-8")
    commands = {
        "systemctl": '[ "$*" = "stop postfix@- postfix" ] || echo inactive',
        "postqueue": "cat lines",
        "postcat": '[ "$1 $2 $3" = "-q -h -b" ] && exec cat "$4"',
        "postsuper": '[ "$*" = "-d 2B88F184337 hold incoming active deferred maildrop" ] && rm "$2" && : > lines',
    }
    for name, command in commands.items():
        (programs / name).write_text(f"#!/bin/sh\ncd {spool} && {command}\n", encoding="ascii")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return spool


def test_waiting_messages_are_listed_the_oldest_first() -> None:
    """Each reason once. A bounce has no sender. Postfix doesn't retry messages on hold."""
    assert postfix.read(LINES) == [
        Waiting(
            identifier="2B88F184337",
            since=1795611327,
            sender="noreply@cal.example.org",
            recipients=("a@example.com", "b@example.com"),
            reason="Connection refused",
            failed=False,
        ),
        Waiting(
            identifier="4BF95184342",
            since=1795611328,
            sender="",
            recipients=("d@example.com",),
            reason="",
            failed=False,
        ),
        Waiting(
            identifier="3B88F184337",
            since=1795611329,
            sender="x@example.org",
            recipients=("c@example.com",),
            reason="",
            failed=True,
        ),
    ]
    assert postfix.read("") == []


def test_take_all_keeps_messages_unchanged(queue: Path) -> None:
    """The queue is empty afterwards."""
    content = (queue / "2B88F184337").read_bytes()
    taken = queue / "taken"
    assert postfix.take_all(lambda *message: taken.write_text(repr(message), encoding="utf-8")) == 1
    assert ast.literal_eval(taken.read_text(encoding="utf-8")) == (
        "noreply@cal.example.org",
        ("a@example.com", "b@example.com"),
        content,
    )
    assert postfix.waiting() == []


def test_messages_that_cannot_be_stored_stay_in_the_queue(queue: Path) -> None:
    """For example if the disk is full."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        postfix.take_all(full)
    assert (queue / "2B88F184337").is_file()


def test_messages_that_cannot_be_read_stay_in_the_queue(queue: Path) -> None:
    """If postcat doesn't find a message, it was just delivered or is damaged. It isn't deleted."""
    (queue / "2B88F184337").rename(queue / "elsewhere")
    taken = queue / "taken"
    with pytest.raises(HostError, match="postcat -q -h -b 2B88F184337 failed"):
        postfix.take_all(lambda *_: taken.touch())
    assert (queue / "lines").stat().st_size
    assert not taken.exists()


@pytest.mark.parametrize(("status", "sent"), [("sent", True), ("bounced", False), ("deferred", False)])
def test_the_last_attempt_of_a_recipient_is_found(queue: Path, status: str, *, sent: bool) -> None:
    """Journal and message may have the same second. Attempts for other recipients don't count."""
    programs = queue.parent / "programs"
    logged = "4BF95184342: to=<{}>, relay=relay.lab.test[192.0.2.1]:587, delay=0.1, dsn=2.0.0, status={} (250 Ok: {})"
    lines = "\n".join(logged.format(who, how, who) for who, how in (("a@b.org", status), ("c@d.org", "deferred")))
    script = f"#!/bin/sh\n[ \"$5\" = @1795611328 ] && cat <<'END'\n{lines}\nEND\n"
    (programs / "journalctl").write_text(script, encoding="ascii")
    (programs / "journalctl").chmod(0o755)
    assert postfix.last_result("a@b.org", 1795611328.9) == (sent, "250 Ok: a@b.org")
    assert postfix.last_result("x@y.org", 1795611328.9) is None


def test_a_missing_postfix_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The remedy is the deploy, which installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="postqueue can't be run"):
        postfix.flush()
