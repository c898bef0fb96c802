"""``baikalctl start``: start the server that the environment of a container describes, under s6.

All checks run before anything is changed. Files outside of the volume are below ``/run/baikal`` and are written at each
start. Data in the volume is migrated as on a machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from baikalctl import output, paths
from baikalctl.baikal import config
from baikalctl.changes import steps, transaction
from baikalctl.commands import apply
from baikalctl.container import readiness
from baikalctl.container.limits import platform
from baikalctl.container.preflight import refuse_low_port, refuse_missing_restic, refuse_unfit_file, refuse_unfit_files
from baikalctl.container.settings_source import read_settings
from baikalctl.desired.build import desired_state
from baikalctl.desired.state import REALM, DesiredState
from baikalctl.errors import HostError, SettingsError
from baikalctl.host import directories, install, lock
from baikalctl.host.lock import hold_lock
from baikalctl.host.privileges import privileged
from baikalctl.host.tempdir import remove_tree
from baikalctl.mail import nullmailer
from baikalctl.rendering.baikal import data_directories
from baikalctl.rendering.container import BACKUP, CERTIFICATE, MAIL, render_contained
from baikalctl.settings.conflicts import of_old_release
from baikalctl.settings.environment import plain_secrets
from baikalctl.settings.model import DEFINITIONS, Settings
from baikalctl.tls import nginx_reload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Container, Iterable, Mapping

    from baikalctl.rendering.model import File


SUPERVISOR = "/usr/bin/s6-svscan"
KEPT = ("PATH", "TZ", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""The variables that services get. Those of the settings may contain passwords, so services don't get them."""


def run(_: argparse.Namespace) -> NoReturn:
    """Start with the environment of this process."""
    start(os.environ)


def start(environ: Mapping[str, str]) -> NoReturn:
    """Apply the settings in ``environ`` and in the mounted file, then run the supervisor in this process.

    Raises :class:`SettingsError` with all faults of the settings, and :class:`HostError` if the container or its volume
    can't be used.
    """
    exit_on_signals()
    settings = _of_this_image(environ)
    for name in ("http_port", "https_port") if settings.tls != "off" else ("http_port",):
        refuse_low_port(name, getattr(settings, name))
    if settings.relay_ca:
        refuse_unfit_file(settings.relay_ca)
    _refuse_unreachable(settings)
    try:
        refuse_unfit_files(settings)
    except HostError as error:
        if not Path(f"{desired_state(settings).served}.pem").is_file():
            raise
        output.say(f"{error}; until that is fixed, the certificate in the volume is used")
    directories.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    run = _run_folder()
    if (plain := plain_secrets(environ, DEFINITIONS)) and not privileged():
        output.say(
            f"PHP runs as the same account as health checks and docker exec, so it can read {', '.join(plain)} in their "
            f"environment; set {', '.join(plain.values())} instead"
        )
    directories.make(data_directories())
    serving = lock.lock_volume(output.say)
    for sentence, change_owner in steps.ownership_steps():
        output.say(sentence)
        change_owner()
    with hold_lock(paths.LOCK, output.say):
        _recover(settings)
    configuration = config.read()
    wanted = render_contained(settings, platform(), configuration.get("system", {}).get("auth_realm", REALM))
    _clear(run)
    directories.make(wanted.directories)
    _write(wanted.files)
    unneeded = {CERTIFICATE: settings.tls == "off", BACKUP: not settings.backup, MAIL: settings.mail == "off"}
    _lay_out_services(without=[name for name, unwanted in unneeded.items() if unwanted])
    nullmailer.prepare(settings.mail, output.say)
    if os.geteuid() == 0 and not privileged():
        output.say(
            "root has no capabilities in this container, so nginx will report that initgroups failed; this is harmless: use "
            "--user to avoid it"
        )
    declared = DesiredState.on_this_host()
    with readiness.until_ready(declared, output.say):
        apply.apply(declared, output.say)
    nginx_reload.remember(declared)  # nginx reads it when it starts
    output.say(
        f"serving https://{settings.hostname}" if settings.tls != "off" else f"serving {settings.hostname} over HTTP"
    )
    os.set_inheritable(serving, True)  # noqa: FBT003 - its only argument; until the last process of this container has ended
    environment = {name: environ[name] for name in KEPT if name in environ}
    os.execve(SUPERVISOR, [SUPERVISOR, paths.SERVICES], environment)  # noqa: S606 - without a shell


def _recover(settings: Settings) -> None:
    """Roll back an interrupted change. If its database server can't be reached, that is done when the server answers."""
    try:
        transaction.recover(output.say)
    except HostError as error:
        if not settings.database_host:
            raise
        output.say(str(error))


def prepare_one_off(environ: Mapping[str, str]) -> None:
    """Write the files of a start with ``environ``, for a one-off container that runs one command, such as a restore.

    Only ``/run/baikal`` is changed. Raises the same exceptions as :func:`start`.
    """
    settings = _of_this_image(environ)
    _refuse_unreachable(settings)
    configuration: config.Configuration = {}
    with contextlib.suppress(HostError):  # a broken one may be what is to be restored
        configuration = config.read()
    wanted = render_contained(settings, platform(), configuration.get("system", {}).get("auth_realm", REALM))
    run = _run_folder()
    _clear(run)
    directories.make(directory for directory in wanted.directories if Path(directory.path).is_relative_to(run))
    _write(wanted.files)


def exit_on_signals() -> None:
    """Let signals end this process: the first process of a container ignores signals without a handler."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _exit)


def _of_this_image(environ: Mapping[str, str]) -> Settings:
    """Return the settings with the image's release; raises :class:`SettingsError` if the release doesn't support them."""
    version = str(Path(paths.CURRENT).readlink())
    settings = dataclasses.replace(read_settings(environ), baikal_version=version)
    if faults := [fault for _, fault in of_old_release(settings)]:
        raise SettingsError(faults)
    return settings


def _refuse_unreachable(settings: Settings) -> None:
    """Raise :class:`HostError` if this container lacks a file or program to reach the database or the restic repository."""
    if settings.database_ca:
        refuse_unfit_file(settings.database_ca)
    refuse_missing_restic(settings)


def _run_folder() -> Path:
    """Return the directory for files that aren't persistent; raises :class:`HostError` if it isn't writable."""
    run = Path(paths.RUN)
    with contextlib.suppress(OSError):
        run.mkdir(exist_ok=True)  # an empty directory may be mounted on its parent
    mounting = f"--tmpfs {run}:mode=1777"
    directories.refuse_unwritable(run, f"with --read-only, add {mounting}", own=f"mount it with {mounting}")
    return run


def _clear(folder: Path) -> None:
    """Remove the files of an earlier start of this container."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink()


def _write(files: Iterable[File]) -> None:
    for file in files:
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            if privileged():
                os.fchown(descriptor, *install.ids(file.owner, file.group))
            os.fchmod(descriptor, file.mode)
            stream.write(file.content)


def _lay_out_services(without: Container[str]) -> None:
    """Make s6's directory of services, ``without`` some. It has links, because s6 writes files next to them."""
    for folder in (folder for folder in Path(paths.LAID_OUT).iterdir() if folder.name not in without):
        path = Path(paths.SERVICES) / folder.name
        path.mkdir(parents=True)
        for script in folder.iterdir():
            (path / script.name).symlink_to(script)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
