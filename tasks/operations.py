"""The operations that pyinfra lacks: each compares a whole subsystem with one fact, and does only what differs."""

from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from pyinfra import logger
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl import paths
from baikalctl.errors import NOT_YET
from baikalctl.host import install as host_install
from baikalctl.output import escaped
from tasks.check_fact import CheckFact
from tasks.distribution import LEFT_OUT
from tasks.facts import FilesFact, ReleaseFact, ServicesFact, read_digest, stamp
from tasks.run import ANSWER_SECONDS, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from baikalctl.rendering.model import Directory, File, FileSet


APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get"
    " -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
)
CONFIGURE = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
for attempt in $(seq 100); do
    said=$(dpkg --configure -a --force-confold 2>&1) && exit 0
    case $said in *lock*) sleep 3 ;; *) break ;; esac
done
echo "$said" >&2; exit 1
""".strip()
"""Finishes what an interrupted dpkg left; unlike apt, it can't be told to wait for another one that is still at work."""
LOADER = """
import sys
program = sys.stdin.read()
exec(program) if program else sys.exit("the program did not arrive on standard input; log in as root, or use _sudo")
""".strip()
"""Runs what it is sent; without anything, Python would do nothing and be content."""
HELD = (
    ("nginx", "nginx", paths.SITE),
    ("postfix", "postfix", paths.POSTFIX_ALIASES),
    ("postfix", "postfix@", paths.POSTFIX_ALIASES),
    ("opendkim", "opendkim", paths.POSTFIX_ALIASES),
)
"""What starts too early otherwise: a package, its unit, and what of ours that has to wait for.

With the distribution's configuration nginx would show a welcome page meanwhile, or, where port 80 is taken or IPv6 is
off, fail to start and leave apt broken; Postfix would answer the whole network, or with none at all fail on Debian 12;
OpenDKIM would listen elsewhere, and a reload moves no socket. A unit that is masked would not be enabled by its package
either, and doing that afterwards takes half a second. What a killed run leaves of it does no harm."""
UNCONFIGURED = "echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections"
"""Has Postfix's package make no main.cf, now or at an upgrade: then nothing of its own can be started either."""
SENDING_SECONDS = 1800
"""How long a host may take to read what it is sent: pyinfra's own limit begins only after that."""
REPLACED = """
for attempt in $(seq 100); do
    busy=
    for pid in $old; do
        [ ! -e /proc/$pid ] || grep -aqs 'shutting down' /proc/$pid/cmdline || busy=yes
    done
    [ -n "$busy" ] || break
    sleep 0.05
done
""".strip()
"""Waits up to 5 seconds until the processes in ``$old`` take no more requests. A reload is over for systemd when the main
process has been told; for a moment its old workers still answer, as the old configuration says."""
SERVICE_SECONDS = 15
PIECE_BYTES = 48 * 1024
"""What is sent at a time of a release; a multiple of three, so that base64 needs no padding in between."""


class Sent:
    """What a command gets on standard input, made when it is sent: pyinfra keeps every command to the end of the run."""

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        """Send what ``lines`` returns."""
        self._lines = lines

    def readlines(self) -> Sequence[str]:
        """Return the lines: this is how pyinfra reads what isn't text already."""
        return self._lines()

    def __iter__(self) -> Iterator[str]:
        """Yield the lines: this is what pyinfra says that it takes."""
        return iter(self._lines())


@operation()
def packages_installed(packages: Sequence[str], *, booted: bool) -> Generator[StringCommand, None, None]:
    """Install ``packages``, which the host lacks, after mending what an interrupted run left."""
    if packages:
        leaving_out = "" if booted else "".join(f" -o Dpkg::Options::='{option}'" for option in LEFT_OUT)
        install = f"{APT}{leaving_out} install --yes --no-install-recommends {' '.join(packages)}"
        held = {_held(unit): path for package, unit, path in HELD if booted and package in packages}
        prepare = [UNCONFIGURED] if "postfix" in packages else []
        prepare += [
            f"mkdir -p $(dirname {place}); printf '[Unit]\\nConditionPathExists={path}\\n' > {place}"
            for place, path in held.items()
        ]
        prepare += ["systemctl daemon-reload"] if held else []
        yield StringCommand("\n".join([*prepare, CONFIGURE]))
        # The lists may be younger than a day and still name packages that the archive has replaced since.
        install = f"{install} || {{ {APT} update && {install}; }}"
        if held:
            install = f"trap 'rm -f {' '.join(held)}; systemctl daemon-reload' EXIT; {install}"
        yield StringCommand(install)


