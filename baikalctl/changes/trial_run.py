"""Test new data before it is put in place: the release serves a copy, and a client sends requests.

PHP's own web server serves it on a port of the loopback interface, for about a second. All accounts of the machine can
connect to that port, so it answers only requests with a random secret (``rehearse.php``).
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.baikal import config, smoke_test
from baikalctl.changes import staging
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from baikalctl.host import php_cli
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.baikal.config import Configuration


START_SECONDS = 30
SAID = 400
ENDING_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""If this process is killed, this ends the PHP server, which has the data open."""
HEADER, SECRET = "X-Baikal-Rehearsal", "BAIKAL_REHEARSAL"
"""The header of requests and the variable of the server that hold the secret."""
CONNECTION = re.compile(
    r" (Accepted|Closing|Closed without sending .*|\[\d+\]: \S+ \S+|\S+ Development Server .* started)$"
)
"""Lines that PHP's web server logs for each connection, also without an error."""


def try_out(configuration: Configuration, version: str) -> None:
    """Serve the data in INCOMING with the release ``version``, and send a client's requests; raises :class:`HostError`.

    ``configuration`` is its baikal.yaml. The data is the same afterwards.
    """
    confined(lambda: _try_out(configuration, version), THOROUGH)


def _try_out(configuration: Configuration, version: str) -> None:
    system = configuration.get("system", {})
    database = Sqlite(Path(paths.INCOMING) / staging.SQLITE)
    token = secrets.token_hex(32)
    with _stage(configuration) as folder, _serving(folder, version, token) as (port, log):
        realm = {"realm": str(system["auth_realm"])} if system.get("auth_realm") else {}
        with smoke_test.temporary_user(database, **realm) as visitor:
            calendars, contacts = (bool(system.get(f"{kind}_enabled", True)) for kind in ("cal", "card"))
            try:
                smoke_test.make(
                    f"http://127.0.0.1:{port}", visitor, {HEADER: token}, calendars=calendars, contacts=contacts
                )
            except HostError as error:
                reason = _last(log)
                message = f"Baïkal {version} doesn't work with this data: {error}" + (
                    f"; its log: {reason}" if reason else ""
                )
                raise HostError(message) from None


@contextlib.contextmanager
def _stage(configuration: Configuration) -> Iterator[str]:
    """Create a folder with a baikal.yaml that is ``configuration`` with other addresses, for the data's owner."""
    folder = tempfile.mkdtemp(dir=f"{paths.INCOMING}/Specific")
    (Path(folder) / "config").mkdir()
    (Path(folder) / "Specific").mkdir()
    staged: dict[str, dict[str, Any]] = {name: dict(section) for name, section in configuration.items()}
    staged["system"] |= {"base_uri": "", "dav_auth_type": "Basic", "invite_from": ""}
    # Without a hash, Baïkal would show its installer; no password has this one.
    staged["system"]["admin_passwordhash"] = staged["system"].get("admin_passwordhash") or "none"
    database = {"backend": "sqlite", "mysql": False, "sqlite_file": f"{paths.INCOMING}/{staging.SQLITE}"}
    staged["database"] = {**staged.get("database", {}), **database}
    config.write(staged, Path(folder) / "config/baikal.yaml")
    (Path(folder) / "Specific/INSTALL_DISABLED").touch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _serving(folder: str, version: str, token: str) -> Iterator[tuple[int, Path]]:
    """Serve the data in ``folder`` with the release, for requests with the ``token`` in their :data:`HEADER`.

    Yields the port and the log file.
    """
    root = f"{paths.CODE}/{version}/html"
    guarded = ("-d", f"auto_prepend_file={paths.REHEARSE}")
    log = Path(folder) / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*ENDING_WITH_US, php_cli.program(), *php_cli.OPTIONS, *guarded, "-S", f"127.0.0.1:{port}", "-t", root],
            env=php_cli.environment(folder) | {SECRET: token},  # only the account itself and root can read it
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        _wait(server, port, log)
        yield port, log
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            message = f"PHP can't serve a copy of the data for the test: {_last(log) or 'it printed nothing'}"
            raise HostError(message)
        time.sleep(0.02)


def _last(log: Path) -> str:
    """Return the end of PHP's log as one line, without the lines about connections."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in lines if not CONNECTION.search(line)]
    return " ".join(" ".join(telling).split())[-SAID:]
