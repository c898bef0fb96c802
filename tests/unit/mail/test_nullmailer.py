"""nullmailer's queue and log, in the format of version 2.2."""

from __future__ import annotations

import ast
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.mail import nullmailer
from tests.unit.spool import ANN, BOB, LOG, SENDER, put, write_log

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("spool")


def test_waiting_messages_are_listed_with_recipients_and_last_reason() -> None:
    """The oldest first, from both folders."""
    put("queue", BOB, "bob@example.net")
    put("failed", ANN, "ann@example.net", "joe@example.net")
    write_log(LOG)
    ann, bob = nullmailer.waiting()
    assert (bob.identifier, bob.sender, bob.recipients) == (BOB, SENDER, ("bob@example.net",))
    assert (bob.since, bob.reason, bob.failed) == (1700000058.0, "451 4.3.0 later", False)
    assert (ann.recipients, ann.failed) == (("ann@example.net", "joe@example.net"), True)
    assert ann.reason == "550 5.1.1 no such user"


def test_a_message_without_an_attempt_has_no_reason() -> None:
    """With and without a log."""
    put("queue", "1700000099.700", "bob@example.net")
    assert [each.reason for each in nullmailer.waiting()] == [""]
    write_log(LOG)
    assert [each.reason for each in nullmailer.waiting()] == [""]


def test_the_last_attempt_of_each_message_counts() -> None:
    """With the relay's answer."""
    write_log(LOG)
    assert nullmailer._outcomes(nullmailer._log()) == {
        BOB: (False, "451 4.3.0 later", "<bob@example.net>"),
        ANN: (False, "550 5.1.1 no such user", "<ann@example.net>"),
        "1700000070.801": (False, "the relay took longer than two minutes", "<bob@example.net>"),
        "1700000071.802": (True, "250 2.0.0 Ok: queued as 4X", "<bob@example.net>"),
    }
    write_log(f"{LOG}Starting delivery: host: smtp protocol: smtp file: {BOB}\nsmtp: Succeeded: 250 2.0.0 Ok\n")
    assert nullmailer._outcomes(nullmailer._log())[BOB][:2] == (True, "250 2.0.0 Ok")


def test_an_outcome_without_its_beginning_is_ignored() -> None:
    """A log may have been cut."""
    write_log(
        "smtp: Failed: 451 later\nSending timed out, killing protocol\n\xff\nStarting delivery: host: a protocol: smtp\n"
    )
    assert nullmailer._outcomes(nullmailer._log()) == {}


def test_older_pieces_of_a_containers_log_are_read_first(container: Path) -> None:
    """s6-log starts a new file when one is full. An attempt may be in one file and its outcome in the next."""
    (container / "@400000006a").write_text(f"Starting delivery: host: a protocol: smtp file: {BOB}\n", encoding="ascii")
    (container / "current").write_text("smtp: Failed: 451 4.3.0 later\n", encoding="ascii")
    assert nullmailer._outcomes(nullmailer._log()) == {BOB: (False, "451 4.3.0 later", "")}


def test_a_container_without_a_log_is_no_error(container: Path) -> None:
    """Nor is a machine without a journal."""
    assert list(container.iterdir()) == []
    assert nullmailer._outcomes(nullmailer._log()) == {}


def test_a_missing_queue_is_empty(spool: Path) -> None:
    """On a machine before its first run."""
    for part in ("queue", "failed"):
        (spool / part).rmdir()
    assert nullmailer.waiting() == []
    assert nullmailer.requeue_failed() == 0
    assert nullmailer.take_all(lambda *_: None) == 0


def test_an_empty_file_with_another_name_is_listed(spool: Path) -> None:
    """With its modification time."""
    (spool / "queue/odd").write_bytes(b"")
    os.utime(spool / "queue/odd", (5, 5))
    (odd,) = nullmailer.waiting()
    assert (odd.identifier, odd.since, odd.sender, odd.recipients) == ("odd", 5.0, "", ())


