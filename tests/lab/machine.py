"""A machine to provision over SSH: a container that boots systemd, with its ports on 127.0.0.1."""

from __future__ import annotations

import atexit
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.images import DEPLOYER_UID, NOSUDO_UID
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

LOCAL = "127.0.0.1"
WEB_PORTS: Mapping[int, int] = {80: 0, 443: 0}
BOOT_LIMIT_S = 60
FIRST_LOOK_S = 5
START_ATTEMPTS = 5
RUN_LABEL = "baikal-lab.run"
HOST_LABEL = "baikal-lab.host"
SSH_USERS = {"root": ("root", 0), "deployer": ("home/deployer", DEPLOYER_UID), "nosudo": ("home/nosudo", NOSUDO_UID)}

KEEP = ("--label", f"{RUN_LABEL}=")
"""Options of a machine that outlives the run."""

UNCONFINED = {"apparmor": "apparmor=unconfined", "selinux": "label=disable"}
"""Security modules that by default keep a container's systemd from mounting, and the options against it."""

# Below the kernel's range for outgoing connections, so that the ports of a machine that is switched off
# are still free when it boots again.
PORT_RANGE = range(20000, 32000)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = max(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), _WORKER + 1)

SNAPSHOT = r"""
set -eu
for path in "$@"; do
    shift
    if [ -e "$path" ] || [ -L "$path" ]; then set -- "$@" "$path"; fi
done
[ $# -gt 0 ] || exit 0
find "$@" -ignore_readdir_race -printf '%p\0%m\0%u\0%g\0%y\0%l\0'
printf '\0'
find "$@" -ignore_readdir_race -type f -print0 | xargs -0 -r sha256sum -z -- || [ $? -eq 123 ]
"""


class Entry(NamedTuple):
    """One file, directory or link as ``Machine.snapshot`` sees it."""

    mode: str
    """Octal, four digits: ``0644``."""
    owner: str
    group: str
    kind: str
    """find's letter: ``f`` file, ``d`` directory, ``l`` link, ``s`` socket, ``p`` pipe."""
    content: str
    """The sha256 of a file, the target of a link, else empty."""


