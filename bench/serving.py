"""The deployed server under a mixed CalDAV load, compared with the same packages with the distribution's defaults."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load
from bench.corpus import LARGE, SMALL, Corpus
from bench.load import MIXED, NOTE, WRITING, Load
from bench.measured_server import MeasuredServer
from bench.report import OURS, Goal, Row, alternating
from bench.serving_measures import MEASURES, without_session_rule, without_write_ahead_log
from bench.serving_proof import prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.contenders import Bench


SECTION: Final = "Server"
DEFAULTS: Final = "the distribution's defaults"
RATE: Final = "requests/s"

CLIENTS: Final = (1, 8, 32)
USUAL: Final = 8
AT_LEAST: Final[Mapping[str, float]] = {SMALL.name: 2, LARGE.name: 7}
"""Goal for the ratio to the defaults' requests, with :data:`USUAL` clients."""
WARM_UP_S: Final = 2
RUN_S: Final = 5
SHORT_RUN_S: Final = 4
"""For measurements after a restart each, with their own warm-up."""
NOTHING: Final = 0.97
"""If this share of the requests remains without a measure, its effect can't be distinguished from noise."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of both servers on each corpus, then the effect of each of our measures.

    Raises BenchmarkError if any answer is not the expected one, or if anything acknowledged is lost. While one server
    is measured, the other is idle. Both machines are always removed at the end.
    """
    load.install()
    with (
        tempfile.TemporaryDirectory(prefix="baikal-bench-") as folder,
        MeasuredServer.by_hand(bench.engine, bench.release) as defaults,
        MeasuredServer.ours(bench.engine, bench.release) as ours,
    ):
        for corpus in (SMALL, LARGE):
            bench.say(f"  {corpus}")
            for server in (defaults, ours):
                server.fill(corpus, Path(folder))
                prove(server, corpus)
            for clients in CLIENTS:
                yield from _compared(bench, corpus, clients, ours, defaults)
            if corpus is SMALL:
                yield _with_cookies(bench, corpus, ours, defaults)
            yield _measures(bench, corpus, ours)
        for clients in CLIENTS[1:]:
            yield _writers(bench, LARGE, clients, ours)


def _compared(
    bench: Bench, corpus: Corpus, clients: int, ours: MeasuredServer, defaults: MeasuredServer
) -> Iterator[Row]:
    """Yield the rates of both servers, and the high percentiles of the same runs."""
    tails: dict[str, list[float]] = {OURS: [], DEFAULTS: []}
    wanted = Load(clients=clients, seconds=RUN_S)

    def turn(name: str, server: MeasuredServer) -> Callable[[], float]:
        def run() -> float:
            outcome = server.drive(corpus, wanted)
            tails[name].append(outcome.p95_ms)
            return outcome.rate

        return run

    what = f"{corpus.name}, {_count(clients)}"
    bench.say(f"  {what}, {RATE}")
    for server in (ours, defaults):
        server.fresh()
        server.start()
        _warm_up(server, corpus, clients)
    rates = alternating({OURS: turn(OURS, ours), DEFAULTS: turn(DEFAULTS, defaults)}, bench.runs, bench.say)
    goals = (Goal(compared_to=DEFAULTS, at_least=AT_LEAST[corpus.name]),) if clients == USUAL else ()
    yield Row(section=SECTION, name=f"Mixed load, {what}", unit=RATE, figures=rates, goals=goals, note=_note(corpus))
    yield Row(section=SECTION, name=f"Mixed load, {what}: 95 of 100 answered within", unit="ms", figures=tails)


def _with_cookies(bench: Bench, corpus: Corpus, ours: MeasuredServer, defaults: MeasuredServer) -> Row:
    """Measure a client that keeps cookies and uses several connections: PHP locks a session's file."""

    def run(server: MeasuredServer) -> float:
        cookies = server.log_in(corpus, 1)
        return server.drive(corpus, Load(clients=USUAL, seconds=SHORT_RUN_S, cookies=cookies)).rate

    def changed() -> float:
        with _changed(ours, without_session_rule):
            _warm_up(ours, corpus, USUAL)
            return run(ours)

    def whole() -> float:
        with _changed(ours):
            _warm_up(ours, corpus, USUAL)
            return run(ours)

    what = f"a client that keeps cookies, on {USUAL} connections"
    bench.say(f"  {corpus.name}, {what}, {RATE}")
    turns = {OURS: whole, DEFAULTS: lambda: run(defaults), "with sessions for DAV": changed}
    figures = alternating(turns, bench.runs, bench.say)
    return Row(section=SECTION, name=f"Mixed load, {corpus.name}, {what}", unit=RATE, figures=figures)


def _measures(bench: Bench, corpus: Corpus, ours: MeasuredServer) -> Row:
    """Measure the whole server, and the server without each of the measures."""

    def turn(*changes: Callable[[MeasuredServer], None]) -> Callable[[], float]:
        return lambda: _restarted(ours, corpus, USUAL, MIXED, *changes)

    bench.say(f"  {corpus.name}, {_count(USUAL)}, without one measure, {RATE}")
    turns = {OURS: turn(), **{name: turn(change) for name, change in MEASURES.items()}}
    name = f"Effect of each measure, {corpus.name}, {_count(USUAL)}"
    row = Row(section=SECTION, name=name, unit=RATE, figures=alternating(turns, bench.runs, bench.say))
    idle = [name for name in MEASURES if row.median(name) >= NOTHING * row.median(OURS)]
    note = f"No effect distinguishable from noise: {', '.join(idle)}." if idle else "Every measure has an effect here."
    return Row(section=row.section, name=row.name, unit=row.unit, figures=row.figures, note=note)


def _writers(bench: Bench, corpus: Corpus, clients: int, ours: MeasuredServer) -> Row:
    """Measure the effect of the write-ahead log where it is largest: when most requests write."""

    def turn(*changes: Callable[[MeasuredServer], None]) -> Callable[[], float]:
        return lambda: _restarted(ours, corpus, clients, WRITING, *changes)

    what = f"{corpus.name}, {clients} writers"
    bench.say(f"  {what}, {RATE}")
    turns = {OURS: turn(), "without the write-ahead log": turn(without_write_ahead_log)}
    figures = alternating(turns, bench.runs, bench.say)
    return Row(section=SECTION, name=f"Four in five requests write, {what}", unit=RATE, figures=figures)


def _restarted(
    ours: MeasuredServer,
    corpus: Corpus,
    clients: int,
    mix: Mapping[str, int],
    *changes: Callable[[MeasuredServer], None],
) -> float:
    """Return the requests a second of our server with some ``changes``, which are undone afterwards."""
    with _changed(ours, *changes):
        _warm_up(ours, corpus, clients)
        return ours.drive(corpus, Load(clients=clients, seconds=SHORT_RUN_S, mix=mix)).rate


@contextlib.contextmanager
def _changed(ours: MeasuredServer, *changes: Callable[[MeasuredServer], None]) -> Iterator[None]:
    """Apply ``changes`` to a server with the initial database within the block."""
    try:
        ours.fresh()
        for change in changes:
            change(ours)
        ours.start()
        yield
    finally:
        ours.put_back()


def _warm_up(server: MeasuredServer, corpus: Corpus, clients: int) -> None:
    """Run a load whose figures are ignored, so that PHP compiles its code."""
    server.drive(corpus, Load(clients=clients, seconds=WARM_UP_S))


def _count(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _note(corpus: Corpus) -> str:
    return f"{corpus}; {NOTE}; over TLS with keep-alive and Basic auth, no cookies. No acknowledged write was lost."
