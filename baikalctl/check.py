"""``baikalctl check``: the doctor. Each finding says what is so and, where it is wrong, what to do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import ssl
import stat
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import apply, certificate, configuration, database, paths, release
from baikalctl.faults import HostError
from baikalctl.privilege import as_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from baikalctl.declared import Declared

OK, WARNING, FAILED = "ok", "warning", "failed"
REQUEST_SECONDS = 30
LEAST_FREE_MB = 200
UNAUTHORIZED, NOT_FOUND = 401, 404


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its ``status``, what is so, and what to do unless all is well."""

    subject: str
    status: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line that a person reads."""
        advice = f"; {self.remedy}" if self.remedy else ""
        return f"{self.status:<8} {self.subject:<12} {self.message}{advice}"


def examine(declared: Declared, *, thorough: bool = False, wait_s: float = 0) -> list[Finding]:
    """Return every finding about this host; ``thorough`` reads the whole database as well.

    For ``wait_s`` seconds what fails is looked at again: a service that was just reloaded needs a moment.
    """
    deadline = time.monotonic() + wait_s
    while not healthy(findings := _examine(declared, thorough=thorough)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return findings


def _examine(declared: Declared, *, thorough: bool) -> list[Finding]:
    examinations: dict[str, Callable[[], Iterator[Finding]]] = {
        "services": lambda: _services(declared),
        "answer": lambda: _answer(declared),
        "database": lambda: _database(thorough=thorough),
        "version": lambda: _version(declared),
        "certificate": lambda: _certificate(declared),
        "permissions": _permissions,
        "code": lambda: _code(declared, thorough=thorough),
        "disk": _disk,
        "declared": lambda: _drift(declared),
    }
    found: list[Finding] = []
    for subject, examination in examinations.items():
        try:
            found.extend(examination())
        except HostError as error:
            found.append(Finding(subject, FAILED, str(error)))
        except (OSError, subprocess.SubprocessError, sqlite3.Error) as error:
            found.append(
                Finding(subject, FAILED, f"can't be looked at: {error}", "run the deploy; it mends what it can")
            )
    return found


def report(findings: list[Finding], *, as_json: bool) -> str:
    """Return the findings as text for people, or as JSON with an overall ``healthy``."""
    if as_json:
        pending = [finding.message for finding in findings if finding.subject == "declared" and finding.status != OK]
        every = [asdict(finding) for finding in findings]
        return json.dumps({"healthy": healthy(findings), "pending": pending, "findings": every})
    return "\n".join(str(finding) for finding in findings)


def healthy(findings: list[Finding]) -> bool:
    """Tell whether nothing failed; warnings don't count."""
    return all(finding.status != FAILED for finding in findings)


def _services(declared: Declared) -> Iterator[Finding]:
    if not Path("/run/systemd/system").is_dir():
        return
    done = subprocess.run(["systemctl", "is-active", *declared.services], capture_output=True, text=True, check=False)
    for unit, state in zip(declared.services, done.stdout.split("\n"), strict=False):
        if state == "active":
            yield Finding("services", OK, f"{unit} is running")
        else:
            remedy = f"journalctl -u {unit} tells why; the next deploy starts it"
            yield Finding("services", FAILED, f"{unit} is {state or 'unknown to systemd'}", remedy)


def _answer(declared: Declared) -> Iterator[Finding]:
    """Ask as a stranger: exactly 401. Baïkal answers 200 without a database, and 302 when its version has drifted."""
    where = f"{declared.scheme}://{declared.hostname}:{declared.port}{declared.base_path}"
    try:
        dav = _status(declared, "PROPFIND", f"{declared.base_path}/dav.php/")
        installer = _status(declared, "GET", f"{declared.base_path}/admin/install/")
    except (OSError, ValueError) as error:
        remedy = "is another program on that port, or nginx down? ss -ltnp tells"
        yield Finding("answer", FAILED, f"{where} can't be reached: {error}", remedy)
        return
    if dav == UNAUTHORIZED:
        yield Finding("answer", OK, f"{where}/dav.php/ asks who it is")
    else:
        reason = {200: "its database is missing", 302: "its version has drifted", 502: "PHP is down"}.get(dav, "")
        remedy = f"{reason + '; ' if reason else ''}the reason is in /var/log/nginx/error.log"
        yield Finding("answer", FAILED, f"{where}/dav.php/ answers {dav} to a stranger, not 401", remedy)
    if installer == NOT_FOUND:
        yield Finding("installer", OK, "is out of reach")
    else:
        message = f"/admin/install/ answers {installer}, not 404: anybody could take the server over"
        yield Finding("installer", FAILED, message, "run the deploy, and close the port until it has passed")
    if not Path(paths.INSTALL_DISABLED).is_file():
        yield Finding("installer", FAILED, f"{paths.INSTALL_DISABLED} is gone", "run the deploy")


