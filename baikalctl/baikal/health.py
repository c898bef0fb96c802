"""``baikalctl health``: a quick check whether calendars work, with one line of output.

Baïkal itself answers 200 if its database is missing and 302 if its version doesn't match; ``away.php`` changes both
to 503. An anonymous client gets 401 even if the database is damaged. So a host is healthy if the port that clients use
answers exactly 401, a row can be read from the database, and code, data and settings have the same version.
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
    """Run the health check of a container's engine, which it does every few seconds."""
    return probe(DesiredState.on_this_host())


def probe(declared: DesiredState) -> int:
    """Return 0 if calendars work; else print the reason to standard output, which the engine stores, and return 1."""
    try:
        findings = [*answer_findings(declared), *data_findings(declared, look(declared))]
        failed = [str(finding) for finding in findings if finding.status == FAILED]
    except (HostError, OSError) as error:
        failed = [str(error)]
    output.lines(failed or ["the server asks for a login, the database can be read, and all versions match"])
    return 1 if failed else 0


def answer_findings(declared: DesiredState, *, token: str = "") -> Iterator[Finding]:
    """Check the answer to an anonymous client: exactly 401. Without a database, or with another version, Baïkal answers 503.

    ``token`` is the one of :func:`request_status`.
    """
    where = f"{declared.scheme}://{declared.hostname}:{declared.port}{declared.base_path}"
    try:
        dav = request_status(declared, "PROPFIND", f"{declared.base_path}/dav.php/", token=token)
    except (OSError, ValueError) as error:
        remedy = "check with ss -ltnp whether nginx is down, or another program uses the port"
        yield Finding("answer", FAILED, f"{where} can't be reached: {error}", remedy)
        return
    if dav == UNAUTHORIZED:
        yield Finding("answer", OK, f"{where}/dav.php/ asks for a login")
    else:
        closed = maintenance.reason()
        away = (
            f"it is in maintenance mode ({closed})" if closed else "its database is unavailable, or of another version"
        )
        reason = {502: "PHP is down", 503: away}.get(dav, "")
        log = "the container's log" if in_container() else "/var/log/nginx/error.log"
        remedy = f"{reason + '; ' if reason else ''}see {log} for the reason"
        yield Finding("answer", FAILED, f"{where}/dav.php/ answers an anonymous client with {dav}, not 401", remedy)


def request_status(declared: DesiredState, method: str, path: str, *, token: str = "") -> int:
    """Return the status of one request to this host; raises ValueError if the answer isn't HTTP.

    ``token`` is from :func:`baikalctl.host.maintenance.probing`, for a server in maintenance mode.

    Only the first line of the answer is needed. The import of Python's own client takes a fifth of the time of a whole
    check, and a check is part of every run and every health probe.
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
        message = f"the program on that port answers {line.strip()!r}, which is not HTTP"
        raise ValueError(message)
    return int(rest[:3])


def served_certificate(declared: DesiredState) -> bytes:
    """Return the certificate that clients get, in DER format; raises OSError if there is none."""
    with (
        socket.create_connection(("127.0.0.1", declared.port), timeout=REQUEST_SECONDS) as plain,
        _tls().wrap_socket(plain, server_hostname=declared.hostname) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def _secured(plain: socket.socket, declared: DesiredState) -> socket.socket:
    """Return the connection, with TLS if the server uses it."""
    return plain if declared.scheme == "http" else _tls().wrap_socket(plain)


def _tls() -> ssl.SSLContext:
    import ssl

    # Over loopback, to this host: no need to verify the server. The certificate has a check of its own.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The state of the data."""

    configured: str
    """The version that the data belongs to."""
    accounts: int = 0
    damage: str = ""
    """The first error of the database's own integrity check; empty if there is none, or it wasn't run."""
    unreadable: str = ""
    """Why the database can't be read or used; empty if it can."""
    unknown: str = ""
    """Why baikal.yaml can't be read; empty if it can."""


def look(declared: DesiredState, *, thorough: bool = False) -> DataSummary:
    """Read version and database as Baïkal does; ``thorough`` reads all data."""
    wanted = current_database.section(declared)
    return DataSummary(**confined(lambda: look_confined(wanted, thorough=thorough), THOROUGH if thorough else QUICK))


def look_confined(wanted: Mapping[str, object], *, thorough: bool = False) -> dict[str, Any]:
    """Return the fields of :class:`DataSummary`, within the boundary; ``wanted`` is the declared section of the database."""
    unknown, current = "", None
    try:
        current = config.read()
    except (HostError, OSError) as error:
        unknown = str(error)
    configured = str((current or {}).get("system", {}).get("configured_version") or "nothing")
    fields: dict[str, Any] = {"configured": configured, "unknown": unknown}
    try:
        # Before there is any data, a container's start waits for the server on which it will be.
        database = current_database.compared(wanted, current)
        with contextlib.closing(database.connect(read_only=thorough)) as connection:
            try:
                fields["accounts"] = interface.first_number(connection, "SELECT count(*) FROM users") or 0
                fields["damage"] = database.integrity(connection) if thorough else ""
            except interface.Error as error:
                raise database.unreadable(error) from None
    except HostError as error:
        fields["unreadable"] = str(error)
    return fields


def data_findings(declared: DesiredState, data: DataSummary, *, thorough: bool = False) -> Iterator[Finding]:
    """Check whether the data can be read and belongs to the declared version."""
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
    """Compare the versions of code, data and settings."""
    try:
        code = release.version_of((Path(paths.CURRENT) / "Core/Distrib.php").read_text(encoding="utf-8"))
    except FileNotFoundError:
        code = "missing"
    if data.configured == code == declared.version:
        yield Finding("version", OK, f"Baïkal {code}")
    else:
        message = f"code {code}, data {data.configured}, declared {declared.version}"
        # An image has one release, which its start declares: only the data can have another version.
        other = f"run an image with {data.configured}, or restore {paths.BAIKAL_YAML} from a backup"
        yield Finding("version", FAILED, message, f"they must be equal; {other if in_container() else apply_remedy()}")
