"""Sync tokens on real servers, with sabre/dav's statements from several concurrent connections."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.databases import BACKENDS, DatabaseServer
from tests.lab.deploying import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


FOLDERS: Final = {"mysql": "MySQL", "pgsql": "PgSQL"}
CHANGES: Final = 400
WRITERS: Final = 8
RACE: Final = """\
import json, sys, threading, types
order = json.load(sys.stdin)
name = "baikal"
def connected():
    scope = {"name": name}
    exec(order["connect"], scope)
    return scope["connection"]
class Wrapper:
    def __init__(self):
        self.opened = connected()
    def execute(self, query, values=()):
        cursor = self.opened.cursor()
        cursor.execute(query, values) if values else cursor.execute(query)
        return cursor
    def commit(self):
        self.opened.commit()
numbering = types.ModuleType("numbering")
exec(order["numbering"], numbering.__dict__)
admin = Wrapper()
if order["schema"]:
    for statement in order["schema"].split(";"):
        if statement.strip():
            admin.execute(statement)
    admin.execute("INSERT INTO calendars (id, synctoken, components) VALUES (1, 7, 'VEVENT')")
    admin.execute("INSERT INTO addressbooks (id, synctoken, principaluri, uri) VALUES (1, 7, 'p', 'u')")
    admin.commit()
if order["triggers"]:
    numbering.add(admin, order["backend"])
left = numbering.missing(admin, order["backend"])
admin.commit()
kind, key, table = order["kind"]
noted, over, faults = [], threading.Event(), []
def write(writer):
    connection = Wrapper()
    try:
        for number in range(order["changes"] // order["writers"]):
            uri = f"{kind}-{left}-{writer}-{number}"
            connection.execute(
                f"INSERT INTO {kind} (uri, synctoken, {key}, operation) SELECT %s, synctoken, 1, 1 FROM {table} WHERE id = 1",
                (uri,))
            connection.commit()
            connection.execute(f"UPDATE {table} SET synctoken = synctoken + 1 WHERE id = 1")
            connection.commit()
            noted.append(uri)
    except Exception as error:
        faults.append(repr(error))
def number_of(connection):
    (number,) = connection.execute(f"SELECT synctoken FROM {table} WHERE id = 1").fetchone()
    return number
reader = Wrapper()
token, seen = number_of(reader), set()
reader.commit()
def sync():
    global token
    # As getChangesForCalendar and getChangesForAddressBook do.
    current = number_of(reader) if kind == "addressbookchanges" else None
    reader.commit()
    upper = f" AND synctoken < {current}" if current is not None else ""
    query = f"SELECT uri, synctoken FROM {kind} WHERE synctoken >= %s{upper} AND {key} = 1"
    rows = reader.execute(query, (token,)).fetchall()
    reader.commit()
    seen.update(uri.decode() if isinstance(uri, bytes) else uri for uri, _ in rows)
    token = current if current is not None else max([token, *(number + 1 for _, number in rows)])
writers = [threading.Thread(target=write, args=(number,)) for number in range(order["writers"])]
for writer in writers:
    writer.start()
while any(writer.is_alive() for writer in writers):
    sync()
sync()
(greatest,) = reader.execute(f"SELECT max(synctoken) FROM {kind}").fetchone()
missed = [uri for uri in noted if uri not in seen]
json.dump([len(noted), len(missed), faults, left, number_of(reader) > greatest], sys.stdout)
"""
"""Writers with sabre/dav's addChange, and a concurrent syncing client. Prints the numbers of recorded and missed changes,
errors, missing triggers, and whether the collection's token is greater than those of all changes."""
CALENDAR: Final = ("calendarchanges", "calendarid", "calendars")
BOOK: Final = ("addressbookchanges", "addressbookid", "addressbooks")


@pytest.fixture(scope="module", params=BACKENDS)
def database(request: pytest.FixtureRequest, engine: Engine) -> Iterator[DatabaseServer]:
    """Yield a server of each kind."""
    with Network(engine) as network, DatabaseServer.run(engine, network, request.param, Signer.root()) as server:
        yield server


def race(
    database: DatabaseServer, release: Release, kind: tuple[str, str, str], *, triggers: bool
) -> tuple[int, int, list[str], list[str], bool]:
    """Let the writers race on new tables, and return the result."""
    database.empty()
    with zipfile.ZipFile(release.path) as archive:
        schema = archive.read(f"baikal/Core/Resources/Db/{FOLDERS[database.backend]}/db.sql").decode()
    order = {
        "backend": database.backend,
        "connect": database.kind.connect,
        "numbering": (REPOSITORY / "baikalctl/database/sync_triggers.py").read_text(encoding="utf-8"),
        "schema": schema,
        "triggers": triggers,
        "kind": kind,
        "changes": CHANGES,
        "writers": WRITERS,
    }
    command = ("exec", "-i", "-u", database.kind.user, database.name, "python3", "-c", RACE)
    noted, missed, faults, left, above = json.loads(database.engine.docker(*command, input=json.dumps(order)))
    return noted, missed, faults, left, above


@pytest.mark.parametrize("kind", [CALENDAR, BOOK], ids=["calendar", "address book"])
def test_client_that_syncs_during_writes_gets_every_change(
    database: DatabaseServer, release: Release, kind: tuple[str, str, str]
) -> None:
    """Eight writers to one collection: no missed change, no failed write, no deadlock."""
    noted, missed, faults, left, above = race(database, release, kind, triggers=True)
    assert (faults, left) == ([], [])
    assert (noted, missed) == (CHANGES, 0)
    assert above


def test_changes_are_missed_without_the_triggers(database: DatabaseServer, release: Release) -> None:
    """This shows why the triggers exist; if it fails, sabre/dav no longer needs them."""
    missed = 0
    for _ in range(5):
        missed += race(database, release, CALENDAR, triggers=False)[1]
        if missed:
            break
    assert missed
