"""The command line: commands, exit statuses, and one line for each error."""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import http.server
import importlib
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.argument_parser import PROGRAM_VERSION, Parser
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
    """Return the root of a host with declared.json and a release, and nothing applied."""
    assert release_standing.is_dir()
    declare()
    return host


def declare(**changed: object) -> None:
    """Write declared.json as a deploy does."""
    Path(paths.DECLARED).write_text(declared(**changed).to_json(), encoding="utf-8")


def checksum(archive: Path) -> str:
    """Return the SHA-256 as sha256sum prints it."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_settings_prints_the_reference_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The same text as docs/settings.md."""
    assert main(["settings"]) == 0
    assert capsys.readouterr().out == markdown()


ALL = "check, backup, restore, certificate, mail, database, apply, import, recover, settings"


@pytest.mark.parametrize(
    ("arguments", "usage", "line"),
    [
        ("", "[--help] [--version] COMMAND …", f"a command is missing; choose from {ALL}"),
        ("chekc", "[--help] [--version] COMMAND …", f"unknown command 'chekc'; did you mean check? choose from {ALL}"),
        ("healt", "[--help] [--version] COMMAND …", f"unknown command 'healt'; did you mean health? choose from {ALL}"),
        ("zzz", "[--help] [--version] COMMAND …", f"unknown command 'zzz'; choose from {ALL}"),
        ("--jsno check", "[--help] [--version] COMMAND …", "unknown option --jsno; choose from --help, --version"),
        (
            "check --jsno",
            "check [-h] [--json] [--thorough] [--wait SECONDS]",
            "check: unknown option --jsno; did you mean --json? choose from --help, --json, --thorough, --wait",
        ),
        (
            "check --wiat=3",
            "check [-h] [--json] [--thorough] [--wait SECONDS]",
            "check: unknown option --wiat=3; did you ",
        ),
        ("apply x", "apply [-h] [--plan]", "apply: unexpected argument 'x'"),
        (
            "mail",
            "mail [--help] test ADDRESS | ",
            "mail: a command is missing; choose from test, queue, retry, drop, dns",
        ),
        (
            "mail tset",
            "mail [--help] test ADDRESS | ",
            "mail: unknown command 'tset'; did you mean test? choose from test, queue, retry, drop, dns",
        ),
        ("mail test", "mail test [-h] ADDRESS", "mail test: missing: ADDRESS"),
        ("mail queue --json", "mail queue [-h]", "mail queue: unknown option --json; choose from --help"),
        (
            "backup lst",
            "backup [--help] [--json] ",
            "backup: unknown command 'lst'; did you mean list? choose from list, ",
        ),
        (
            "database mvoe",
            "database [--help] move",
            "database: unknown command 'mvoe'; did you mean move? choose from move",
        ),
        (f"release {VERSION}", "release [-h] [--sha256 SHA256] version archive", "release: missing: archive"),
    ],
)
def test_mistake_is_one_line_with_the_usage_of_the_command(
    arguments: str, usage: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, with status 2. The line has the nearest word and the choices of the command that was meant."""
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"usage: baikalctl {usage}")
    assert last.startswith(
        f"baikalctl{'' if usage.startswith('[') else ' '}{': ' if usage.startswith('[') else ''}{line}"
    )


def test_help_lists_everyday_commands_first_and_internal_ones_last(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is in one group, with its description."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    headings = "everyday commands|advanced commands|internal commands"
    _, everyday, advanced, internal = re.split(rf"^(?:{headings}):$", capsys.readouterr().out, flags=re.MULTILINE)
    named = [re.findall(r"^  ([a-z]+)  ", group, re.MULTILINE) for group in (everyday, advanced, internal)]
    assert named[0] == ["check", "backup", "restore", "certificate", "mail", "database"]
    assert named[2] == ["health", "release", "sendmail", "start"]
    assert sorted(itertools.chain(*named)) == sorted(commands_of(parser()))


def test_help_of_every_command_has_an_example() -> None:
    """Also of the subcommands."""
    commands = commands_of(parser())
    commands |= {f"{name} {sub}": of for name in ("mail", "backup") for sub, of in commands_of(commands[name]).items()}
    without = [
        name
        for name, command in commands.items()
        if f"example:\n  {'docker' if name == 'start' else 'baikalctl'} " not in command.format_help()
    ]
    assert without == []


@pytest.mark.parametrize(
    ("installed", "expected"), [(VERSION, f"Baïkal {VERSION}"), ("", "no release of Baïkal is installed")]
)
def test_version_is_that_of_the_program_and_of_the_installed_release(
    installed: str, expected: str, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on a host without a release."""
    assert host.is_dir()
    if installed:
        Path(paths.CURRENT).symlink_to(installed)
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out == f"baikalctl {PROGRAM_VERSION}, {expected}\n"


def test_parser_accepts_options_of_newer_pythons() -> None:
    """Python 3.14 passes ``color`` to the parser of each subcommand."""
    assert Parser("baikalctl check", "Check.", "baikalctl check", color=True).prog == "baikalctl check"


def test_version_of_the_program_is_that_of_the_project() -> None:
    """In pyproject.toml."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == PROGRAM_VERSION


def commands_of(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of a command."""
    (action,) = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(action.choices)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("arguments", [["check"], ["apply"], ["apply", "--plan"], ["certificate"]])
def test_host_without_a_deploy_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with status 1."""
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert (
        output.err
        == f"baikalctl: {paths.DECLARED} does not exist, because this host has no deploy yet; run the deploy first\n"
    )


@pytest.mark.parametrize(
    ("arguments", "refused"),
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
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    *,
    refused: bool,
) -> None:
    """A container that was started has its settings already."""
    for name in [name for name in os.environ if name.startswith("BAIKAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(start, "exit_on_signals", lambda: None)
    Path(paths.LAID_OUT).mkdir(parents=True)
    Path(paths.CURRENT).symlink_to(VERSION)
    message = "BAIKAL_HOSTNAME: is missing"
    assert main(arguments) == (2 if refused else 1)
    assert (message in capsys.readouterr().err) is refused
    Path(paths.SERVICES).mkdir(parents=True)
    assert main(arguments) == 1
    assert message not in capsys.readouterr().err
    assert host.is_dir()


@pytest.mark.usefixtures("deployed")
def test_apply_prints_its_steps_and_a_second_run_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The first run lists its steps, the plan before it the same ones, the second run is silent."""
    declare(users=[user()])
    assert main(["apply", "--plan"]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [f"activate Baïkal {VERSION}", "create the database"]
    assert not Path(paths.SQLITE).exists()
    assert main(["apply"]) == 0
    output = capsys.readouterr().out
    assert "create the account jo\n" in output
    assert PASSWORD not in output
    assert main(["apply"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["apply", "--plan"]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


@pytest.mark.usefixtures("deployed")
def test_locked_database_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command waits for another writer, then prints one line without a stack trace."""
    assert main(["apply"]) == 0
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    declare(users=[user()])
    with contextlib.closing(sqlite3.connect(paths.SQLITE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert main(["apply"]) == 1
    assert "locked" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("broken", [False, True])
def test_unexpected_database_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """The line has the declared database and the remedy, also if baikal.yaml is broken."""

    def fail(*_: object, **__: object) -> None:
        message = "server closed the connection"
        raise interface.ServerError(message)

    monkeypatch.setattr(check, "run_checks", fail)
    if broken:
        Path(paths.BAIKAL_YAML).write_text("- broken", encoding="ascii")
    assert main(["check"]) == 1
    remedy = "run again; baikalctl check has details"
    assert (
        capsys.readouterr().err == f"baikalctl: the database {paths.SQLITE}: server closed the connection; {remedy}\n"
    )


@pytest.mark.usefixtures("deployed")
def test_check_has_status_1_if_the_host_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """For both forms of the report."""
    assert main(["check"]) == 1
    assert "failed   answer" in capsys.readouterr().out
    assert main(["check", "--json", "--thorough"]) == 1
    output = json.loads(capsys.readouterr().out)
    assert output["healthy"] is False
    assert output["pending"]


@pytest.mark.usefixtures("deployed")
def test_valid_certificate_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """The second run prints nothing."""
    assert main(["certificate"]) == 0
    pem = f"{declared().served}.pem"
    made = Path(pem).read_bytes()
    assert capsys.readouterr().out == f"baikalctl: make a self-signed certificate: {pem} is not there\n"
    assert main(["certificate"]) == 0
    assert Path(pem).read_bytes() == made
    output = capsys.readouterr()
    assert output.out + output.err == ""


@pytest.mark.usefixtures("deployed")
def test_missing_certificate_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The deploy runs --prepare before it configures the files."""
    declare(**FILES)
    assert main(["certificate", "--prepare"]) == 1
    assert capsys.readouterr().err == "baikalctl: /not/there.pem is not there\n"
    declare(tls="off")
    assert main(["certificate", "--prepare"]) == 0
    assert main(["certificate"]) == 0
    assert list(Path(paths.TLS).iterdir()) == []


def test_prepare_refuses_missing_files_although_others_are_served(
    deployed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator of a deploy can fix this; a timer continues with the old files."""
    write(Path(f"{declared(**FILES).served}.pem"), certificate.self_signed(["cal.example.org"]))
    declare(**FILES)
    assert deployed.is_dir()
    assert main(["certificate", "--prepare"]) == 1
    assert capsys.readouterr().err == "baikalctl: /not/there.pem is not there\n"


def test_prepare_refuses_a_hook_that_others_can_change(deployed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Root runs the hook."""
    hook = deployed / "hook"
    hook.touch(mode=0o755)
    declare(**LETSENCRYPT, acme_dns_hook=str(hook))
    assert main(["certificate", "--prepare"]) == 0
    hook.chmod(0o777)
    assert main(["certificate", "--prepare"]) == 1
    output = capsys.readouterr().err
    assert f"{hook} can be changed by others (-rwxrwxrwx, uid {os.geteuid()}, gid " in output
    assert "put it where only root can write, such as /usr/local/sbin" in output


@pytest.mark.usefixtures("deployed")
def test_prepare_makes_a_certificate_without_asking_the_ca(capsys: pytest.CaptureFixture[str]) -> None:
    """Also while another process holds the lock, and without output."""
    declare(**LETSENCRYPT)
    with locked(paths.LOCK):
        assert main(["certificate", "--prepare"]) == 0
    assert Path(f"{declared(**LETSENCRYPT).served}.pem").is_file()
    assert not Path(paths.ATTEMPTS).exists()
    output = capsys.readouterr()
    assert output.out + output.err == ""


@pytest.mark.parametrize("words", [["--now", "--renew"], ["--prepare", "--sleep"], ["--now", "--sleep"]])
def test_options_of_certificate_that_contradict_each_other_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["certificate", *words])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
def test_sleep_replaces_the_process_by_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """So Python isn't in memory while the supervisor waits."""
    waits: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: waits.append([program, *words]))
    declare()
    assert main(["certificate", "--sleep"]) == 0
    assert waits == [["/usr/bin/sleep", "sleep", "3600"]]


@pytest.mark.usefixtures("deployed")
def test_json_report_has_whether_the_ca_must_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The deploy reads it."""
    for changed, due in ((LETSENCRYPT, True), ({}, False)):
        declare(**changed)
        main(["check", "--json"])
        assert json.loads(capsys.readouterr().out)["due"] is due


def test_release_is_installed_and_current(host: Path) -> None:
    """From a path, with its checksum. No other file is left in the directory."""
    archive = release_zip(host / "baikal.zip")
    Path(paths.LOCK).touch()
    assert main(["release", VERSION, str(archive), "--sha256", checksum(archive)]) == 0
    assert Path(paths.CURRENT).resolve() == (Path(paths.CODE) / VERSION).resolve()
    assert {path.name for path in Path(paths.CODE).iterdir()} == {VERSION, "current"}


def test_installed_release_is_not_installed_again(host: Path) -> None:
    """The archive isn't read, and the files aren't changed."""
    archive = release_zip(host / "baikal.zip")
    known = checksum(archive)
    assert main(["release", VERSION, str(archive), "--sha256", known]) == 0
    inode = (Path(paths.CODE) / VERSION).stat().st_ino
    archive.unlink()
    assert main(["release", VERSION, str(archive), "--sha256", known]) == 0
    assert (Path(paths.CODE) / VERSION).stat().st_ino == inode


def test_uploaded_archive_is_removed(host: Path) -> None:
    """Also if the installation fails."""
    for wrong in ("", "0" * 64):
        upload = release_zip(Path(paths.CODE) / f".baikal-{VERSION}.zip")
        assert main(["release", VERSION, str(upload), "--sha256", wrong or checksum(upload)]) == int(bool(wrong))
        assert not upload.exists()
    assert host.is_dir()


def test_wrong_checksum_is_one_line(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The directory isn't changed."""
    archive = release_zip(host / "baikal.zip")
    assert main(["release", VERSION, str(archive), "--sha256", "0" * 64]) == 1
    assert capsys.readouterr().err.startswith("baikalctl: baikal.zip has the SHA-256 ")
    assert list(Path(paths.CODE).iterdir()) == []


def test_missing_archive_is_one_line(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its path."""
    assert main(["release", VERSION, f"{host}/baikal.zip"]) == 1
    assert f"{host}/baikal.zip" in capsys.readouterr().err


def test_damaged_archive_is_one_line(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the list of files is intact, so the damage is noticed during unpacking."""
    archive = release_zip(host / "baikal.zip")
    archive.write_bytes(archive.read_bytes().replace(b"// libraries", b"// libra\0ies"))
    assert main(["release", VERSION, str(archive)]) == 1
    assert "baikal.zip" in capsys.readouterr().err
    assert list(Path(paths.CODE).iterdir()) == []


def test_release_is_downloaded_from_an_address(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the host. If no server answers, the error is one line."""
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
def test_error_for_an_ordinary_user_mentions_sudo(capsys: pytest.CaptureFixture[str]) -> None:
    """If a file can't be written."""
    Path(paths.CODE).chmod(0o500)
    archive = release_zip(Path(paths.STATE) / "baikal.zip")
    assert main(["release", VERSION, str(archive)]) == 1
    Path(paths.CODE).chmod(0o755)
    assert "run it as root, for example with sudo" in capsys.readouterr().err


def test_missing_directory_is_one_line(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's error, without a stack trace."""
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
    modules = {
        name: importlib.import_module(command.get_default("module")) for name, command in commands_of(parser()).items()
    }
    assert [name for name, module in modules.items() if not callable(getattr(module, "run", None))] == []
