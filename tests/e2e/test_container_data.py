"""Data of containers survives upgrades, restores, moves to other databases, and database outages."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab import release as releases
from tests.lab.acme import Network
from tests.lab.baking import with_release
from tests.lab.certificates import Signer
from tests.lab.clients import CARD, EVENT
from tests.lab.container import UNPRIVILEGED, Container, Volume
from tests.lab.contents import Contents, compare, fetch_all
from tests.lab.databases import BACKENDS, DatabaseServer
from tests.lab.dav import Dav
from tests.lab.engine import Engine, cache_directory, wait_until
from tests.lab.errors import LabError
from tests.lab.future_release import VERSION as FUTURE
from tests.lab.future_release import Kind
from tests.lab.http_request import PASSWORD, Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.lab.database_image import Backend
    from tests.lab.release import Release


OLDER: Final = "0.11.1"
SECRET: Final = """pass word: "it's" #1 \\ 100% $HOME;"""
"""A password that needs escaping in every file and connection string."""
PEOPLE: Final = {"jo": PASSWORD}
LIMIT_S: Final = 60
CALENDAR: Final = "/dav.php/calendars/jo/default/"
BOOK: Final = "/dav.php/addressbooks/jo/default/"
EVENTS: Final = "SELECT count(*) FROM calendarobjects"
JOURNAL: Final = "/var/lib/baikal/state/transition.json"
LISTING: Final = """\
cd /var/lib/baikal
find . -printf '%p %y %m %U:%G\\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
"""
LOCK: Final = {
    "mysql": (("LOCK TABLES users READ",), ("SELECT SLEEP(100)",)),
    "pgsql": (("LOCK TABLE users IN SHARE MODE",), ("SELECT pg_sleep(100)",)),
}
"""Locks the table against changes until the session ends."""
UNLOCK: Final = {
    "mysql": "SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(100)'",
    "pgsql": "SELECT format('SELECT pg_terminate_backend(%s)', pid) FROM pg_stat_activity"
    " WHERE query = 'SELECT pg_sleep(100)'",
}


@dataclass
class Setup:
    """A volume, and how containers are run on it."""

    engine: Engine
    volume: Volume
    environment: Mapping[str, str | None] = field(default_factory=dict)
    options: Sequence[str] = ()

    def run(self, image: str, *, ready: bool = True) -> Container:
        """Run a container that should serve."""
        return Container.run(
            self.engine,
            image,
            volume=self.volume,
            environment=self.environment,
            options=self.options,
            ready=ready,
        )

    def run_command(self, image: str, *words: str, options: Sequence[str] = ()) -> tuple[int, str]:
        """Run a one-off container, and return its exit status and its log."""
        all_options = (*self.options, *options)
        with Container.run(
            self.engine,
            image,
            *words,
            volume=self.volume,
            environment=self.environment,
            options=all_options,
            ports=(),
            ready=False,
        ) as container:
            return container.exit_status(LIMIT_S), container.log()

    def run_to_end(self, image: str) -> tuple[int, str]:
        """Run a container that ends by itself; return its exit status, and the last line of its log."""
        with self.run(image, ready=False) as container:
            return container.exit_status(LIMIT_S), container.log().rstrip().splitlines()[-1]

    def listing(self, image: str) -> str:
        """Return the contents of the volume: names, modes, owners and checksums."""
        whole = Setup(self.engine, self.volume, options=("--entrypoint=/bin/sh",))
        return whole.run_command(image, "-euc", LISTING)[1]


@dataclass
class Resources:
    """Image, database servers and folder of these tests."""

    engine: Engine
    image: str
    """The image with the release under test."""
    servers: Mapping[Backend, DatabaseServer]
    folder: Path
    """Mounted folder with a database server's password and CA."""
    others: dict[tuple[str, Kind], str] = field(default_factory=dict)

    def other(self, version: str, kind: Kind = Kind.PLAIN) -> str:
        """Return an image with another release."""
        if (version, kind) not in self.others:
            standin = releases.standin(cache_directory(), version, kind)
            self.others[version, kind] = with_release(self.engine, self.image, standin)
        return self.others[version, kind]

    def setup(self, volume: Volume, backend: str = "sqlite", options: Sequence[str] = ()) -> Setup:
        """Return a setup with its data in the volume, or in an empty database of a server."""
        server = self.server(backend)
        if not server:
            return Setup(self.engine, volume, options=options)
        server.start()
        server.empty()
        (self.folder / "password").write_text(server.password, encoding="utf-8")
        (self.folder / "ca.pem").write_text(server.ca, encoding="ascii")
        environment = {
            "BAIKAL_DATABASE": backend,
            "BAIKAL_DATABASE_HOST": server.host,
            "BAIKAL_DATABASE_CA": "/database/ca.pem",
            "BAIKAL_DATABASE_PASSWORD_FILE": "/database/password",
        }
        joined = (f"--network={server.network.name}", f"--volume={self.folder}:/database:ro", *options)
        return Setup(self.engine, volume, environment, joined)

    def server(self, backend: str) -> DatabaseServer | None:
        """Return the database server; None for SQLite."""
        return next((server for server in self.servers.values() if server.backend == backend), None)


