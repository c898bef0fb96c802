"""A host below a temporary directory with hostile data, and commands that run on it as root's would."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab.deploying import REPOSITORY
from tests.lab.engine import apt_install
from tests.lab.errors import LabError
from tests.unit.samples import VERSION, declared, release_zip, user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACCOUNT: Final = "games"
"""Used as PHP's account: every Debian has it, with a group of the same name, and no process uses it."""
MAIL: Final = "mail"
"""The account of Debian's nullmailer; its queue may be hostile too."""
PACKAGES: Final = ("python3-jinja2", "python3-yaml")
"""The packages that baikalctl imports, as on hosts: this yaml reads large files with libyaml."""
SECRET: Final = "only root may read this 4711"
LARGEST_SUM: Final = 64 << 20
"""Larger files are compared by size: they are sparse files of a test."""
RELAY: Final[dict[str, object]] = {"mail": "relay", "relay_host": "localhost", "relay_port": 9, "relay_tls": "none"}

Entry = tuple[str, int, int, int, str]
"""Kind, mode, owner, group, and checksum or target."""


@dataclass
class Tree:
    """The directory with the host's root, files outside of it, and the template that each case starts from."""

    folder: Path
    account: str
    worker: subprocess.Popen[str] = field(init=False)

    @property
    def root(self) -> Path:
        """The host's root directory."""
        return self.folder / "case/host"

    @property
    def data(self) -> Path:
        """The host's data directory."""
        return self.root / "var/lib/baikal"

    @property
    def backups(self) -> Path:
        """The host's archives."""
        return self.root / "var/backups/baikal"

    @property
    def spool(self) -> Path:
        """The queue of nullmailer."""
        return self.root / "var/spool/nullmailer"

    @property
    def old(self) -> Path:
        """An old installation to import, owned by PHP's account."""
        return self.root / "srv/old"

    @property
    def victim(self) -> Path:
        """A file of root outside of the host's directories; no command may read or change it."""
        return self.folder / "case/outside/victim"

    def path(self, name: str) -> Path:
        """Return a path of the host."""
        return self.root / name.lstrip("/")

    def own(self, path: Path, owner: str = "") -> Path:
        """Change the owner of a file or directory tree to PHP's account or ``owner``, if this process may; return it."""
        if os.geteuid() == 0:
            account = pwd.getpwnam(owner or self.account)
            for each in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]:
                os.chown(each, account.pw_uid, account.pw_gid, follow_symlinks=False)
        return path

    def declare(self, **changes: object) -> None:
        """Write the declaration as a deploy would; by default without mail, because checks of mail query DNS."""
        users = [user("jo", email="jo@example.org"), user("sam")]
        text = declared(http_port=8, https_port=9, users=users, **changes).to_json()
        for folder in ("var", "etc"):
            text = text.replace(f'"/{folder}/', f'"{self.root}/{folder}/')
        target = self.path("etc/baikal/declared.json")
        target.write_text(text, encoding="utf-8")
        target.chmod(0o600)

    def reset(self) -> None:
        """Restore the initial state."""
        shutil.rmtree(self.folder / "case", ignore_errors=True)
        _copy(self.folder / "template", self.folder / "case")

    def run(self, words: Sequence[str], seconds: float) -> Result:
        """Run a command, and kill it after ``seconds``."""
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        self.worker.stdin.write(json.dumps([seconds, *words]) + "\n")
        self.worker.stdin.flush()
        line = self.worker.stdout.readline()
        if not line:
            message = f"the process that runs the commands has ended with status {self.worker.wait()}"
            raise LabError(message)
        status, took = json.loads(line)
        return Result(status, took, (self.folder / "output").read_text(encoding="utf-8", errors="surrogateescape"))

    def entries(self) -> dict[str, Entry]:
        """Return everything below the case's directory, by path."""
        entries = {}
        base = str(self.folder / "case")
        for folder, folders, files in os.walk(base):
            for name in (*folders, *files):
                path = f"{folder}/{name}"
                with contextlib.suppress(FileNotFoundError):
                    entries[path[len(base) + 1 :]] = _entry(path)
        return entries


@dataclass(frozen=True)
class Result:
    """Result of a command; without a status if it had to be killed."""

    status: int | None
    seconds: float
    output: str


@contextlib.contextmanager
def trees(count: int) -> Iterator[list[Tree]]:
    """Yield ``count`` hosts as root's deploy would leave them; remove them afterwards."""
    account = ACCOUNT if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    shared = Path("/dev/shm")  # noqa: S108 - only the place; the directory in it is made with a name of its own
    folder = Path(tempfile.mkdtemp(prefix="baikal-fuzz-", dir=shared if os.access(shared, os.W_OK) else None)).resolve()
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        python = _python()
        library = _library(folder / "library", python)
        hosts = [Tree(folder / str(number), account) for number in range(count)]
        for tree in hosts:
            tree.folder.mkdir()
            _template(tree)
            tree.worker = _worker(python, library, tree)
            stack.callback(_end, tree.worker)
        for tree in hosts:
            _deploy(tree)
        yield hosts