@operation()
def files_brought(files: Callable[[], FileSet], run: Run) -> Generator[StringCommand, None, None]:
    """Bring the whole set of our files to the host, and take away those that an older configuration of ours left.

    ``files`` is called when the host has its packages, because what we write depends on them. Contents travel on
    standard input: never in a command line, never in a temporary file.
    """
    wanted = files()
    found = run.ask(FilesFact, files=wanted)
    directories = [directory for directory in wanted.directories if _differs(directory, found, "directory")]
    differing = [file for file in wanted.files if _differs(file, found, "regular file") or _unfinished(file, found)]
    owned = sorted(file.path for file in wanted.files)
    in_the_way = [link for link, target in wanted.displaced if found["links"].get(link) == target]
    if not (directories or differing or in_the_way or set(found["owned"]) != set(owned)):
        return

    def bundle() -> dict[str, Any]:
        return {
            "user": paths.USER,
            "directories": [_entry(directory) for directory in directories],
            "files": [_sent(file) for file in differing],
            "owned": owned,
            "displaced": wanted.displaced,
            "prepare": [paths.COMMAND, "certificate", "--prepare"] if wanted.services else [],
            "services": {service.name: service.check for service in wanted.services},
            "stamps": paths.STAMPS,
            "record": wanted.record,
            "lock": wanted.lock,
        }

    program = Sent(lambda: [f"{inspect.getsource(host_install)}\n\nmain({json.dumps(bundle())!r})\n"])
    with gevent.Timeout(SENDING_SECONDS, TimeoutError):
        yield StringCommand("/usr/bin/python3", "-I", "-X", "utf8", "-c", QuoteString(LOADER), _stdin=program)


@operation()
def release_installed(version: str, archive: str, sha256: str, run: Run) -> Generator[StringCommand, None, None]:
    """Install the release from ``archive``, a zip on this machine or an address that the host fetches itself."""
    current, origin, tidy = run.ask(ReleaseFact, version=version)
    if current == version and origin == sha256 and tidy:
        return
    incoming = archive
    receive = ""
    sent = Sent(list)
    if "://" not in archive and origin != sha256:
        # Not by SFTP: that takes ten round trips, three more commands with sudo, and says "Failure" if the disk is full.
        incoming = f"{paths.CODE}/.baikal-{version}.zip"
        # cat says why it can't write; the rest is read all the same, else the connection breaks before the reason is out.
        receive = f"{{ base64 -d | cat > {incoming} || {{ cat > /dev/null; false; }}; }} && "
        sent = Sent(lambda: _lines(archive))
    # It removes what was received as well, and whatever an interrupted run left.
    install = f"{receive}{paths.COMMAND} release {version} {shlex.quote(incoming)} --sha256 {sha256}"
    with gevent.Timeout(SENDING_SECONDS, TimeoutError):
        yield StringCommand(install, _stdin=sent)


@operation()
def applied(run: Run) -> Generator[StringCommand, None, None]:
    """Bring certificate, configuration, database and accounts to what is declared."""
    if run.ask(CheckFact)["pending"]:
        yield StringCommand(paths.COMMAND, "apply")


@operation()
def serving(files: Callable[[], FileSet], run: Run) -> Generator[StringCommand, None, None]:
    """Have every service running, starting at boot, and up to date with the files it reads.

    That a service has read its files is a state, kept with a stamp: a run that died between writing a file and
    reloading, or whose check failed, is taken up again by the next one instead of going green.
    """
    services = files().services
    found = run.ask(ServicesFact, services=services)
    for service in services:
        state = found.get(service.name)
        if state is None or not state.enabled:
            yield StringCommand(f"systemctl enable --quiet {service.unit}")
        if state is not None and state.running and state.current:
            continue
        reread = "reload-or-restart" if service.reloads else "restart"
        action = "start" if state is not None and state.current else reread
        unit, mark = service.unit, stamp(service)
        explained = f"systemctl {action} {unit} || {{ journalctl --no-pager --lines 5 --unit {unit} >&2; false; }}"
        yield StringCommand(
            f"digest=$({read_digest(service)}) && {' '.join(service.check)}"
            f" && {{ systemctl reset-failed {unit} 2>/dev/null || true; }}"
            f" && main=$(systemctl show --property=MainPID --value {unit})"
            f" && old=$(cat /proc/$main/task/$main/children 2>/dev/null || true) && {{ {explained}; }} && {{ {REPLACED}; }}"
            f" && echo $digest > {mark}.new && mv {mark}.new {mark}"
        )


