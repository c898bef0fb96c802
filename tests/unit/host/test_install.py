"""Files reach their places, and configuration only if its service accepts it."""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import json
import os
import py_compile
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.host import install as host_install
from baikalctl.host.install import CheckError
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD, NEWER, BAD = "server { listen 80; }\n", "server { listen 8080; }\n", "BAD\n"
PROGRAM = HOME / "baikalctl/host/install.py"


class Machine:
    """A host's configuration directory, with two services whose checks refuse what says BAD."""

    def __init__(self, root: Path, me: dict[str, str]) -> None:
        """Make the directories below ``root``, whose files belong to ``me``."""
        self.root, self.me = root, me
        self.etc, self.stamps = root / "etc", root / "stamps"
        self.etc.mkdir()
        self.stamps.mkdir()
        for service in ("php", "nginx"):
            (self.stamps / service).write_text("digest", encoding="utf-8")
        refuse = f"if grep -q BAD {self.etc}/web*.conf; then echo syntax error in line 1 >&2; exit 1; fi"
        self.services = {"php": ["/bin/sh", "-c", "exit 0"], "nginx": ["/bin/sh", "-c", refuse]}
        self.displaced: list[tuple[str, str]] = []

    def path(self, name: str) -> Path:
        """Return where the file ``name`` belongs."""
        return self.etc / name

    def bundle(self, files: dict[str, str], /, mode: int = 0o644, **changed: object) -> dict[str, Any]:
        """Return a bundle of ``files``: web*.conf belongs to nginx, pool.conf to PHP; together* is rolled back with them."""
        services = {"web": "nginx", "poo": "php"}
        entries = [
            {
                "path": str(self.path(name)),
                "content": base64.b64encode(content.encode()).decode("ascii"),
                "mode": mode,
                "service": services.get(name[:3], ""),
                "together": name.startswith("together"),
            }
            | self.me
            for name, content in files.items()
        ]
        return {
            "user": self.me["owner"],
            "directories": [],
            "files": entries,
            "owned": [entry["path"] for entry in entries],
            "displaced": self.displaced,
            "prepare": {},
            "services": self.services,
            "stamps": str(self.stamps),
            "record": str(self.root / "files.json"),
            "lock": str(self.root / "lock"),
        } | changed

    def install(self, files: dict[str, str], /, **changed: Any) -> None:  # noqa: ANN401 - parts of a bundle
        """Install ``files``."""
        host_install.install(self.bundle(files, **changed))

    def content(self) -> dict[str, str]:
        """Return all that stands in the configuration directory, hidden files and links too."""
        return {
            path.name: f"-> {path.readlink()}" if path.is_symlink() else path.read_text(encoding="utf-8")
            for path in self.etc.iterdir()
        }

    def stamped(self) -> set[str]:
        """Return the services that are known to have read their files."""
        return {path.name for path in self.stamps.iterdir()}

    def recorded(self) -> list[str]:
        """Return the names of the files that are recorded as ours."""
        return [Path(path).name for path in json.loads((self.root / "files.json").read_text(encoding="utf-8"))]

    def run(self, bundle: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Install ``bundle`` as the deploy does: the module's text and the bundle on Python's standard input."""
        program = f"{PROGRAM.read_text(encoding='utf-8')}\n\nmain({json.dumps(bundle)!r})\n"
        command = [sys.executable, "-I", "-X", "utf8", "-c", host_install.LOADER]
        return subprocess.run(command, input=program, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path, me: dict[str, str]) -> Machine:
    """Return a host's directories."""
    return Machine(tmp_path, me)


def test_files_arrive_with_content_and_mode(machine: Machine) -> None:
    """With the content of the bundle, without temporary files, and recorded as ours."""
    machine.install({"web.conf": GOOD, "pool.conf": "[ä]\n"}, mode=0o640)
    assert machine.content() == {"web.conf": GOOD, "pool.conf": "[ä]\n"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in machine.etc.iterdir()} == {0o640}
    assert machine.recorded() == ["pool.conf", "web.conf"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(machine: Machine, mask: int) -> None:
    """A strict umask doesn't close what services read, a loose one opens nothing."""
    previous = os.umask(mask)
    try:
        machine.install({"web.conf": GOOD}, mode=0o644)
        machine.install({"secret": "x", "web.conf": GOOD}, mode=0o600)
    finally:
        os.umask(previous)
    assert {stat.S_IMODE(path.stat().st_mode) for path in machine.etc.iterdir()} == {0o600}


def test_no_other_account_can_read_a_file_before_it_has_its_mode(machine: Machine) -> None:
    """Where writing breaks off before the first byte, the new file has owner and mode already, and the old one stands."""
    machine.install({"secret": "old"}, mode=0o640)
    bundle = machine.bundle({"secret": "new"}, mode=0o640)
    bundle["files"][0]["content"] = "not base64"
    with pytest.raises(binascii.Error):
        host_install.install(bundle)
    leftover = machine.path(".secret.baikal-new")
    assert (leftover.stat().st_size, stat.S_IMODE(leftover.stat().st_mode)) == (0, 0o640)
    assert machine.path("secret").read_text(encoding="utf-8") == "old"


def test_a_file_is_replaced_and_never_rewritten(machine: Machine) -> None:
    """A process that has the old file open reads the old content to its end."""
    machine.install({"web.conf": GOOD})
    with machine.path("web.conf").open(encoding="utf-8") as reader:
        machine.install({"web.conf": NEWER})
        assert reader.read() == GOOD
    assert machine.content() == {"web.conf": NEWER}


def test_renames_are_synced(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content before the rename, the directories after it: of the files, and of the record of our files."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    machine.install({"web.conf": GOOD})
    record = [".files.json.baikal-new", machine.root.name]
    assert synced == [*record, ".web.conf.baikal-new", machine.etc.name, *record]


def test_a_link_in_a_files_place_is_replaced_not_followed(machine: Machine) -> None:
    """Nothing outside is overwritten through it."""
    outside = machine.root / "outside"
    outside.write_text("kept", encoding="utf-8")
    machine.path("web.conf").symlink_to(outside)
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD}
    assert outside.read_text(encoding="utf-8") == "kept"


def test_a_trap_under_the_temporary_name_is_removed(machine: Machine) -> None:
    """A link at the temporary name is not followed."""
    outside = machine.root / "outside"
    outside.write_text("kept", encoding="utf-8")
    machine.path(".web.conf.baikal-new").symlink_to(outside)
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD}
    assert outside.read_text(encoding="utf-8") == "kept"


def test_directories_are_created_and_fixed(machine: Machine) -> None:
    """With their parents and modes; what is in them stays."""
    inner = machine.root / "data/inner"
    directories = [{"path": str(inner.parent), "mode": 0o755}, {"path": str(inner), "mode": 0o700}]
    entries = [directory | machine.me for directory in directories]
    machine.install({}, directories=entries)
    assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    (inner / "kept").touch()
    inner.chmod(0o777)
    machine.install({}, directories=entries)
    assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    assert stat.S_IMODE(inner.parent.stat().st_mode) == 0o755
    assert (inner / "kept").exists()


def test_a_link_in_a_directorys_place_is_not_followed(machine: Machine) -> None:
    """PHP's account owns Specific/ and could put a link to /etc in the place of Specific/db, for root to give it away."""
    outside = machine.root / "outside"
    outside.mkdir()
    outside.chmod(0o755)
    (machine.root / "db").symlink_to(outside)
    with contextlib.suppress(OSError, CheckError):
        machine.install({}, directories=[{"path": str(machine.root / "db"), "mode": 0o700} | machine.me])
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_new_configuration_takes_away_its_services_stamp(machine: Machine) -> None:
    """So that this run, or any later one, checks and reloads it; the other service is left alone."""
    machine.install({"web.conf": GOOD})
    assert machine.stamped() == {"php"}


def test_files_of_no_service_take_away_no_stamp(machine: Machine) -> None:
    """A library's file that changes reloads nothing."""
    machine.install({"library.py": "x"})
    assert machine.stamped() == {"php", "nginx"}


def test_a_refused_configuration_is_rolled_back(machine: Machine) -> None:
    """The old file is restored, a new one and temporary ones are removed, and the reason is returned."""
    machine.install({"web.conf": GOOD})
    with pytest.raises(CheckError, match="syntax error in line 1"):
        machine.install({"web.conf": BAD, "web2.conf": NEWER})
    assert machine.content() == {"web.conf": GOOD}


def test_configuration_is_rolled_back_for_all_services_together(machine: Machine) -> None:
    """One service's old configuration may not fit the new one of another service."""
    machine.install({"web.conf": GOOD, "pool.conf": "old"})
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD, "pool.conf": "new"})
    assert machine.content() == {"web.conf": GOOD, "pool.conf": "old"}


