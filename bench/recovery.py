"""Data: backup and restore, waiting times of clients during changes of data, and a restore on a new machine.

It is compared with a typical script: SQLite's own copy of the database and ``tar``, and the reverse for a
restore. The script makes the same file, and doesn't verify it.
"""

from __future__ import annotations

import contextlib
import http.client
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from baikalctl.rendering.database import DRIVERS
from bench.contenders import Bench, BenchmarkError
from bench.report import OURS, Row, alternating
from tests.lab import release as releases
from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.corpus import Corpus
from tests.lab.corpus_rows import fill
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.dav import Dav
from tests.lab.deploying import REPOSITORY, Outcome, pyinfra
from tests.lab.engine import cache_directory
from tests.lab.http_request import PASSWORD
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.server import Server
from tests.lab.sql import SqlDatabase, SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.database_image import Backend


SECTION: Final = "Data"
DISTRIBUTION: Final = "debian:12"
SCRIPT: Final = "shell script"
WHOLE: Final = Corpus()
EACH: Final = 10_000
"""Times are scaled to this number of objects."""
OLDER: Final = "0.11.1"
AUTHORITY: Final = "/etc/ssl/bench-root.pem"
PAUSE_S: Final = 0.02
GOOD, CLOSED = 207, 503
COPY: Final = "/root/backup.tar.gz"
TABLES: Final = ("calendarobjects", "cards", "calendarchanges", "addressbookchanges", "principals")


@dataclass
class Deployment:
    """A deployed machine with a corpus in its database, local or on a server."""

    server: Server
    holder: SqlDatabase
    corpus: Corpus

    @property
    def machine(self) -> Machine:
        """The server's machine."""
        return self.server.machine

    @property
    def objects(self) -> int:
        """Number of events and contacts."""
        each = self.corpus
        return each.users * (each.calendars * each.events + each.books * each.contacts)

    def counts(self) -> list[int]:
        """Return the numbers of rows in the tables with users' data."""
        return [int(self.holder.execute((f"SELECT count(*) FROM {table}",))[0][0]) for table in TABLES]  # noqa: S608

    def seconds(self, command: str) -> float:
        """Run a command on the machine and return its duration."""
        began = time.monotonic()
        self.machine.run(command, timeout=1800)
        return time.monotonic() - began

    def for_each(self, command: str) -> float:
        """Return its duration, scaled to :data:`EACH` objects."""
        return self.seconds(command) * EACH / self.objects

    def back(self, command: str) -> float:
        """Delete data, let ``command`` restore it, and return the duration, scaled to :data:`EACH` objects.

        Raises :class:`BenchmarkError` where it isn't all there again.
        """
        before = self.counts()
        self.holder.execute(("DELETE FROM calendarobjects",), ("DELETE FROM cards",))
        taken = self.for_each(command)
        after = self.counts()
        # A restore adds changes, for clients that have seen the deletion.
        if before[:2] != after[:2] or before[4] != after[4]:
            message = f"{command} restored {dict(zip(TABLES, after, strict=True))} of {before}"
            raise BenchmarkError(message)
        return taken


@dataclass
class Watcher:
    """A client that sends requests all the time, and records the answers; it ends with the block."""

    server: Server
    user: str
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    """Start and end of each request, and its status; 0 if there was no answer."""
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        """Start the client."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the client after its current answer."""
        self._over.set()
        if self._thread:
            self._thread.join()

    def window(self) -> float:
        """Return how long clients had no good answer: from the last one before to the first one after.

        Raises :class:`BenchmarkError` for an answer that no client should see, and where there was no such time.
        """
        statuses = {status for _, _, status in self.answers}
        if statuses - {GOOD, CLOSED}:
            message = f"clients were answered with {sorted(statuses)}, and not only with {GOOD} and {CLOSED}"
            raise BenchmarkError(message)
        closed = [number for number, answer in enumerate(self.answers) if answer[2] == CLOSED]
        if not closed or not 0 < closed[0] <= closed[-1] < len(self.answers) - 1:
            message = f"clients were answered with {statuses}: there was no 503, or no good answer before or after it"
            raise BenchmarkError(message)
        return self.answers[closed[-1] + 1][1] - self.answers[closed[0] - 1][1]

    def _run(self) -> None:
        dav = Dav(f"https://127.0.0.1:{self.server.port}", self.user, PASSWORD)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                status = dav.send("PROPFIND", f"/dav.php/calendars/{self.user}/", Depth="0").status
            except (OSError, http.client.HTTPException):
                status = 0
            self.answers.append((began, time.monotonic(), status))
            self._over.wait(PAUSE_S)
        dav.close()