@operation()
def certified(run: Run) -> Generator[StringCommand, None, None]:
    """Ask for a certificate where that is due; one that is refused doesn't fail, as the server serves all the same."""
    if run.ask(CheckFact).get("due"):  # an older baikalctl, before its files are brought, knows of no such thing
        yield StringCommand(f"{paths.COMMAND} certificate --now || [ $? -eq {NOT_YET} ]")


@operation()
def healthy(run: Run) -> Generator[StringCommand, None, None]:
    """Succeed only if the server answers: ``baikalctl check`` must find nothing failing."""
    found = run.ask(CheckFact, wait_s=SERVICE_SECONDS)
    if not found["healthy"] and not run.changes() and host not in host.state.failed_hosts:
        # That was asked without a wait, and somebody else may be restarting a service.
        found = host.get_fact(CheckFact, wait_s=SERVICE_SECONDS, _timeout=ANSWER_SECONDS)
    if host.state.is_executing:
        for finding in found["findings"]:
            if finding["status"] == "warning":
                text = escaped(f"{finding['subject']}: {finding['message']}; {finding['remedy']}")
                logger.warning(f"{host.print_prefix}{text}")
    if not found["healthy"]:
        # Perhaps a service could not take up what it was told to (a port that was taken): the next run reloads it.
        yield StringCommand(f"{paths.COMMAND} check || {{ rm -f {paths.STAMPS}/*; false; }}", _timeout=ANSWER_SECONDS)


@operation(is_idempotent=False)
def called(function: Callable[[], None]) -> Generator[FunctionCommand, None, None]:
    """Call ``function`` on this machine once all before it has succeeded on the host."""
    yield FunctionCommand(function, [], {})


def _held(unit: str) -> str:
    """Return where it stands that ``unit`` has to wait."""
    return f"/run/systemd/system/{unit}.service.d/baikal-hold.conf"


@functools.cache
def _lines(archive: str) -> tuple[str, ...]:
    """Return a release as lines of text, once, however many hosts get it."""
    return in_pieces(archive)


def in_pieces(path: str) -> tuple[str, ...]:
    """Return the file as lines of text, which is what pyinfra takes for standard input.

    In pieces, because pyinfra copies each line that it sends, for each host.
    """
    content = Path(path).read_bytes()
    pieces = (content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES))
    return tuple(base64.b64encode(piece).decode("ascii") + "\n" for piece in pieces)


def _differs(item: File | Directory, found: dict[str, Any], kind: str) -> bool:
    """Tell whether what stands at the path of ``item`` isn't it: kind, mode, owner, group, or content."""
    state = found["states"].get(item.path)
    if state is None or state != [state[0], f"{item.mode:o}", item.owner, item.group] or kind not in _kinds(state[0]):
        return True
    content = getattr(item, "content", None)
    return content is not None and found["checksums"].get(item.path) != hashlib.sha256(content).hexdigest()


def _unfinished(file: File, found: dict[str, Any]) -> bool:
    """Tell whether an interrupted run may have left ``file`` in place unchecked: then it is brought once more."""
    return str(host_install.temporary_path(file.path, host_install.OLD)) in found["owned"]


def _kinds(output: str) -> tuple[str, ...]:
    """Return what stat's word for a file means; it has one of its own for an empty file."""
    return ("regular file",) if output in ("regular file", "regular empty file") else (output,)


def _entry(item: File | Directory) -> dict[str, Any]:
    return {"path": item.path, "owner": item.owner, "group": item.group, "mode": item.mode}


def _sent(file: File) -> dict[str, Any]:
    content = base64.b64encode(file.content).decode("ascii")
    return _entry(file) | {"content": content, "service": file.service, "together": file.together}