def _worker(python: str, library: Path, tree: Tree) -> subprocess.Popen[str]:
    words = [str(library / "forking.py"), str(library), str(tree.root), tree.account, str(tree.folder / "output")]
    command = [python, "-I", "-X", "utf8", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")


def _end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


def _python() -> str:
    """Return a Python with a library that PHP's account can read, which one in a home directory isn't."""
    parents = Path(os.__file__).resolve().parents
    if os.geteuid() != 0 or all(parent.stat().st_mode & stat.S_IXOTH for parent in parents):
        return sys.executable
    if not Path("/usr/bin/python3").exists():
        message = "other accounts can't read this Python's library; install Debian's python3"
        raise LabError(message)
    return "/usr/bin/python3"


def _library(folder: Path, python: str) -> Path:
    """Copy baikalctl to a directory that every account can read, and make its imports available to ``python``."""
    shutil.copytree(REPOSITORY / "baikalctl", folder / "baikalctl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "templates", folder / "templates")
    shutil.copy(REPOSITORY / "tests/lab/forking.py", folder)
    if subprocess.run([python, "-I", "-c", "import jinja2, yaml"], capture_output=True, check=False).returncode:
        apt_install(PACKAGES)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _template(tree: Tree) -> None:
    """Create the directories that a deploy creates, and the files outside of the host."""
    tree.victim.parent.mkdir(parents=True)
    tree.victim.write_text(f"{SECRET}\n", encoding="ascii")
    tree.victim.chmod(0o600)
    for name in ("opt/baikal", "etc/baikal", "usr/local/lib/baikalctl", "run/lock", "srv", "programs", "etc/profile.d"):
        tree.path(name).mkdir(parents=True)
    tree.path("etc/profile.d/system.sh").write_text("# root's\n", encoding="ascii")
    tree.path("etc/baikal").chmod(0o700)
    programs = {"systemctl": "echo inactive; exit 3", "journalctl": f"cat {tree.spool}/journal"}
    for name, script in programs.items():
        tree.path(f"programs/{name}").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        tree.path(f"programs/{name}").chmod(0o755)
    for name in ("state", "state/stamps", "tls", "acme", "acme/issued", "challenges", "maintenance", "mail"):
        (tree.data / name).mkdir(parents=True, mode=0o700)
    for name in ("config", "Specific", "Specific/db", "sessions", "mail/kept"):
        (tree.data / name).mkdir(mode=0o700)
        tree.own(tree.data / name)
    for path in (tree.spool / "queue", tree.spool / "failed", tree.spool / "tmp", tree.backups):
        path.mkdir(mode=0o700, parents=True)
    tree.own(tree.spool, MAIL)
    for name, mode in (("", 0o755), ("challenges", 0o755), ("mail", 0o755), ("maintenance", 0o711)):
        (tree.data / name).chmod(mode)


def _deploy(tree: Tree) -> None:
    """Apply the declaration with the host's own commands; keep the result as the template."""
    archive = release_zip(tree.folder / "release.zip")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    tree.declare()
    commands = (["release", VERSION, str(archive), "--sha256", sha256], ["apply"], ["backup"])
    for words in commands:
        ran = tree.run(words, 60)
        if ran.status:
            message = f"baikalctl {words[0]} failed on a host without hostile data:\n{ran.output}"
            raise LabError(message)
    for name in ("config", "Specific"):
        shutil.copytree(tree.data / name, tree.old / name)
    tree.own(tree.old)
    (tree.spool / "journal").write_text("Starting delivery: host: x protocol: smtp file: 1700000000.1\n", "ascii")
    for name in ("queue/1700000000.1", "failed/1700000001.2"):
        (tree.spool / name).write_bytes(b"cal@example.org\nbob@example.net\n\nSubject: x\n\nbody\n")
        tree.own(tree.spool / name, MAIL)
    kept = tree.data / "mail/kept/1700000002.1.0.eml"
    kept.write_bytes(b"X-Baikal-Kept: it rains\nTo: bob@example.net\n\nbody\n")
    tree.own(kept)
    (tree.folder / "case").rename(tree.folder / "template")
    tree.reset()


def _copy(source: Path, target: Path) -> None:
    """Copy a tree, and keep its owners."""
    subprocess.run(["cp", "-a", "--", str(source), str(target)], check=True)


def _entry(path: str) -> Entry:
    state = os.lstat(path)
    kind, value = stat.filemode(state.st_mode)[0], ""
    if stat.S_ISLNK(state.st_mode):
        value = os.readlink(path)  # noqa: PTH115 - names may be any bytes
    elif stat.S_ISREG(state.st_mode):
        value = f"{state.st_size}"
        if state.st_size <= LARGEST_SUM:
            with contextlib.suppress(PermissionError), open(path, "rb") as file:  # noqa: PTH123 - names may be any bytes
                value = hashlib.file_digest(file, "sha256").hexdigest()
    return kind, stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid, value
