"""New data is tried out before it takes any place: the release serves a copy, and a client uses it.

PHP's own web server does it, on a port of the loopback, for the second that it takes. Every account of the machine can
connect to that, so it answers only requests with a secret that is made for the occasion (``rehearse.php``).
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
"""Where a run is killed, nobody else would end the server, which has the data open."""
HEADER, SECRET = "X-Baikal-Rehearsal", "BAIKAL_REHEARSAL"
"""Where a request and the server have the secret."""
CONNECTION = re.compile(
    r" (Accepted|Closing|Closed without sending .*|\[\d+\]: \S+ \S+|\S+ Development Server .* started)$"
)
"""What PHP's web server says whatever happens."""


def try_out(found: Configuration, version: str) -> None:
    """Have the release ``version`` serve the data in INCOMING, and use it as a client; raises :class:`HostError`.

    ``found`` is its baikal.yaml. At the end the data is as it was.
    """
    confined(lambda: _try_out(found, version), THOROUGH)


def _try_out(found: Configuration, version: str) -> None:
    system = found.get("system", {})
    database = Sqlite(Path(paths.INCOMING) / staging.SQLITE)
    token = secrets.token_hex(32)
    with _stage(found) as folder, _serving(folder, version, token) as (port, log):
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
def _stage(found: Configuration) -> Iterator[str]:
    """Have a folder of the owner's with a baikal.yaml that is ``found`` but for where and how it is served."""
    folder = tempfile.mkdtemp(dir=f"{paths.INCOMING}/Specific")
    (Path(folder) / "config").mkdir()
    (Path(folder) / "Specific").mkdir()
    staged: dict[str, dict[str, Any]] = {name: dict(section) for name, section in found.items()}
    staged["system"] |= {"base_uri": "", "dav_auth_type": "Basic", "invite_from": ""}
    # Without one, Baïkal would show its installer; nobody can log in with this.
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
    """Have the release serve what is staged in ``folder`` to requests that have the ``token`` as their :data:`HEADER`.

    Gives the port, and the file with what it says.
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
            env=php_cli.environment(folder) | {SECRET: token},  # which only the account itself and root can read
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
    """Return the end of what PHP has said, as one line, without what it says of each connection."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in lines if not CONNECTION.search(line)]
    return " ".join(" ".join(telling).split())[-SAID:]
