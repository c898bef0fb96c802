"""Data of containers that outlives what happens to them: upgrades, restores, other databases, and databases that are away."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab import release as releases
from tests.lab.acme import Network
from tests.lab.asking import PASSWORD, Answer
from tests.lab.baking import with_release
from tests.lab.certificates import Signer
from tests.lab.clients import CARD, EVENT
from tests.lab.container import Container, Volume
from tests.lab.contents import Contents, compare, everything
from tests.lab.databases import BACKENDS, DatabaseServer
from tests.lab.dav import Dav
from tests.lab.engine import Engine, cache_directory, wait_until
from tests.lab.errors import LabError
from tests.lab.future import VERSION as FUTURE
from tests.lab.future import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.lab.database_image import Backend
    from tests.lab.release import Release


OLDER: Final = "0.11.1"
SECRET: Final = """pass word: "it's" #1 \\ 100% $HOME;"""
"""What no notation of a file or of a connection takes as it is."""
PEOPLE: Final = {"jo": PASSWORD}
CONFINED: Final = (
    "--user=4711:4711",
    "--read-only",
    "--tmpfs=/run/baikal:mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
)
"""The fewest powers that a container can have."""
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
HOLD: Final = {
    "mysql": (("LOCK TABLES users READ",), ("SELECT SLEEP(100)",)),
    "pgsql": (("LOCK TABLE users IN SHARE MODE",), ("SELECT pg_sleep(100)",)),
}
"""Has nobody change or remove the table, for as long as the session lives."""
LET_GO: Final = {
    "mysql": "SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(100)'",
    "pgsql": "SELECT format('SELECT pg_terminate_backend(%s)', pid) FROM pg_stat_activity"
    " WHERE query = 'SELECT pg_sleep(100)'",
}


@dataclass
class Place:
    """A volume, and how containers are run on it."""

    engine: Engine
    volume: Volume
    environment: Mapping[str, str | None] = field(default_factory=dict)
    options: Sequence[str] = ()

    def run(self, image: str, *, ready: bool = True) -> Container:
        """Run a container that is to serve."""
        return Container.run(
            self.engine,
            image,
            volume=self.volume,
            environment=self.environment,
            options=self.options,
            ready=ready,
        )

    def errand(self, image: str, *words: str, options: Sequence[str] = ()) -> tuple[int, str]:
        """Run a container for one thing alone, and return its exit status and what it has said."""
        given = (*self.options, *options)
        with Container.run(
            self.engine,
            image,
            *words,
            volume=self.volume,
            environment=self.environment,
            options=given,
            ports=(),
            ready=False,
        ) as container:
            return container.exit_status(LIMIT_S), container.log()

    def ends(self, image: str) -> tuple[int, str]:
        """Run a container that ends by itself; return its exit status, and the last thing that it has said."""
        with self.run(image, ready=False) as container:
            return container.exit_status(LIMIT_S), container.log().rstrip().splitlines()[-1]

    def listing(self, image: str) -> str:
        """Return what is in the volume: names, modes, owners and checksums."""
        whole = Place(self.engine, self.volume, options=("--entrypoint=/bin/sh",))
        return whole.errand(image, "-euc", LISTING)[1]


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    """Give an empty volume."""
    with Volume(engine) as made:
        yield made


@dataclass
class World:
    """Everything that containers of these tests stand on."""

    engine: Engine
    image: str
    """The image that all tests run."""
    servers: Mapping[Backend, DatabaseServer]
    folder: Path
    """What is mounted with a database server's password and authority."""
    others: dict[tuple[str, Kind], str] = field(default_factory=dict)

    def other(self, version: str, kind: Kind = Kind.PLAIN) -> str:
        """Return an image with another release, of a version and of a kind."""
        if (version, kind) not in self.others:
            standin = releases.standin(cache_directory(), version, kind)
            self.others[version, kind] = with_release(self.engine, self.image, standin)
        return self.others[version, kind]

    def place(self, volume: Volume, backend: str = "sqlite", options: Sequence[str] = ()) -> Place:
        """Return the volume as a place for containers that have their data there, or in an empty database of a server."""
        server = self.server(backend)
        if not server:
            return Place(self.engine, volume, options=options)
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
        return Place(self.engine, volume, environment, joined)

    def server(self, backend: str) -> DatabaseServer | None:
        """Return the database server, if it is one."""
        return next((server for server in self.servers.values() if server.backend == backend), None)


