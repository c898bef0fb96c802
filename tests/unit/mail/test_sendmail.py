"""``baikalctl sendmail``, with queues that accept, refuse, hang or are missing."""

from __future__ import annotations

import concurrent.futures
import fcntl
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.errors import NOT_YET, HostError
from baikalctl.mail import sendmail
from baikalctl.mail.itip import UnfitError
from tests.unit.handover import SENDER, calendar, handover, parsed, part
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.mail.message import Outgoing


MESSAGE = handover(calendar("SUMMARY:Käse 🎉"))


class Queue:
    """A fake queue program: it stores its input and arguments, then runs the commands of a test."""

    def __init__(self, path: Path) -> None:
        """Accept everything."""
        self.path = path
        self.does("")

    def does(self, then: str) -> None:
        """Let it end with these shell commands."""
        kept = shlex.quote(str(self.path))
        self.path.write_text(f'#!/bin/sh\ncat >{kept}.in\necho "$*" >{kept}.words\n{then}\n', encoding="utf-8")
        self.path.chmod(0o755)

    def input(self) -> bytes:
        """Return its standard input."""
        return self.path.with_name(f"{self.path.name}.in").read_bytes()

    def words(self) -> str:
        """Return its arguments."""
        return self.path.with_name(f"{self.path.name}.words").read_text(encoding="utf-8").strip()


@pytest.fixture
def nullmailer(host: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return nullmailer's queue on the host."""
    queue = Queue(host / "programs/nullmailer-queue")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(queue.path))
    monkeypatch.setattr(sendmail, "SENDMAIL", str(host / "nowhere"))
    return queue


@pytest.fixture
def postfix(host: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return Postfix's sendmail on the host, which has no nullmailer."""
    queue = Queue(host / "programs/sendmail")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(host / "nowhere"))
    monkeypatch.setattr(sendmail, "SENDMAIL", str(queue.path))
    return queue


def kept() -> list[bytes]:
    """Return all kept messages with their first lines. Only their owner can read them; the count is the only other file."""
    files = sorted(path for path in Path(paths.KEPT).iterdir() if str(path) != paths.RECIPIENTS)
    for file in files:
        assert file.name.endswith(".eml")
        assert not file.name.startswith(".")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return [file.read_bytes() for file in files]


def test_nullmailer_gets_the_envelope_and_then_the_message(nullmailer: Queue) -> None:
    """One address per line, an empty line, then header and body in ASCII."""
    assert sendmail.sendmail(MESSAGE, SENDER) == 0
    envelope, _, content = nullmailer.input().partition(b"\n\n")
    assert envelope == f"{SENDER}\nbob@example.net".encode()
    assert nullmailer.words() == ""
    assert content.isascii()
    assert part(parsed(content), "text/calendar") == calendar("SUMMARY:Käse 🎉")
    assert kept() == []


def test_postfix_gets_the_envelope_as_arguments(postfix: Queue) -> None:
    """A line with a single dot doesn't end the message, and no address is read as an option."""
    assert sendmail.sendmail(MESSAGE, SENDER) == 0
    assert postfix.words() == f"-i -f {SENDER} -- bob@example.net"
    assert parsed(postfix.input())["to"] == "Bob <bob@example.net>"
    assert kept() == []


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("echo no room >&2; exit 1", "the queue refuses it (no room)"),
        ("echo one; echo two >&2; exit 75", "the queue refuses it (two one)"),
        ("exit 3", "the queue refuses it (status 3)"),
        ("kill -9 $$", "the queue refuses it (status -9)"),
    ],
)
def test_a_message_that_the_queue_refuses_is_kept_with_the_reason(
    nullmailer: Queue, capsys: pytest.CaptureFixture[str], then: str, why: str
) -> None:
    """Unchanged. PHP's log has the reason too."""
    nullmailer.does(then)
    assert sendmail.sendmail(MESSAGE, SENDER) == NOT_YET == 75
    assert kept() == [f"X-Baikal-Kept: {why}\n".encode() + MESSAGE]
    assert capsys.readouterr().err == f"baikalctl: a message was not sent and is kept: {why}\n"