def test_a_refused_configuration_stays_refused(machine: Machine) -> None:
    """Its service has lost its stamp, so no later run is green before it has been checked."""
    machine.install({"web.conf": GOOD})
    (machine.stamps / "nginx").touch()
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD})
    assert "nginx" not in machine.stamped()


@pytest.mark.parametrize("times", [2, 3])
def test_a_configuration_that_is_refused_again_and_again_harms_nothing(machine: Machine, times: int) -> None:
    """If the operator runs the same wrong deploy twice, the old configuration stays."""
    machine.install({"web.conf": GOOD, "pool.conf": "old"})
    for _ in range(times):
        with pytest.raises(CheckError):
            machine.install({"web.conf": BAD, "pool.conf": "new"})
        assert machine.content() == {"web.conf": GOOD, "pool.conf": "old"}


def test_a_fixed_configuration_is_installed_after_a_refused_one(machine: Machine) -> None:
    """And what the refused run left in the record is gone."""
    machine.install({"web.conf": GOOD})
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD, "web2.conf": BAD})
    machine.install({"web.conf": NEWER})
    assert machine.content() == {"web.conf": NEWER}
    assert machine.recorded() == ["web.conf"]


def test_a_check_that_cannot_run_takes_the_configuration_back(machine: Machine) -> None:
    """A check that says nothing has not passed."""
    machine.install({"web.conf": GOOD})
    program = machine.root / "nginx"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    machine.services["nginx"] = [str(program), "-t"]
    with pytest.raises((CheckError, OSError)):
        machine.install({"web.conf": NEWER})
    assert machine.content() == {"web.conf": GOOD}


