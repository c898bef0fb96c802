"""Compare the state of two machines: files, configuration, database, services, and answers to clients."""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING, Any

from bench.contenders import BenchmarkError
from bench.peers.payload import USER, Wanted
from tasks.machine import MachineFact
from tests.lab.engine import wait_until
from tests.lab.images import PACKAGES
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.machine import Machine
    from tests.lab.release import Release


PLACES = (
    *("/opt/baikal", "/var/lib/baikal", "/etc/php", "/etc/nginx/conf.d", "/etc/nginx/sites-enabled"),
    *("/etc/systemd/system", *(f"/usr/local/lib/baikalctl/{name}.php" for name in ("prepend", "away", "sessions"))),
)
OURS_ALONE = re.compile(r"/var/lib/baikal/state(/|$)|/opt/baikal/[^/]+/\.(archive|tree)-sha256$")
"""State files of ``baikalctl``, which peers don't need."""
PASSING = re.compile(r"/var/lib/baikal/sessions/.|/var/lib/baikal/Specific/db/db\.sqlite-(wal|shm)$")
"""Files that change while a server runs."""
RANDOM = re.compile(r"/var/lib/baikal/(tls/.+\.pem$|config/baikal\.yaml$|Specific/db/db\.sqlite$)")
"""Files with different bytes on each machine; the content of the last two is compared separately."""
OWN_COMMAND = re.compile(r"/etc/systemd/system/baikal-(certificate|backup)\.service$")
"""Files with the name of a contender's own command; whether it runs is checked."""
RELEASE = re.compile(r"/opt/baikal/[0-9.]+/")
RUNNABLE = "0755"
"""Mode of twenty scripts in a release's zip that no server runs. Peers keep it; ours are 0644."""
PROBE = """
import json, sqlite3, subprocess, sys, yaml
configuration = yaml.safe_load(open("/var/lib/baikal/config/baikal.yaml", encoding="utf-8"))
del configuration["database"]["encryption_key"]
database = sqlite3.connect("file:/var/lib/baikal/Specific/db/db.sqlite?mode=ro", uri=True)
schema = database.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name").fetchall()
# Statistics depend on the time of the last ANALYZE; their existence is in the schema.
tables = [name for kind, name, _ in schema if kind == "table" and not name.startswith("sqlite_stat")]
rows = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
journal = database.execute("PRAGMA journal_mode").fetchone()
units = sys.argv[1:]
asked = {word: subprocess.run(["systemctl", word, *units], capture_output=True, text=True).stdout.split()
         for word in ("is-active", "is-enabled")}
# Services of timers: they have nothing to do, and must succeed.
started = [unit.replace(".timer", ".service") for unit in units if unit.endswith(".timer")]
run = {unit: subprocess.run(["systemctl", "start", unit], capture_output=True).returncode for unit in started}
print(json.dumps({"baikal.yaml": configuration, "schema": schema, "rows": rows, "journal": journal,
                  "services": asked, "started by timers": run}))
"""
SHOWN = 12
RELOAD_LIMIT_S = 5

State = dict[str, Any]


def state_of(machine: Machine, release: Release, wanted: Wanted) -> State:
    """Return the state that must be equal for all contenders, by path; raises unless clients are served."""
    _refuse_unserved(machine, release)
    state: State = {}
    for path, entry in machine.snapshot(PLACES).items():
        if not OURS_ALONE.match(path) and not PASSING.match(path):
            mode = "0644" if RELEASE.match(path) and entry.kind == "f" and entry.mode == RUNNABLE else entry.mode
            content = "" if RANDOM.match(path) or OWN_COMMAND.match(path) else entry.content
            state[path] = (mode, entry.owner, entry.group, entry.kind, content)
    output = machine.engine.docker("exec", "-i", machine.name, "python3", "-", *wanted.units, input=PROBE)
    fact = MachineFact()
    missing = fact.process(machine.run(fact.command()).splitlines()).missing(PACKAGES)
    probed: State = json.loads(output)
    return state | probed | {"packages that are missing": missing}


def refuse_differences(ours: State, theirs: State, contender: str) -> None:
    """Raise :class:`BenchmarkError` with the differences: figures for a different result would be meaningless."""
    differing = [
        f"    {path}: ours {ours.get(path)}, theirs {theirs.get(path)}"
        for path in sorted({*ours, *theirs})
        if ours.get(path) != theirs.get(path)
    ]
    if differing:
        more = f"\n    and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        message = f"{contender} has a different result than ours; make them equal:\n"
        raise BenchmarkError(message + "\n".join(differing[:SHOWN]) + more)


def refuse_other_limit(machine: Machine, release: Release, limit_mb: int) -> None:
    """Raise :class:`BenchmarkError` unless nginx refuses a request slightly larger than ``limit_mb``.

    It does so after reading the header: so the new configuration has not only been written, but also loaded.
    """
    length = {"Content-Length": str(limit_mb * 2**20 + 1)}
    server = Server(machine, release)
    # A reload is complete when the old workers have ended, shortly after systemctl returns.
    if not wait_until(lambda: _asked(server, "PUT", "/dav.php/", headers=length) == 413, RELOAD_LIMIT_S):
        message = f"a request of more than {limit_mb} MiB is not answered with 413: the change isn't loaded"
        raise BenchmarkError(message)


def _refuse_unserved(machine: Machine, release: Release) -> None:
    server = Server(machine, release)
    anonymous = _asked(server, "GET", "/dav.php/")
    href = f"/dav.php/calendars/{USER}/default/"
    calendar = _asked(server, "PROPFIND", href, user=USER, headers={"Depth": "1"})
    if (anonymous, calendar) != (401, 207):
        message = f"the server answers {anonymous} to anonymous requests and {calendar} to its user, not 401 and 207"
        raise BenchmarkError(message)


def _asked(server: Server, method: str, path: str, *, user: str = "", headers: Mapping[str, str] | None = None) -> int:
    """Return the status of the answer; raises :class:`BenchmarkError` if there is none in time."""
    try:
        return server.ask(method, path, user=user, headers=headers).status
    except (OSError, http.client.HTTPException) as error:
        message = f"{method} {path} is not answered: {error}"
        raise BenchmarkError(message) from error
