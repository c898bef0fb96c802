"""nullmailer's queue, as version 2.2 keeps it and as its log tells of it."""

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
from tests.unit.spool import ANN, BOB, LOG, SENDER, put, said

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("spool")


def test_what_waits_is_told_with_whom_it_is_to_and_the_last_reason() -> None:
    """The oldest first, wherever it is."""
    put("queue", BOB, "bob@example.net")
    put("failed", ANN, "ann@example.net", "joe@example.net")
    said(LOG)
    ann, bob = nullmailer.waiting()
    assert (bob.identifier, bob.sender, bob.recipients) == (BOB, SENDER, ("bob@example.net",))
    assert (bob.since, bob.reason, bob.failed) == (1700000058.0, "451 4.3.0 later", False)
    assert (ann.recipients, ann.failed) == (("ann@example.net", "joe@example.net"), True)
    assert ann.reason == "550 5.1.1 no such user"


def test_what_was_not_tried_yet_has_no_reason() -> None:
    """Nothing is said of it, or of anything."""
    put("queue", "1700000099.700", "bob@example.net")
    assert [each.reason for each in nullmailer.waiting()] == [""]
    said(LOG)
    assert [each.reason for each in nullmailer.waiting()] == [""]


def test_the_last_attempt_counts() -> None:
    """What it ended with, in the relay's words."""
    said(LOG)
    assert nullmailer._outcomes(nullmailer._log()) == {
        BOB: (False, "451 4.3.0 later", "<bob@example.net>"),
        ANN: (False, "550 5.1.1 no such user", "<ann@example.net>"),
        "1700000070.801": (False, "the relay took longer than two minutes", "<bob@example.net>"),
        "1700000071.802": (True, "250 2.0.0 Ok: queued as 4X", "<bob@example.net>"),
    }
    said(f"{LOG}Starting delivery: host: smtp protocol: smtp file: {BOB}\nsmtp: Succeeded: 250 2.0.0 Ok\n")
    assert nullmailer._outcomes(nullmailer._log())[BOB][:2] == (True, "250 2.0.0 Ok")


def test_what_nobody_began_ends_nothing() -> None:
    """A log that was cut begins anywhere."""
    said(
        "smtp: Failed: 451 later\nSending timed out, killing protocol\n\xff\nStarting delivery: host: a protocol: smtp\n"
    )
    assert nullmailer._outcomes(nullmailer._log()) == {}


def test_older_pieces_of_a_containers_log_are_read_first(container: Path) -> None:
    """s6-log begins a new one when one is full; the attempt may stand in one and its outcome in the other."""
    (container / "@400000006a").write_text(f"Starting delivery: host: a protocol: smtp file: {BOB}\n", encoding="ascii")
    (container / "current").write_text("smtp: Failed: 451 4.3.0 later\n", encoding="ascii")
    assert nullmailer._outcomes(nullmailer._log()) == {BOB: (False, "451 4.3.0 later", "")}


def test_a_container_that_has_said_nothing_yet_is_no_error(container: Path) -> None:
    """Nor is a machine without a journal."""
    assert list(container.iterdir()) == []
    assert nullmailer._outcomes(nullmailer._log()) == {}


def test_a_queue_that_is_not_there_is_empty(spool: Path) -> None:
    """On a machine before its first run."""
    for part in ("queue", "failed"):
        (spool / part).rmdir()
    assert nullmailer.waiting() == []
    assert nullmailer.requeue_failed() == 0
    assert nullmailer.take_all(lambda *_: None) == 0


def test_a_file_of_another_name_or_of_nothing_is_told_all_the_same(spool: Path) -> None:
    """By when it was written."""
    (spool / "queue/odd").write_bytes(b"")
    os.utime(spool / "queue/odd", (5, 5))
    (odd,) = nullmailer.waiting()
    assert (odd.identifier, odd.since, odd.sender, odd.recipients) == ("odd", 5.0, "", ())