def test_a_service_that_is_not_installed_yet_checks_nothing(machine: Machine) -> None:
    """Its files can be there before it."""
    machine.services["nginx"] = [str(machine.root / "not-there"), "-t"]
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD}


def test_a_check_sees_the_new_files_in_their_places(machine: Machine) -> None:
    """All of them at once, under the names under which the service reads them."""
    seen = machine.root / "seen"
    machine.services["nginx"] = [
        "/bin/sh",
        "-c",
        f"cat {machine.etc}/web.conf {machine.etc}/web2.conf {machine.etc}/lib > {seen}",
    ]
    machine.install({"web.conf": "a", "web2.conf": "b", "lib": "c"})
    assert seen.read_text(encoding="utf-8") == "abc"


def test_include_patterns_match_no_temporary_file(machine: Machine) -> None:
    """While files are being replaced, *.conf and *.ini match what they matched before."""
    seen = machine.root / "seen"
    machine.install({"web.conf": GOOD})
    machine.services["nginx"] = ["/bin/sh", "-c", f"cd {machine.etc} && echo *.conf > {seen}; ls -A >> {seen}"]
    machine.install({"web.conf": NEWER})
    assert seen.read_text(encoding="utf-8").splitlines()[0] == "web.conf"


def test_what_an_older_configuration_left_is_removed(machine: Machine) -> None:
    """Files that we own no longer go, in the same checked step; what isn't ours stays."""
    machine.install({"web.conf": GOOD, "web-old.conf": GOOD, "pool.conf": "x"})
    machine.path("other.conf").touch()
    for service in ("php", "nginx"):
        (machine.stamps / service).touch()
    machine.install({"web.conf": GOOD})
    assert set(machine.content()) == {"web.conf", "other.conf"}
    assert machine.recorded() == ["web.conf"]
    assert machine.stamped() == set(), "what is gone may have been any service's"


