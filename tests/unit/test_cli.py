"""The command line: verbs, exit statuses, and one sentence for what goes wrong."""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import http.server
import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.arguments import parser
from baikalctl.baikal import release
from baikalctl.checks import check
from baikalctl.cli import main
from baikalctl.container import start
from baikalctl.database import interface, sqlite_file
from baikalctl.host.atomic_write import write
from baikalctl.host.install import locked
from baikalctl.settings.reference import markdown
from baikalctl.tls import certificate
from tests.unit.samples import HOME, LETSENCRYPT, PASSWORD, VERSION, declared, release_zip, user

FILES: dict[str, object] = {"tls": "files", "tls_certificate": "/not/there.pem", "tls_key": "/not/there.key"}


@pytest.fixture
def deployed(host: Path, release_standing: Path) -> Path:
    """Have a host that is declared, with its release, and nothing applied yet; return its root."""
    assert release_standing.is_dir()
    declare()
    return host


def declare(**changed: object) -> None:
    """Write what a deploy would declare."""
    Path(paths.DECLARED).write_text(declared(**changed).to_json(), encoding="utf-8")


def checksum(archive: Path) -> str:
    """Return what sha256sum prints."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_the_settings_are_printed_as_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The verb and the page are the same text."""
    assert main(["settings"]) == 0
    assert capsys.readouterr().out == markdown()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["check", "--nonsense"], ["release", VERSION], ["apply", "x"]])
def test_a_wrong_call_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage, on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: baikalctl" in capsys.readouterr().err


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it is for."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for verb in ("check", "apply", "certificate", "release", "settings"):
        assert re.search(rf"^    {verb}\s", said, re.MULTILINE)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("arguments", [["check"], ["apply"], ["apply", "--plan"], ["certificate"]])
