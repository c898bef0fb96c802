"""Behaviour of a release without baikal-deploy: on each database, in each version, and of future releases.

The lab's stand-in and a real release must behave the same, or else the stand-in can't be trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import release as releases
from tests.lab.acme import Network
from tests.lab.bare_release import CA, SQLITE, USER, BareRelease
from tests.lab.certificates import Signer
from tests.lab.clients import CARD, EVENT
from tests.lab.databases import BACKENDS, DatabaseServer
from tests.lab.engine import Engine, cache_directory
from tests.lab.future_release import VERSION as FUTURE
from tests.lab.future_release import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.database_image import Backend
    from tests.lab.release import Release


CALENDAR: Final = f"/dav.php/calendars/{USER}/default/"
BOOK: Final = f"/dav.php/addressbooks/{USER}/default/"
BODY: Final = EVENT.format(uid="a", summary="Müll 🗑 ' \\\\").replace("\n", "\r\n")
CONTACT: Final = CARD.format(uid="c", name="Zoë Groß")
SYNC: Final = (
    '<d:sync-collection xmlns:d="DAV:"><d:sync-token>{}</d:sync-token><d:sync-level>1</d:sync-level>'
    "<d:prop><d:getetag/></d:prop></d:sync-collection>"
)
UPGRADED: Final = "has been successfully upgraded"
OLD: Final = ("0.9.5", "0.10.1", "0.11.1")


@pytest.fixture(scope="module")
def databases(engine: Engine) -> Iterator[dict[str, DatabaseServer]]:
    """Yield a server of each kind, both on one network, which require TLS."""
    signer = Signer.root()
    with Network(engine) as network:
        running: dict[str, DatabaseServer] = {}
        try:
            for backend in BACKENDS:
                running[backend] = DatabaseServer.run(engine, network, backend, signer, tls_only=True)
            yield running
        finally:
            for server in running.values():
                server.remove()


@pytest.fixture
def bare(engine: Engine, databases: dict[str, DatabaseServer]) -> Iterator[Callable[[str], BareRelease]]:
    """Yield a function that starts a container for a release with its data in an empty database of a kind."""
    made: list[BareRelease] = []

    def start(backend: str) -> BareRelease:
        if backend == "sqlite":
            made.append(BareRelease.run(engine, None, SQLITE))
        else:
            server = databases[backend]
            server.empty()
            made.append(BareRelease.run(engine, server.network, server.section(CA), server.ca))
        return made[-1]

    yield start
    for container in made:
        container.remove()


def standin(version: str, kind: Kind = Kind.PLAIN) -> Release:
    """Return a stand-in."""
    return releases.standin(cache_directory(), version, kind)


@pytest.fixture(params=["as all tests", "stand-in"])
def either(request: pytest.FixtureRequest, release: Release) -> Release:
    """Return the release that all tests install, and a stand-in for it; if both are the same, one for an older version."""
    if request.param == "stand-in":
        return standin("0.11.1" if "stand-in" in release.origin else release.version)
    return release


def logs_in(bare: BareRelease) -> int:
    """Return the server's answer to a client that logs in."""
    return bare.ask("PROPFIND", CALENDAR, user=USER, headers={"Depth": "0"}).status