@pytest.fixture(scope="module")
def resources(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """Yield image, folder, and a server of each kind that requires TLS; everything is removed at the end."""
    signer = Signer.root()
    folder = tmp_path_factory.mktemp("database")
    folder.chmod(0o755)
    with Network(engine) as network, contextlib.ExitStack() as stack:
        servers = {
            backend: stack.enter_context(
                DatabaseServer.run(engine, network, backend, signer, password=SECRET, tls_only=True)
            )
            for backend in BACKENDS
        }
        made = Resources(engine, image, servers, folder)
        yield made
    for tag in made.others.values():
        engine.docker("rmi", tag, check=False)


def fill(container: Container) -> Contents:
    """Store events and contacts, change and delete some; return all data."""
    with contextlib.closing(Dav(container.url, "jo", PASSWORD)) as dav:
        for number in range(12):
            event = EVENT.format(uid=f"e{number}", summary=f"Müll 🗑 {number}").replace("\n", "\r\n")
            assert dav.send("PUT", f"{CALENDAR}{number}.ics", event.encode()).status == 201
            card = CARD.format(uid=f"c{number}", name=f"Zoë Groß {number}")
            assert dav.send("PUT", f"{BOOK}{number}.vcf", card.encode()).status == 201
        assert dav.send("PUT", f"{CALENDAR}0.ics", event.replace("UID:e11", "UID:e0").encode()).status == 204
        assert dav.send("DELETE", f"{CALENDAR}1.ics").status == 204
    return contents(container)


def contents(container: Container) -> Contents:
    """Return all data."""
    return fetch_all(container.url, PEOPLE)


def answers_until_serving(container: Container, limit_s: float = LIMIT_S) -> list[Answer]:
    """Send anonymous requests until the answer is 401, and return all answers."""
    answers: list[Answer] = []

    def serves() -> bool:
        with contextlib.suppress(OSError):  # the port is not open yet
            answers.append(container.ask("PROPFIND", "/dav.php/"))
        return bool(answers) and answers[-1].status == 401

    assert wait_until(serves, limit_s, pause_s=0.02), f"{answers[-1:]}\n{container.log()}"
    return answers


def all_retry_later(answers: Sequence[Answer]) -> bool:
    """Whether there are answers, and all are 503 with Retry-After."""
    return {(answer.status, answer.headers.get("retry-after")) for answer in answers} == {(503, "30")}


def start_log(container: Container) -> list[str]:
    """Return the log lines of the start, except the warning about passwords that PHP can read."""
    lines = [
        line.removeprefix("baikalctl: ") for line in container.log().splitlines() if line.startswith("baikalctl: ")
    ]
    return [line for line in lines if not line.startswith("PHP runs as the same account")]


def health(container: Container) -> str:
    """Return the output of the health probe."""
    return container.execute("baikalctl", "health", check=False)


def is_closed(container: Container) -> bool:
    """Whether clients get 503 with Retry-After."""
    with contextlib.suppress(OSError):
        return all_retry_later([container.ask("PROPFIND", "/dav.php/")])
    return False


def archive(container: Container, folder: Path) -> str:
    """Make an archive, copy it here, readable by all accounts, and return its name."""
    made: dict[str, Any] = json.loads(container.execute("baikalctl", "backup", "--json"))
    name = str(made["path"]).rpartition("/")[2]
    container.engine.docker("cp", f"{container.name}:/var/lib/baikal/backups/{name}", str(folder / name))
    (folder / name).chmod(0o644)
    folder.chmod(0o755)
    return name


@contextlib.contextmanager
def table_locked(server: DatabaseServer | None) -> Iterator[None]:
    """Lock the accounts' table of a database server within the block."""
    if server is None:
        yield
        return

    def hold() -> None:
        with contextlib.suppress(LabError):
            server.execute(*LOCK[server.backend])

    thread = threading.Thread(target=hold)
    thread.start()
    assert wait_until(lambda: server.rows(UNLOCK[server.backend]) != [], LIMIT_S)
    try:
        yield
    finally:
        for (statement,) in server.rows(UNLOCK[server.backend]):
            server.rows(statement)
        thread.join()


@contextlib.contextmanager
def stopped(server: DatabaseServer) -> Iterator[None]:
    """Stop the server until it is started again, at the latest at the end of the block."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_newer_image_upgrades_the_data_and_an_older_one_refuses_it(
    resources: Resources, volume: Volume, release: Release
) -> None:
    """Clients get 503, and then all data; the old data is kept; the image that refuses changes nothing."""
    setup = resources.setup(volume)
    with setup.run(resources.other(OLDER)) as old:
        before = fill(old)
    with setup.run(resources.image, ready=False) as new:
        *meanwhile, _ = answers_until_serving(new)
        assert all_retry_later(meanwhile)
        assert compare(before, contents(new)) == []
        assert f"Baïkal {release.version} is active; the old data is kept" in new.log()
        kept = new.execute("ls", "/var/lib/baikal/backups").split()
        assert any(name.startswith(f"before-upgrade-{OLDER}-to-{release.version}-") for name in kept)
        assert any(name.endswith("-before-upgrade.tar.gz") for name in kept)
    untouched = setup.listing(resources.image)
    status, last = setup.run_to_end(resources.other(OLDER))
    assert status == 1
    assert last.startswith(f"baikalctl: the data is of Baïkal {release.version}; {OLDER} is older")
    assert setup.listing(resources.image) == untouched
    with setup.run(resources.image) as new:
        assert start_log(new) == ["serving https://localhost"]
        assert compare(before, contents(new)) == []


@pytest.mark.parametrize(
    ("backend", "kind", "why"),
    [
        ("sqlite", Kind.FAILS_HALF_WAY, "step 2 of 3 has failed"),
        ("sqlite", Kind.ANSWERS_500, "doesn't work with this data"),
        ("pgsql", Kind.FAILS_HALF_WAY, "step 2 of 3 has failed"),
    ],
)
def test_an_upgrade_that_fails_ends_the_container_and_the_old_image_serves(
    resources: Resources, volume: Volume, backend: str, kind: Kind, why: str
) -> None:
    """The last line of its log has the reason, and says that nothing has changed."""
    setup = resources.setup(volume, backend)
    with setup.run(resources.image) as old:
        before = fill(old)
    status, last = setup.run_to_end(resources.other(FUTURE, kind))
    assert status == 1
    assert "failed and was rolled back: " in last
    assert why in last
    with setup.run(resources.image) as old:
        assert start_log(old) == ["serving https://localhost"]
        assert compare(before, contents(old)) == []


@pytest.mark.parametrize(("backend", "then"), [("sqlite", "old"), ("mysql", "old"), ("mysql", "new"), ("pgsql", "new")])
def test_container_killed_during_an_upgrade_has_changed_nothing(
    resources: Resources, volume: Volume, backend: str, then: str
) -> None:
    """With either image next: the old one serves the old data, and the new one upgrades it."""
    newer = resources.other(FUTURE, Kind.NEW_STEP)
    setup, server = resources.setup(volume, backend), resources.server(backend)
    with setup.run(resources.image) as old:
        before = fill(old)
    begun = '"loaded": true' if server else '"kept": "/'
    with table_locked(server), setup.run(newer, ready=False) as new:
        assert wait_until(lambda: begun in new.execute("cat", JOURNAL, check=False), LIMIT_S, pause_s=0.01), new.log()
        new.kill()
    if server:  # as after a power cut of both, where the container starts faster
        server.stop()
    with setup.run(resources.image if then == "old" else newer, ready=False) as after:
        if server:
            assert wait_until(lambda: is_closed(after), LIMIT_S), after.log()
            server.start()
        answers_until_serving(after)
        assert compare(before, contents(after)) == []
        assert any(line.endswith("was rolled back: the data is the same as before") for line in start_log(after))
    with setup.run(newer) as new:
        assert compare(before, contents(new)) == []
        columns = "SELECT disabled FROM users"
        assert (server.rows(columns) if server else new.rows(columns)) == [[0]]


@pytest.mark.parametrize("options", [(), UNPRIVILEGED], ids=["root", "confined"])
def test_archive_is_restored_by_a_one_off_container(
    resources: Resources, volume: Volume, tmp_path: Path, options: Sequence[str]
) -> None:
    """Into its own volume, while no container serves it, and into new ones, also without any environment."""
    setup = resources.setup(volume, options=options)
    mounted = (f"--volume={tmp_path}:/archives:ro",)
    with setup.run(resources.image) as container:
        before = fill(container)
        words = ("restore", f"/archives/{archive(container, tmp_path)}")
        status, log = setup.run_command(resources.image, *words, options=mounted)
        assert (status, "a container is serving this data; stop it" in log) == (1, True), log
        for path in (f"{CALENDAR}2.ics", f"{BOOK}3.vcf"):
            assert container.ask("DELETE", path, user="jo").status == 204
    nothing = dict.fromkeys(("BAIKAL_HOSTNAME", "BAIKAL_ADMIN_PASSWORD", "BAIKAL_USERS"))
    with Volume(resources.engine) as second, Volume(resources.engine) as third:
        for each, environment in ((volume, setup.environment), (second, setup.environment), (third, nothing)):
            status, log = replace(setup, volume=each, environment=environment).run_command(
                resources.image, *words, options=mounted
            )
            assert (status, "restored: 1 account" in log) == (0, True), log
            with replace(setup, volume=each).run(resources.image) as container:
                assert compare(before, contents(container), tokens=False) == []


@pytest.mark.parametrize(("backend", "options"), [("mysql", ()), ("pgsql", UNPRIVILEGED)])
def test_archive_is_restored_into_another_kind_of_database(
    resources: Resources, volume: Volume, tmp_path: Path, backend: str, options: Sequence[str]
) -> None:
    """From a server into a volume, and from there into an empty database, before its container's first start."""
    mounted = (f"--volume={tmp_path}:/archives:ro",)
    with resources.setup(volume, backend, options).run(resources.image) as container:
        before = fill(container)
        name = archive(container, tmp_path)
    with Volume(resources.engine) as second, Volume(resources.engine) as third:
        for each in (resources.setup(second, options=options), resources.setup(third, backend, options)):
            status, log = each.run_command(resources.image, "restore", f"/archives/{name}", options=mounted)
            assert (status, "restored: 1 account" in log) == (0, True), log
            with each.run(resources.image) as container:
                assert compare(before, contents(container), tokens=False) == []
                name = archive(container, tmp_path)
    server = resources.server(backend)
    assert server
    assert server.rows(EVENTS) == [[11]]


@pytest.mark.parametrize(("backend", "options"), [("mysql", ()), ("pgsql", UNPRIVILEGED)])
def test_container_waits_for_its_database(
    resources: Resources, volume: Volume, backend: str, options: Sequence[str]
) -> None:
    """At the first start and at any time later: clients get 503, and it recovers automatically."""
    setup, server = resources.setup(volume, backend, options), resources.server(backend)
    assert server
    with stopped(server), setup.run(resources.image, ready=False) as container:
        assert wait_until(lambda: is_closed(container), LIMIT_S), container.log()
        reason = start_log(container)[-1]
        assert "can't be reached" in reason
        assert server.host in reason
        assert "can't be reached" in health(container)
        server.start()
        answers_until_serving(container)
        assert start_log(container).count(reason) == 1
        container.wait_until_serving()
        before = fill(container)
        with stopped(server):
            assert wait_until(lambda: is_closed(container), LIMIT_S)
            assert "can't be reached" in health(container)
        answers_until_serving(container)
        assert compare(before, contents(container)) == []
    with setup.run(resources.image) as container:
        assert start_log(container) == ["serving https://localhost"]
        assert compare(before, contents(container)) == []
        assert server.password not in container.log()


@pytest.mark.parametrize(("backend", "options"), [("mysql", UNPRIVILEGED), ("pgsql", ())])
def test_data_moves_to_the_declared_database(
    resources: Resources, volume: Volume, backend: str, options: Sequence[str]
) -> None:
    """There and back by a one-off container; until then a start is refused with the remedy."""
    local, remote, server = (
        resources.setup(volume, options=options),
        resources.setup(volume, backend, options),
        resources.server(backend),
    )
    assert server
    with local.run(resources.image) as container:
        before = fill(container)
        status, log = remote.run_command(resources.image, "database", "move")
        assert (status, "a container is serving this data; stop it" in log) == (1, True), log
    status, last = remote.run_to_end(resources.image)
    assert (status, "run baikalctl database move" in last) == (1, True), last
    for setup in (remote, local):
        reaching_both = replace(setup, options=remote.options)
        status, log = reaching_both.run_command(resources.image, "database", "move")
        assert (status, "all rows were compared" in log) == (0, True), log
        with setup.run(resources.image) as container:
            assert start_log(container) == ["serving https://localhost"]
            assert compare(before, contents(container)) == []
            assert server.rows(EVENTS) == [[11]]