def rows(bench: Bench, corpus: Corpus = WHOLE) -> Iterator[Row]:
    """Yield all rows; raises :class:`BenchmarkError` if anything fails, or isn't restored."""
    bench.say(f"  {SECTION}: {corpus}")
    with ExitStack() as stack:
        sqlite = stack.enter_context(_sqlite(bench, corpus))
        network = stack.enter_context(Network(bench.engine))
        served = [stack.enter_context(_served(bench, corpus, network, backend)) for backend in BACKENDS]
        yield from _archives(bench, sqlite, served)
    yield _windows(bench, corpus)
    yield _drill(bench, corpus)


def _archives(bench: Bench, sqlite: Deployment, served: list[tuple[str, Deployment]]) -> Iterator[Row]:
    for script in ("backup.sh", "restore.sh"):
        sqlite.machine.write(f"/root/{script}", (REPOSITORY / "bench/peers" / script).read_text(), mode="0755")
    others = [(f"{OURS}, {title}", kept) for title, kept in served]
    unit = f"s for {EACH:,} objects"

    def row(name: str, measures: dict[str, Callable[[], float]], note: str = "") -> Row:
        bench.say(f"  {SECTION}: {name}")
        figures = alternating(measures, bench.runs, bench.say)
        return Row(section=SECTION, name=name, unit=unit, figures=figures, note=note)

    making = "baikalctl backup"
    measures: dict[str, Callable[[], float]] = {OURS: partial(sqlite.for_each, making)}
    measures[SCRIPT] = partial(_alone, sqlite, "/root/backup.sh")
    measures |= {name: partial(kept.for_each, making) for name, kept in others}
    made = row("an archive", measures)
    size = int(sqlite.machine.run("ls -t /var/backups/baikal/*.tar.gz | head -n 1 | xargs stat -c %s"))
    yield made_of(made, f"{sqlite.corpus}; the archive has {size / 1e6:.1f} MB")
    yield row("verify an archive", {OURS: partial(sqlite.for_each, "baikalctl backup verify")})
    bringing = "baikalctl restore latest"
    measures = {OURS: partial(sqlite.back, bringing)}
    measures[SCRIPT] = partial(_alone, sqlite, "/root/restore.sh", back=True)
    measures |= {name: partial(kept.back, bringing) for name, kept in others}
    note = "with verification, a trial run on a copy, and a copy of the old data; the script does none of these"
    yield row("an archive restored", measures, note)


def made_of(row: Row, note: str) -> Row:
    """Return the row with a note that needs the result."""
    return Row(section=row.section, name=row.name, unit=row.unit, figures=row.figures, note=note)


def _alone(kept: Deployment, script: str, *, back: bool = False) -> float:
    """Run the peer's script with its own archives, because both use the same names."""
    ours, theirs = "/var/backups/baikal", "/var/backups/script"
    kept.machine.run(f"mkdir -p {ours} {theirs}; mv {ours} {ours}.ours; mv {theirs} {ours}")
    try:
        return kept.back(script) if back else kept.for_each(script)
    finally:
        kept.machine.run(f"mv {ours} {theirs}; mv {ours}.ours {ours}")


def _windows(bench: Bench, corpus: Corpus) -> Row:
    """Upgrade and restore with a watching client, on a new machine each time."""
    older = releases.standin(cache_directory(), OLDER)
    image = machine_image(bench.engine, DISTRIBUTION, PACKAGES)
    least = Corpus(users=1, calendars=1, events=1, books=1, contacts=1)
    upgrade, empty, restore = "an upgrade", "an upgrade with little data", "a restore"
    figures: dict[str, list[float]] = {upgrade: [], empty: [], restore: []}

    def upgraded(kept: Deployment) -> float:
        before = kept.counts()
        with Watcher(kept.server, kept.corpus.names()[0]) as watcher:
            _require_success(Server(kept.machine, bench.release).deploy(), "the upgrade")
        if kept.counts() != before:
            message = "the upgrade has lost data"
            raise BenchmarkError(message)
        return watcher.window()

    bench.say(f"  {SECTION}: how long clients wait")
    for number in range(1, bench.runs + 1):
        for name, much in ((upgrade, corpus), (empty, least)):
            with Machine.start(bench.engine, image) as machine:
                kept = _filled(bench, Server(machine, older), much)
                figures[name].append(upgraded(kept))
                if name is upgrade:
                    kept.machine.run("baikalctl backup")
                    with Watcher(kept.server, much.names()[0]) as watcher:
                        kept.machine.run("baikalctl restore latest")
                    figures[restore].append(watcher.window())
        bench.say(f"    {number}/{bench.runs} " + ", ".join(f"{name} {figures[name][-1]:.3g}" for name in figures))
    note = (
        f"from the last good answer before to the first after, with a request every {PAUSE_S * 1000:g} ms; all others "
        f"were 503. {corpus}; from {OLDER}, {older.origin}"
    )
    name = "time with 503 for clients"
    return Row(section=SECTION, name=name, unit="s", figures=figures, ours=upgrade, note=note)


