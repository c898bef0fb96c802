"""``baikalctl check``: look for problems on this host. Each finding has a message and, if it failed, a remedy."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import output, paths
from baikalctl.baikal import applied_passwords, current_database, release
from baikalctl.baikal.health import DataSummary, answer_findings, data_findings, look_confined, request_status
from baikalctl.changes import data_steps, steps, transaction
from baikalctl.checks import certificate
from baikalctl.database import interface
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.host.runtime import apply_remedy, in_container, is_booted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping


LEAST_FREE_MB = 200
NOT_FOUND = 404


def run(chosen: argparse.Namespace) -> int:
    """Check, print the findings, and return 0 if nothing failed, else 1."""
    declared = DesiredState.on_this_host()
    findings = run_checks(declared, thorough=chosen.thorough, wait_s=chosen.wait)
    output.page(report(findings, as_json=chosen.json, due=chosen.json and _may_request_certificate(declared)))
    return 0 if healthy(findings) else 1


def _may_request_certificate(declared: DesiredState) -> bool:
    if declared.asking is None:
        return False
    from baikalctl.tls import renewal

    return renewal.may_request(declared)


def run_checks(declared: DesiredState, *, thorough: bool = False, wait_s: float = 0) -> list[Finding]:
    """Return every finding about this host; ``thorough`` reads the whole database as well.

    If a check fails, all checks are repeated for ``wait_s`` seconds: a service that was just reloaded needs a moment.
    """
    deadline = time.monotonic() + wait_s
    while not healthy(findings := _run_one(_checks(declared, thorough=thorough))) and time.monotonic() < deadline:
        time.sleep(0.1)
    # Only once: a relay locks this host out after repeated attempts with a wrong password.
    return findings + _run_one({"mail": lambda: _mail(declared)})


def _checks(declared: DesiredState, *, thorough: bool) -> dict[str, Callable[[], Iterator[Finding]]]:
    """Return the checks by subject; the state of the data is read once for all of them."""
    known = functools.cache(lambda: _look(declared, thorough=thorough))
    return {
        "services": lambda: _services(declared),
        "answer": lambda: answer_findings(declared),
        "installer": lambda: _installer(declared),
        "database": lambda: data_findings(declared, DataSummary(**known()["data"]), thorough=thorough),
        "change": _change,
        "certificate": lambda: certificate.findings(declared),
        "permissions": _permissions,
        "code": lambda: _code(declared, thorough=thorough),
        "disk": _disk,
        "backup": lambda: _backup(declared),
        "declared": lambda: _drift(declared, known()),
    }


def _look(declared: DesiredState, *, thorough: bool) -> dict[str, Any]:
    """Read the state of the data in one child process, because starting it takes most of the time."""
    section, mine = current_database.section(declared), applied_passwords.of_this_host()

    def look() -> dict[str, Any]:
        known: dict[str, Any] = {"data": look_confined(section, thorough=thorough)}
        try:
            known["steps"] = data_steps.look_confined(declared, section, mine)
        except (HostError, OSError, interface.Error) as error:
            known["problem"] = str(error)
        return known

    return confined(look, THOROUGH if thorough else data_steps.limits(declared))


def _run_one(examinations: Mapping[str, Callable[[], Iterator[Finding]]]) -> list[Finding]:
    findings: list[Finding] = []
    for subject, examination in examinations.items():
        try:
            findings.extend(examination())
        except HostError as error:
            findings.append(Finding(subject, FAILED, str(error)))
        except (OSError, subprocess.SubprocessError, interface.Error) as error:
            findings.append(
                Finding(subject, FAILED, f"could not be checked: {error}", f"{apply_remedy()}; it fixes what it can")
            )
    return findings


def report(findings: list[Finding], *, as_json: bool, due: bool = False) -> str:
    """Return the findings as text for people, or as JSON with an overall ``healthy``.

    ``due`` is whether a certificate must be requested.
    """
    if as_json:
        pending = [finding.message for finding in findings if finding.subject == "declared" and finding.status != OK]
        every = [asdict(finding) for finding in findings]
        return json.dumps({"healthy": healthy(findings), "pending": pending, "due": due, "findings": every})
    return "\n".join(str(finding) for finding in findings)


def healthy(findings: list[Finding]) -> bool:
    """Tell whether nothing failed; warnings don't count."""
    return all(finding.status != FAILED for finding in findings)


