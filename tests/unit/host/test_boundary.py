"""The child process in which root reads what others can write."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host import boundary, boundary_child
from baikalctl.host.boundary import confined, confined_while
from baikalctl.host.child_limits import MIB, Limits
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
SHORT = Limits(seconds=20, cpu_s=1, memory=64 * MIB, answer=1000)


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> pwd.struct_passwd:
    """Have the data belong to another account than root."""
    monkeypatch.setattr(paths, "USER", "nobody")
    return pwd.getpwnam("nobody")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a directory that every account may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@as_root
def test_real_effective_and_saved_ids_are_the_owners(unprivileged: pwd.struct_passwd) -> None:
    """And there are no other groups and no capabilities, so nothing gives root back."""
    names: list[Any] = confined(
        lambda: [
            os.getresuid(),
            os.getresgid(),
            os.getgroups(),
            [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if "Cap" in line],
        ]
    )
    assert names[:3] == [[unprivileged.pw_uid] * 3, [unprivileged.pw_gid] * 3, []]
    capabilities = {name: int(value, 16) for name, value in (line.split() for line in names[3])}
    assert {name: value for name, value in capabilities.items() if name != "CapBnd:"} == dict.fromkeys(
        ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:"), 0
    )
    assert os.getresuid() == (0, 0, 0)


@as_root
@pytest.mark.parametrize("way", ["setuid", "setresuid", "seteuid", "setgroups", "native"])
def test_root_cannot_be_regained(unprivileged: pwd.struct_passwd, way: str) -> None:
    """Not by Python, and not by a library that calls the kernel itself."""
    assert unprivileged.pw_uid

    def attempt() -> list[int]:
        ways: dict[str, Callable[[], object]] = {
            "setuid": lambda: os.setuid(0),
            "setresuid": lambda: os.setresuid(0, 0, 0),
            "seteuid": lambda: os.seteuid(0),
            "setgroups": lambda: os.setgroups([0]),
            "native": lambda: ctypes.CDLL(None).setresuid(0, 0, 0),
        }
        with contextlib.suppress(PermissionError):
            ways[way]()
        return [*os.getresuid(), *os.getgroups()]

    assert confined(attempt) == [unprivileged.pw_uid] * 3


@as_root
def test_a_library_that_was_loaded_cannot_write_as_root(unprivileged: pwd.struct_passwd, open_to_all: Path) -> None:
    """The escalation of an earlier version: a library's constructor took root back and wrote a file of root's."""
    source, library, target = (open_to_all / name for name in ("evil.c", "evil.so", "pwned"))
    source.write_text(
        "#define _GNU_SOURCE\n#include <unistd.h>\n#include <fcntl.h>\n"
        "__attribute__((constructor)) static void run(void) { setresuid(0, 0, 0);"
        f' int file = open("{target}", O_CREAT | O_WRONLY, 0600); fchmod(file, 0644); }}\n#include <sys/stat.h>\n',
        encoding="ascii",
    )
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", library, source], check=True)
    confined(lambda: ctypes.CDLL(str(library)) and None)
    assert target.stat().st_uid == unprivileged.pw_uid, "the constructor ran, without root's rights"


@as_root
def test_a_link_to_a_secret_leads_nowhere(unprivileged: pwd.struct_passwd, open_to_all: Path) -> None:
    """The child may read only what its account may."""
    assert unprivileged.pw_uid
    secret = open_to_all / "secret"
    secret.touch(mode=0o600)
    with pytest.raises(PermissionError, match="Permission denied"):
        confined(secret.read_bytes)


@as_root
def test_another_account_can_be_named(unprivileged: pwd.struct_passwd) -> None:
    """A mail queue belongs to another one than the data."""
    assert confined(os.getuid, account="daemon") == pwd.getpwnam("daemon").pw_uid != unprivileged.pw_uid


@as_root
def test_on_a_machine_without_data_the_child_owns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive can be looked at there, too."""
    monkeypatch.setattr(paths, "USER", "no-such-account")
    assert confined(os.getuid) == pwd.getpwnam("nobody").pw_uid


def test_without_privileges_the_account_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that runs as the owner, the child has the same limits and the same account."""
    monkeypatch.setattr(boundary, "privileged", lambda: False)
    monkeypatch.setattr(paths, "USER", "no-such-account")
    names = confined(lambda: [*os.getresuid(), resource.getrlimit(resource.RLIMIT_CPU)[0], _no_new_privileges()], SHORT)
    assert names == [*os.getresuid(), 1, 1]


def _no_new_privileges() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("NoNewPrivs:")[2].split()[0])


def test_setuid_programs_give_no_privileges() -> None:
    """Unless they are what is to be run: those of a mail server."""
    assert confined(_no_new_privileges) == 1
    assert confined(_no_new_privileges, setuid_programs=True) == 0


def test_open_files_are_closed_but_those_that_are_handed_over(tmp_path: Path) -> None:
    """A lock or a file of root's is out of reach."""
    (tmp_path / "one").write_text("one", encoding="ascii")
    (tmp_path / "other").touch()
    with (tmp_path / "one").open("rb") as one, (tmp_path / "other").open("rb") as other:

        def look() -> list[Any]:
            with contextlib.suppress(OSError):
                os.fstat(other.fileno())
                return ["open"]
            return [os.read(one.fileno(), 10).decode(), os.isatty(0), os.getsid(0) == os.getpid()]

        assert confined(look, keep=(one.fileno(),)) == ["one", False, True]


def test_the_environment_has_nothing_that_database_libraries_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of libpq in root's environment, and files in root's home directory, don't count."""
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("PGSERVICEFILE", "/tmp/x")  # noqa: S108 - never read
    assert confined(lambda: [name for name in os.environ if name.startswith("PG")] + [os.environ["HOME"]]) == [
        "/nonexistent"
    ]