def test_what_was_removed_comes_back_if_its_service_misses_it(machine: Machine) -> None:
    """A removal is rolled back like any other change."""
    machine.install({"web.conf": GOOD, "web-zone.conf": "zone"})
    machine.services["nginx"] = ["/bin/sh", "-c", f"test -f {machine.etc}/web-zone.conf"]
    with pytest.raises(CheckError):
        machine.install({"web.conf": NEWER})
    assert machine.content() == {"web.conf": GOOD, "web-zone.conf": "zone"}
    machine.install({"web.conf": NEWER, "web-zone.conf": "zone"})
    assert machine.content() == {"web.conf": NEWER, "web-zone.conf": "zone"}


@pytest.fixture
def default_site(machine: Machine) -> Path:
    """Have the distribution's default site enabled, and declare that it makes way; return its link."""
    available = machine.root.resolve() / "available"
    available.write_text("default", encoding="utf-8")
    link = machine.path("default")
    link.symlink_to(available)
    machine.displaced = [(str(link), str(available))]
    return link


def test_the_distributions_link_makes_way(machine: Machine, default_site: Path) -> None:
    """Only the link goes; what it led to stays."""
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD}
    assert Path(machine.displaced[0][1]).exists()
    assert machine.recorded() == ["web.conf"]
    assert not default_site.is_symlink()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_distributions_link_is_back_after_a_refused_check(machine: Machine, default_site: Path, times: int) -> None:
    """However often the wrong configuration is tried."""
    for _ in range(times):
        with pytest.raises(CheckError):
            machine.install({"web.conf": BAD})
        assert default_site.is_symlink()
        assert set(machine.content()) == {"default"}


def test_somebodys_own_site_of_that_name_stays(machine: Machine, default_site: Path) -> None:
    """A file, or a link to elsewhere, isn't the distribution's."""
    default_site.unlink()
    default_site.write_text("own", encoding="utf-8")
    machine.install({"web.conf": GOOD})
    assert machine.content()["default"] == "own"
    default_site.unlink()
    default_site.symlink_to(machine.root / "elsewhere")
    machine.install({"web.conf": GOOD})
    assert default_site.is_symlink()


def test_a_file_put_in_the_links_place_after_a_refused_check_stays(machine: Machine, default_site: Path) -> None:
    """The record of a refused run doesn't make the operator's own file ours."""
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD})
    default_site.unlink()
    default_site.write_text("own", encoding="utf-8")
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD, "default": "own"}


KILL = ["/bin/sh", "-c", "kill -9 $PPID"]


def _killed(machine: Machine, bundle: dict[str, Any]) -> None:
    assert machine.run(bundle).returncode == -signal.SIGKILL


def test_a_run_that_is_killed_during_the_check_is_fixed_by_the_next(machine: Machine) -> None:
    """The stamp is gone, so the next run checks; nothing of the killed one is left then."""
    machine.install({"web.conf": GOOD, "pool.conf": "old"})
    (machine.stamps / "nginx").touch()
    _killed(
        machine, machine.bundle({"web.conf": NEWER, "pool.conf": "new"}, services=machine.services | {"nginx": KILL})
    )
    assert "nginx" not in machine.stamped()
    machine.install({"web.conf": NEWER, "pool.conf": "new"})
    assert machine.content() == {"web.conf": NEWER, "pool.conf": "new"}
    assert machine.recorded() == ["pool.conf", "web.conf"]


def test_unchecked_files_of_a_killed_run_are_rolled_back(machine: Machine) -> None:
    """The last good file is restored until the new one is checked, and no temporary file stays."""
    machine.install({"web.conf": GOOD})
    _killed(machine, machine.bundle({"web.conf": NEWER}, services=machine.services | {"nginx": KILL}))
    assert machine.content()["web.conf"] == NEWER
    assert machine.recorded() != ["web.conf"], "the record tells the next run that there is something to do"
    machine.install({}, owned=[str(machine.path("web.conf"))])
    assert machine.content() == {"web.conf": GOOD}
    assert machine.recorded() == ["web.conf"]