@dataclass
class Machine(Removable):
    """A running machine; as a context manager, removed at the end of the block.

    It is also removed when the process ends normally, by an error or by SIGTERM; after a SIGKILL,
    ``remove_leftovers`` removes it.
    """

    engine: Engine
    name: str
    ports: dict[int, int]
    """Published ports: from the machine's port to the one on 127.0.0.1."""
    directory: tempfile.TemporaryDirectory[str] = field(repr=False)
    """Private directory for the keys."""

    @classmethod
    def start(
        cls,
        engine: Engine,
        image: str,
        *,
        name: str | None = None,
        ports: Mapping[int, int] = WEB_PORTS,
        options: Sequence[str] = (),
    ) -> Self:
        """Boot a machine from a ``machine_image`` and return when SSH answers and systemd has settled.

        ``ports`` maps the machine's ports to ports of 127.0.0.1, 0 for any free one; SSH is always published.
        ``options`` are further options of ``docker create``, such as ``--network``. Raises LabError.
        """
        _remove_at_exit()
        directory = tempfile.TemporaryDirectory(prefix="baikal-lab-")
        machine = cls(engine, name or f"baikal-lab-{secrets.token_hex(4)}", {}, directory)
        try:
            _generate_key(machine.key_path)
            _generate_key(machine._host_key)
            machine._create(image, {22: 0, **ports}, options)
            machine._wait_until_booted()
        except BaseException:
            machine.remove()
            raise
        return machine

    @property
    def ssh_port(self) -> int:
        """Port of the machine's sshd on 127.0.0.1."""
        return self.ports[22]

    @property
    def key_path(self) -> Path:
        """The temporary private key for root, ``deployer`` and ``nosudo``."""
        return Path(self.directory.name) / "key"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with only this machine's host key."""
        return Path(self.directory.name) / "known_hosts"

    @property
    def _host_key(self) -> Path:
        return Path(self.directory.name) / "host_key"

    def ssh_data(self, user: str = "root") -> dict[str, object]:
        """Return pyinfra's host data for connecting as ``user``, independent of ~/.ssh."""
        return {
            "ssh_hostname": LOCAL,
            "ssh_port": self.ssh_port,
            "ssh_user": user,
            "ssh_key": str(self.key_path),
            "ssh_known_hosts_file": str(self.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "ssh_config_file": os.devnull,
        }

    def ssh_command(self, user: str = "root") -> list[str]:
        """Return the plain ``ssh`` command that logs in as ``user``, to be followed by a remote command."""
        hosts = f"UserKnownHostsFile={self.known_hosts}"
        safely = ("-o", hosts, "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes")
        return ["ssh", "-F", "none", "-i", str(self.key_path), "-p", str(self.ssh_port), *safely, f"{user}@{LOCAL}"]

    def run(self, command: str, user: str = "root", *, check: bool = True, timeout: float = 120) -> str:
        """Run a shell command on the machine, without SSH, and return its output; LabError when it fails."""
        return self.engine.docker("exec", "-u", user, self.name, "sh", "-c", command, check=check, timeout=timeout)

    def read(self, path: str) -> str:
        """Return the text of a file on the machine."""
        return self.engine.docker("exec", self.name, "cat", "--", path)

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file on the machine as root; the directory must exist."""
        script = 'cat >"$1" && chmod "$2" "$1"'
        self.engine.docker("exec", "-i", self.name, "sh", "-c", script, "write", path, mode, input=text)

    def snapshot(self, paths: Sequence[str]) -> dict[str, Entry]:
        """Return every file below ``paths`` with mode, owner, group, kind and content, to compare states.

        One command on the machine. A missing path has no entry; times are left out intentionally.
        """
        output = self.engine.docker("exec", "-i", self.name, "sh", "-s", "--", *paths, input=SNAPSHOT)
        return _read_snapshot(output)

    def kill(self) -> None:
        """Cut the power: all processes are killed at once, nothing is saved."""
        self.engine.docker("kill", "-s", "KILL", self.name)

    def power_on(self) -> None:
        """Boot the machine again, with the same disk, keys and ports, and an empty /run."""
        self.engine.docker("start", self.name)
        self._wait_until_booted()

    def remove(self) -> None:
        """Remove the machine with its disk and its keys; a second call does nothing."""
        if _running.get(self.name) is self:  # not another container that already has the name
            self.engine.docker("rm", "-f", "-v", self.name, check=False)
            del _running[self.name]
        self.directory.cleanup()

    def keep_keys(self, directory: Path) -> None:
        """Copy the keys to ``directory``, for use after this process."""
        directory.mkdir(parents=True, exist_ok=True)
        for key in (self.key_path, self.known_hosts):
            shutil.copy2(key, directory / key.name)

    def keep(self) -> None:
        """Let the machine outlive this process; it must have been started with ``KEEP`` among its options."""
        del _running[self.name]

    def _create(self, image: str, wanted: Mapping[int, int], options: Sequence[str]) -> None:
        """Create and start the container; with other ports if a different process has taken the first ones."""
        labels = ("--label", f"{RUN_LABEL}={os.getpid()}", "--label", f"{HOST_LABEL}={socket.gethostname()}")
        fixed = (*_systemd_options(self.engine), *labels, "--hostname", self.name, *options)
        for attempt in range(1, START_ATTEMPTS + 1):
            self.ports = {inner: outer or free_port() for inner, outer in wanted.items()}
            published = [f"--publish={LOCAL}:{outer}:{inner}" for inner, outer in self.ports.items()]
            self.engine.docker("create", "--name", self.name, *fixed, *published, image)
            _running[self.name] = self
            self.engine.docker("cp", "-", f"{self.name}:/", input=self._keys())
            try:
                self.engine.docker("start", self.name)
                break
            except LabError as error:
                taken = "already allocated" in str(error) or "address already in use" in str(error)
                if not taken or attempt == START_ATTEMPTS:
                    raise
                self.engine.docker("rm", "-f", "-v", self.name)
        self.known_hosts.write_text(f"[{LOCAL}]:{self.ssh_port} {_public(self._host_key)}\n")

    def _keys(self) -> bytes:
        """Return a tar archive with the machine's host key and the users' authorized_keys."""
        archive = io.BytesIO()
        allowed = _public(self.key_path) + "\n"
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _add(tar, "etc/ssh/ssh_host_ed25519_key", self._host_key.read_text(), 0o600, 0)
            _add(tar, "etc/ssh/ssh_host_ed25519_key.pub", _public(self._host_key) + "\n", 0o644, 0)
            for home, uid in SSH_USERS.values():
                _add(tar, f"{home}/.ssh", None, 0o700, uid)
                _add(tar, f"{home}/.ssh/authorized_keys", allowed, 0o600, uid)
        return archive.getvalue()

    def _wait_until_booted(self) -> None:
        """Wait until sshd sends its banner and systemd is running or degraded; else LabError with systemd's state."""

        def greets() -> bool:
            return _greets(self.ssh_port)

        if not (wait_until(greets, FIRST_LOOK_S) or (self._is_up() and wait_until(greets, BOOT_LIMIT_S))):
            raise LabError(self._boot_failure("sshd does not answer"))
        status = ""

        def is_ready() -> bool:
            nonlocal status
            asked = ("exec", self.name, "systemctl", "is-system-running", "--wait")
            status = self.engine.docker(*asked, check=False, timeout=BOOT_LIMIT_S).strip()
            return status in {"running", "degraded"}

        if not wait_until(is_ready, BOOT_LIMIT_S):
            raise LabError(self._boot_failure(f"systemd says {status or 'nothing'}"))

    def _is_up(self) -> bool:
        return self.engine.docker("inspect", "-f", "{{.State.Running}}", self.name).strip() == "true"

    def _boot_failure(self, status: str) -> str:
        end = self.engine.docker(
            "inspect",
            "-f",
            "{{.State.Status}}, exit status {{.State.ExitCode}} {{.State.Error}}",
            self.name,
            check=False,
        )
        log = self.engine.docker("logs", "--tail", "20", self.name, check=False)
        journal = self.engine.docker("exec", self.name, "journalctl", "-b", "-p", "err", "-n", "10", check=False)
        return f"the machine {self.name} does not boot: {status} ({end.strip()})\n{log}{journal}".rstrip()


_running: dict[str, Machine] = {}
_watched: set[int] = set()


def _remove_at_exit() -> None:
    """Register, once per process, the removal of all machines at its end: atexit alone does not run on a signal."""
    if os.getpid() in _watched:
        return
    _watched.add(os.getpid())
    owner = os.getpid()

    def remove_all() -> None:
        if os.getpid() == owner:  # not in a forked child
            for machine in list(_running.values()):
                machine.remove()

    def remove_all_and_end(number: int, _: FrameType | None) -> None:
        remove_all()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    atexit.register(remove_all)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, remove_all_and_end)