def test_a_host_that_was_never_deployed_to_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, with status 1."""
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err == f"baikalctl: {paths.DECLARED} is not there: this host was never deployed to; run the deploy first\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["database", "move"], True),
        (["backup"], True),
        (["backup", "list"], True),
        (["backup", "verify"], False),
        (["restore", "latest"], False),
        (["import", "/old"], False),
    ],
)
def test_one_off_container_without_settings_is_refused_only_if_the_command_needs_them(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], *, told: bool
) -> None:
    """A container that was started has its settings already."""
    for name in [name for name in os.environ if name.startswith("BAIKAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(start, "exit_on_signals", lambda: None)
    Path(paths.LAID_OUT).mkdir(parents=True)
    Path(paths.CURRENT).symlink_to(VERSION)
    asked = "BAIKAL_HOSTNAME: is missing"
    assert main(arguments) == (2 if told else 1)
    assert (asked in capsys.readouterr().err) is told
    Path(paths.SERVICES).mkdir(parents=True)
    assert main(arguments) == 1
    assert asked not in capsys.readouterr().err
    assert host.is_dir()


@pytest.mark.usefixtures("deployed")
def test_apply_says_what_it_does_and_then_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The first run lists its steps, the plan before it the same ones, the second run is silent."""
    declare(users=[user()])
    assert main(["apply", "--plan"]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [f"have Baïkal {VERSION} serve", "make the database"]
    assert not Path(paths.SQLITE).exists()
    assert main(["apply"]) == 0
    said = capsys.readouterr().out
    assert "create the account jo\n" in said
    assert PASSWORD not in said
    assert main(["apply"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["apply", "--plan"]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


@pytest.mark.usefixtures("deployed")
def test_a_database_that_somebody_holds_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long writer makes it wait, and then say so, without a stack trace."""
    assert main(["apply"]) == 0
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    declare(users=[user()])
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert main(["apply"]) == 1
    assert "locked" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("broken", [False, True])
def test_an_error_of_a_database_that_nobody_expected_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """With the database that is declared, whatever baikal.yaml says, and what to do."""

    def fail(*_: object, **__: object) -> None:
        message = "server closed the connection"
        raise interface.ServerError(message)

    monkeypatch.setattr(check, "run_checks", fail)
    if broken:
        Path(paths.BAIKAL_YAML).write_text("- broken", encoding="ascii")
    assert main(["check"]) == 1
    remedy = "run again; baikalctl check tells more"
    assert (
        capsys.readouterr().err == f"baikalctl: the database {paths.SQLITE}: server closed the connection; {remedy}\n"
    )


@pytest.mark.usefixtures("deployed")
def test_check_tells_by_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    """A host on which nothing runs isn't healthy, in both forms of the report."""
    assert main(["check"]) == 1
    assert "failed   answer" in capsys.readouterr().out
    assert main(["check", "--json", "--thorough"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["healthy"] is False
    assert said["pending"]


@pytest.mark.usefixtures("deployed")
def test_the_certificate_is_made_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A second call leaves the good one alone, and says nothing."""
    assert main(["certificate"]) == 0
    pem = f"{declared().served}.pem"
    made = Path(pem).read_bytes()
    assert capsys.readouterr().out == f"baikalctl: make a self-signed certificate: {pem} is not there\n"
    assert main(["certificate"]) == 0
    assert Path(pem).read_bytes() == made
    said = capsys.readouterr()
    assert said.out + said.err == ""


@pytest.mark.usefixtures("deployed")
def test_a_certificate_of_ones_own_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is configured to use it, which is a deploy's question."""
    declare(**FILES)
    assert main(["certificate", "--prepare"]) == 1
    assert capsys.readouterr().err == "baikalctl: /not/there.pem is not there\n"
    declare(tls="off")
    assert main(["certificate", "--prepare"]) == 0
    assert main(["certificate"]) == 0
    assert list(Path(paths.TLS).iterdir()) == []


def test_a_deploy_refuses_files_that_cannot_serve_although_others_do(
    deployed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody is there who can mend them; the clock would only let the old pair go on."""
    write(Path(f"{declared(**FILES).served}.pem"), certificate.self_signed(["cal.example.org"]))
    declare(**FILES)
    assert deployed.is_dir()
    assert main(["certificate", "--prepare"]) == 1
    assert capsys.readouterr().err == "baikalctl: /not/there.pem is not there\n"


def test_a_deploy_refuses_a_hook_that_others_than_root_can_change(
    deployed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would run as root, at a time of its own."""
    hook = deployed / "hook"
    hook.touch(mode=0o755)
    declare(**LETSENCRYPT, acme_dns_hook=str(hook))
    assert main(["certificate", "--prepare"]) == 0
    hook.chmod(0o777)
    assert main(["certificate", "--prepare"]) == 1
    said = capsys.readouterr().err
    assert f"{hook} can be changed by others (-rwxrwxrwx, uid {os.geteuid()}, gid " in said
    assert "put it where only root can write, such as /usr/local/sbin" in said


@pytest.mark.usefixtures("deployed")
def test_a_deploy_has_a_certificate_before_it_has_a_web_server(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever holds the lock already, and without a word; no authority is asked yet."""
    declare(**LETSENCRYPT)
    with locked(paths.LOCK):
        assert main(["certificate", "--prepare"]) == 0
    assert Path(f"{declared(**LETSENCRYPT).served}.pem").is_file()
    assert not Path(paths.ATTEMPTS).exists()
    said = capsys.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("words", [["--now", "--renew"], ["--prepare", "--sleep"], ["--now", "--sleep"]])
def test_a_certificate_is_cared_for_in_one_way_at_a_time(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What contradicts each other is a wrong call."""
    with pytest.raises(SystemExit) as caught:
        main(["certificate", *words])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
def test_a_supervisors_process_becomes_the_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there is nothing to do, and whatever the outcome; Python isn't kept in memory for it."""
    waits: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: waits.append([program, *words]))
    declare()
    assert main(["certificate", "--sleep"]) == 0
    assert waits == [["/usr/bin/sleep", "sleep", "3600"]]


@pytest.mark.usefixtures("deployed")
def test_the_report_for_machines_tells_whether_an_authority_is_to_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The deploy asks where it is, and needs no other question for that."""
    for changed, due in ((LETSENCRYPT, True), ({}, False)):
        declare(**changed)
        main(["check", "--json"])
        assert json.loads(capsys.readouterr().out)["due"] is due


def test_a_release_is_installed_and_made_current(host: Path) -> None:
    """From a path, with its checksum; nothing is beside it afterwards."""
    archive = release_zip(host / "baikal.zip")
    Path(paths.LOCK).touch()
    assert main(["release", VERSION, str(archive), "--sha256", checksum(archive)]) == 0
    assert Path(paths.CURRENT).resolve() == (Path(paths.CODE) / VERSION).resolve()
    assert {path.name for path in Path(paths.CODE).iterdir()} == {VERSION, "current"}


def test_a_release_that_stands_is_not_installed_again(host: Path) -> None:
    """The archive isn't even needed, and what serves isn't touched."""
    archive = release_zip(host / "baikal.zip")
    known = checksum(archive)
    assert main(["release", VERSION, str(archive), "--sha256", known]) == 0
    inode = (Path(paths.CODE) / VERSION).stat().st_ino
    archive.unlink()
    assert main(["release", VERSION, str(archive), "--sha256", known]) == 0
    assert (Path(paths.CODE) / VERSION).stat().st_ino == inode


def test_an_upload_of_a_run_is_removed(host: Path) -> None:
    """Whether it could be installed or not."""
    for wrong in ("", "0" * 64):
        upload = release_zip(Path(paths.CODE) / f".baikal-{VERSION}.zip")
        assert main(["release", VERSION, str(upload), "--sha256", wrong or checksum(upload)]) == int(bool(wrong))
        assert not upload.exists()
    assert host.is_dir()


def test_a_wrong_checksum_is_one_sentence(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaves the directory as it was."""
    archive = release_zip(host / "baikal.zip")
    assert main(["release", VERSION, str(archive), "--sha256", "0" * 64]) == 1
    assert capsys.readouterr().err.startswith("baikalctl: baikal.zip has the SHA-256 ")
    assert list(Path(paths.CODE).iterdir()) == []


def test_an_archive_that_is_not_there_is_one_sentence(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its path."""
    assert main(["release", VERSION, f"{host}/baikal.zip"]) == 1
    assert f"{host}/baikal.zip" in capsys.readouterr().err


def test_a_damaged_archive_is_one_sentence(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one whose list is whole, so that the damage shows while it is unpacked."""
    archive = release_zip(host / "baikal.zip")
    archive.write_bytes(archive.read_bytes().replace(b"// libraries", b"// libra\0ies"))
    assert main(["release", VERSION, str(archive)]) == 1
    assert "baikal.zip" in capsys.readouterr().err
    assert list(Path(paths.CODE).iterdir()) == []


def test_a_release_is_fetched_from_an_address(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The host does it by itself, and says so when nobody answers."""
    archive = release_zip(host / "baikal.zip")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(host))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        url = f"http://127.0.0.1:{web.server_port}/baikal.zip"
        assert main(["release", VERSION, url, "--sha256", checksum(archive)]) == 0
        web.shutdown()
        thread.join()
    assert {path.name for path in Path(paths.CODE).iterdir()} == {VERSION, "current"}
    assert main(["release", "0.11.1", url]) == 1
    assert "can't be downloaded" in capsys.readouterr().err
    assert release.standing(VERSION) == checksum(archive)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.usefixtures("deployed")
def test_an_ordinary_user_is_told_of_sudo(capsys: pytest.CaptureFixture[str]) -> None:
    """Where something isn't permitted."""
    Path(paths.CODE).chmod(0o500)
    archive = release_zip(Path(paths.STATE) / "baikal.zip")
    assert main(["release", VERSION, str(archive)]) == 1
    Path(paths.CODE).chmod(0o755)
    assert "run it as root, for example with sudo" in capsys.readouterr().err


def test_a_missing_directory_is_one_sentence(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the system says, without a stack trace."""
    archive = release_zip(host / "baikal.zip")
    Path(paths.CODE).rmdir()
    Path(paths.CODE).write_text("a file in its place", encoding="utf-8")
    assert main(["release", VERSION, str(archive)]) == 1
    assert capsys.readouterr().err.startswith("baikalctl: ")


def modules_of(statement: str, *words: str) -> set[str]:
    """Return which of ``SLOW`` a new process has imported after the Python ``statement``, called with these ``words``."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HOME)
    return SLOW & set(done.stdout.split())


SLOW = {"yaml", "jinja2", "sqlite3", "ssl", "urllib.request", "zipfile", "baikalctl.desired.state"}
"""Modules that take time to import, and that not every command needs."""
IMPORT = "import importlib; from baikalctl.cli import parser; importlib.import_module(parser().parse_args().module)"


def test_command_line_alone_imports_no_slow_module() -> None:
    """A deploy starts baikalctl several times."""
    assert modules_of("import baikalctl.cli") == set()


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("check", {"yaml", "sqlite3", "ssl", "baikalctl.desired.state"}),
        ("health", {"yaml", "sqlite3", "baikalctl.desired.state"}),
        ("mail queue", {"baikalctl.desired.state"}),
        ("release 0.12.1 baikal.zip", set()),
        ("sendmail --from cal@example.org", set()),
        ("settings", set()),
    ],
)
def test_command_imports_only_the_slow_modules_that_it_needs(arguments: str, needed: set[str]) -> None:
    """Also through other modules: health is called every few seconds, check by each deploy, sendmail for each message."""
    assert modules_of(IMPORT, *arguments.split()) <= needed


@pytest.mark.parametrize("arguments", ["apply", "certificate", "check", "database move", "health", "mail queue"])
def test_command_without_a_deploy_is_refused_before_its_modules_are_imported(arguments: str, tmp_path: Path) -> None:
    """A container that is still starting is probed all the time, and a new host may have no packages yet."""
    statement = f"from baikalctl import cli, paths; paths.DECLARED = {str(tmp_path / 'none')!r}; cli.main()"
    assert modules_of(statement, *arguments.split()) == {"baikalctl.desired.state"}


def test_every_command_has_a_module_with_run() -> None:
    """Which is imported when the command is called, so a wrong name would show only then."""
    (commands,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    modules = {
        name: importlib.import_module(command.get_default("module")) for name, command in commands.choices.items()
    }
    assert [name for name, module in modules.items() if not callable(getattr(module, "run", None))] == []