def test_a_refused_configuration_after_a_killed_run_leaves_one_in_place(machine: Machine) -> None:
    """The service's file always exists, after any earlier failure."""
    machine.install({"web.conf": GOOD})
    _killed(machine, machine.bundle({"web.conf": NEWER}, services=machine.services | {"nginx": KILL}))
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD})
    assert machine.content().get("web.conf") in (GOOD, NEWER)


def test_a_run_that_is_killed_while_it_prepares_is_fixed_by_the_next(machine: Machine) -> None:
    """The stamp is gone by then, so the next run checks what stands there."""
    machine.install({"web.conf": GOOD})
    (machine.stamps / "nginx").touch()
    _killed(machine, machine.bundle({"web.conf": NEWER, "library.py": "x"}, prepare={"certificate": KILL}))
    assert "nginx" not in machine.stamped()
    machine.install({"web.conf": NEWER, "library.py": "x"})
    assert machine.content() == {"web.conf": NEWER, "library.py": "x"}


def test_files_of_a_killed_run_are_ours_to_remove(machine: Machine) -> None:
    """It was recorded before it was written, so a changed mind leaves nothing behind."""
    _killed(machine, machine.bundle({"web.conf": GOOD, "web-zone.conf": "x"}, services={"nginx": KILL}))
    machine.install({"web.conf": GOOD})
    assert machine.content() == {"web.conf": GOOD}
    assert machine.recorded() == ["web.conf"]


def test_the_same_bundle_twice_gives_the_same(machine: Machine) -> None:
    """Every step can be repeated."""
    for _ in range(2):
        machine.install({"web.conf": GOOD, "pool.conf": "x", "library.py": "x"})
        assert machine.content() == {"web.conf": GOOD, "pool.conf": "x", "library.py": "x"}


def test_preparation_happens_before_the_check_and_sees_all_files(machine: Machine) -> None:
    """It makes the certificate that the check reads, for the name that has just been declared."""
    machine.services["nginx"] = ["/bin/sh", "-c", f"grep -q name {machine.root}/certificate"]
    prepare = {
        "certificate": ["/bin/sh", "-c", f"cat {machine.etc}/lib {machine.etc}/together > {machine.root}/certificate"]
    }
    machine.install({"web.conf": GOOD, "lib": "x", "together": "name"}, prepare=prepare)
    assert machine.content() == {"web.conf": GOOD, "lib": "x", "together": "name"}


def test_a_failed_preparation_takes_the_configuration_back(machine: Machine) -> None:
    """As a refused check does, with its reason."""
    machine.install({"web.conf": GOOD, "together": "old"})
    with pytest.raises(CheckError, match="no certificate today"):
        machine.install(
            {"web.conf": NEWER, "together": "new"},
            prepare={"certificate": ["/bin/sh", "-c", "echo no certificate today >&2; exit 3"]},
        )
    assert machine.content() == {"web.conf": GOOD, "together": "old"}


def test_nothing_is_prepared_for_a_library_alone(machine: Machine) -> None:
    """A new baikalctl needs neither certificate nor check."""
    machine.install({"library.py": "x"}, prepare={"certificate": ["/bin/false"]})
    assert machine.content() == {"library.py": "x"}


def test_files_marked_together_are_rolled_back_with_the_configuration(machine: Machine) -> None:
    """Or baikalctl would act on a declaration that the web server has refused."""
    machine.install({"web.conf": GOOD, "together": "old"})
    with pytest.raises(CheckError):
        machine.install({"web.conf": BAD, "together": "new"})
    assert machine.content() == {"web.conf": GOOD, "together": "old"}


@pytest.mark.parametrize("content", ["", "{", "[", "\0"])
def test_a_damaged_record_is_written_again(machine: Machine, content: str) -> None:
    """It costs the knowledge of what to remove, not the deploy."""
    (machine.root / "files.json").write_text(content, encoding="utf-8")
    machine.install({"web.conf": GOOD})
    assert machine.recorded() == ["web.conf"]