def _systemd_options(engine: Engine) -> list[str]:
    """Return what a container needs so that the systemd in it can boot."""
    options = ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--cap-add", "SYS_ADMIN"]
    if engine.podman:  # Podman sees /sbin/init and prepares the rest itself
        return options
    options += [f"--security-opt={rule}" for word, rule in UNCONFINED.items() if word in engine.security]
    if engine.cgroups == 1:
        return [*options, "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    return [*options, "--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free and not reserved by a switched-off machine of this run.

    Each worker of a run has its own range, because a worker doesn't know the machines of the others.
    """
    reserved = {port for machine in _running.values() for port in machine.ports.values()}
    ports = PORT_RANGE[_WORKER::_WORKERS]
    for _ in range(1000):
        port = secrets.choice(ports)
        with socket.socket() as probe:
            if port not in reserved and probe.connect_ex((LOCAL, port)):
                return port
    message = f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop} on {LOCAL}"
    raise LabError(message)


def _greets(port: int) -> bool:
    """Whether an SSH server sends its banner; an engine's proxy accepts the connection long before that."""
    try:
        with socket.create_connection((LOCAL, port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _generate_key(path: Path) -> None:
    """Generate a key pair without a passphrase."""
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "baikal-lab", "-f", path], check=True)
    except FileNotFoundError as error:
        message = "ssh-keygen is missing: install the OpenSSH client (openssh-client on Debian and Ubuntu)"
        raise LabError(message) from error


def _public(key: Path) -> str:
    return Path(f"{key}.pub").read_text().strip()


def _add(tar: tarfile.TarFile, name: str, text: str | None, mode: int, uid: int) -> None:
    """Add a file, or a directory if there is no text, owned by a user and the group with the same id."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid, entry.mtime = mode, uid, uid, int(time.time())
    content = (text or "").encode()
    entry.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _read_snapshot(output: str) -> dict[str, Entry]:
    """Parse the output of SNAPSHOT: six fields per file, an empty one, then the checksums."""
    fields = iter(output.split("\0"))
    seen: dict[str, Entry] = {}
    for path in fields:
        if not path:
            break
        mode, owner, group, kind, target = (next(fields) for _ in range(5))
        seen[path] = Entry(mode.zfill(4), owner, group, kind, target)
    for line in fields:
        digest, _, path = line.partition("  ")
        if path in seen:
            seen[path] = seen[path]._replace(content=digest)
    return seen
