"""Install files on a host: each atomically, with owner and mode before content; configuration only if its check passes.

The deploy also sends this module alone to hosts on which baikalctl isn't installed yet. So it imports only the standard
library and works on Python 3.10. It can't import :mod:`baikalctl.host.atomic_write` and has its own code with the same
guarantees: content and directories are synced.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import grp
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW = "baikal-new"
OLD = "baikal-old"
"""Suffixes of a file's temporary names during its replacement. They are hidden files, so that no include pattern of nginx
or PHP matches them."""


LOADER = """
import sys
program = sys.stdin.read()
exec(program) if program else sys.exit("the program did not arrive on standard input; log in as root, or use _sudo")
""".strip()
"""Runs the program on standard input; without this check, Python would run an empty one successfully."""
REFUSED = 3
"""The exit status if a service refuses its configuration; standard output has the reasons as JSON."""
PATIENCE_S = 600
"""How long a run waits for another run."""
UNITS = "/etc/systemd/system"
LIBRARY = "/usr/local/lib/baikalctl"
COMPILED = "__pycache__"


class CheckError(Exception):
    """A service's own check refuses the new configuration; the old one has been restored."""

    def __init__(self, refusals: dict[str, str]) -> None:
        """Store the reasons by service."""
        super().__init__("\n".join(refusals.values()))
        self.refusals = refusals


def install(bundle: dict[str, Any]) -> None:
    """Install the files of ``bundle`` on this host; raises :class:`CheckError` if a service refuses its new configuration.

    ``bundle`` has ``user`` (a system account to create), ``directories``, ``files`` (only those that differ), ``owned``
    (all paths that we own from now on), ``prepare`` (name → command that creates what the checks need), ``services``
    (name → check command) and the paths of ``stamps``, ``record`` and ``lock``. All new files are first written under
    temporary names. Then they are renamed in one quick sequence, because other processes start the program at any time.
    The files of services, and those marked ``together``, are rolled back if a check fails; the program isn't. If a
    service's files change, its stamp is removed first: if this run is interrupted, the next one checks and reloads.
    """
    _ensure_user(bundle["user"])
    for directory in bundle["directories"]:
        make_directory(directory)
    with locked(bundle["lock"]) as acquired:
        if not acquired:
            message = f"another run of baikalctl or of the deploy has held {bundle['lock']} for {PATIENCE_S} seconds"
            raise TimeoutError(message)
        record = Path(bundle["record"])
        recorded = _read_record(record)
        for trace in [path for path in recorded if path.endswith((NEW, OLD))]:
            _undo(Path(trace))
            recorded.remove(trace)
        unowned = [path for path in recorded if path not in bundle["owned"]]
        modules = [path for path in unowned if path.startswith(f"{LIBRARY}/") and path.endswith(".py")]
        stale = [path for path in unowned if path not in modules]
        displaced = [link for link, target in bundle["displaced"] if _points_to(link, target)]
        # Recorded before anything is written, so that the next run removes the leftovers of an interrupted one.
        traces = [str(temporary_path(file["path"], suffix)) for file in bundle["files"] for suffix in (NEW, OLD)]
        traces += [str(temporary_path(path, OLD)) for path in (*stale, *displaced)]
        _write_record(record, sorted({*bundle["owned"], *unowned, *traces}))
        refusals = _replace(bundle, modules, [*stale, *displaced])
        if any(path.startswith(f"{LIBRARY}/") for path in unowned):
            _prune(Path(LIBRARY))
        _write_record(record, sorted({*bundle["owned"], *(stale if refusals else ())}))
        if refusals:
            raise CheckError(refusals)


def _replace(bundle: dict[str, Any], modules: list[str], stale: list[str]) -> dict[str, str]:
    """Replace the files of ``bundle``, remove ``modules`` and ``stale`` files, and return the refusals by service.

    If there is a refusal, the old configuration is restored, including ``stale`` files. Removed ``modules`` of the program
    aren't restored: Python could load them instead of new ones.
    """
    files, services = bundle["files"], bundle["services"]
    configuration = [file for file in files if file["service"] or file["together"]]
    # A stale file may belong to any service, so all services are checked.
    touched = set(services) if stale else {file["service"] for file in configuration} - {""}
    for name in touched:
        (Path(bundle["stamps"]) / name).unlink(missing_ok=True)
    for file in files:
        _write_temporary(file)
    paths = [*(file["path"] for file in configuration), *stale]
    for path in paths:
        temporary_path(path, OLD).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.link(path, temporary_path(path, OLD), follow_symlinks=False)
    for file in files:
        temporary_path(file["path"], NEW).replace(file["path"])
    for directory in sorted({str(Path(file["path"]).parent) for file in files}):
        _sync(directory)
    for path in (*modules, *stale):
        Path(path).unlink(missing_ok=True)
    checks = {**bundle["prepare"], **{name: services[name] for name in sorted(touched)}} if paths else {}
    refusals = {name: refusal for name, command in checks.items() if (refusal := _run_check(command))}
    for path in paths:
        old = temporary_path(path, OLD)
        if not refusals:
            old.unlink(missing_ok=True)
            _end_unit(Path(path))
        elif os.path.lexists(old):
            old.replace(path)
        else:
            Path(path).unlink(missing_ok=True)
    return refusals