def test_two_runs_wait_for_each_other(machine: Machine) -> None:
    """The second one begins when the first has let go of the host's lock."""
    order = []

    def first() -> None:
        with host_install.locked(str(machine.root / "lock")):
            started.set()
            time.sleep(0.1)
            order.append("first")

    started = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(5)
    machine.install({"web.conf": GOOD})
    order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_the_account_is_made_where_it_is_missing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system account without home and shell, by the distribution's own tool."""
    program = machine.root / "useradd"
    program.write_text(f'#!/bin/sh\necho "$@" > {machine.root}/output\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.root}:{os.environ['PATH']}")
    machine.install({"web.conf": GOOD}, user="no-such-account")
    output = (machine.root / "output").read_text(encoding="utf-8").split()
    assert output[-1] == "no-such-account"
    assert {"--system", "--user-group", "--no-create-home", "/usr/sbin/nologin"} <= set(output)


def test_it_works_as_it_is_sent(machine: Machine) -> None:
    """By itself, on the standard input of an isolated Python, with any text in the files."""
    awkward = "quotes ' \" ''' \\ \\n ä {{ }}\n"
    done = machine.run(machine.bundle({"web.conf": GOOD, "lib": awkward}))
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"refused": {}}, "")
    assert machine.content() == {"web.conf": GOOD, "lib": awkward}


@pytest.mark.parametrize(
    ("change", "service"),
    [
        (lambda machine: {"files": machine.bundle({"web.conf": BAD})["files"]}, "nginx"),
        (lambda _: {"prepare": {"certificate": ["/bin/sh", "-c", "echo no >&2; exit 3"]}}, "certificate"),
    ],
    ids=["check", "preparation"],
)
def test_refusal_is_reported_by_service(
    machine: Machine, change: Callable[[Machine], dict[str, Any]], service: str
) -> None:
    """With a status of its own, so that the deploy can fail under the name of the service."""
    done = machine.run(machine.bundle({"web.conf": GOOD}, **change(machine)))
    assert done.returncode == host_install.REFUSED
    (reason,) = [json.loads(done.stdout)["refused"][service]]
    assert reason.startswith("/bin/sh")
    assert done.stderr == ""


def test_unwritable_file_is_one_sentence_and_status_1(machine: Machine) -> None:
    """No stack trace reaches the person who runs the deploy."""
    done = machine.run(machine.bundle({"web.conf": GOOD}, record=str(machine.root / "no/such/directory")))
    assert done.returncode == 1
    assert "The files can't be written: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_did_not_arrive_is_no_success(machine: Machine) -> None:
    """As where su or doas takes the standard input for itself; Python would do nothing and be content."""
    command = [sys.executable, "-I", "-X", "utf8", "-c", host_install.LOADER]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did not arrive" in done.stderr
    assert machine.content() == {}


def test_it_speaks_the_python_of_the_oldest_host() -> None:
    """Python 3.10's grammar, and nothing but the standard library."""
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 10))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("last", ["zone.py", "web.conf", "together"])
def test_a_file_that_cannot_be_written_keeps_all_others_as_they_were(machine: Machine, last: str) -> None:
    """The program that a host starts in that moment is the old one, whole; the next run installs the new one."""
    old, new = {"cli.py": "old", last: GOOD}, {"cli.py": "new", last: NEWER}
    machine.install(old)
    bundle = machine.bundle(new)
    bundle["files"][-1]["content"] = "not base64"
    with pytest.raises(binascii.Error):
        host_install.install(bundle)
    assert machine.content().items() >= old.items()
    machine.install(new)
    assert machine.content() == new


