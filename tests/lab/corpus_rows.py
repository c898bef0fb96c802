"""Insert a corpus as rows in a second or two; clients would need an hour."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from tests.lab.corpus import Corpus, book_uri, calendar_uri
from tests.lab.http_request import PASSWORD
from tests.lab.objects import BERLIN, STORED, event, md5

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.sql import SqlDatabase, Statement


REALM: Final = "BaikalDAV"
CHANGED, GONE = 10, 25
"""History of the objects: every tenth was changed once, and for each 25 there was one more, which was deleted."""

OBJECT: Final = """\
INSERT INTO calendarobjects (calendarid, uri, calendardata, lastmodified, etag, size, componenttype, firstoccurence,
lastoccurence, uid) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
INSTANCE: Final = """\
INSERT INTO calendarinstances (calendarid, principaluri, access, displayname, uri, description, calendarorder,
calendarcolor, timezone, transparent, share_href, share_displayname, share_invitestatus)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
TABLES: Final = ("calendars", "addressbooks")
"""Tables with ids that other tables refer to."""


def fill(database: SqlDatabase, corpus: Corpus) -> None:
    """Add all of ``corpus`` to Baïkal's tables, in one transaction, as Baïkal and sabre/dav would have written it.

    Existing rows stay. The users can log in, with ``corpus.people()``.
    """
    taken = {table: database.execute((f"SELECT COALESCE(MAX(id), 0) FROM {table}",))[0][0] for table in TABLES}  # noqa: S608
    ids = {table: itertools.count(int(number) + 1) for table, number in taken.items()}
    # sabre/dav binds objects as blobs. SQLite stores them as such; the column in PostgreSQL is text.
    blob = (lambda text: text) if database.backend == "pgsql" else str.encode
    rows: dict[str, list[tuple[Any, ...]]] = {}
    first_calendars = [_add_user(rows, user, corpus, ids, blob) for user in corpus.names()]
    _share(rows, corpus.names(), first_calendars)
    statements: list[Statement] = [(sql, *values) for sql, values in rows.items() if values]
    if database.backend == "pgsql":  # whose sequences ignore ids that are inserted explicitly
        serial = "SELECT setval(pg_get_serial_sequence('{0}', 'id'), MAX(id)) FROM {0}"
        statements += [(serial.format(table),) for table in TABLES]
    database.execute(*statements)


def remove(database: SqlDatabase, corpus: Corpus) -> None:
    """Remove all that ``fill`` has added, and what clients have added to its calendars and address books since."""
    names = corpus.names()
    principals = ", ".join(f"'principals/{name}'" for name in names)
    calendars = f"SELECT calendarid FROM calendarinstances WHERE principaluri IN ({principals})"  # noqa: S608
    books = f"SELECT id FROM addressbooks WHERE principaluri IN ({principals})"  # noqa: S608
    tables = ("calendarobjects", "calendarchanges"), ("cards", "addressbookchanges")
    wheres = [f"{table} WHERE calendarid IN ({calendars})" for table in tables[0]]
    wheres += [f"calendars WHERE id IN ({calendars})"]
    wheres += [f"{table} WHERE addressbookid IN ({books})" for table in tables[1]]
    owned = ("calendarinstances", "addressbooks", "schedulingobjects", "calendarsubscriptions")
    wheres += [f"{table} WHERE principaluri IN ({principals})" for table in owned]
    wheres += [f"propertystorage WHERE path LIKE 'calendars/{name}%'" for name in names]
    wheres += [f"principals WHERE uri IN ({principals})"]
    wheres += ["users WHERE username IN (" + ", ".join(f"'{name}'" for name in names) + ")"]
    database.execute(*((f"DELETE FROM {where}",) for where in wheres))  # noqa: S608


def _add_user(
    rows: dict[str, list[tuple[Any, ...]]],
    user: str,
    corpus: Corpus,
    ids: dict[str, itertools.count[int]],
    blob: Callable[[str], object],
) -> int:
    """Add a user's rows, grouped by statement, as Baïkal's model and sabre/dav's backends write them.

    Returns the id of the user's first calendar.
    """
    principal = f"principals/{user}"

    def add(sql: str, *values: object) -> None:
        rows.setdefault(sql, []).append(values)

    digest = md5(f"{user}:{REALM}:{PASSWORD}")
    add("INSERT INTO users (username, digesta1) VALUES (%s, %s)", user, digest)
    named = (principal, f"{user}@example.org", f"{user} Weiß")
    add("INSERT INTO principals (uri, email, displayname) VALUES (%s, %s, %s)", *named)
    first = 0
    for number in range(corpus.calendars):
        uri = calendar_uri(number)
        calendar = next(ids["calendars"])
        first = first or calendar
        calendar_objects = list(corpus.calendar_objects(user, number))
        token = _history(add, "calendar", calendar, [thing.uri for thing in calendar_objects])
        add("INSERT INTO calendars (id, synctoken, components) VALUES (%s, %s, 'VEVENT,VTODO')", calendar, token)
        looks = (f"Kalender {number} für alle", uri, "Größe", number, "#FF8800FF", "", number % 2)
        add(INSTANCE, calendar, principal, 1, *looks, None, None, 2)
        for thing in calendar_objects:
            noted = (
                STORED,
                md5(thing.data),
                len(thing.data.encode()),
                thing.component,
                thing.first,
                thing.last,
                thing.uid,
            )
            add(OBJECT, calendar, thing.uri, blob(thing.data), *noted)
    for number in range(corpus.books):
        book = next(ids["addressbooks"])
        cards = list(corpus.cards(user, number))
        token = _history(add, "addressbook", book, [uri for uri, _ in cards])
        add(
            "INSERT INTO addressbooks (id, principaluri, displayname, uri, description, synctoken)"
            " VALUES (%s, %s, %s, %s, '', %s)",
            *(book, principal, f"Adreßbuch {number}", book_uri(number), token),
        )
        for uri, data in cards:
            add(
                "INSERT INTO cards (addressbookid, carddata, uri, lastmodified, etag, size)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                *(book, blob(data), uri, STORED, md5(data), len(data.encode())),
            )
    _add_rest(add, user, principal, blob)
    return first


def _add_rest(add: Any, user: str, principal: str, blob: Callable[[str], object]) -> None:  # noqa: ANN401
    """Add rows that no calendar shows: an invitation, a subscription, and a property that a client has set."""
    invitation = event(
        f"{user}-invited", datetime(2026, 5, 1, 9, tzinfo=BERLIN), datetime(2026, 5, 1, 10, tzinfo=BERLIN), []
    )
    add(
        "INSERT INTO schedulingobjects (principaluri, calendardata, uri, lastmodified, etag, size)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        *(
            principal,
            blob(invitation.data),
            invitation.uri,
            STORED,
            md5(invitation.data),
            len(invitation.data.encode()),
        ),
    )
    add(
        "INSERT INTO calendarsubscriptions (uri, principaluri, source, displayname, lastmodified)"
        " VALUES ('feiertage', %s, 'https://example.org/feiertage.ics', 'Feiertage', %s)",
        *(principal, STORED),
    )
    add(
        "INSERT INTO propertystorage (path, name, valuetype, value) VALUES (%s, %s, 1, %s)",
        *(f"calendars/{user}/default", "{http://example.org/ns}note", blob("Größe 🎂")),
    )


def _history(add: Any, kind: str, collection: int, uris: list[str]) -> int:  # noqa: ANN401
    """Add the changes of a collection, and return its sync token, which grows with each change.

    Each change has the token from before it: see addChange in sabre/dav's backends.
    """
    steps = [(uri, 1) for uri in uris]
    steps += [(uri, 2) for uri in uris[::CHANGED]]
    for number in range(len(uris) // GONE + 1):
        steps += [(f"gone-{number}", 1), (f"gone-{number}", 3)]
    sql = f"INSERT INTO {kind}changes (uri, synctoken, {kind}id, operation) VALUES (%s, %s, %s, %s)"  # noqa: S608
    for token, (uri, operation) in enumerate(steps, 1):
        add(sql, uri, token, collection, operation)
    return len(steps) + 1


def _share(rows: dict[str, list[tuple[Any, ...]]], names: list[str], calendars: list[int]) -> None:
    """Share each user's first calendar with the next user, in turn for reading and for writing."""
    if len(names) < 2:
        return
    for number, (calendar, owner) in enumerate(zip(calendars, names, strict=True)):
        sharee = names[(number + 1) % len(names)]
        looks = (f"Kalender von {owner}", f"von-{owner}", "", 9, "", "", 0)
        invited = (f"mailto:{sharee}@example.org", sharee, 2)
        rows[INSTANCE].append((calendar, f"principals/{sharee}", 2 + number % 2, *looks, *invited))