@pytest.fixture(scope="module")
def world(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a server of each kind, which lets nobody in without TLS, and what else is needed; all is gone at the end."""
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
        made = World(engine, image, servers, folder)
        yield made
    for tag in made.others.values():
        engine.docker("rmi", tag, check=False)


def fill(container: Container) -> Contents:
    """Store events and contacts, some of them changed and some deleted again; return all that there is."""
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
    """Return all that there is."""
    return everything(container.url, PEOPLE)


def answered(container: Container, limit_s: float = LIMIT_S) -> list[Answer]:
    """Ask as a stranger until that is answered as by a server that serves, and return all answers."""
    given: list[Answer] = []

    def serves() -> bool:
        with contextlib.suppress(OSError):  # nobody listens yet
            given.append(container.ask("PROPFIND", "/dav.php/"))
        return bool(given) and given[-1].status == 401

    assert wait_until(serves, limit_s, pause_s=0.02), f"{given[-1:]}\n{container.log()}"
    return given


def told_to_come_again(answers: Sequence[Answer]) -> bool:
    """Tell whether there are any, and all say 503 and when to come again."""
    return {(answer.status, answer.headers.get("retry-after")) for answer in answers} == {(503, "30")}


def said(container: Container) -> list[str]:
    """Return what the start has said, but for its warning of passwords that PHP can read."""
    lines = [
        line.removeprefix("baikalctl: ") for line in container.log().splitlines() if line.startswith("baikalctl: ")
    ]
    return [line for line in lines if not line.startswith("PHP has the same account")]


def health(container: Container) -> str:
    """Return what the container's own probe says."""
    return container.execute("baikalctl", "health", check=False)


def is_closed(container: Container) -> bool:
    """Tell whether clients are told to come again."""
    with contextlib.suppress(OSError):
        return told_to_come_again([container.ask("PROPFIND", "/dav.php/")])
    return False


def archive(container: Container, folder: Path) -> str:
    """Make an archive, bring it here, readable for everybody, and return its name."""
    made: dict[str, Any] = json.loads(container.execute("baikalctl", "backup", "--json"))
    name = str(made["path"]).rpartition("/")[2]
    container.engine.docker("cp", f"{container.name}:/var/lib/baikal/backups/{name}", str(folder / name))
    (folder / name).chmod(0o644)
    folder.chmod(0o755)
    return name


@contextlib.contextmanager
def holding(server: DatabaseServer | None) -> Iterator[None]:
    """Have nobody change or remove the accounts' table within the block, where it is a server's."""
    if server is None:
        yield
        return

    def hold() -> None:
        with contextlib.suppress(LabError):
            server.execute(*HOLD[server.backend])

    thread = threading.Thread(target=hold)
    thread.start()
    assert wait_until(lambda: server.rows(LET_GO[server.backend]) != [], LIMIT_S)
    try:
        yield
    finally:
        for (statement,) in server.rows(LET_GO[server.backend]):
            server.rows(statement)
        thread.join()


@contextlib.contextmanager
def away(server: DatabaseServer) -> Iterator[None]:
    """Have the server down until it is started, at the end of the block at the latest."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_a_newer_image_brings_the_data_along_and_an_older_one_refuses_it(
    world: World, volume: Volume, release: Release
) -> None:
    """Clients are told to come again, and then have all as it was; what was there is kept; who refuses touches nothing."""
    place = world.place(volume)
    with place.run(world.other(OLDER)) as old:
        before = fill(old)
    with place.run(world.image, ready=False) as new:
        *meanwhile, _ = answered(new)
        assert told_to_come_again(meanwhile)
        assert compare(before, contents(new)) == []
        assert f"Baïkal {release.version} serves; the old data is kept" in new.log()
        kept = new.execute("ls", "/var/lib/baikal/backups").split()
        assert any(name.startswith(f"before-upgrade-{OLDER}-to-{release.version}-") for name in kept)
        assert any(name.endswith("-before-upgrade.tar.gz") for name in kept)
    untouched = place.listing(world.image)
    status, last = place.ends(world.other(OLDER))
    assert status == 1
    assert last.startswith(f"baikalctl: the data is of Baïkal {release.version}, and {OLDER} is older")
    assert place.listing(world.image) == untouched
    with place.run(world.image) as new:
        assert said(new) == ["serving https://localhost"]
        assert compare(before, contents(new)) == []


@pytest.mark.parametrize(
    ("backend", "kind", "why"),
    [
        ("sqlite", Kind.FAILS_HALF_WAY, "step 2 of 3 has failed"),
        ("sqlite", Kind.ANSWERS_500, "doesn't serve this data"),
        ("pgsql", Kind.FAILS_HALF_WAY, "step 2 of 3 has failed"),
    ],
)
def test_an_upgrade_that_fails_ends_the_container_and_the_old_image_serves(
    world: World, volume: Volume, backend: str, kind: Kind, why: str
) -> None:
    """The last line of its log says why, and that all is as it was."""
    place = world.place(volume, backend)
    with place.run(world.image) as old:
        before = fill(old)
    status, last = place.ends(world.other(FUTURE, kind))
    assert status == 1
    assert "failed, and all is as it was: " in last
    assert why in last
    with place.run(world.image) as old:
        assert said(old) == ["serving https://localhost"]
        assert compare(before, contents(old)) == []


@pytest.mark.parametrize(("backend", "then"), [("sqlite", "old"), ("mysql", "old"), ("mysql", "new"), ("pgsql", "new")])
def test_a_container_that_is_killed_while_it_upgrades_has_done_nothing(
    world: World, volume: Volume, backend: str, then: str
) -> None:
    """Whichever image comes next: the old one serves what was there, and the new one upgrades that."""
    newer = world.other(FUTURE, Kind.NEW_STEP)
    place, server = world.place(volume, backend), world.server(backend)
    with place.run(world.image) as old:
        before = fill(old)
    begun = '"loaded": true' if server else '"kept": "/'
    with holding(server), place.run(newer, ready=False) as new:
        assert wait_until(lambda: begun in new.execute("cat", JOURNAL, check=False), LIMIT_S, pause_s=0.01), new.log()
        new.kill()
    if server:  # a power cut has ended both, and the container is quicker to be there again
        server.stop()
    with place.run(world.image if then == "old" else newer, ready=False) as after:
        if server:
            assert wait_until(lambda: is_closed(after), LIMIT_S), after.log()
            server.start()
        answered(after)
        assert compare(before, contents(after)) == []
        assert any(line.endswith("was taken back: the data is as it was before") for line in said(after))
    with place.run(newer) as new:
        assert compare(before, contents(new)) == []
        columns = "SELECT disabled FROM users"
        assert (server.rows(columns) if server else new.rows(columns)) == [[0]]


@pytest.mark.parametrize("options", [(), CONFINED], ids=["root", "confined"])
def test_an_archive_is_restored_by_a_container_that_does_nothing_else(
    world: World, volume: Volume, tmp_path: Path, options: Sequence[str]
) -> None:
    """Into the volume that it is of, while nobody serves it, and into new ones, by one that is told nothing as well."""
    place = world.place(volume, options=options)
    mounted = (f"--volume={tmp_path}:/archives:ro",)
    with place.run(world.image) as container:
        before = fill(container)
        words = ("restore", f"/archives/{archive(container, tmp_path)}")
        status, log = place.errand(world.image, *words, options=mounted)
        assert (status, "a container is serving this data; stop it" in log) == (1, True), log
        for path in (f"{CALENDAR}2.ics", f"{BOOK}3.vcf"):
            assert container.ask("DELETE", path, user="jo").status == 204
    nothing = dict.fromkeys(("BAIKAL_HOSTNAME", "BAIKAL_ADMIN_PASSWORD", "BAIKAL_USERS"))
    with Volume(world.engine) as second, Volume(world.engine) as third:
        for each, environment in ((volume, place.environment), (second, place.environment), (third, nothing)):
            status, log = replace(place, volume=each, environment=environment).errand(
                world.image, *words, options=mounted
            )
            assert (status, "restored: 1 account" in log) == (0, True), log
            with replace(place, volume=each).run(world.image) as container:
                assert compare(before, contents(container), tokens=False) == []


@pytest.mark.parametrize(("backend", "options"), [("mysql", ()), ("pgsql", CONFINED)])
def test_an_archive_goes_from_one_kind_of_database_to_another(
    world: World, volume: Volume, tmp_path: Path, backend: str, options: Sequence[str]
) -> None:
    """From a server into a volume, and from there into an empty database, whose container hasn't run yet."""
    mounted = (f"--volume={tmp_path}:/archives:ro",)
    with world.place(volume, backend, options).run(world.image) as container:
        before = fill(container)
        name = archive(container, tmp_path)
    with Volume(world.engine) as second, Volume(world.engine) as third:
        for each in (world.place(second, options=options), world.place(third, backend, options)):
            status, log = each.errand(world.image, "restore", f"/archives/{name}", options=mounted)
            assert (status, "restored: 1 account" in log) == (0, True), log
            with each.run(world.image) as container:
                assert compare(before, contents(container), tokens=False) == []
                name = archive(container, tmp_path)
    server = world.server(backend)
    assert server
    assert server.rows(EVENTS) == [[11]]


@pytest.mark.parametrize(("backend", "options"), [("mysql", ()), ("pgsql", CONFINED)])
def test_a_database_that_is_away_is_waited_for(
    world: World, volume: Volume, backend: str, options: Sequence[str]
) -> None:
    """At the first start and at any time later: clients are told to come again, and the rest happens by itself."""
    place, server = world.place(volume, backend, options), world.server(backend)
    assert server
    with away(server), place.run(world.image, ready=False) as container:
        assert wait_until(lambda: is_closed(container), LIMIT_S), container.log()
        reason = said(container)[-1]
        assert "can't be reached" in reason
        assert server.host in reason
        assert "can't be reached" in health(container)
        server.start()
        answered(container)
        assert said(container).count(reason) == 1
        container.wait_until_serving()
        before = fill(container)
        with away(server):
            assert wait_until(lambda: is_closed(container), LIMIT_S)
            assert "can't be reached" in health(container)
        answered(container)
        assert compare(before, contents(container)) == []
    with place.run(world.image) as container:
        assert said(container) == ["serving https://localhost"]
        assert compare(before, contents(container)) == []
        assert server.password not in container.log()


@pytest.mark.parametrize(("backend", "options"), [("mysql", CONFINED), ("pgsql", ())])
def test_the_data_moves_to_the_database_that_is_declared(
    world: World, volume: Volume, backend: str, options: Sequence[str]
) -> None:
    """There and back by a container that does nothing else; until then a start refuses, and says what to do."""
    here, there, server = (
        world.place(volume, options=options),
        world.place(volume, backend, options),
        world.server(backend),
    )
    assert server
    with here.run(world.image) as container:
        before = fill(container)
        status, log = there.errand(world.image, "database", "move")
        assert (status, "a container is serving this data; stop it" in log) == (1, True), log
    status, last = there.ends(world.image)
    assert (status, "take it there with baikalctl database move" in last) == (1, True), last
    for place in (there, here):
        reaching_both = replace(place, options=there.options)
        status, log = reaching_both.errand(world.image, "database", "move")
        assert (status, "every row of them compared" in log) == (0, True), log
        with place.run(world.image) as container:
            assert said(container) == ["serving https://localhost"]
            assert compare(before, contents(container)) == []
            assert server.rows(EVENTS) == [[11]]
