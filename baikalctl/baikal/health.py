"""``baikalctl health``: whether calendars work, in one line and as little time as it takes to be sure.

Baïkal itself answers 200 when its database is missing and 302 when its version has drifted, of which ``away.php`` makes
503; and a stranger gets 401 from a database that is damaged. So healthy is exactly 401, from the port that clients use,
and a row read from the database, and one version in code, data and declaration.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import output, paths
from baikalctl.baikal import config, current_database, release
from baikalctl.database import interface
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host import maintenance
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import QUICK, THOROUGH
from baikalctl.host.finding import FAILED, OK, Finding
from baikalctl.host.runtime import apply_remedy, in_container
from baikalctl.output import counted

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Iterator, Mapping


REQUEST_SECONDS = 30
UNAUTHORIZED = 401


def run(_: argparse.Namespace) -> int:
    """Probe, as a container's engine does every few seconds."""
    return probe(DesiredState.on_this_host())


def probe(declared: DesiredState) -> int:
    """Return 0 if calendars work, else 1, having said why on standard output, where the engine keeps it."""
    try:
        findings = [*answer_findings(declared), *data_findings(declared, look(declared))]
        failed = [str(finding) for finding in findings if finding.status == FAILED]
    except (HostError, OSError) as error:
        failed = [str(error)]
    output.lines(failed or ["it asks who it is, its database can be read, and it is of one version"])
    return 1 if failed else 0


def answer_findings(declared: DesiredState, *, token: str = "") -> Iterator[Finding]:
    """Ask as a stranger: exactly 401. Without a database, or where its version has drifted, Baïkal can't answer: 503.

    ``token`` is as for :func:`status`.
    """
    where = f"{declared.scheme}://{declared.hostname}:{declared.port}{declared.base_path}"
    try:
        dav = request_status(declared, "PROPFIND", f"{declared.base_path}/dav.php/", token=token)
    except (OSError, ValueError) as error:
        remedy = "is another program on that port, or nginx down? ss -ltnp tells"
        yield Finding("answer", FAILED, f"{where} can't be reached: {error}", remedy)
        return
    if dav == UNAUTHORIZED:
        yield Finding("answer", OK, f"{where}/dav.php/ asks who it is")
    else:
        closed = maintenance.reason()
        away = f"it is closed for maintenance ({closed})" if closed else "its database is away, or of another version"
        reason = {502: "PHP is down", 503: away}.get(dav, "")
        log = "the container's log" if in_container() else "/var/log/nginx/error.log"
        remedy = f"{reason + '; ' if reason else ''}the reason is in {log}"
        yield Finding("answer", FAILED, f"{where}/dav.php/ answers {dav} to a stranger, not 401", remedy)


def request_status(declared: DesiredState, method: str, path: str, *, token: str = "") -> int:
    """Return the status of one request to ourselves; raises ValueError where what answers doesn't speak HTTP.

    ``token`` is :func:`baikalctl.host.maintenance.probing`'s, for a server that is closed to everybody else.

    Only the first line of the answer is wanted. Python's own client takes a fifth of the time of a whole check to
    import, and a check is part of every run and every health probe.
    """
    probe = f"{maintenance.HEADER}: {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.0\r\nHost: {declared.hostname}\r\nUser-Agent: baikalctl-check\r\n{probe}\r\n"
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


def served_certificate(declared: DesiredState) -> bytes:
    """Return the certificate that clients are shown, in DER form; raises OSError where nobody shows any."""
    with (
        socket.create_connection(("127.0.0.1", declared.port), timeout=REQUEST_SECONDS) as plain,
        _tls().wrap_socket(plain, server_hostname=declared.hostname) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def _secured(plain: socket.socket, declared: DesiredState) -> socket.socket:
    """Return the connection as the server speaks there."""
    return plain if declared.scheme == "http" else _tls().wrap_socket(plain)


def _tls() -> ssl.SSLContext:
    import ssl

    # Over loopback, to ourselves: who it is, is not the question here; the certificate has an examination of its own.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a look at the data tells."""

    configured: str
    """The version that the data is of."""
    accounts: int = 0
    damage: str = ""
    """The first thing that the database's own examination finds wrong; nothing where it wasn't asked for, or is well."""
    unreadable: str = ""
    """Why the database can't be read, or isn't the one that is declared."""
    unknown: str = ""
    """Why baikal.yaml can't be read."""


def look(declared: DesiredState, *, thorough: bool = False) -> DataSummary:
    """Read version and database as Baïkal does; ``thorough`` reads all of it."""
    wanted = current_database.section(declared)
    return DataSummary(**confined(lambda: look_confined(wanted, thorough=thorough), THOROUGH if thorough else QUICK))


def look_confined(wanted: Mapping[str, object], *, thorough: bool = False) -> dict[str, Any]:
    """Return the fields of :class:`Data`, within the boundary; ``wanted`` is the declared section of the database."""
    unknown, found = "", None
    try:
        found = config.read()
    except (HostError, OSError) as error:
        unknown = str(error)
    configured = str((found or {}).get("system", {}).get("configured_version") or "nothing")
    told: dict[str, Any] = {"configured": configured, "unknown": unknown}
    try:
        # Before there is any data, a start waits for the server on which it is to be.
        database = current_database.compared(wanted, found)
        with contextlib.closing(database.connect(read_only=thorough)) as connection:
            try:
                told["accounts"] = interface.first_number(connection, "SELECT count(*) FROM users") or 0
                told["damage"] = database.integrity(connection) if thorough else ""
            except interface.Error as error:
                raise database.unreadable(error) from None
    except HostError as error:
        told["unreadable"] = str(error)
    return told


def data_findings(declared: DesiredState, data: DataSummary, *, thorough: bool = False) -> Iterator[Finding]:
    """Tell whether the data can be read, and whether it is of the declared version."""
    if data.unreadable:
        yield Finding("database", FAILED, data.unreadable)
    elif data.damage:
        yield Finding("database", FAILED, f"is damaged: {data.damage}", "restore it from a backup")
    else:
        yield Finding("database", OK, f"has {counted(data.accounts, 'account')}{' and is sound' if thorough else ''}")
    if data.unknown:
        yield Finding("version", FAILED, data.unknown)
    else:
        yield from _one_version(declared, data)


def _one_version(declared: DesiredState, data: DataSummary) -> Iterator[Finding]:
    """Compare the versions of code, data and declaration."""
    try:
        code = release.version_of((Path(paths.CURRENT) / "Core/Distrib.php").read_text(encoding="utf-8"))
    except FileNotFoundError:
        code = "missing"
    if data.configured == code == declared.version:
        yield Finding("version", OK, f"Baïkal {code}")
    else:
        message = f"code {code}, data {data.configured}, declared {declared.version}"
        # An image is of one release, and so is all that its start declares: only the data can be another's.
        other = f"run an image with {data.configured}, or restore {paths.BAIKAL_YAML} from a backup"
        yield Finding("version", FAILED, message, f"they must be one; {other if in_container() else apply_remedy()}")