@pytest.mark.parametrize("backend", ["sqlite", *BACKENDS])
def test_stored_objects_are_returned_unchanged(
    bare: Callable[[str], BareRelease], either: Release, backend: str
) -> None:
    """Events and contacts, byte for byte; changes since a token; new calendars."""
    it = bare(backend)
    it.install(it.add(either))
    it.serve(either.version)
    assert it.ask("PROPFIND", CALENDAR).status == 401
    assert logs_in(it) == 207
    first = it.ask("REPORT", CALENDAR, user=USER, body=SYNC.format("")).body
    token = first.partition("sync-token>")[2].partition("<")[0]
    assert it.ask("PUT", f"{CALENDAR}a.ics", user=USER, body=BODY).status == 201
    assert it.ask("PUT", f"{BOOK}c.vcf", user=USER, body=CONTACT).status == 201
    assert it.ask("GET", f"{CALENDAR}a.ics", user=USER).body == BODY
    assert it.ask("GET", f"{BOOK}c.vcf", user=USER).body == CONTACT
    assert it.ask("PUT", f"{CALENDAR}a.ics", user=USER, body=BODY.replace("Müll", "Bio")).status == 204
    changed = it.ask("REPORT", CALENDAR, user=USER, body=SYNC.format(token))
    assert (changed.status, changed.body.count("a.ics")) == (207, 1)
    assert it.ask("MKCALENDAR", f"/dav.php/calendars/{USER}/new/", user=USER).status == 201
    assert it.ask("PUT", f"/dav.php/calendars/{USER}/new/b.ics", user=USER, body=BODY).status == 201
    assert it.ask("DELETE", f"{CALENDAR}a.ics", user=USER).status == 204
    assert it.ask("DELETE", f"/dav.php/calendars/{USER}/new/", user=USER).status == 204
    rows = it.sql(("SELECT uri, operation FROM calendarchanges WHERE calendarid = 1 ORDER BY id",))
    assert [[uri, int(operation)] for uri, operation in rows] == [["a.ics", 1], ["a.ics", 2], ["a.ics", 3]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_database_is_a_sentence_with_status_200(
    bare: Callable[[str], BareRelease], databases: dict[str, DatabaseServer], either: Release, backend: str
) -> None:
    """So another component has to detect it; when the database is back, so are the answers."""
    it = bare(backend)
    it.install(it.add(either))
    it.serve(either.version)
    databases[backend].stop()
    answer = it.ask("PROPFIND", CALENDAR, user=USER)
    assert (answer.status, "not able to establish a connection" in answer.body) == (200, True), answer
    databases[backend].start()
    assert logs_in(it) == 207


@pytest.mark.parametrize(
    ("backend", "key"), [("mysql", f"mysql_{key}") for key in ("host", "dbname", "username", "password")]
)
def test_mysql_needs_every_key(bare: Callable[[str], BareRelease], either: Release, backend: str, key: str) -> None:
    """Also a password: an account without one, as over a Unix socket, still needs some value."""
    it = bare(backend)
    it.install(it.add(either), section={**it.section, key: ""})
    it.serve(either.version)
    answer = it.ask("PROPFIND", CALENDAR, user=USER)
    assert (answer.status, "is not set" in answer.body) == (200, True), answer


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_stand_in_has_a_releases_tables(
    bare: Callable[[str], BareRelease], databases: dict[str, DatabaseServer], release: Release, backend: Backend
) -> None:
    """Columns, types, defaults and keys, as reported by the server."""
    tables = []
    for each in (release, standin(release.version)):
        it = bare(backend)
        it.install(it.add(each))
        schema = "baikal" if backend == "mysql" else "public"
        columns = databases[backend].rows(
            "SELECT table_name, column_name, ordinal_position, column_default, is_nullable, data_type, "  # noqa: S608
            f"character_maximum_length FROM information_schema.columns WHERE table_schema = '{schema}' ORDER BY 1, 3"
        )
        indexes = {
            "mysql": "SELECT table_name, index_name, non_unique, seq_in_index, column_name, sub_part "
            "FROM information_schema.statistics WHERE table_schema = 'baikal' ORDER BY 1, 2, 4",
            "pgsql": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        }
        tables.append((columns, databases[backend].rows(indexes[backend])))
    assert tables[0] == tables[1]
    assert len(tables[0][0]) > 70


def test_state_is_in_the_release_directory_before_0_10(bare: Callable[[str], BareRelease]) -> None:
    """The environment is ignored: without links, there is no state."""
    it = bare("sqlite")
    it.install(it.add(standin("0.9.5")), section={"sqlite_file": SQLITE["sqlite_file"], "mysql": False})
    it.serve("0.9.5")
    assert logs_in(it) == 207
    it.run_shell("rm /code/0.9.5/config")
    answer = it.ask("PROPFIND", CALENDAR, user=USER)
    assert (answer.status, answer.headers.get("location", "").endswith("/admin/install/")) == (302, True)


@pytest.mark.parametrize("backend", ["sqlite", "mysql"])
@pytest.mark.parametrize("version", OLD)
def test_data_of_old_versions_is_upgraded(
    bare: Callable[[str], BareRelease], release: Release, version: str, backend: str
) -> None:
    """To the release that all tests install; before the upgrade, it redirects all clients to its installer."""
    it = bare(backend)
    section = dict(it.section)
    if version == "0.9.5":
        section["mysql"] = section.pop("backend") == "mysql"
    it.install(it.add(standin(version)), section=section)
    if backend == "sqlite":  # releases before 0.11 have no TLS to MySQL
        it.serve(version)
        assert it.ask("PUT", f"{CALENDAR}a.ics", user=USER, body=BODY).status == 201
    new = it.add(release)
    if backend == "sqlite" or version != "0.9.5":
        it.serve(new)
        assert it.ask("PROPFIND", CALENDAR, user=USER).status == 302
    assert UPGRADED in (output := it.upgrade(new)), output
    it.serve(new)
    assert logs_in(it) == 207
    if backend == "sqlite":
        assert it.ask("GET", f"{CALENDAR}a.ics", user=USER).body == BODY
    config = it.yaml()
    assert config["system"]["configured_version"] == release.version
    assert config["database"]["backend"] == backend


@pytest.mark.parametrize("backend", ["sqlite", *BACKENDS])
@pytest.mark.parametrize("kind", Kind)
def test_future_release_behaves_as_its_kind(
    bare: Callable[[str], BareRelease], release: Release, kind: Kind, backend: str
) -> None:
    """After an upgrade from the newest release, it serves, or it fails as tests of upgrades need."""
    it = bare(backend)
    it.install(it.add(release))
    new = it.add(standin(FUTURE, kind))
    output = it.upgrade(new)
    assert has_column(it) is (kind is not Kind.PLAIN)
    failed = kind in {Kind.FAILS_HALF_WAY, Kind.DIES_HALF_WAY}
    assert (UPGRADED in output) is not failed, output
    assert it.yaml()["system"]["configured_version"] == (release.version if failed else FUTURE)
    if kind is Kind.FAILS_HALF_WAY:
        assert "step 2 of 3 has failed" in output
    if failed:
        return
    it.serve(new)
    assert logs_in(it) == (500 if kind is Kind.ANSWERS_500 else 207)
    put = it.ask("PUT", f"{CALENDAR}a.ics", user=USER, body=BODY).status
    assert put == (500 if kind in {Kind.ANSWERS_500, Kind.REFUSES_WRITES} else 201)


def has_column(bare: BareRelease) -> bool:
    """Whether the migration of a future release has changed the table."""
    if bare.section["backend"] == "sqlite":
        rows = bare.sql(("SELECT COUNT(*) FROM pragma_table_info('users') WHERE name = 'disabled'",))
    else:
        table = "FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'disabled'"
        rows = bare.sql((f"SELECT COUNT(*) {table}",))
    return int(rows[0][0]) == 1


def test_new_database_of_a_future_release_has_the_column(bare: Callable[[str], BareRelease]) -> None:
    """So users can log in to a new installation."""
    it = bare("pgsql")
    it.install(it.add(standin(FUTURE, Kind.NEW_STEP)))
    it.serve(FUTURE)
    assert logs_in(it) == 207
