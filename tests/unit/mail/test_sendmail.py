"""What stands behind PHP's mail(), with queues that take, refuse, hang or are not there."""

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


GIVEN = handover(calendar("SUMMARY:Käse 🎉"))


class Queue:
    """A program in a queue's place that keeps what it is given, and then does as a test says."""

    def __init__(self, place: Path) -> None:
        """Take everything."""
        self.place = place
        self.does("")

    def does(self, then: str) -> None:
        """Have it end with these shell commands."""
        kept = shlex.quote(str(self.place))
        self.place.write_text(f'#!/bin/sh\ncat >{kept}.in\necho "$*" >{kept}.words\n{then}\n', encoding="utf-8")
        self.place.chmod(0o755)

    def given(self) -> bytes:
        """Return its standard input."""
        return self.place.with_name(f"{self.place.name}.in").read_bytes()

    def words(self) -> str:
        """Return its arguments."""
        return self.place.with_name(f"{self.place.name}.words").read_text(encoding="utf-8").strip()


@pytest.fixture
def nullmailer(host: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return nullmailer's queue on the host."""
    queue = Queue(host / "programs/nullmailer-queue")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(queue.place))
    monkeypatch.setattr(sendmail, "SENDMAIL", str(host / "nowhere"))
    return queue


@pytest.fixture
def postfix(host: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return Postfix's sendmail on the host, which has no nullmailer."""
    queue = Queue(host / "programs/sendmail")
    monkeypatch.setattr(sendmail, "NULLMAILER", str(host / "nowhere"))
    monkeypatch.setattr(sendmail, "SENDMAIL", str(queue.place))
    return queue


def kept() -> list[bytes]:
    """Return all that is kept, each with its first line; it is its owner's alone, and only the count is there too."""
    files = sorted(path for path in Path(paths.KEPT).iterdir() if str(path) != paths.RECIPIENTS)
    for file in files:
        assert file.name.endswith(".eml")
        assert not file.name.startswith(".")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return [file.read_bytes() for file in files]


def test_nullmailer_gets_the_envelope_and_then_the_message(nullmailer: Queue) -> None:
    """One line each, an empty one, and header and body in ASCII."""
    assert sendmail.sendmail(GIVEN, SENDER) == 0
    envelope, _, content = nullmailer.given().partition(b"\n\n")
    assert envelope == f"{SENDER}\nbob@example.net".encode()
    assert nullmailer.words() == ""
    assert content.isascii()
    assert part(parsed(content), "text/calendar") == calendar("SUMMARY:Käse 🎉")
    assert kept() == []


def test_postfix_gets_the_envelope_as_words(postfix: Queue) -> None:
    """A lone dot ends nothing, and no address is an option."""
    assert sendmail.sendmail(GIVEN, SENDER) == 0
    assert postfix.words() == f"-i -f {SENDER} -- bob@example.net"
    assert parsed(postfix.given())["to"] == "Bob <bob@example.net>"
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
def test_what_a_queue_refuses_is_kept_with_the_reason(
    nullmailer: Queue, capsys: pytest.CaptureFixture[str], then: str, why: str
) -> None:
    """As it came, and PHP's log has the reason too."""
    nullmailer.does(then)
    assert sendmail.sendmail(GIVEN, SENDER) == NOT_YET == 75
    assert kept() == [f"X-Baikal-Kept: {why}\n".encode() + GIVEN]
    assert capsys.readouterr().err == f"baikalctl: a message was not sent and is kept: {why}\n"


def test_a_queue_that_hangs_is_not_waited_for_forever(nullmailer: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """PHP's worker has other things to do."""
    nullmailer.does("exec sleep 600")
    monkeypatch.setattr(sendmail, "SECONDS", 0.2)
    assert sendmail.sendmail(GIVEN, SENDER) == NOT_YET
    assert b"timed out after 0.2 seconds" in kept()[0].partition(b"\n")[0]
    assert kept()[0].endswith(GIVEN)


def test_without_any_queue_it_is_kept(nullmailer: Queue) -> None:
    """As while one mail server takes the place of another."""
    nullmailer.place.unlink()
    assert sendmail.sendmail(GIVEN, SENDER) == NOT_YET
    assert kept()[0].startswith(b"X-Baikal-Kept: the queue doesn't take it ([Errno 2] No such file")


def test_a_queue_that_reads_nothing_loses_nothing(nullmailer: Queue) -> None:
    """It ends before it has the message."""
    nullmailer.place.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    given = handover(calendar("DESCRIPTION:" + "w" * 500_000))
    assert sendmail.sendmail(given, SENDER) == NOT_YET
    assert kept()[0].endswith(given)


@pytest.mark.parametrize("given", [b"", b"\xff\x00\n", GIVEN.replace(b"bob@", b"eve@", 1), b"X-Baikal-Envelope: a b\n"])
def test_what_can_not_be_made_right_is_kept_as_it_came(nullmailer: Queue, given: bytes) -> None:
    """Somebody may still want to know what it was."""
    assert sendmail.sendmail(given, SENDER) == NOT_YET
    assert [each.partition(b"\n")[2] for each in kept()] == [given]
    assert not nullmailer.place.with_name("nullmailer-queue.in").exists()


def test_even_an_error_that_nobody_thought_of_loses_nothing(
    nullmailer: Queue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said what it was, in one line."""

    def broken(*_: object) -> Outgoing:
        message = "what\nis this"
        raise RuntimeError(message)

    assert nullmailer
    monkeypatch.setattr(sendmail, "compose", broken)
    assert sendmail.sendmail(GIVEN, SENDER) == NOT_YET
    assert kept() == [b"X-Baikal-Kept: RuntimeError: what is this\n" + GIVEN]
    assert "RuntimeError: what" in capsys.readouterr().err


def test_two_that_are_kept_at_one_moment_are_two(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """In one process and one second."""
    assert host.is_dir()
    monkeypatch.setattr("time.time", lambda: 1700000058.618)
    places = [sendmail.keep(f"{number}".encode(), "x") for number in range(3)]
    assert len(set(places)) == 3
    assert kept() == [b"X-Baikal-Kept: x\n0", b"X-Baikal-Kept: x\n1", b"X-Baikal-Kept: x\n2"]


def test_what_is_kept_is_told_with_reason_and_moment(host: Path) -> None:
    """The oldest first."""
    assert host.is_dir()
    place = sendmail.keep(GIVEN, "it rains\nand pours")
    os.utime(place, (1, 1700000058.0))
    assert sendmail.kept() == [(place, "it rains and pours", 1700000058.0)]


@pytest.mark.usefixtures("host")
def test_what_is_only_half_written_is_not_taken_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a retry would send half of it and delete the rest; on a full disk, nothing is left of it."""
    seen: list[object] = []

    def full(_: int) -> None:
        seen.append(sendmail.kept())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sendmail.keep(GIVEN, "x")
    assert seen == [[]]
    assert list(Path(paths.KEPT).iterdir()) == []


def test_where_nothing_can_be_kept_it_fails_aloud(nullmailer: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    """PHP is told that it failed, and its log why it was to be kept."""
    nullmailer.does("exit 1")
    Path(paths.KEPT).rmdir()
    with pytest.raises(FileNotFoundError):
        sendmail.sendmail(GIVEN, SENDER)
    assert "a message was not sent and is kept" in capsys.readouterr().err


def test_what_was_kept_is_sent_again_and_then_forgotten(nullmailer: Queue) -> None:
    """As if PHP had just given it, and from whom mail comes now."""
    nullmailer.does("exit 1")
    sendmail.sendmail(GIVEN, SENDER)
    ((place, _, _),) = sendmail.kept()
    with pytest.raises(HostError, match="the queue refuses it"):
        sendmail.send_again(place, "cal@example.org")
    assert len(kept()) == 1
    nullmailer.does("")
    sendmail.send_again(place, "cal@example.org")
    assert kept() == []
    assert nullmailer.given().startswith(b"cal@example.org\nbob@example.net\n\n")


@pytest.mark.usefixtures("nullmailer")
def test_what_can_not_be_made_right_stays_kept() -> None:
    """However often it is tried."""
    place = sendmail.keep(b"nonsense", "x")
    with pytest.raises(UnfitError):
        sendmail.send_again(place, SENDER)
    assert place.exists()


@pytest.mark.parametrize("sender", ["old@example.org", ""])
@pytest.mark.parametrize("recipients", [("bob@example.net",), ("bob@example.net", "ann@example.net")])
def test_what_was_in_a_queue_goes_into_another_unchanged(
    nullmailer: Queue, sender: str, recipients: tuple[str, ...]
) -> None:
    """With its own envelope, that of a bounce among them, and its own Message-ID."""
    content = b"Subject: x\nMessage-ID: <1@x>\n\nbody\n.\nX-Baikal-Envelope: y\n"
    place = sendmail.keep_queued(sender, recipients, content)
    assert [reason for _, reason, _ in sendmail.kept()] == ["its queue was removed"]
    sendmail.send_again(place, SENDER)
    assert nullmailer.given() == "\n".join([sender, *recipients, "", ""]).encode() + content
    assert kept() == []


def test_a_bounce_from_a_queue_goes_to_postfix_without_a_sender(postfix: Queue) -> None:
    """The empty sender is a word of its own there."""
    sendmail.send_again(sendmail.keep_queued("", ("bob@example.net",), b"Subject: x\n\n"), SENDER)
    assert postfix.words() == "-i -f  -- bob@example.net"


def invited(number: int, organizer: str = "jo@example.org") -> bytes:
    """Return what PHP hands over for one of many who are invited."""
    who = f"guest{number}@example.net"
    people = (f"ORGANIZER:mailto:{organizer}", f"ATTENDEE:mailto:{who}")
    return handover(calendar("SUMMARY:x", people=people), to=who, sender=organizer)


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock to so many hours, and small limits: 3 recipients of one, 5 of all."""
    monkeypatch.setattr(sendmail, "BY_ONE", 3)
    monkeypatch.setattr(sendmail, "BY_ALL", 5)

    def set_clock(hours: float) -> None:
        monkeypatch.setattr("time.time", lambda: 1_700_000_000 // 3600 * 3600 + 3600 * hours)

    set_clock(0)
    return set_clock


def test_the_limits_are_two_hundred_of_one_organizer_and_ten_times_that_of_all() -> None:
    """As docs/mail.md says."""
    assert (sendmail.BY_ONE, sendmail.BY_ALL) == (200, 2000)
    text = (HOME / "docs/mail.md").read_text(encoding="utf-8")
    assert "200 recipients" in text
    assert "2,000" in text


def test_what_an_organizer_sends_past_the_limit_of_an_hour_is_kept(
    nullmailer: Queue, hour: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the organizer and the limit as the reason, for the log and the checks; others may still send."""
    assert [sendmail.sendmail(invited(number), SENDER) for number in range(4)] == [0, 0, 0, NOT_YET]
    why = "jo@example.org has sent to 3 recipients within this hour, and the limit is 3"
    assert kept() == [f"X-Baikal-Kept: {why}\n".encode() + invited(3)]
    assert why in capsys.readouterr().err
    assert b"guest2@example.net" in nullmailer.given()
    assert sendmail.sendmail(invited(4, "ann@example.org"), SENDER) == 0
    assert sendmail.sendmail(invited(5, "JO@example.org"), SENDER) == NOT_YET, "capitals are no other organizer"
    hour(0.99)
    assert sendmail.sendmail(invited(6), SENDER) == NOT_YET
    hour(1)
    assert sendmail.sendmail(invited(7), SENDER) == 0


@pytest.mark.usefixtures("nullmailer", "hour")
def test_an_account_that_changes_its_address_comes_to_the_limit_of_all() -> None:
    """Each may change its own, and would be another organizer each time."""
    done = [sendmail.sendmail(invited(number, f"jo{number}@example.org"), SENDER) for number in range(6)]
    assert done == [0] * 5 + [NOT_YET]
    assert b"this server has sent to 5 recipients within this hour, and the limit is 5" in kept()[0]


@pytest.mark.usefixtures("hour")
def test_what_was_kept_because_of_the_limit_is_sent_by_a_retry(nullmailer: Queue) -> None:
    """A retry is the administrator's decision, and isn't counted."""
    for number in range(4):
        sendmail.sendmail(invited(number), SENDER)
    ((place, _, _),) = sendmail.kept()
    sendmail.send_again(place, SENDER)
    assert b"guest3@example.net" in nullmailer.given()
    assert kept() == []


@pytest.mark.usefixtures("nullmailer", "hour")
def test_what_several_processes_send_at_once_is_counted_once_each() -> None:
    """PHP has several; none of their recipients is forgotten."""
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
def test_a_count_that_is_no_good_costs_no_message(nullmailer: Queue, spoil: str) -> None:
    """PHP's account can write it, and an attacker may control that; nothing that it links to is changed."""
    before = Path("/etc/passwd").read_bytes()
    subprocess.run(["sh", "-euc", spoil, "sh", paths.RECIPIENTS], check=True)
    assert sendmail.sendmail(invited(1), SENDER) == 0
    assert b"guest1@example.net" in nullmailer.given()
    assert Path("/etc/passwd").read_bytes() == before


def test_a_count_that_another_process_holds_is_not_waited_for_forever(
    nullmailer: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message leaves without being counted."""
    monkeypatch.setattr(sendmail, "COUNTING_S", 0.1)
    with Path(paths.RECIPIENTS).open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert sendmail.sendmail(invited(1), SENDER) == 0
    assert b"guest1@example.net" in nullmailer.given()


def test_the_verb_reads_what_php_gives(nullmailer: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As php.ini's sendmail_path calls it."""
    from baikalctl import cli

    class Stdin:
        class buffer:  # noqa: N801 - sys.stdin's name
            read: Callable[[], bytes] = staticmethod(lambda: GIVEN)

    monkeypatch.setattr("sys.stdin", Stdin)
    assert cli.main(["sendmail", "--from", SENDER]) == 0
    assert nullmailer.given().startswith(f"{SENDER}\nbob@example.net\n\n".encode())