class Library:
    """The program on a host, with files that Python has compiled."""

    def __init__(self, machine: Machine) -> None:
        """Make its directory."""
        self.place, self.root = machine, machine.root / "library"
        self.root.mkdir()

    def install(self, *names: str, configuration: str = GOOD, **changed: Any) -> None:  # noqa: ANN401 - parts of a bundle
        """Install a program of these files, and nginx's configuration."""
        self.place.install(self.files(*names, configuration=configuration), **changed)

    def files(self, *names: str, configuration: str = GOOD) -> dict[str, str]:
        """Return the contents by path, and make the directories."""
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        return {str(self.root / name): "" for name in names} | {"web.conf": configuration}

    def compile(self) -> None:
        """Compile every module, with and without assertions."""
        for path in self.root.rglob("*.py"):
            for level in (0, 1):
                py_compile.compile(str(path), optimize=level)

    def names(self) -> set[str]:
        """Return all that is there, without the part of a compiled file's name that is Python's version."""
        names = {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
        return {name.replace(f".{sys.implementation.cache_tag}", "") for name in names}


@pytest.fixture
def library(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Have the program's library in the test's directory."""
    library = Library(machine)
    monkeypatch.setattr(host_install, "LIBRARY", str(library.root))
    return library


FLAT = ("cli.py", "backup.py", "areas/mail.py", "areas/web.py", "templates/x.conf")
PACKAGES = ("cli.py", "backup/create.py")
PACKAGES_COMPILED = {"cli.py", "backup", "backup/create.py", "__pycache__"} | {
    f"__pycache__/cli{level}.pyc" for level in ("", ".opt-1")
}


def test_removed_modules_leave_nothing_behind(library: Library) -> None:
    """Neither compiled files nor empty directories; a kept module stays compiled."""
    library.install(*FLAT)
    library.compile()
    library.install(*PACKAGES)
    assert library.names() == PACKAGES_COMPILED


def test_directory_that_holds_a_file_of_others_stays(library: Library) -> None:
    """With that file alone."""
    library.install(*FLAT)
    library.compile()
    (library.root / "areas/notes").touch()
    library.install(*PACKAGES)
    assert library.names() == PACKAGES_COMPILED | {"areas", "areas/notes"}


def test_compiled_files_of_modules_that_were_removed_earlier_go_with_the_next(library: Library) -> None:
    """Such as those that a process compiled while a run replaced the program."""
    library.install(*FLAT)
    library.compile()
    (library.root / "__pycache__/earlier.cpython-310.pyc").touch()
    library.install(*PACKAGES)
    assert library.names() == PACKAGES_COMPILED


def test_directory_of_compiled_files_keeps_its_time(library: Library) -> None:
    """So modules that are new are newer, and an image's deploy compiles them."""
    library.install(*FLAT)
    library.compile()
    os.utime(library.root / "__pycache__", (1, 1))
    library.install(*PACKAGES)
    assert library.names() == PACKAGES_COMPILED
    assert (library.root / "__pycache__").stat().st_mtime == 1


def test_modules_are_removed_only_after_the_new_ones_are_in_place(library: Library) -> None:
    """A run that ends before that is completed by the next one."""
    library.install(*FLAT)
    library.compile()
    before = library.names()
    obstacle = library.root / "cli.py"
    obstacle.unlink()
    obstacle.mkdir()
    with pytest.raises(IsADirectoryError):
        library.install(*reversed(PACKAGES))
    assert library.names() >= before
    obstacle.rmdir()
    library.install(*PACKAGES)
    assert library.names() == PACKAGES_COMPILED
    assert library.place.recorded() == ["web.conf", "create.py", "cli.py"]


def test_run_that_is_killed_after_modules_were_removed_is_completed_by_the_next(library: Library) -> None:
    """Their compiled files are removed then."""
    library.install(*FLAT)
    library.compile()
    bundle = library.place.bundle(library.files(*PACKAGES, configuration=NEWER), services={"nginx": KILL})
    text = PROGRAM.read_text(encoding="utf-8").replace(paths.LIBRARY, str(library.root))
    program = f"{text}\n\nmain({json.dumps(bundle)!r})\n"
    done = subprocess.run([sys.executable, "-I", "-c", host_install.LOADER], input=program, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "backup.py" not in library.names()
    library.install(*PACKAGES, configuration=NEWER)
    assert library.names() == PACKAGES_COMPILED


def test_removed_module_does_not_return_after_a_refused_check(library: Library) -> None:
    """A package that returned would hide the new module of its name; configuration and other files do return."""
    library.install("cli.py", "backup/__init__.py", "prepend.php")
    with pytest.raises(CheckError):
        library.install("cli.py", "backup.py", configuration=BAD)
    assert library.names() == {"cli.py", "backup.py", "prepend.php"}
    assert library.place.content() == {"web.conf": GOOD}
    library.install("cli.py", "backup.py")
    assert library.names() == {"cli.py", "backup.py"}


def test_removed_module_takes_away_no_stamp(library: Library) -> None:
    """As a module that changes."""
    library.install(*FLAT)
    (library.place.stamps / "nginx").touch()
    files = library.files("cli.py", "backup.py", "areas/mail.py", "templates/x.conf")
    del files["web.conf"]
    owned = [*files, str(library.place.path("web.conf"))]
    library.place.install(files, owned=owned)
    assert "areas/web.py" not in library.names()
    assert library.place.stamped() == {"php", "nginx"}


def test_the_library_is_where_the_program_is_installed() -> None:
    """The module that is sent alone has the path written out."""
    assert host_install.LIBRARY == paths.LIBRARY


@pytest.fixture
def systemctl(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Have the configuration directory be systemd's, and return a way to learn what systemctl was called with since."""
    program, called = machine.root / "bin/systemctl", machine.root / "called"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {called}\nexit 1\n', encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(host_install, "UNITS", str(machine.etc))

    def words() -> list[str]:
        lines = called.read_text(encoding="ascii").splitlines() if called.exists() else []
        called.unlink(missing_ok=True)
        return lines

    return words


def test_a_unit_that_is_no_longer_ours_is_forgotten_by_systemd(
    machine: Machine, systemctl: Callable[[], list[str]]
) -> None:
    """Stopped, no longer started at boot, and not among the failed ones; others stay as they are."""
    machine.install({"baikal.timer": "[Timer]\n", "baikal.path": "[Path]\n"})
    wants = machine.etc / "timers.target.wants"
    wants.mkdir()
    for name in ("baikal.timer", "other.timer"):
        (wants / name).symlink_to(machine.etc / name)
    assert systemctl() == []
    machine.install({"baikal.path": "[Path]\n"})
    assert systemctl() == ["stop baikal.timer", "daemon-reload", "reset-failed baikal.timer"]
    assert [path.name for path in wants.iterdir()] == ["other.timer"]
    assert machine.recorded() == ["baikal.path"]


def test_a_systemd_that_does_not_answer_does_not_prevent_an_installation(
    machine: Machine, systemctl: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's file is gone; its processes end with the next boot."""
    machine.install({"baikal.timer": "[Timer]\n", "web.conf": GOOD})
    true_run = subprocess.run
    asked: list[str] = []

    def run(command: list[str], **more: object) -> object:
        if command[0] == "systemctl":
            asked.append(command[1])
            raise subprocess.TimeoutExpired(command, 60)
        return true_run(command, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", run)
    machine.install({"web.conf": GOOD})
    assert asked == ["stop", "daemon-reload", "reset-failed"]
    assert machine.recorded() == ["web.conf"]
    assert not (machine.etc / "baikal.timer").exists()
    assert systemctl() == []


def test_a_changed_unit_continues_to_run(machine: Machine, systemctl: Callable[[], list[str]]) -> None:
    """Its service rereads it, as any other."""
    machine.install({"baikal.timer": "[Timer]\n"})
    machine.install({"baikal.timer": "[Timer]\nAccuracySec=1\n"})
    assert systemctl() == []


def test_a_unit_stays_where_a_check_refuses_what_comes_with_its_end(
    machine: Machine, systemctl: Callable[[], list[str]]
) -> None:
    """All of it, or nothing."""
    machine.install({"baikal.timer": "[Timer]\n", "web.conf": GOOD})
    with pytest.raises(host_install.CheckError):
        machine.install({"web.conf": BAD})
    assert machine.content() == {"baikal.timer": "[Timer]\n", "web.conf": GOOD}
    assert systemctl() == []


def test_a_file_elsewhere_is_no_unit(machine: Machine, systemctl: Callable[[], list[str]]) -> None:
    """With any name."""
    other = machine.root / "baikal.timer"
    other.touch()
    machine.install({}, owned=[str(other)])
    machine.install({}, owned=[])
    assert not other.exists()
    assert systemctl() == []