def test_a_message_that_is_sent_during_the_listing_is_no_error(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nullmailer may send it at any time."""
    put("queue", BOB, "bob@example.net")

    def gone(path: Path, *_: object, **__: object) -> None:
        path.unlink()
        raise FileNotFoundError

    assert spool.is_dir()
    monkeypatch.setattr(nullmailer, "_read_message", gone)
    assert nullmailer.waiting() == []


def test_refused_messages_are_queued_again_with_the_present_time(spool: Path) -> None:
    """Otherwise nullmailer would give up at once. Refused bounces stay."""
    path = put("failed", ANN, "ann@example.net")
    os.utime(path, (1, 1))
    put("failed", BOB, "cal@example.org", sender="")
    assert nullmailer.requeue_failed() == 1
    assert [path.name for path in (spool / "queue").iterdir()] == [ANN]
    assert time.time() - (spool / "queue" / ANN).stat().st_mtime < 60
    assert [path.name for path in (spool / "failed").iterdir()] == [BOB]


def test_flush_writes_to_the_pipe(spool: Path) -> None:
    """Without a reader or a pipe, it doesn't hang."""
    nullmailer.flush()
    os.mkfifo(spool / "trigger")
    nullmailer.flush()
    reader = os.open(spool / "trigger", os.O_RDONLY | os.O_NONBLOCK)
    nullmailer.flush()
    assert os.read(reader, 10) == b"\0"
    os.close(reader)


def taken() -> tuple[int, list[tuple[str, tuple[str, ...], bytes]]]:
    """Take all messages; return their number, and the stored ones."""
    kept = Path(paths.DATA) / "kept.txt"
    kept.touch()

    def keep(*message: object) -> None:
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(f"{message!r}\n")

    count = nullmailer.take_all(keep)
    return count, sorted(map(ast.literal_eval, kept.read_text(encoding="utf-8").splitlines()))


def test_take_all_keeps_messages_with_their_envelopes(spool: Path) -> None:
    """Also refused ones and bounces."""
    put("queue", BOB, "bob@example.net", content=b"Subject: x\n\none\n\ntwo\n")
    put("failed", ANN, "cal@example.org", sender="")
    assert taken() == (
        2,
        [
            ("", ("cal@example.org",), b"Subject: x\n\nbody\n"),
            (SENDER, ("bob@example.net",), b"Subject: x\n\none\n\ntwo\n"),
        ],
    )
    assert not any((spool / "queue").iterdir())
    assert not any((spool / "failed").iterdir())


def test_messages_that_cannot_be_stored_stay_in_the_queue(spool: Path) -> None:
    """For example if the disk is full."""
    put("queue", BOB, "bob@example.net")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        nullmailer.take_all(full)
    assert (spool / "queue" / BOB).is_file()


def test_the_service_is_stopped_before_messages_are_taken(host: Path) -> None:
    """Otherwise it could send them at the same time."""
    calls = host / "calls"
    (host / "programs/systemctl").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n', encoding="utf-8")
    put("queue", BOB, "bob@example.net")
    nullmailer.take_all(lambda *_: calls.open("a").write("kept\n"))
    assert calls.read_text(encoding="utf-8").splitlines() == ["stop nullmailer", "is-active nullmailer", "kept"]


@pytest.mark.usefixtures("container")
def test_systemctl_is_not_called_in_a_container(host: Path) -> None:
    """It doesn't exist there."""
    calls = host / "calls"
    (host / "programs/systemctl").write_text(f"#!/bin/sh\ntouch {calls}\n", encoding="utf-8")
    assert taken() == (0, [])
    assert not calls.exists()


@pytest.fixture
def volume_spool(host: Path) -> Path:
    """Return a container's queue in its volume."""
    assert host.is_dir()
    for part in ("queue", "failed", "tmp"):
        (Path(paths.SPOOL) / part).mkdir(parents=True)
    return Path(paths.SPOOL)


def test_a_container_gets_the_pipe_of_its_queue(volume_spool: Path) -> None:
    """At each start."""
    messages: list[str] = []
    for _ in range(2):
        nullmailer.prepare("relay", messages.append)
    state = (volume_spool / "trigger").stat()
    assert stat.S_ISFIFO(state.st_mode)
    assert stat.S_IMODE(state.st_mode) == 0o600
    assert messages == []


def test_a_container_with_mail_off_reports_messages_in_its_queue(volume_spool: Path) -> None:
    """Operators wouldn't look for them. Without messages, nothing is reported."""
    messages: list[str] = []
    nullmailer.prepare("off", messages.append)
    assert messages == []
    (volume_spool / "queue" / BOB).touch()
    (volume_spool / "failed" / ANN).touch()
    nullmailer.prepare("off", messages.append)
    assert messages == ["mail is off; 2 messages are kept in the volume until there is a relay"]
    assert not (volume_spool / "trigger").exists()


def test_no_queue_is_created_with_mail_off(host: Path) -> None:
    """Mail is off by default."""
    say: Callable[[str], None] = pytest.fail
    nullmailer.prepare("off", say)
    assert not Path(paths.SPOOL).exists()
    assert host.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_messages_of_another_account_in_the_volume_get_the_right_owner(volume_spool: Path) -> None:
    """For example after the container ran as an ordinary user."""
    (volume_spool / "queue" / BOB).touch()
    os.chown(volume_spool / "queue" / BOB, 4711, 4711)
    (volume_spool / "queue/link").symlink_to("/nowhere")
    nullmailer.prepare("relay", lambda _: None)
    assert (volume_spool / "queue" / BOB).stat().st_uid == os.geteuid()
