"""The container engine of the lab: one that already runs, or one that the lab starts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.lab.errors import LabError

Say = Callable[[str], None]

ENGINE_PACKAGES = ("docker.io", "iptables")
ENGINE_OPTIONS = ("--userland-proxy=false",)
"""The kernel forwards published ports: a proxy process would cost CPU and delay acknowledgements."""
START_LIMIT_S = 60
STOP_LIMIT_S = 30


@dataclass(frozen=True)
class Engine:
    """A running container engine: Docker, or Podman with a command called ``docker``."""

    command: str
    version: str
    cgroups: int
    """1 or 2: decides how a container with its own systemd is started."""
    podman: bool
    security: frozenset[str]
    """Security options that the engine reports: ``apparmor``, ``selinux``, ``rootless``."""
    say: Say = field(default=print, compare=False, repr=False)

    def docker(
        self,
        *args: str,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's own name
        timeout: float = 120,
        check: bool = True,
    ) -> str:
        """Run ``docker ARGS`` and return its output; ``timeout`` in seconds.

        Raises LabError with the engine's message when it fails (unless ``check`` is false) or takes
        longer than ``timeout``.
        """
        done = _run([self.command, *args], input, timeout)
        if check and done.returncode:
            output = _text(done.stderr).strip() or _text(done.stdout).strip()
            shown = " ".join(args)
            message = f"`docker {shown[:200]}` ended with status {done.returncode}: {output[-4000:]}"
            raise LabError(message)
        return _text(done.stdout)

    def has_image(self, tag: str) -> bool:
        """Whether the engine has an image with this tag."""
        return bool(self.docker("image", "ls", "-q", tag).strip())


def ensure_engine(say: Say = print) -> Engine:
    """Return a running engine; as root on Debian or Ubuntu, install and start one if none runs.

    Raises LabError with what is missing and what to do. An engine that was started here keeps
    running; ``stop_if_ours`` stops it.
    """
    with locked("engine"):
        engine, reason = _probe(say)
        if engine:
            return engine
        _require_permission_to_start(reason)
        if not (_command("docker") and _command("dockerd")):
            say(f"lab: installing a container engine with apt: {' '.join(ENGINE_PACKAGES)}")
            apt_install(ENGINE_PACKAGES)
            engine, reason = _probe(say)  # with systemd, the package has already started it
        return engine or _start(say)


def answering_engine(say: Say = print) -> Engine | None:
    """Return a running engine, or None; nothing is installed or started."""
    return _probe(say)[0]


def stop_if_ours(say: Say = print) -> bool:
    """Stop the engine that ``ensure_engine`` started, in this run or an earlier one; false if there is none."""
    pid_file = cache_directory() / "dockerd.pid"
    with locked("engine"):
        if not pid_file.exists():
            return False
        pid = int(pid_file.read_text())
        pid_file.unlink()
        if not _is_dockerd(pid):
            return False
        os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: not _is_dockerd(pid), STOP_LIMIT_S):
            message = f"dockerd (process {pid}) did not end within {STOP_LIMIT_S} s: see its log {_log_file()}"
            raise LabError(message)
        say("lab: stopped the container engine that the lab had started")
        return True


def cache_directory() -> Path:
    """Return the lab's cache directory; create it if necessary."""
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(above) / "baikal-lab"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


SWARM: Final = "swarm"
"""The lock of the process that makes the engine a swarm. It is shared by processes whose containers have networks.

An engine that leaves a swarm disconnects all containers from attachable networks, and forgets the names of the containers
on all other networks.
"""


