"""A container's start, compared with the minimum of the engine; its stop; and the cost of a health probe."""

from __future__ import annotations

import base64
import ssl
import time
from contextlib import ExitStack
from socket import create_connection
from typing import TYPE_CHECKING, Final

from bench.baking import SECTION
from bench.contenders import Bench, BenchmarkError
from bench.report import OURS, Goal, Row, alternating
from tests.lab.baking import baked
from tests.lab.container import Container, Volume
from tests.lab.http_request import HOSTNAME
from tests.lab.machine import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable


FLOOR: Final = "the same image, one line of Perl that answers"
EXEC: Final = "`docker exec … true`"
RUNS: Final = 7
"""Minimum number of runs: a start takes less than a second, so other load on the computer affects it."""
LIMIT_S: Final = 20
PAUSE_S: Final = 0.005
CONNECT_S: Final = 0.03
"""Limit for a connection attempt: one may get lost while the engine sets up the port."""
ANSWER_S: Final = 5
UNAUTHORIZED: Final = b" 401 "
CREDENTIALS: Final = base64.b64encode(b"unknown:nothing").decode()
REQUEST: Final = (
    f"PROPFIND /dav.php/ HTTP/1.1\r\nHost: {HOSTNAME}\r\nAuthorization: Basic {CREDENTIALS}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
).encode()
"""As an unknown account, so the answer needs the database."""
TRIVIAL: Final = (
    "$s = IO::Socket::INET->new(LocalPort => 443, Listen => 9, ReuseAddr => 1);"
    'while ($c = $s->accept) { print $c "HTTP/1.1 401 \\r\\n"; close $c }'
)
PROCESSOR_TIME: Final = (
    "import resource, subprocess; subprocess.run(['baikalctl', 'health'], check=True, capture_output=True);"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
)
DATABASE: Final = "/var/lib/baikal/Specific/db"
START_NOTE: Final = (
    "from `docker run` to the first 401 with the database read, over HTTPS on the published port; "
    f"retried {1000 * PAUSE_S:g} ms after each refusal, as soon as `docker run` has returned"
)


def rows(bench: Bench) -> list[Row]:
    """Return the rows for a container's start, stop and health; everything is removed afterwards.

    Raises :class:`BenchmarkError` if the answer that is waited for could be had without a database.
    """
    image = baked(bench.engine, bench.release)
    _prove(bench, image)
    bench.say(f"  {SECTION}: container start")
    ends: list[float] = []
    with Volume(bench.engine) as existing:
        _start(bench, image, existing)

        def fresh() -> float:
            with Volume(bench.engine) as empty:
                return _start(bench, image, empty)

        def again() -> float:
            return _start(bench, image, existing, ends)

        measures = {"fresh": fresh, "again": again, FLOOR: lambda: _floor(bench, image)}
        figures = alternating(measures, max(RUNS, bench.runs), bench.say)
    return [
        _start_row("an empty volume", {OURS: figures["fresh"], FLOOR: figures[FLOOR]}, 1.0),
        _start_row("a volume with data", {OURS: figures["again"], FLOOR: figures[FLOOR]}, 0.6),
        Row(section=SECTION, name="docker stop, idle", unit="s", figures={OURS: ends}),
        *_health(bench, image),
    ]


def _start_row(volume: str, figures: dict[str, list[float]], at_most: float) -> Row:
    name, goals = f"container start, {volume}", (Goal(at_most=at_most),)
    return Row(section=SECTION, name=name, unit="s", figures=figures, goals=goals, note=START_NOTE)


def _start(bench: Bench, image: str, volume: Volume, ends: list[float] | None = None) -> float:
    """Return the seconds to the first answer; the seconds of the stop are added to ``ends``."""
    began = time.monotonic()
    with Container.run(bench.engine, image, volume=volume, ports=(443,), ready=False) as container:
        _wait(container, lambda port: UNAUTHORIZED in _ask(port), began)
        seconds = time.monotonic() - began
        container.wait_until_serving()  # so it has no other work left
        began = time.monotonic()
        container.stop()
        if ends is not None:
            ends.append(time.monotonic() - began)
    return seconds


def _floor(bench: Bench, image: str) -> float:
    """Return the seconds to the first answer of a container that only answers."""
    began = time.monotonic()
    words = ("-MIO::Socket::INET", "-e", TRIVIAL)
    options = ("--entrypoint=perl",)
    with Container.run(bench.engine, image, *words, options=options, ports=(443,), ready=False) as container:
        _wait(container, lambda port: UNAUTHORIZED in _ask(port, secure=False), began)
        return time.monotonic() - began


def _wait(container: Container, answers: Callable[[int], bool], began: float) -> None:
    """Poll until the container answers.

    Not before ``docker run`` has returned: who asks earlier has the kernel look for a neighbour that isn't there yet,
    and look again a whole second later.
    """
    while not answers(container.ports[443]):
        if time.monotonic() - began > LIMIT_S:
            message = f"a container did not answer within {LIMIT_S} s:\n{container.log()}"
            raise BenchmarkError(message)
        time.sleep(PAUSE_S)


def _ask(port: int, *, secure: bool = True) -> bytes:
    """Return the first line of the answer, or nothing."""
    try:
        with ExitStack() as stack:
            line = stack.enter_context(create_connection((LOCAL, port), timeout=CONNECT_S))
            if secure:
                line = stack.enter_context(CONTEXT.wrap_socket(line))
                line.settimeout(ANSWER_S)
                line.sendall(REQUEST)
            return line.makefile("rb").readline(200)
    except OSError:
        return b""


def _prove(bench: Bench, image: str) -> None:
    """Raise :class:`BenchmarkError` if the answer is the same without the database."""
    with Container.run(bench.engine, image, ports=(443,)) as container:
        answer = _ask(container.ports[443])
        container.execute("mv", DATABASE, f"{DATABASE}.away")
        gone = _ask(container.ports[443])
    if UNAUTHORIZED not in answer or UNAUTHORIZED in gone:
        message = f"with its database a container answers {answer!r}, without it {gone!r}: 401 is no proof of it"
        raise BenchmarkError(message)


def _health(bench: Bench, image: str) -> list[Row]:
    """Return the duration of a probe, and its processor time."""
    with Container.run(bench.engine, image, ports=(443,)) as container:

        def seconds(*command: str) -> float:
            began = time.monotonic()
            container.execute(*command)
            return time.monotonic() - began

        measures = {OURS: lambda: seconds("baikalctl", "health"), EXEC: lambda: seconds("true")}
        figures = alternating(measures, max(RUNS, bench.runs), bench.say)
        used = [float(container.execute("python3", "-c", PROCESSOR_TIME)) for _ in figures[OURS]]
    note = "of the probe's process; one probe every 30 s"
    return [
        Row(section=SECTION, name="health probe", unit="s", figures=figures),
        Row(section=SECTION, name="health probe, processor time", unit="s", figures={OURS: used}, note=note),
    ]


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


CONTEXT: Final = _context()
"""One context for all attempts. The certificate is not verified here."""
