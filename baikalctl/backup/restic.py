"""A restic repository for the content of the archives: on another machine, encrypted and deduplicated.

Restic gets the single files, because a compressed archive has no common parts with yesterday's. Its password and
credentials are in files and in its environment, never in a command line.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from baikalctl.backup import archive_folder
from baikalctl.errors import HostError
from baikalctl.host import directories
from baikalctl.host.tempdir import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from baikalctl.backup.manifest import Manifest
    from baikalctl.desired.state import DesiredState


PREFIX = "restic:"
"""Names of snapshots begin with this: ``restic:latest``, or ``restic:`` and the id."""
TAG = "baikal"
NONE_THERE = ("Is there a repository at the following location", "unable to open config file")
"""Restic prints this if there is no repository yet, and also if it can't see it."""
REPOSITORY = "RESTIC_REPOSITORY"
"""The variable with the address. If the credentials have it, that address has a login, and replaces the setting's."""
IN_AN_ADDRESS = re.compile(r"://[^/\s]*@")
DEPTH = 8
LINE_LENGTH = 300


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot in the repository."""

    identifier: str
    time: str
    """In restic's format (RFC 3339)."""


def upload(declared: DesiredState, folder: Path, say: Callable[[str], None]) -> None:
    """Add the ``folder`` with an archive's content to the repository, and remove snapshots that retention doesn't keep.

    The repository is created if it doesn't exist. Raises :class:`HostError` with restic's own reason.
    """
    _make_sure_of_repository(declared, say)
    _run(declared, "unlock")  # removes locks of killed runs; restic knows which locks are still used
    output = _run(declared, "backup", "--json", "--host", declared.hostname, "--tag", TAG, ".", folder=folder)
    summary = _last_json(output)
    added, identifier = int(summary.get("data_added", 0)), str(summary.get("snapshot_id", ""))[:DEPTH]
    say(f"stored in the restic repository as {PREFIX}{identifier}, with {added >> 10} KiB of new data")
    keep = declared.backup
    numbers = {"last": 1, "daily": keep.daily, "weekly": keep.weekly, "monthly": keep.monthly}
    rules = [word for name, number in numbers.items() if number for word in (f"--keep-{name}", str(number))]
    _run(declared, "forget", *_ours(declared), "--group-by", "host,tags", *rules, "--prune", "--quiet")


def snapshots(declared: DesiredState) -> list[Snapshot]:
    """Return the snapshots of this host, the newest first; raises :class:`HostError`."""
    items = json.loads(_run(declared, "snapshots", "--json", "--no-lock", *_ours(declared)) or "[]") or []
    listed = [Snapshot(identifier=item["short_id"], time=item["time"]) for item in items]
    return sorted(listed, key=lambda snapshot: snapshot.time, reverse=True)


def fetch(declared: DesiredState, name: str, folder: Path) -> Manifest:
    """Fetch a snapshot, such as ``restic:latest``, to the empty ``folder``, and verify it like an archive.

    Raises :class:`HostError` if there is no snapshot of that name, or if it is damaged.
    """
    identifier = name.removeprefix(PREFIX)
    if not re.fullmatch(r"latest|[0-9a-f]{8,64}", identifier):
        message = f"{name} is not the name of a snapshot; use {PREFIX}latest, or a name from baikalctl backup list"
        raise HostError(message)
    if not declared.backup.repository:
        message = (
            f"{name} can't be fetched, because restic_repository isn't set; set it, run the deploy, and run this again"
        )
        raise HostError(message)
    which = _ours(declared) if identifier == "latest" else ()
    with temporary_directory(folder.parent) as fetched:
        _run(declared, "restore", identifier, *which, "--target", str(fetched), "--no-lock")
        return archive_folder.copy_folder(fetched, name, folder)


def _ours(declared: DesiredState) -> tuple[str, ...]:
    return ("--host", declared.hostname, "--tag", TAG)


def _make_sure_of_repository(declared: DesiredState, say: Callable[[str], None]) -> None:
    done = _call(declared, "cat", "config", "--no-lock")
    if done.returncode == 0:
        return
    if not any(words in done.stderr for words in NONE_THERE):
        raise _refused(declared, done)
    made = _call(declared, "init")
    if made.returncode:
        raise _refused(declared, made)
    say(f"create the restic repository {_shown(declared.backup.repository)}")


def _run(declared: DesiredState, *words: str, folder: Path | None = None) -> str:
    done = _call(declared, *words, folder=folder)
    if done.returncode:
        raise _refused(declared, done)
    return done.stdout


def _call(declared: DesiredState, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["restic", *words],
            cwd=folder or "/",
            env=_environment(declared),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        message = "restic is not installed; install the package restic (on a machine, the deploy installs it)"
        raise HostError(message) from None


def _environment(declared: DesiredState) -> dict[str, str]:
    """Return restic's environment, with the secrets that must not be visible in the list of processes."""
    backup = declared.backup
    credentials = _credentials(Path(backup.credentials)) if backup.credentials else {}
    own = {
        REPOSITORY: _with_login(credentials.get(REPOSITORY) or backup.repository, credentials),
        "RESTIC_PASSWORD_FILE": backup.password,
        "RESTIC_CACHE_DIR": str(directories.backups() / ".restic-cache"),
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": _home(),  # with the keys and known hosts of ssh
        "LC_ALL": "C.UTF-8",
    }
    proxies = {
        name: value for name, value in os.environ.items() if name.lower() in ("https_proxy", "http_proxy", "no_proxy")
    }
    return {**proxies, **credentials, **own}


def _with_login(repository: str, credentials: Mapping[str, str]) -> str:
    """Return the address with the login in it, which restic before 0.16 needs for a REST server (its changelog)."""
    user, password = (quote(credentials.get(f"RESTIC_REST_{part}", ""), safe="") for part in ("USERNAME", "PASSWORD"))
    scheme, mark, rest = repository.partition("://")
    if not user or not scheme.startswith("rest:") or "@" in rest.partition("/")[0]:
        return repository
    return f"{scheme}{mark}{user}:{password}@{rest}"


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container can run as an account without an entry
        return "/"


def _credentials(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        message = f"the restic credentials in {path} can't be read ({error.strerror}); run the deploy again, as root"
        raise HostError(message) from None
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _last_json(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("message_type") == "summary":
            return message
    return {}


def _refused(declared: DesiredState, done: subprocess.CompletedProcess[str]) -> HostError:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal:")]
    why = (fatal or lines or [f"status {done.returncode}"])[0].removeprefix("Fatal: ")
    where = _shown(declared.backup.repository)
    shown = _shown(_without_login(why, _environment(declared)[REPOSITORY]))
    return HostError(
        f"restic can't reach or use {where}: {shown[:LINE_LENGTH]}; check restic_repository, its password and credentials"
    )


def _without_login(output: str, address: str) -> str:
    """Return restic's ``output`` without the login in the ``address``, even if an address may not contain it."""
    login, mark, _ = address.partition("://")[2].rpartition("@")
    return output.replace(login + mark, "[hidden]@") if login else output


def _shown(text: str) -> str:
    return IN_AN_ADDRESS.sub("://[hidden]@", text)