def _services(declared: DesiredState) -> Iterator[Finding]:
    if in_container():
        yield from _supervised(declared)
    if not is_booted():
        return
    done = subprocess.run(["systemctl", "is-active", *declared.services], capture_output=True, text=True, check=False)
    for unit, state in zip(declared.services, done.stdout.split("\n"), strict=False):
        if state == "active":
            yield Finding("services", OK, f"{unit} is running")
        else:
            remedy = f"see journalctl -u {unit} for the reason; the next deploy starts it"
            yield Finding("services", FAILED, f"{unit} is {state or 'unknown to systemd'}", remedy)


def _supervised(declared: DesiredState) -> Iterator[Finding]:
    """Check the services of a container, which s6 supervises."""
    for name in declared.services:
        command = ["s6-svstat", "-o", "up", f"{paths.SERVICES}/{name}"]
        if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "true":
            yield Finding("services", OK, f"{name} is running")
        else:
            yield Finding(
                "services",
                FAILED,
                f"{name} is down",
                "see the container's log for the reason; it is restarted automatically",
            )


def _change() -> Iterator[Finding]:
    """Report a change, such as an upgrade or a restore, that was started and not finished."""
    if what := transaction.interrupted():
        remedy = "wait until it has finished; if it was interrupted, run baikalctl recover to roll it back"
        yield Finding("change", WARNING, f"{what} was started and has not finished", remedy)


def _installer(declared: DesiredState) -> Iterator[Finding]:
    """Check that Baïkal's installer is not reachable: with it, anyone could take over the server."""
    try:
        installer = request_status(declared, "GET", f"{declared.base_path}/admin/install/")
    except (OSError, ValueError):
        return  # the check "answer" reports a server that doesn't answer
    if installer == NOT_FOUND:
        yield Finding("installer", OK, "is not reachable")
    else:
        message = f"/admin/install/ answers {installer}, not 404: anyone could take over the server"
        yield Finding("installer", FAILED, message, f"{apply_remedy()}, and block the port until this check passes")
    if not Path(paths.INSTALL_DISABLED).is_file():
        yield Finding("installer", FAILED, f"{paths.INSTALL_DISABLED} is missing", apply_remedy())


def _permissions() -> Iterator[Finding]:
    """Check that only root can change the code, and that other users can't read the data."""
    wrong = []
    for path in (paths.CODE, paths.CURRENT, f"{paths.CURRENT}/html/dav.php", paths.LIBRARY):
        with contextlib.suppress(FileNotFoundError):
            state = Path(path).stat()
            if state.st_uid != 0 or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                wrong.append(f"{path} can be changed by users other than root")
    for path in (paths.CONFIG, paths.SPECIFIC, paths.STATE, paths.TLS, paths.ACME):
        with contextlib.suppress(FileNotFoundError):
            if Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                wrong.append(f"{path} can be read by other users")
    for message in wrong:
        yield Finding("permissions", FAILED, message, apply_remedy())
    if not wrong:
        yield Finding("permissions", OK, "only root can change the code, and other users can't read the data")


def _code(declared: DesiredState, *, thorough: bool) -> Iterator[Finding]:
    if not thorough:
        return
    if release.standing(declared.version):
        yield Finding("code", OK, "all files of the release are unchanged")
    else:
        remedy = "remove the container and create it again from its image" if in_container() else apply_remedy()
        yield Finding("code", FAILED, "files of the release were changed, added or removed", remedy)


def _mail(declared: DesiredState) -> Iterator[Finding]:
    """Check the sending of invitations; modules are imported only if they are needed."""
    if declared.mail.mode == "off" and not any(Path(paths.KEPT).glob("*.eml")):
        yield Finding("mail", OK, "is off: no invitations are sent, and clients can see that")
        return
    from baikalctl.checks import mail

    yield from mail.queue_findings(declared)
    if declared.mail.mode != "off":
        yield from mail.delivery_findings(declared)


def _backup(declared: DesiredState) -> Iterator[Finding]:
    from baikalctl.checks import backup

    return backup.findings(declared)


def _disk() -> Iterator[Finding]:
    room = os.statvfs(paths.DATA)
    free = room.f_bavail * room.f_frsize >> 20
    remedy = "free disk space before writes fail" if free < LEAST_FREE_MB else ""
    yield Finding("disk", WARNING if remedy else OK, f"{free} MiB free in {paths.DATA}", remedy)


def _drift(declared: DesiredState, known: dict[str, Any]) -> Iterator[Finding]:
    if "problem" in known:
        raise HostError(str(known["problem"]))
    differing = steps.pending(declared, data_steps.from_child(known["steps"]))
    for sentence in differing:
        yield Finding("declared", WARNING, f"still to do: {sentence}", f"{apply_remedy()}, or run baikalctl apply")
    if not differing:
        yield Finding("declared", OK, "the host matches the settings")