def test_a_queue_that_hangs_is_stopped_after_a_timeout(nullmailer: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """PHP's worker must not be blocked."""
    nullmailer.does("exec sleep 600")
    monkeypatch.setattr(sendmail, "SECONDS", 0.2)
    assert sendmail.sendmail(MESSAGE, SENDER) == NOT_YET
    assert b"timed out after 0.2 seconds" in kept()[0].partition(b"\n")[0]
    assert kept()[0].endswith(MESSAGE)


def test_without_a_queue_the_message_is_kept(nullmailer: Queue) -> None:
    """For example while one mail server replaces another."""
    nullmailer.path.unlink()
    assert sendmail.sendmail(MESSAGE, SENDER) == NOT_YET
    assert kept()[0].startswith(b"X-Baikal-Kept: the queue doesn't take it ([Errno 2] No such file")


def test_a_queue_that_does_not_read_its_input_loses_no_message(nullmailer: Queue) -> None:
    """It ends before it has read the message."""
    nullmailer.path.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    value = handover(calendar("DESCRIPTION:" + "w" * 500_000))
    assert sendmail.sendmail(value, SENDER) == NOT_YET
    assert kept()[0].endswith(value)


@pytest.mark.parametrize(
    "value", [b"", b"\xff\x00\n", MESSAGE.replace(b"bob@", b"eve@", 1), b"X-Baikal-Envelope: a b\n"]
)
def test_a_message_that_cannot_be_corrected_is_kept_unchanged(nullmailer: Queue, value: bytes) -> None:
    """The operator may want to read it."""
    assert sendmail.sendmail(value, SENDER) == NOT_YET
    assert [each.partition(b"\n")[2] for each in kept()] == [value]
    assert not nullmailer.path.with_name("nullmailer-queue.in").exists()


def test_an_unexpected_error_loses_no_message(
    nullmailer: Queue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported in one line."""

    def broken(*_: object) -> Outgoing:
        message = "what\nis this"
        raise RuntimeError(message)

    assert nullmailer
    monkeypatch.setattr(sendmail, "compose", broken)
    assert sendmail.sendmail(MESSAGE, SENDER) == NOT_YET
    assert kept() == [b"X-Baikal-Kept: RuntimeError: what is this\n" + MESSAGE]
    assert "RuntimeError: what" in capsys.readouterr().err


def test_messages_kept_at_the_same_time_have_different_files(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """In one process and one second."""
    assert host.is_dir()
    monkeypatch.setattr("time.time", lambda: 1700000058.618)
    paths_kept = [sendmail.keep(f"{number}".encode(), "x") for number in range(3)]
    assert len(set(paths_kept)) == 3
    assert kept() == [b"X-Baikal-Kept: x\n0", b"X-Baikal-Kept: x\n1", b"X-Baikal-Kept: x\n2"]


def test_kept_messages_are_listed_with_reason_and_time(host: Path) -> None:
    """The oldest first."""
    assert host.is_dir()
    path = sendmail.keep(MESSAGE, "it rains\nand pours")
    os.utime(path, (1, 1700000058.0))
    assert sendmail.kept() == [(path, "it rains and pours", 1700000058.0)]


@pytest.mark.usefixtures("host")
def test_a_partial_file_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry would send half of a message. On a full disk, the file is removed."""
    seen: list[object] = []

    def full(_: int) -> None:
        seen.append(sendmail.kept())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sendmail.keep(MESSAGE, "x")
    assert seen == [[]]
    assert list(Path(paths.KEPT).iterdir()) == []


def test_a_message_that_cannot_be_kept_is_an_error(nullmailer: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    """PHP gets an error, and its log has the reason."""
    nullmailer.does("exit 1")
    Path(paths.KEPT).rmdir()
    with pytest.raises(FileNotFoundError):
        sendmail.sendmail(MESSAGE, SENDER)
    assert "a message was not sent and is kept" in capsys.readouterr().err


def test_a_kept_message_is_sent_again_and_then_deleted(nullmailer: Queue) -> None:
    """With the present sender address."""
    nullmailer.does("exit 1")
    sendmail.sendmail(MESSAGE, SENDER)
    ((path, _, _),) = sendmail.kept()
    with pytest.raises(HostError, match="the queue refuses it"):
        sendmail.send_again(path, "cal@example.org")
    assert len(kept()) == 1
    nullmailer.does("")
    sendmail.send_again(path, "cal@example.org")
    assert kept() == []
    assert nullmailer.input().startswith(b"cal@example.org\nbob@example.net\n\n")


@pytest.mark.usefixtures("nullmailer")
def test_a_message_that_cannot_be_corrected_stays_kept() -> None:
    """After each retry."""
    path = sendmail.keep(b"nonsense", "x")
    with pytest.raises(UnfitError):
        sendmail.send_again(path, SENDER)
    assert path.exists()


@pytest.mark.parametrize("sender", ["old@example.org", ""])
@pytest.mark.parametrize("recipients", [("bob@example.net",), ("bob@example.net", "ann@example.net")])
def test_a_message_from_a_queue_goes_into_another_unchanged(
    nullmailer: Queue, sender: str, recipients: tuple[str, ...]
) -> None:
    """With its own envelope, also that of a bounce, and its own Message-ID."""
    content = b"Subject: x\nMessage-ID: <1@x>\n\nbody\n.\nX-Baikal-Envelope: y\n"
    path = sendmail.keep_queued(sender, recipients, content)
    assert [reason for _, reason, _ in sendmail.kept()] == ["its queue was removed"]
    sendmail.send_again(path, SENDER)
    assert nullmailer.input() == "\n".join([sender, *recipients, "", ""]).encode() + content
    assert kept() == []


def test_a_bounce_from_a_queue_goes_to_postfix_without_a_sender(postfix: Queue) -> None:
    """The empty sender is an argument."""
    sendmail.send_again(sendmail.keep_queued("", ("bob@example.net",), b"Subject: x\n\n"), SENDER)
    assert postfix.words() == "-i -f  -- bob@example.net"


def invited(number: int, organizer: str = "jo@example.org") -> bytes:
    """Return PHP's message for one of many guests."""
    guest = f"guest{number}@example.net"
    people = (f"ORGANIZER:mailto:{organizer}", f"ATTENDEE:mailto:{guest}")
    return handover(calendar("SUMMARY:x", people=people), to=guest, sender=organizer)


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock to so many hours, and small limits: 3 recipients of one, 5 of all."""
    monkeypatch.setattr(sendmail, "BY_ONE", 3)
    monkeypatch.setattr(sendmail, "BY_ALL", 5)

    def set_clock(hours: float) -> None:
        monkeypatch.setattr("time.time", lambda: 1_700_000_000 // 3600 * 3600 + 3600 * hours)

    set_clock(0)
    return set_clock


def test_the_limits_are_those_of_the_documentation() -> None:
    """As docs/mail.md says."""
    assert (sendmail.BY_ONE, sendmail.BY_ALL) == (200, 2000)
    text = (HOME / "docs/mail.md").read_text(encoding="utf-8")
    assert "200 recipients" in text
    assert "2,000" in text


def test_messages_beyond_an_organizers_limit_are_kept(
    nullmailer: Queue, hour: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason, for log and check, has the organizer and the limit. Other organizers can still send."""
    assert [sendmail.sendmail(invited(number), SENDER) for number in range(4)] == [0, 0, 0, NOT_YET]
    why = "jo@example.org has sent to 3 recipients within this hour, and the limit is 3"
    assert kept() == [f"X-Baikal-Kept: {why}\n".encode() + invited(3)]
    assert why in capsys.readouterr().err
    assert b"guest2@example.net" in nullmailer.input()
    assert sendmail.sendmail(invited(4, "ann@example.org"), SENDER) == 0
    assert sendmail.sendmail(invited(5, "JO@example.org"), SENDER) == NOT_YET, (
        "capital letters don't make another organizer"
    )
    hour(0.99)
    assert sendmail.sendmail(invited(6), SENDER) == NOT_YET
    hour(1)
    assert sendmail.sendmail(invited(7), SENDER) == 0


@pytest.mark.usefixtures("nullmailer", "hour")
def test_an_account_that_changes_its_address_reaches_the_limit_of_all() -> None:
    """Each account can change its address, and would count as another organizer each time."""
    done = [sendmail.sendmail(invited(number, f"jo{number}@example.org"), SENDER) for number in range(6)]
    assert done == [0] * 5 + [NOT_YET]
    assert b"this server has sent to 5 recipients within this hour, and the limit is 5" in kept()[0]


@pytest.mark.usefixtures("hour")
def test_a_message_kept_because_of_the_limit_is_sent_by_a_retry(nullmailer: Queue) -> None:
    """The administrator has decided it, so it isn't counted."""
    for number in range(4):
        sendmail.sendmail(invited(number), SENDER)
    ((path, _, _),) = sendmail.kept()
    sendmail.send_again(path, SENDER)
    assert b"guest3@example.net" in nullmailer.input()
    assert kept() == []


@pytest.mark.usefixtures("nullmailer", "hour")
def test_messages_of_parallel_processes_are_all_counted() -> None:
    """PHP has several processes."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: sendmail.sendmail(invited(number), SENDER), range(8)))
    assert sorted(done) == [0] * 3 + [NOT_YET] * 5
    assert len(kept()) == 5


@pytest.mark.parametrize(
    "spoil",
    [
        "echo nonsense > $1",
        "head -c 3000000 /dev/zero > $1",
        "printf '\\377\\n\\n' > $1",
        "ln -s /etc/passwd $1",
        "ln -s nowhere/at/all $1",
        "mkfifo $1",
        "mkdir $1",
    ],
)
def test_a_damaged_count_loses_no_message(nullmailer: Queue, spoil: str) -> None:
    """An attacker with PHP's account can write the file. No target of a link is changed."""
    before = Path("/etc/passwd").read_bytes()
    subprocess.run(["sh", "-euc", spoil, "sh", paths.RECIPIENTS], check=True)
    assert sendmail.sendmail(invited(1), SENDER) == 0
    assert b"guest1@example.net" in nullmailer.input()
    assert Path("/etc/passwd").read_bytes() == before


def test_a_count_locked_by_another_process_loses_no_message(nullmailer: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is sent without being counted."""
    monkeypatch.setattr(sendmail, "COUNTING_S", 0.1)
    with Path(paths.RECIPIENTS).open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert sendmail.sendmail(invited(1), SENDER) == 0
    assert b"guest1@example.net" in nullmailer.input()


def test_the_command_reads_the_message_from_standard_input(nullmailer: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sendmail_path in php.ini calls it."""
    from baikalctl import cli

    class Stdin:
        class buffer:  # noqa: N801 - sys.stdin's name
            read: Callable[[], bytes] = staticmethod(lambda: MESSAGE)

    monkeypatch.setattr("sys.stdin", Stdin)
    assert cli.main(["sendmail", "--from", SENDER]) == 0
    assert nullmailer.input().startswith(f"{SENDER}\nbob@example.net\n\n".encode())