def test_what_leaves_while_it_is_looked_at_is_no_error(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nullmailer doesn't wait for us."""
    put("queue", BOB, "bob@example.net")

    def gone(path: Path, *_: object, **__: object) -> None:
        path.unlink()
        raise FileNotFoundError

    assert spool.is_dir()
    monkeypatch.setattr(nullmailer, "_read_message", gone)
    assert nullmailer.waiting() == []


def test_what_was_refused_is_put_back_as_if_it_had_just_come(spool: Path) -> None:
    """So that it isn't given up on at once; a bounce that nobody took is left."""
    place = put("failed", ANN, "ann@example.net")
    os.utime(place, (1, 1))
    put("failed", BOB, "cal@example.org", sender="")
    assert nullmailer.requeue_failed() == 1
    assert [path.name for path in (spool / "queue").iterdir()] == [ANN]
    assert time.time() - (spool / "queue" / ANN).stat().st_mtime < 60
    assert [path.name for path in (spool / "failed").iterdir()] == [BOB]


def test_it_is_told_to_go_on_through_its_pipe(spool: Path) -> None:
    """And where nobody reads that, or there is none, nothing hangs."""
    nullmailer.flush()
    os.mkfifo(spool / "trigger")
    nullmailer.flush()
    reader = os.open(spool / "trigger", os.O_RDONLY | os.O_NONBLOCK)
    nullmailer.flush()
    assert os.read(reader, 10) == b"\0"
    os.close(reader)


def taken() -> tuple[int, list[tuple[str, tuple[str, ...], bytes]]]:
    """Return how many messages were taken, and what was kept."""
    kept = Path(paths.DATA) / "kept.txt"
    kept.touch()

    def keep(*message: object) -> None:
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(f"{message!r}\n")

    count = nullmailer.take_all(keep)
    return count, sorted(map(ast.literal_eval, kept.read_text(encoding="utf-8").splitlines()))


def test_everything_is_taken_out_with_its_envelope(spool: Path) -> None:
    """Also what was refused, and bounces."""
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


def test_what_can_not_be_kept_stays_in_the_queue(spool: Path) -> None:
    """On a full disk, for example."""
    put("queue", BOB, "bob@example.net")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        nullmailer.take_all(full)
    assert (spool / "queue" / BOB).is_file()


def test_nobody_sends_what_is_being_taken(host: Path) -> None:
    """The service is stopped first."""
    calls = host / "calls"
    (host / "programs/systemctl").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n', encoding="utf-8")
    put("queue", BOB, "bob@example.net")
    nullmailer.take_all(lambda *_: calls.open("a").write("kept\n"))
    assert calls.read_text(encoding="utf-8").splitlines() == ["stop nullmailer", "is-active nullmailer", "kept"]


@pytest.mark.usefixtures("container")
def test_in_a_container_there_is_no_systemd_to_ask(host: Path) -> None:
    """It would only be said to be missing."""
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


def test_a_container_gets_the_pipe_that_its_queue_is_told_through(volume_spool: Path) -> None:
    """Once, however often it starts."""
    heard: list[str] = []
    for _ in range(2):
        nullmailer.prepare("relay", heard.append)
    found = (volume_spool / "trigger").stat()
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert heard == []


def test_a_container_whose_mail_is_off_tells_what_stays(volume_spool: Path) -> None:
    """Nobody would look for it there; where nothing waits, nothing is said."""
    heard: list[str] = []
    nullmailer.prepare("off", heard.append)
    assert heard == []
    (volume_spool / "queue" / BOB).touch()
    (volume_spool / "failed" / ANN).touch()
    nullmailer.prepare("off", heard.append)
    assert heard == ["mail is off, and 2 messages stay in the volume: with a relay, they are sent"]
    assert not (volume_spool / "trigger").exists()


def test_where_there_never_was_a_queue_nothing_is_made(host: Path) -> None:
    """Mail is off by default."""
    say: Callable[[str], None] = pytest.fail
    nullmailer.prepare("off", say)
    assert not Path(paths.SPOOL).exists()
    assert host.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_account_left_in_the_volume_can_be_sent(volume_spool: Path) -> None:
    """A container of an ordinary user's, for example."""
    (volume_spool / "queue" / BOB).touch()
    os.chown(volume_spool / "queue" / BOB, 4711, 4711)
    (volume_spool / "queue/link").symlink_to("/nowhere")
    nullmailer.prepare("relay", lambda _: None)
    assert (volume_spool / "queue" / BOB).stat().st_uid == os.geteuid()