def _prune(library: Path) -> None:
    """Remove the compiled files of removed modules, and empty directories.

    A directory of compiled files keeps its modification time: an image build compares it with the times of modules
    (``tasks/image.py``).
    """
    for name, _, files in os.walk(library, topdown=False):
        directory = Path(name)
        if directory.name == COMPILED:
            modified = directory.stat().st_mtime_ns
            for file in files:
                if not directory.with_name(f"{file.partition('.')[0]}.py").exists():
                    (directory / file).unlink(missing_ok=True)
            os.utime(directory, ns=(modified, modified))
        if directory != library:
            with contextlib.suppress(OSError):  # it isn't empty
                directory.rmdir()


def _end_unit(path: Path) -> None:
    """Stop one of our systemd units after its file was removed."""
    if str(path.parent) != UNITS or path.exists():
        return
    for folder in path.parent.glob("*.wants"):
        # The link is dangling now, so a glob wouldn't match it.
        (folder / path.name).unlink(missing_ok=True)
    for words in (["stop", path.name], ["daemon-reload"], ["reset-failed", path.name]):
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["systemctl", *words], capture_output=True, check=False, timeout=60)


def _undo(trace: Path) -> None:
    """Roll back an interrupted run: restore the last good file, and remove an unchecked one."""
    if trace.name.endswith(NEW):
        trace.unlink(missing_ok=True)
    elif os.path.lexists(trace):
        trace.replace(trace.with_name(trace.name[1:].removesuffix(f".{OLD}")))


def _run_check(command: list[str]) -> str:
    """Run a check; return its error, or nothing if it passes."""
    if not Path(command[0]).exists():
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{' '.join(command)}: {error}"
    return f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}" if done.returncode else ""


def _ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        home = ["--home-dir", "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        subprocess.run(["useradd", "--system", "--user-group", *home, name], check=True)


def make_directory(directory: dict[str, Any]) -> None:
    """Create the directory, or set owner and mode of the existing one; a link is refused."""
    path = Path(directory["path"])
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        message = f"{path} is a link; for another disk, mount it there (mount --bind)"
        raise NotADirectoryError(message) from None
    try:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != _ids(directory):
            os.fchown(descriptor, *_ids(directory))
        if status.st_mode & 0o7777 != directory["mode"]:
            os.fchmod(descriptor, directory["mode"])
    finally:
        os.close(descriptor)


def _write_temporary(file: dict[str, Any]) -> None:
    """Write the new content under a temporary name; owner and mode are set first, so that no other account can read it."""
    path = temporary_path(file["path"], NEW)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchown(descriptor, *_ids(file))
        os.fchmod(descriptor, file["mode"])
        stream.write(base64.b64decode(file["content"]))
        stream.flush()
        os.fsync(descriptor)


def temporary_path(path: str, suffix: str) -> Path:
    """Return the temporary name of ``path`` during its replacement; ``suffix`` is :data:`NEW` or :data:`OLD`."""
    target = Path(path)
    return target.with_name(f".{target.name}.{suffix}")


def _ids(item: dict[str, Any]) -> tuple[int, int]:
    return ids(item["owner"], item["group"])


def ids(owner: str, group: str) -> tuple[int, int]:
    """Return the user id and group id of an account and a group."""
    return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid


def _points_to(link: str, target: str) -> bool:
    """Tell whether ``link`` is the distribution's own symbolic link, and not another file."""
    return Path(link).is_symlink() and os.path.realpath(link) == target


def _read_record(record: Path) -> list[str]:
    try:
        paths: list[str] = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return paths


def _write_record(record: Path, paths: list[str]) -> None:
    fresh = temporary_path(str(record), NEW)
    fresh.write_text(json.dumps(paths, indent=0) + "\n", encoding="utf-8")
    _sync(str(fresh))
    fresh.replace(record)
    _sync(str(record.parent))


def _sync(path: str) -> None:
    """Write a file's content, or a directory's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: str, *, patience_s: float = PATIENCE_S) -> Iterator[bool]:
    """Hold the host's lock; wait at most ``patience_s`` for another run. Yields whether the lock was acquired."""
    deadline = time.monotonic() + patience_s
    with open(path, "a", encoding="utf-8") as lock:  # noqa: PTH123 - flock needs a descriptor
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.05)
            else:
                yield True
                return


def main(bundle: str) -> None:
    """Install the JSON text ``bundle``, and print the services that refused their configuration, with the reasons.

    Exits with :data:`REFUSED` if there are any, and with status 1 and one sentence after any other error.
    """
    try:
        install(json.loads(bundle))
        print(json.dumps({"refused": {}}))
    except CheckError as error:
        print(json.dumps({"refused": error.refusals}))
        sys.exit(REFUSED)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} failed with status {error.returncode}; fix that, and run again")
    except OSError as error:
        sys.exit(f"The files can't be written: {error}; free space or fix that, and run again")
