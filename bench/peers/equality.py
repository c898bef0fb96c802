"""Whether two machines arrived at the same state: files, configuration, database, services, and what clients get."""

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
"""What ``baikalctl`` remembers: the peers have none, and needn't."""
PASSING = re.compile(r"/var/lib/baikal/sessions/.|/var/lib/baikal/Specific/db/db\.sqlite-(wal|shm)$")
"""What comes and goes while a server serves."""
RANDOM = re.compile(r"/var/lib/baikal/(tls/.+\.pem$|config/baikal\.yaml$|Specific/db/db\.sqlite$)")
"""Files whose bytes no two machines share; what the last two mean is compared by itself."""
OWN_COMMAND = re.compile(r"/etc/systemd/system/baikal-(certificate|backup)\.service$")
"""What names a command of each contender's own; that it can be run is looked at."""
RELEASE = re.compile(r"/opt/baikal/[0-9.]+/")
RUNNABLE = "0755"
"""Mode of twenty scripts in a release's zip that no server runs. Its users keep it; ours are 0644."""
PROBE = """
import json, sqlite3, subprocess, sys, yaml
configuration = yaml.safe_load(open("/var/lib/baikal/config/baikal.yaml", encoding="utf-8"))
del configuration["database"]["encryption_key"]
database = sqlite3.connect("file:/var/lib/baikal/Specific/db/db.sqlite?mode=ro", uri=True)
schema = database.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name").fetchall()
# Statistics depend on when they were last taken; that there are some is in the schema.
tables = [name for kind, name, _ in schema if kind == "table" and not name.startswith("sqlite_stat")]
rows = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
journal = database.execute("PRAGMA journal_mode").fetchone()
units = sys.argv[1:]
asked = {word: subprocess.run(["systemctl", word, *units], capture_output=True, text=True).stdout.split()
         for word in ("is-active", "is-enabled")}
# What a timer starts: it has nothing to do, and can do it.
started = [unit.replace(".timer", ".service") for unit in units if unit.endswith(".timer")]
run = {unit: subprocess.run(["systemctl", "start", unit], capture_output=True).returncode for unit in started}
print(json.dumps({"baikal.yaml": configuration, "schema": schema, "rows": rows, "journal": journal,
                  "services": asked, "started by timers": run}))
"""
SHOWN = 12
RELOAD_LIMIT_S = 5

State = dict[str, Any]


def state_of(machine: Machine, release: Release, wanted: Wanted) -> State:
    """Return all that must be the same on every contender's machine, by place; raises unless clients are served."""
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
    """Raise :class:`BenchmarkError` with what differs: figures for another end state would mean nothing."""
    differing = [
        f"    {path}: ours {ours.get(path)}, theirs {theirs.get(path)}"
        for path in sorted({*ours, *theirs})
        if ours.get(path) != theirs.get(path)
    ]
    if differing:
        more = f"\n    and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        message = f"{contender} arrives at another state than ours; make them one:\n"
        raise BenchmarkError(message + "\n".join(differing[:SHOWN]) + more)


def refuse_other_limit(machine: Machine, release: Release, limit_mb: int) -> None:
    """Raise :class:`BenchmarkError` unless nginx refuses what is a little larger than ``limit_mb``.

    It says so as soon as it has read the header: so the new configuration has not only been written, but is served.
    """
    length = {"Content-Length": str(limit_mb * 2**20 + 1)}
    server = Server(machine, release)
    # A reload is done when the old workers are gone, a moment after systemd has passed it on.
    if not wait_until(lambda: _asked(server, "PUT", "/dav.php/", headers=length) == 413, RELOAD_LIMIT_S):
        message = f"a request of more than {limit_mb} MiB is not answered with 413: the change isn't served"
        raise BenchmarkError(message)


def _refuse_unserved(machine: Machine, release: Release) -> None:
    server = Server(machine, release)
    stranger = _asked(server, "GET", "/dav.php/")
    href = f"/dav.php/calendars/{USER}/default/"
    calendar = _asked(server, "PROPFIND", href, user=USER, headers={"Depth": "1"})
    if (stranger, calendar) != (401, 207):
        message = f"the server answers {stranger} to a stranger and {calendar} to its user, not 401 and 207"
        raise BenchmarkError(message)


def _asked(server: Server, method: str, path: str, *, user: str = "", headers: Mapping[str, str] | None = None) -> int:
    """Return the status of the answer; raises :class:`BenchmarkError` where there is none in good time."""
    try:
        return server.ask(method, path, user=user, headers=headers).status
    except (OSError, http.client.HTTPException) as error:
        message = f"{method} {path} is not answered: {error}"
        raise BenchmarkError(message) from error