@contextlib.contextmanager
def locked(name: str, *, shared: bool = False) -> Iterator[None]:
    """Lock ``name``: one process at a time does the work, or any number of processes that share the lock."""
    with (cache_directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def wait_until(condition: Callable[[], bool], limit_s: float, pause_s: float = 0.1) -> bool:
    """Poll ``condition`` until it is true; return false after ``limit_s`` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def apt_install(packages: Sequence[str]) -> None:
    """Install packages on this machine; LabError where that can't be done."""
    if not can_install():
        message = f"{' '.join(packages)} must be installed; the lab can do so only as root on Debian or Ubuntu"
        raise LabError(message)
    with locked("apt"):  # apt waits for another apt process during an installation, but not during an update
        _apt_install(packages)


def _apt_install(packages: Sequence[str]) -> None:
    apt = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=60"]
    install = [*apt, "install", "--no-install-recommends", *packages]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    known = any(Path("/var/lib/apt/lists").glob("*_Packages*"))
    if known and not _run(install, None, 600, quiet).returncode:
        return
    _run([*apt, "update"], None, 300, quiet)
    done = _run(install, None, 600, quiet)
    if done.returncode:
        message = f"apt-get could not install {' '.join(packages)}: {_text(done.stderr).strip()[-2000:]}"
        raise LabError(message)


def can_install() -> bool:
    """Whether this process may install Debian packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def _probe(say: Say) -> tuple[Engine | None, str]:
    """Find a running engine, or the reason why there is none.

    Debian's client is the second choice: a newer one, first in PATH, may refuse an older engine.
    """
    reasons = []
    for command in dict.fromkeys(filter(None, (shutil.which("docker"), _command("docker", "/usr/bin")))):
        try:
            done = _run([command, "info", "--format", "{{json .}}"], None, 30)
        except LabError as error:
            reasons.append(str(error))
            continue
        try:
            info = json.loads(_text(done.stdout))
        except ValueError:
            info = {}
        engine = _engine(command, info, say)
        if engine:
            return engine, ""
        reasons.extend(info.get("ServerErrors") or [_text(done.stderr).strip() or "docker info has no output"])
    return None, reasons[0] if reasons else "there is no docker command"


def _engine(command: str, info: Mapping[str, Any], say: Say) -> Engine | None:
    """Read the output of `docker info`, of Docker or Podman; None if there is no server."""
    if info.get("ServerVersion"):
        options = " ".join(info.get("SecurityOptions") or [])
        security = frozenset(word for word in ("apparmor", "selinux", "rootless") if f"name={word}" in options)
        cgroups = 2 if str(info.get("CgroupVersion")) == "2" else 1
        return Engine(command, str(info["ServerVersion"]), cgroups, podman=False, security=security, say=say)
    if isinstance(info.get("host"), dict):
        host = info["host"]
        confined = host.get("security", {})
        names = {"apparmor": "apparmorEnabled", "selinux": "selinuxEnabled", "rootless": "rootless"}
        security = frozenset(word for word, key in names.items() if confined.get(key))
        cgroups = 2 if str(host.get("cgroupVersion")) == "v2" else 1
        version = str(info.get("version", {}).get("Version", ""))
        return Engine(command, version, cgroups, podman=True, security=security, say=say)
    return None


def _require_permission_to_start(reason: str) -> None:
    """Raise LabError with the remedy unless this process may install and start an engine."""
    chosen = next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if os.environ.get(name)), None)
    if chosen:
        remedy = f"{chosen} is {os.environ[chosen]}: start that engine, or unset {chosen} to use the local one"
    elif can_install():
        return
    elif "permission denied" in reason.lower():
        remedy = "Add yourself to the docker group (`sudo usermod -aG docker $USER`, then log in again)"
    elif shutil.which("docker"):
        remedy = "Start it: Docker Desktop, or `sudo systemctl start docker`"
    else:
        remedy = "Install Docker: Docker Desktop, or the package docker.io on Debian and Ubuntu"
    message = f"no container engine is running ({reason}). {remedy}."
    raise LabError(message)


def _start(say: Say) -> Engine:
    """Start the installed engine and wait for it: with systemd if it runs, else dockerd directly."""
    if Path("/run/systemd/system").is_dir():
        _run(["systemctl", "start", "docker.service"], None, START_LIMIT_S)
        engine, reason = _probe(say)
        if not engine:
            message = f"`systemctl start docker` did not help ({reason}): see `journalctl -u docker`."
            raise LabError(message)
        say(f"lab: started the container engine {engine.version} with systemctl")
        return engine
    log = _log_file()
    pid = _start_dockerd(log)
    (cache_directory() / "dockerd.pid").write_text(str(pid))
    engines: list[Engine] = []

    def is_ready() -> bool:
        engine, _ = _probe(say)
        engines.extend([engine] if engine else [])
        return bool(engines) or not _is_dockerd(pid)

    wait_until(is_ready, START_LIMIT_S, pause_s=0.3)
    if not engines:
        if _is_dockerd(pid):
            os.kill(pid, signal.SIGTERM)
        (cache_directory() / "dockerd.pid").unlink()
        message = f"dockerd does not start; its log {log} ends with:\n{_last_errors(log)}"
        raise LabError(message)
    say(f"lab: started the container engine {engines[0].version} (process {pid}, log {log})")
    return engines[0]


def _start_dockerd(log: Path) -> int:
    """Start dockerd detached from this terminal and return its process id.

    It is started by a shell that ends, so init becomes its parent: it outlives this process and is no zombie of it.
    """
    dockerd = _command("dockerd") or "dockerd"
    script = 'log=$1; shift; "$0" "$@" >"$log" 2>&1 </dev/null & echo $!'
    command = ["sh", "-c", script, dockerd, str(log), *ENGINE_OPTIONS]
    done = subprocess.run(command, capture_output=True, check=True, start_new_session=True)
    return int(done.stdout)


def _is_dockerd(pid: int) -> bool:
    """Whether the process is still the dockerd that the lab has started, and not another with the same id."""
    try:
        return b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _last_errors(log: Path) -> str:
    """Return the last lines of a log with an error, or simply the last lines."""
    lines = log.read_text(errors="replace").splitlines()
    bad = [line for line in lines if any(word in line.lower() for word in ("level=error", "level=fatal", "failed"))]
    return "\n".join((bad or lines)[-5:])


def _log_file() -> Path:
    return cache_directory() / "dockerd.log"


def _command(name: str, path: str | None = None) -> str | None:
    """Find a command, also in sbin directories that may be missing in PATH."""
    return shutil.which(name, path=path or f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _run(
    command: Sequence[str], stdin: str | bytes | None, timeout: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with bytes in and out; LabError when it can't be run or takes longer than ``timeout`` s."""
    content = stdin.encode() if isinstance(stdin, str) else stdin or b""  # never this terminal's input
    try:
        return subprocess.run(command, input=content, capture_output=True, timeout=timeout, check=False, env=env)
    except subprocess.TimeoutExpired as error:
        message = f"`{' '.join(command)[:200]}` was not done after {timeout:g} s"
        raise LabError(message) from error
    except OSError as error:
        message = f"`{command[0]}` can't be run: {error}"
        raise LabError(message) from error


def _text(output: bytes) -> str:
    return output.decode(errors="backslashreplace")