def _drill(bench: Bench, corpus: Corpus) -> Row:
    """Restore a server on a bare machine, from inventory and archive, compared with the deploy alone."""
    bare = machine_image(bench.engine, DISTRIBUTION)
    alone = "the deploy alone"
    with tempfile.TemporaryDirectory(prefix="baikal-bench-") as folder:
        archive, before = _archive(bench, corpus, Path(folder))

        def run(*, restored: bool) -> float:
            with Machine.start(bench.engine, bare) as machine:
                machine.run("touch -d 'last week' /var/lib/apt/lists")
                server = Server(machine, bench.release)
                began = time.monotonic()
                if restored:
                    inventory = [server.host(restore_from=str(archive))]
                    done = pyinfra(inventory, "-y", "--json", deploy="restore.py")
                else:
                    done = server.deploy()
                taken = time.monotonic() - began
                _require_success(done, "restore.py" if restored else "the deploy")
                kept = Deployment(server, SqliteFile(bench.engine, machine.name), corpus)
                if restored and kept.counts()[:2] != before[:2]:
                    message = f"the archive had {before} rows, and {kept.counts()} were restored"
                    raise BenchmarkError(message)
                return taken

        bench.say(f"  {SECTION}: a bare machine to the restored server")
        turns = {OURS: partial(run, restored=True), alone: partial(run, restored=False)}
        figures = alternating(turns, bench.runs, bench.say)
    note = f"one command, pyinfra inventory.py restore.py, with packages from the network; {corpus}"
    return Row(section=SECTION, name="a bare machine to the restored server", unit="s", figures=figures, note=note)


def _archive(bench: Bench, corpus: Corpus, folder: Path) -> tuple[Path, list[int]]:
    """Return an archive of a machine that is removed, and its numbers of rows."""
    with _sqlite(bench, corpus) as kept:
        kept.machine.run(f"baikalctl backup && cp /var/backups/baikal/*.tar.gz {COPY}")
        archive = folder / "baikal-20260101T000000Z.tar.gz"
        bench.engine.docker("cp", f"{kept.machine.name}:{COPY}", str(archive))
        return archive, kept.counts()


@contextlib.contextmanager
def _sqlite(bench: Bench, corpus: Corpus) -> Iterator[Deployment]:
    with Machine.start(bench.engine, machine_image(bench.engine, DISTRIBUTION, PACKAGES)) as machine:
        yield _filled(bench, Server(machine, bench.release), corpus)


@contextlib.contextmanager
def _served(bench: Bench, corpus: Corpus, network: Network, backend: Backend) -> Iterator[tuple[str, Deployment]]:
    """Yield a machine with its data on a database server over TLS, and the server's name."""
    signer = Signer.root()
    packages = (*PACKAGES, *DRIVERS[backend])
    with (
        tempfile.TemporaryDirectory(prefix="baikal-bench-") as folder,
        DatabaseServer.run(bench.engine, network, backend, signer, password=PASSWORD, tls_only=True) as database,
        Machine.start(bench.engine, machine_image(bench.engine, DISTRIBUTION, packages)) as machine,
    ):
        secret = Path(folder) / "password"
        attach(bench.engine, network, machine.name)
        machine.write(AUTHORITY, database.ca)
        data = database.settings(secret, AUTHORITY)
        yield database.kind.title, _filled(bench, Server(machine, bench.release, data=data), corpus, database)


def _filled(bench: Bench, server: Server, corpus: Corpus, holder: SqlDatabase | None = None) -> Deployment:
    _require_success(server.deploy(), "the deploy")
    kept = Deployment(server, holder or SqliteFile(bench.engine, server.machine.name), corpus)
    fill(kept.holder, corpus)
    return kept


def _require_success(outcome: Outcome, what: str) -> None:
    if outcome.status:
        message = f"{what} failed: {outcome.output[-3000:]}"
        raise BenchmarkError(message)
