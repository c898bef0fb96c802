"""The load: CalDAV clients that send requests over TLS as fast as possible, and remember acknowledged writes.

It uses wrk, because client and server share the machine: wrk with a Lua script needs a tenth of a core
for 500 requests a second, a client in Python would need more than one core. Every connection has its own
thread, so that an answer belongs to the request before it.
"""

from __future__ import annotations

import base64
import resource
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.contenders import BenchmarkError
from bench.corpus import DAYS, FIRST_DAY, PASSWORD, Corpus
from tests.lab.engine import apt_install
from tests.lab.objects import calendar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


SCRIPT: Final = Path(__file__).with_name("load.lua")
HOST: Final = "localhost"
ANSWER_LIMIT_S: Final = 60
MOST_ROUNDS: Final = 500
"""Limit of a client's rounds of a hundred requests, far above what any run reaches in its time."""
TOGETHER: Final = 10
"""Objects per multiget."""

MIXED: Final[Mapping[str, int]] = {
    "home": 10,
    "calendar": 20,
    "sync": 20,
    "query": 12,
    "multiget": 13,
    "event": 15,
    "contact": 5,
    "new": 3,
    "over": 2,
}
"""Numbers in a hundred requests: PROPFIND of all calendars and of one, REPORT sync-collection, calendar-query of a week
and calendar-multiget, GET of an event and of a contact, and 5 PUT. Synchronising clients send such a mix all day."""
NOTE: Final = "of 100 requests 30 PROPFIND, 20 sync-collection, 12 calendar-query, 13 calendar-multiget, 20 GET, 5 PUT"
WRITING: Final[Mapping[str, int]] = {"sync": 20, "new": 50, "over": 30}
"""Clients that mostly write, as in an import of all calendars."""

BODIES: Final = {
    "home": """<d:propfind xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:s="http://calendarserver.org/ns/">\
<d:prop><d:resourcetype/><d:displayname/><d:current-user-privilege-set/><d:sync-token/><s:getctag/>\
<c:supported-calendar-component-set/></d:prop></d:propfind>""",
    "calendar": """<d:propfind xmlns:d="DAV:" xmlns:s="http://calendarserver.org/ns/"><d:prop><d:sync-token/><s:getctag/>\
</d:prop></d:propfind>""",
    "sync": """<d:sync-collection xmlns:d="DAV:"><d:sync-token>@TOKEN@</d:sync-token><d:sync-level>1</d:sync-level>\
<d:prop><d:getetag/></d:prop></d:sync-collection>""",
    "query": """<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><d:getetag/>\
<c:calendar-data/></d:prop><c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT">\
<c:time-range start="@FROM@T000000Z" end="@TO@T000000Z"/></c:comp-filter></c:comp-filter></c:filter></c:calendar-query>""",
    "multiget": """<c:calendar-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><d:getetag/>\
<c:calendar-data/></d:prop>@HREFS@</c:calendar-multiget>""",
}
EVENT: Final = """\
BEGIN:VEVENT
UID:@UID@
DTSTAMP:20260101T000000Z
DTSTART;TZID=Europe/Berlin:@DAY@T100000
DTEND;TZID=Europe/Berlin:@DAY@T113000
SUMMARY:Frühstück mit Zoë
X-BENCH-WRITE:@MARK@
END:VEVENT
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Clients, their requests, and the duration."""

    clients: int
    seconds: int
    mix: Mapping[str, int] = field(default_factory=lambda: MIXED)
    cookies: Sequence[str] = ()
    """Session cookies, one per user; their clients share the connections evenly. If empty, clients keep no cookies."""


@dataclass(frozen=True)
class Outcome:
    """Result of a load in which every answer was as expected."""

    rate: float
    """Requests a second."""
    p95_ms: float
    counts: Mapping[str, int]
    """Answers, by kind of request and status."""
    run: str
    written: Mapping[str, tuple[int, int]]
    """Paths of all objects with an acknowledged PUT, each with the thread and the number of its last one."""
    cpu_s: float
    """Processor time of the load generator."""


def install() -> None:
    """Install wrk if necessary; LabError if that isn't possible."""
    if shutil.which("wrk") is None:
        apt_install(("wrk",))