def _forever() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: [0] * (1 << 28), "needs more memory than allowed"),
        (_forever, "more than 1 seconds of processor time"),
        (lambda: "x" * 2000, "larger than allowed"),
        (lambda: os._exit(0), "ended without an answer"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "ended without an answer"),
        (object, "result can't be sent"),
        (lambda: 1 / 0, r"failed unexpectedly \(ZeroDivisionError: division by zero\)"),
        (lambda: _deep(0), "nested too deeply"),
    ],
)
def test_what_goes_wrong_is_one_error(function: Callable[[], object], message: str) -> None:
    """Neither a crash nor an endless loop of the child harms root's process."""
    with pytest.raises(HostError, match=message):
        confined(function, SHORT)


def _deep(level: int) -> int:
    return _deep(level + 1) + 1


def test_a_child_that_waits_is_killed_at_its_deadline_with_what_it_started() -> None:
    """None of its processes continues."""
    started = time.monotonic()
    reading, writing = os.pipe()

    def wait() -> None:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(writing,)):
            time.sleep(60)

    with pytest.raises(HostError, match="longer than 1 seconds"):
        confined(wait, Limits(seconds=1, cpu_s=10, memory=512 * MIB), keep=(writing,))
    os.close(writing)
    assert os.read(reading, 1) == b"", "no process has the pipe any more"
    os.close(reading)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("answer", [b"{}\n", b"[]\n", b"not json\n", b'{"result": ' + b"[" * 900 + b"\n", b"\xff\n"])
def test_an_answer_of_another_form_is_refused(answer: bytes) -> None:
    """A child that was taken over may send anything."""

    def send() -> None:
        os.write(boundary_child.channel, answer)
        os._exit(0)

    with pytest.raises(HostError, match="invalid answer"):
        confined(send, SHORT)


def test_errors_arrive_as_they_are() -> None:
    """With the number that decides what is to be done, and never as another class than these."""

    def host() -> None:
        raise HostError("a reason; a remedy")

    def missing() -> None:
        Path("/nonexistent/file").read_bytes()

    def damaged() -> None:
        sqlite3.connect(":memory:").execute("SELECT 1 FROM missing")

    with pytest.raises(HostError, match=r"^a reason; a remedy$"):
        confined(host)
    with pytest.raises(FileNotFoundError) as caught:
        confined(missing)
    assert caught.value.filename == "/nonexistent/file"
    with pytest.raises(sqlite3.OperationalError, match="no such table: missing") as error:
        confined(damaged)
    assert error.value.sqlite_errorcode == sqlite3.SQLITE_ERROR


def test_within_a_child_a_function_is_simply_called() -> None:
    """One child per command, not one per question."""
    inner, outer = confined(lambda: [confined(os.getpid), os.getpid()])
    assert inner == outer != os.getpid()


def test_something_can_be_held_for_a_block(tmp_path: Path) -> None:
    """A lock of a database server, for example; it is given back when the block ends."""

    def hold(held: Callable[[], None]) -> None:
        (tmp_path / "held").touch()
        held()
        (tmp_path / "held").unlink()

    with confined_while(hold):
        assert (tmp_path / "held").exists()
    assert not (tmp_path / "held").exists()


def test_what_cannot_be_held_is_reported() -> None:
    """Before the block begins."""

    def fail(_held: Callable[[], None]) -> None:
        raise HostError("no lock")

    with pytest.raises(HostError, match="no lock"), confined_while(fail):
        raise AssertionError


def test_no_other_module_drops_privileges() -> None:
    """One place does, so one place is to be checked."""
    calls = ("setuid(", "seteuid(", "setresuid(", "setreuid(", "setgroups(", "preexec_fn", "user=", "extra_groups=")
    names = {
        path.name
        for path in (HOME / "baikalctl").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(f"os.{call}" in line or line.strip().startswith(call) for call in calls)
    }
    assert names <= {"boundary_child.py", "build.py", "driver.py", "mysql.py"}


def test_nothing_of_roots_environment_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's account can read it in programs that the child starts."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", "s3cret")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert set(confined(lambda: list(os.environ))) <= {*boundary_child.VARIABLES, "HOME"}


@as_root
def test_its_account_can_not_look_into_a_child(unprivileged: pwd.struct_passwd) -> None:
    """It was root's process, and has all that root had read."""

    def look() -> list[str]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            time.sleep(30)
            os._exit(0)
        os.close(writing)
        os.close(reading)
        errors = []
        for name in ("environ", "mem", "fd/0"):
            try:
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            except OSError as error:
                errors.append(str(error.strerror))
        os.kill(pid, signal.SIGKILL)
        return errors

    assert unprivileged.pw_uid
    assert confined(look) == ["Permission denied"] * 3


def test_a_child_that_its_account_stops_is_killed() -> None:
    """It would hold the host's lock until its deadline."""
    started = time.monotonic()
    with pytest.raises(HostError, match="another process of the same account stopped"):
        confined(lambda: os.kill(os.getpid(), signal.SIGSTOP))
    assert time.monotonic() - started < 10


def test_a_message_has_an_end() -> None:
    """It may contain what a server or a database says."""

    def fail() -> None:
        raise HostError("x" * 1_000_000)

    with pytest.raises(HostError, match=r"^x{2000} …$"):
        confined(fail)


def test_a_child_that_closes_its_pipe_and_continues_is_killed() -> None:
    """A child that was taken over would otherwise hold root's process for ever."""
    started = time.monotonic()

    def silent() -> None:
        os.close(boundary_child.channel)
        time.sleep(20)

    with pytest.raises(HostError, match="ended without an answer"):
        confined(silent, SHORT)
    assert time.monotonic() - started < 10