def _status(declared: Declared, method: str, path: str) -> int:
    """Return the status of one request to ourselves; raises ValueError where what answers doesn't speak HTTP.

    Only the first line of the answer is wanted. Python's own client takes a fifth of the time of a whole check to
    import, and a check is part of every run and every health probe.
    """
    head = f"{method} {path} HTTP/1.0\r\nHost: {declared.hostname}\r\nUser-Agent: baikalctl-check\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", declared.port), timeout=REQUEST_SECONDS) as plain,
        _secured(plain, declared) as connection,
    ):
        connection.sendall(head.encode())
        line = connection.makefile("rb").readline(200).decode("latin-1")
    protocol, _, rest = line.partition(" ")
    if not protocol.startswith("HTTP/") or not rest[:3].isdecimal():
        message = f"what listens there answers {line.strip()!r}, which is not HTTP"
        raise ValueError(message)
    return int(rest[:3])


def _secured(plain: socket.socket, declared: Declared) -> socket.socket:
    """Return the connection as the server speaks there."""
    if declared.scheme == "http":
        return plain
    # Over loopback, to ourselves: who it is, is not the question here; the certificate has an examination of its own.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def _database(*, thorough: bool) -> Iterator[Finding]:
    with as_owner(), contextlib.closing(database.connect()) as connection:
        accounts = database.one(connection, "SELECT count(*) FROM users")
        wrong = database.integrity(connection) if thorough else ""
    if wrong:
        yield Finding("database", FAILED, f"is damaged: {wrong}", "restore it from a backup")
    else:
        yield Finding("database", OK, f"has {accounts} accounts{' and is sound' if thorough else ''}")


def _version(declared: Declared) -> Iterator[Finding]:
    with as_owner():
        configured = configuration.read().get("system", {}).get("configured_version", "nothing")
    try:
        code = release.version_of((Path(paths.CURRENT) / "Core/Distrib.php").read_text(encoding="utf-8"))
    except FileNotFoundError:
        code = "missing"
    if configured == code == declared.version:
        yield Finding("version", OK, f"Baïkal {code}")
    else:
        message = f"code {code}, data {configured}, declared {declared.version}"
        yield Finding("version", FAILED, message, "they must be one; run the deploy")


def _certificate(declared: Declared) -> Iterator[Finding]:
    if declared.tls == "off":
        return
    try:
        left = certificate.days_left(declared)
    except HostError as error:
        remedy = "run the deploy" if declared.tls == "selfsigned" else "replace it, and run the deploy"
        yield Finding("certificate", FAILED, str(error), remedy)
        return
    kind = "self-signed, " if declared.tls == "selfsigned" else ""
    if left < certificate.RENEW_DAYS:
        remedy = "the next deploy makes a new one" if declared.tls == "selfsigned" else "renew it, and run the deploy"
        yield Finding("certificate", WARNING, f"{kind}{left} days left", remedy)
    else:
        yield Finding("certificate", OK, f"{kind}for {declared.hostname}, {left} days left")


def _permissions() -> Iterator[Finding]:
    """Find code that PHP could change, and data that others could read."""
    wrong = []
    for path in (paths.CODE, paths.CURRENT, f"{paths.CURRENT}/html/dav.php", paths.LIBRARY):
        with contextlib.suppress(FileNotFoundError):
            found = Path(path).stat()
            if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                wrong.append(f"{path} can be changed by others than root")
    for path in (paths.CONFIG, paths.SPECIFIC, paths.STATE, paths.TLS):
        with contextlib.suppress(FileNotFoundError):
            if Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                wrong.append(f"{path} is open to others")
    for message in wrong:
        yield Finding("permissions", FAILED, message, "run the deploy")
    if not wrong:
        yield Finding("permissions", OK, "code is root's, data is private")


def _code(declared: Declared, *, thorough: bool) -> Iterator[Finding]:
    if not thorough:
        return
    if release.standing(declared.version):
        yield Finding("code", OK, "every file of the release is as it was installed")
    else:
        yield Finding("code", FAILED, "files of the release were changed, added or removed", "run the deploy")


def _disk() -> Iterator[Finding]:
    room = os.statvfs(paths.DATA)
    free = room.f_bavail * room.f_frsize >> 20
    remedy = "make room before writing fails" if free < LEAST_FREE_MB else ""
    yield Finding("disk", WARNING if remedy else OK, f"{free} MiB free in {paths.DATA}", remedy)


def _drift(declared: Declared) -> Iterator[Finding]:
    differing = apply.pending(declared)
    for sentence in differing:
        yield Finding("declared", WARNING, f"still to do: {sentence}", "run the deploy, or baikalctl apply")
    if not differing:
        yield Finding("declared", OK, "everything is as declared")
