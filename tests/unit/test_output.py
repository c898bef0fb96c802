"""What others wrote reaches terminals and logs as text, and only one module prints."""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import json
import os
import pty
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import output, paths
from baikalctl.backup import archive, manifest
from baikalctl.changes import steps
from baikalctl.checks import check
from baikalctl.cli import main
from baikalctl.database import interface
from baikalctl.host.finding import FAILED, Finding
from baikalctl.mail import sendmail
from tests.unit.archives import content
from tests.unit.moving import needs_php
from tests.unit.samples import HOME, RELAY, declared
from tests.unit.spool import BOB, LOG, put, write_log

if TYPE_CHECKING:
    from collections.abc import Iterator

CLEAR = "\x1b[2J"
"""Clears the screen."""
CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
"""Puts text into the clipboard of whoever looks."""
EVIL = f"a{CLEAR}b{CLIPBOARD}c\r\nbaikalctl: all is well\x9b2J\u202e\u2028\x7f"
SHOWN = r"a\u001b[2Jb\u001b]52;c;cm0gLXJmIH4=\u0007c baikalctl: all is well\u009b2J\u202e\u2028\u007f"
PRINTERS = {
    "baikalctl/output.py": "it is the one place",
    "baikalctl/host/install.py": "sent to bare hosts by itself, so it can't import it; what pyinfra shows of it is escaped",
}
"""What may print, and why."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Grüße, 東京, العربية 📅 → –", "Grüße, 東京, العربية 📅 → –"),
        (EVIL, SHOWN),
        ("a\tb", "a b"),
        ("a\r\n\tb\n", "a b "),
        ("a  b", "a  b"),
        ("\0\x07\x08", r"\u0000\u0007\u0008"),
        ("\x85\xa0\xad", r"\u0085\u00a0\u00ad"),
        ("\u200b\u200d\u2066\ufeff", r"\u200b\u200d\u2066\ufeff"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("\U000e0041", r"\U000e0041"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_unprintable_characters_are_shown_by_number(text: str, shown: str) -> None:
    """In one line, whatever language it is in; once more changes nothing."""
    assert output.escaped(text) == shown
    assert shown.isprintable()
    assert output.escaped(shown) == shown


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read what was meant, and a terminal that it is shown on sees nothing but printable characters."""
    value = {"message": EVIL, "name": "Jörg 📅"}
    output.page(json.dumps(value, indent=1))
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> list[str]:
    """Return the lines that the command prints, all of them printable."""
    assert main(list(arguments)) == status
    told = capsys.readouterr()
    found = (told.out + told.err).removesuffix("\n").split("\n")
    assert [line for line in found if not line.isprintable()] == []
    assert "baikalctl: all is well\\u009b2J" not in [line[: len("baikalctl: all is well\\u009b2J")] for line in found]
    return found


def declare(**changed: object) -> None:
    """Write what a deploy would declare."""
    Path(paths.DECLARED).write_text(declared(**changed).to_json(), encoding="utf-8")


@pytest.fixture
def archived(host: Path, empty_database: bytes) -> Path:
    """Have an archive in the backups whose manifest has a hostile host name; return its path."""
    folder = host / "content"
    folder.mkdir()
    path = archive.write(folder, content(folder, empty_database)).path
    with tarfile.open(path) as tar:
        members = [(member, file.read() if (file := tar.extractfile(member)) else b"") for member in tar]
    fields = json.loads(members[0][1])
    text = json.dumps(fields | {"hostname": EVIL}).encode()
    members[0][0].size = len(text)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, each in [(members[0][0], text), *members[1:]]:
            tar.addfile(member, io.BytesIO(each))
    path.write_bytes(gzip.compress(plain.getvalue()))
    return path


