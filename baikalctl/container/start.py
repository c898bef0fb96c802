"""``baikalctl start``: a container becomes the server that its environment describes, and s6 takes over.

Everything that can be wrong is said before anything is touched. What is written outside the volume stands below
``/run/baikal``, anew at each start; what is in the volume is brought up to date as on a machine.
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
"""What services get of the environment: nothing of ours, because it may hold passwords."""


def run(_: argparse.Namespace) -> NoReturn:
    """Start with this process's environment."""
    start(os.environ)


def start(environ: Mapping[str, str]) -> NoReturn:
    """Bring everything to what ``environ`` and the mounted settings say, then become the supervisor.

    Raises :class:`SettingsError` with every fault of the settings, and :class:`HostError` where the container or its
    volume isn't fit.
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
        output.say(f"{error}; until that is fixed, the certificate that is in the volume goes on serving")
    directories.refuse_unwritable(Path(paths.DATA), "mount a volume there, without :ro")
    run = _run_folder()
    if (plain := plain_secrets(environ, DEFINITIONS)) and not privileged():
        output.say(
            f"PHP has the same account as health checks and docker exec here, so it can read {', '.join(plain)} in their "
            f"environment; set {', '.join(plain.values())} instead"
        )
    directories.make(data_directories())
    serving = lock.lock_volume(output.say)
    for sentence, give_back in steps.ownership_steps():
        output.say(sentence)
        give_back()
    with hold_lock(paths.LOCK, output.say):
        _recover(settings)
    found = config.read()
    wanted = render_contained(settings, platform(), found.get("system", {}).get("auth_realm", REALM))
    _clear(run)
    directories.make(wanted.directories)
    _write(wanted.files)
    unneeded = {CERTIFICATE: settings.tls == "off", BACKUP: not settings.backup, MAIL: settings.mail == "off"}
    _lay_out_services(without=[name for name, unwanted in unneeded.items() if unwanted])
    nullmailer.prepare(settings.mail, output.say)
    if os.geteuid() == 0 and not privileged():
        output.say(
            "root has no capabilities here, so nginx will say that initgroups failed: no harm, and --user avoids it"
        )
    declared = DesiredState.on_this_host()
    with readiness.until_ready(declared, output.say):
        apply.apply(declared, output.say)
    nginx_reload.remember(declared)  # nginx is about to read it
    output.say(
        f"serving https://{settings.hostname}" if settings.tls != "off" else f"serving {settings.hostname} over HTTP"
    )
    os.set_inheritable(serving, True)  # noqa: FBT003 - its only argument; until the last process of this container has ended
    environment = {name: environ[name] for name in KEPT if name in environ}
    os.execve(SUPERVISOR, [SUPERVISOR, paths.SERVICES], environment)  # noqa: S606 - no shell is meant


def _recover(settings: Settings) -> None:
    """Take back what was interrupted; where a server has the data, and may be away, that is tried again once it is there."""
    try:
        transaction.recover(output.say)
    except HostError as error:
        if not settings.database_host:
            raise
        output.say(str(error))


def prepare_one_off(environ: Mapping[str, str]) -> None:
    """Have a container that does one thing with the data, such as a restore, know what a start with ``environ`` would.

    It writes to ``/run/baikal`` alone, and raises what :func:`start` does.
    """
    settings = _of_this_image(environ)
    _refuse_unreachable(settings)
    found: config.Configuration = {}
    with contextlib.suppress(HostError):  # a broken one may be what is to be restored
        found = config.read()
    wanted = render_contained(settings, platform(), found.get("system", {}).get("auth_realm", REALM))
    run = _run_folder()
    _clear(run)
    directories.make(directory for directory in wanted.directories if Path(directory.path).is_relative_to(run))
    _write(wanted.files)


def exit_on_signals() -> None:
    """Have this process end as it is told to: the first one of a container ignores what it has no handler for."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _exit)


def _of_this_image(environ: Mapping[str, str]) -> Settings:
    """Return the settings, with the image's own release; raises :class:`SettingsError` for what that can't do."""
    version = str(Path(paths.CURRENT).readlink())
    settings = dataclasses.replace(read_settings(environ), baikal_version=version)
    if faults := [fault for _, fault in of_old_release(settings)]:
        raise SettingsError(faults)
    return settings


def _refuse_unreachable(settings: Settings) -> None:
    """Raise :class:`HostError` if this image or container lacks what database and archives are reached with."""
    if settings.database_ca:
        refuse_unfit_file(settings.database_ca)
    refuse_missing_restic(settings)


def _run_folder() -> Path:
    """Return the folder for all that needn't survive, which may be written."""
    run = Path(paths.RUN)
    with contextlib.suppress(OSError):
        run.mkdir(exist_ok=True)  # what is mounted on the folder above is empty
    mounting = f"--tmpfs {run}:mode=1777"
    directories.refuse_unwritable(run, f"with --read-only, add {mounting}", own=f"mount it with {mounting}")
    return run


def _clear(folder: Path) -> None:
    """Remove what an earlier start of this container has left."""
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
    """Give s6 its directory of services, ``without`` some: it writes beside what the image has."""
    for folder in (folder for folder in Path(paths.LAID_OUT).iterdir() if folder.name not in without):
        path = Path(paths.SERVICES) / folder.name
        path.mkdir(parents=True)
        for script in folder.iterdir():
            (path / script.name).symlink_to(script)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