def drive(port: int, corpus: Corpus, load: Load) -> Outcome:
    """Run ``load`` on the server at ``port`` of 127.0.0.1, which has ``corpus``.

    Raises BenchmarkError if any answer has an unexpected status or incomplete content.
    """
    with tempfile.TemporaryDirectory(prefix="baikal-bench-") as folder:
        report, plan = Path(folder) / "report", Path(folder) / "plan.lua"
        run = secrets.token_hex(4)
        plan.write_text(f"return {_lua(_plan(port, corpus, load, run, report))}\n", encoding="ascii")
        threads = ("-t", str(load.clients), "-c", str(load.clients))
        limits = ("-d", f"{load.seconds}s", "--timeout", f"{ANSWER_LIMIT_S}s")
        url = f"https://127.0.0.1:{port}"
        command = ["wrk", *threads, *limits, "-s", str(SCRIPT), url, str(plan)]
        before = _children_cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, timeout=load.seconds + 60, check=False)
        if done.returncode or not report.is_file():
            message = f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
            raise BenchmarkError(message)
        return _outcome(report.read_text(encoding="utf-8", errors="replace"), run, _children_cpu_s() - before)


def _plan(port: int, corpus: Corpus, load: Load, run: str, report: Path) -> dict[str, object]:
    """Return the input of load.lua."""
    names = corpus.names()
    people = [{"users": names, "cookie": ""} for _ in range(load.clients)]
    if load.cookies:
        owners = [thread * len(load.cookies) // load.clients for thread in range(load.clients)]
        headers = [f"Cookie: {cookie}\r\n" if cookie else "" for cookie in load.cookies]
        people = [{"users": [names[owner]], "cookie": headers[owner]} for owner in owners]
    return {
        "host": f"{HOST}:{port}",
        "run": run,
        "seed": 1,
        "report": str(report),
        "mix": dict(load.mix),
        "most_rounds": MOST_ROUNDS,
        "people": people,
        "passwords": {name: base64.b64encode(f"{name}:{PASSWORD}".encode()).decode() for name in names},
        "events": corpus.events,
        "contacts": corpus.contacts,
        "first_day": int(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()),
        "days": DAYS,
        # sabre/dav's prefix, and the initial number of every calendar of the corpus.
        "token": f"http://sabre.io/ns/sync/{corpus.events + 1}",
        "together": TOGETHER,
        "event": calendar(EVENT),
        "bodies": BODIES,
    }


def _outcome(report: str, run: str, cpu_s: float) -> Outcome:
    """Parse the output of load.lua's ``done``; raises BenchmarkError on any error in it."""
    figures: dict[str, float] = {}
    counts: dict[str, int] = {}
    written: dict[str, tuple[int, int]] = {}
    faults: list[str] = []
    for line in report.splitlines():
        match line.split("\t"):
            case ["rate" | "p95" as name, value]:
                figures[name] = float(value)
            case ["count", kind, status, count]:
                counts[f"{kind} {status}"] = counts.get(f"{kind} {status}", 0) + int(count)
            case ["wrote", path, thread, number]:
                written[path] = (int(thread), int(number))
            case ["error", name, count] if int(count):
                faults.append(f"{count} errors of the kind “{name}”")
            case ["odd", what]:
                faults.append(what)
            case ["full"]:
                faults.append(f"a client reached the limit of {MOST_ROUNDS} rounds too early; raise MOST_ROUNDS")
            case _:
                pass
    if not counts:
        faults.append("nothing was answered")
    if faults:
        message = f"under load the server gave wrong answers: {'; '.join(faults[:5])} (answers: {counts})"
        raise BenchmarkError(message)
    return Outcome(figures["rate"], figures["p95"], counts, run, written, cpu_s)


def _lua(value: object) -> str:
    """Return ``value`` in Lua's notation."""
    match value:
        case dict():
            return "{" + ",".join(f"[{_lua(key)}]={_lua(one)}" for key, one in value.items()) + "}"
        case list():
            return "{" + ",".join(_lua(one) for one in value) + "}"
        case int():
            return str(value)
        case _:
            plain = (
                chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03}" for byte in str(value).encode()
            )
            return f'"{"".join(plain)}"'


def _children_cpu_s() -> float:

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