@pytest.mark.parametrize("command", [("backup", "verify"), ("restore",)])
def test_host_name_of_an_archive(
    archived: Path, release_standing: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """A name that no host has is refused."""
    Path(paths.CURRENT).symlink_to(release_standing.name)
    assert "is damaged: its hostname is not a short text" in printed(capsys, *command, str(archived), status=1)[-1]


def test_archives_are_listed_in_straight_columns(archived: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error may repeat what is in the file; columns are as wide as what is shown."""
    declare()
    text = json.dumps({"archive": "baikal-deploy", "format": 1, "files": {f"tls/{CLEAR}": {}}}).encode()
    header = tarfile.TarInfo(manifest.NAME)
    header.size = len(text)
    body = header.tobuf() + text + bytes(-len(text) % tarfile.BLOCKSIZE)
    archived.with_name("baikal-20261124T031500Z.tar.gz").write_bytes(gzip.compress(body))
    lines = printed(capsys, "backup", "list", status=0)
    assert len(lines) == 3
    assert len({line.rindex("baikal-2026") for line in lines[1:]}) == 1
    lines = printed(capsys, "backup", "list", "--json", status=0)
    assert len(json.loads("\n".join(lines))) == 2


@pytest.mark.usefixtures("spool")
def test_first_line_of_kept_mail(capsys: pytest.CaptureFixture[str]) -> None:
    """PHP's account writes it."""
    declare(**RELAY)
    sendmail.keep(b"To: bob@example.net\r\n\r\n", f"it {CLEAR}{CLIPBOARD}rains")
    (line,) = printed(capsys, "mail", "queue", status=0)
    assert r"it \u001b[2J\u001b]52;c;cm0gLXJmIH4=\u0007rains  [" in line


@pytest.mark.usefixtures("spool")
def test_answer_of_a_relay(capsys: pytest.CaptureFixture[str]) -> None:
    """Nullmailer's log has it, and the queue has whatever recipients PHP gave."""
    declare(**RELAY)
    put("queue", BOB, f"bob{CLEAR}@example.net")
    write_log(LOG.replace("451 4.3.0 later", f"451 {CLIPBOARD} later"))
    (line,) = printed(capsys, "mail", "queue", status=0)
    assert r"to bob\u001b[2J@example.net: 451 \u001b]52;c;cm0gLXJmIH4=\u0007 later" in line


@pytest.mark.usefixtures("host")
def test_error_of_a_database_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a hostile one, and its messages have several lines."""
    declare()

    def hostile(*_: object) -> list[str]:
        raise interface.Error(EVIL)

    monkeypatch.setattr(steps, "pending", hostile)
    (line,) = printed(capsys, "apply", "--plan", status=1)
    assert SHOWN in line


@pytest.mark.usefixtures("host")
def test_steps_that_name_what_others_wrote(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts that are to be removed, for example: each step is one line."""
    declare()
    monkeypatch.setattr(steps, "pending", lambda *_: [f"remove {EVIL}", "write baikal.yaml"])
    assert printed(capsys, "apply", "--plan", status=0) == [f"remove {SHOWN}", "write baikal.yaml"]


@pytest.mark.usefixtures("host")
def test_findings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, as text; as JSON, the message is whole."""
    declare()
    monkeypatch.setattr(check, "run_checks", lambda *_, **__: [Finding("mail", FAILED, EVIL, EVIL)])
    assert printed(capsys, "check", status=1) == [f"failed   mail         {SHOWN}; {SHOWN}"]
    (line,) = printed(capsys, "check", "--json", status=1)
    assert json.loads(line)["findings"][0]["message"] == EVIL


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that a shell's pattern has found, for example."""
    with contextlib.suppress(SystemExit):
        main(["check", EVIL])
    told = capsys.readouterr().err
    assert SHOWN in told
    assert told.replace("\n", "").isprintable()


def test_nothing_but_printable_bytes_reaches_a_terminal(spool: Path, host: Path) -> None:
    """Each byte that the program sends to it."""
    declare(**RELAY)
    sendmail.keep(b"To: bob@example.net\r\n\r\n", f"it {CLEAR}{CLIPBOARD}rains")
    put("queue", BOB, f"bob{CLEAR}@example.net")
    assert spool.is_dir()
    sent = on_terminal(host, "mail", "queue")
    assert rb"it \u001b[2J\u001b]52;c;cm0gLXJmIH4=\u0007rains" in sent
    assert rb"bob\u001b[2J@example.net" in sent


def test_unexpected_errors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself would print the message as it is."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    assert main(["settings"]) == 0
    capsys.readouterr()
    sys.excepthook(RuntimeError, RuntimeError(CLEAR + CLIPBOARD), None)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "RuntimeError: \\u001b[2J\\u001b]52;c;cm0gLXJmIH4=\\u0007\n")


@needs_php
def test_error_of_a_database_server_in_phps_log() -> None:
    """It is one line of printable characters, whatever its encoding is."""
    program = f"require '{HOME}/templates/usr/local/lib/baikalctl/away.php'; Baikalctl\\Away::because($argv[1]);"
    hostile = EVIL.encode() + b"\xff \xc3"
    done = subprocess.run(
        ["php", "-n", "-d", "extension=mbstring", "-r", program, hostile], capture_output=True, check=False
    )
    line = done.stderr.decode().removesuffix("\n")
    assert line == f"Baikal can't answer: {SHOWN}? ?; clients are told to come again"


def on_terminal(host: Path, *arguments: str) -> bytes:
    """Return all that a command sends to a terminal, none of which is a control character but ends of lines."""
    terminal, end = pty.openpty()
    program = [sys.executable, "-X", "utf8", "-m", "tests.unit.redirected", str(host), paths.USER, *arguments]
    try:
        subprocess.run(program, stdout=end, stderr=end, stdin=subprocess.DEVNULL, cwd=HOME, check=False, timeout=60)
    finally:
        os.close(end)
    sent = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is left
        while piece := os.read(terminal, 1 << 16):
            sent += piece
    os.close(terminal)
    assert re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", sent) is None, sent
    assert sent.decode().replace("\r\n", "").isprintable()
    return sent


def printing(path: Path) -> Iterator[str]:
    """Yield what in a module prints: print, the standard streams, and an exit with a message."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and node.id == "print":
            yield f"{path.relative_to(HOME)}:{node.lineno}: print"
        elif isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr", "__stdout__", "__stderr__"}:
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                yield f"{path.relative_to(HOME)}:{node.lineno}: sys.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"sys.exit", "SystemExit", "exit"}:
            yield from (
                f"{path.relative_to(HOME)}:{node.lineno}: an exit with a message"
                for each in node.args
                if isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and isinstance(each.value, str))
            )


def test_one_module_prints() -> None:
    """Each other one would have to remember that what it prints may be hostile."""
    sources = [path for folder in ("baikalctl", "tasks") for path in (HOME / folder).rglob("*.py")]
    sources += list(HOME.glob("*.py"))
    assert len(sources) > 100
    found = [line for path in sources for line in printing(path) if str(path.relative_to(HOME)) not in PRINTERS]
    assert found == []
    for path, reason in PRINTERS.items():
        assert list(printing(HOME / path)), f"{path} prints nothing any more: {reason}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((1, "account"), "1 account"), ((0, "account"), "0 accounts"), ((2, "entry", "entries"), "2 entries")],
)
def test_a_counted_noun_has_the_right_form(arguments: tuple[int, str], text: str) -> None:
    """English has one form for 1 and another for all other numbers."""
    assert output.counted(*arguments) == text
