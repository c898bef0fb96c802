"""Create and update declared accounts, calendars, address books and shares; others aren't changed.

The rows are the same as those of Baïkal's own ``Baikal/Model/User.php`` and sabre/dav's PDO backends. All changes are
first planned as sentences, so that a run without changes can report that without writing.
"""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING

from baikalctl.database.interface import Connection, first_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from baikalctl.desired.state import DesiredUser
    from baikalctl.settings.users import Collection


OWNER, READ, WRITE = 1, 2, 3
"""``calendarinstances.access`` (sabre/dav, Sabre\\DAV\\Sharing\\Plugin)."""
OWNED = f"COALESCE(access, {OWNER}) = {OWNER}"
"""Condition for the owner's own row: on SQLite, sabre/dav leaves ``access`` NULL in calendars that clients create."""
ACCEPTED = 2
COMPONENTS = "VEVENT,VTODO"

Step = tuple[str, "Callable[[], object]"]
"""A sentence that describes a change, and the function that makes it."""


def fingerprint(verifier: str) -> str:
    """Return the stored mark of a password that was set: enough to detect a new one, useless for a login."""
    return hashlib.sha256(f"applied:{verifier}".encode()).hexdigest()


def plan(connection: Connection, users: tuple[DesiredUser, ...], applied: Mapping[str, str]) -> Iterator[Step]:
    """Yield the steps after which the database has ``users``; take each step before you request the next one.

    ``applied`` has the fingerprints of the last declared passwords. A password is set when its account is created and when
    its declaration changes; a password that the user has chosen in between stays.
    """
    for user in users:
        if user.present:
            yield from _account(connection, user, applied.get(user.name))
            for calendar in user.calendars:
                yield from _calendar(connection, user.name, calendar)
            for book in user.address_books:
                yield from _address_book(connection, user.name, book)
    for user in users:
        for calendar in user.calendars if user.present else ():
            yield from _shares(connection, user.name, calendar)
        if not user.present:
            yield from _removal(connection, user.name)


def removals(connection: Connection, users: tuple[DesiredUser, ...]) -> list[str]:
    """Return the names of existing accounts that are declared absent."""
    return [user.name for user in users if not user.present and _exists(connection, user.name)]


def principal(name: str) -> str:
    """Return the URI of the principal ``name``."""
    return f"principals/{name}"


def _exists(connection: Connection, name: str) -> bool:
    account = first_number(connection, "SELECT id FROM users WHERE username = ?", [name])
    return (
        account is not None
        or first_number(connection, "SELECT id FROM principals WHERE uri = ?", [principal(name)]) is not None
    )


def _account(connection: Connection, user: DesiredUser, applied: str | None) -> Iterator[Step]:
    run = connection.execute
    row = first_number(connection, "SELECT id FROM users WHERE username = ?", [user.name])
    if row is None:
        yield (
            f"create the account {user.name}",
            lambda: run("INSERT INTO users (username, digesta1) VALUES (?, ?)", (user.name, user.digest)),
        )
    elif applied != fingerprint(user.digest):
        same = first_number(connection, "SELECT id FROM users WHERE id = ? AND digesta1 = ?", [row, user.digest])
        if same is None:
            yield (
                f"set the declared password of {user.name}",
                lambda: run("UPDATE users SET digesta1 = ? WHERE id = ?", (user.digest, row)),
            )
    uri = principal(user.name)
    stored = run("SELECT email, displayname FROM principals WHERE uri = ?", (uri,)).fetchone()
    if stored is None:
        values = (uri, user.email or None, user.display_name)
        yield (
            f"create the principal of {user.name}",
            lambda: run("INSERT INTO principals (uri, email, displayname) VALUES (?, ?, ?)", values),
        )
        return
    wanted = (user.email or stored[0], user.display_name if user.displayed else stored[1])
    if wanted != (stored[0], stored[1]):
        yield (
            f"set the name and e-mail address of {user.name}",
            lambda: run("UPDATE principals SET email = ?, displayname = ? WHERE uri = ?", (*wanted, uri)),
        )


def _calendar(connection: Connection, owner: str, calendar: Collection) -> Iterator[Step]:
    run = connection.execute
    query = (
        "SELECT id, displayname, description, calendarcolor FROM calendarinstances"
        f" WHERE principaluri = ? AND uri = ? AND {OWNED}"
    )
    row = run(query, (principal(owner), calendar.name)).fetchone()
    if row is None:

        def make() -> None:
            number = connection.insert("calendars", synctoken=1, components=COMPONENTS)
            # If another user's calendar is shared under this URI, it gets another one.
            free = _free_uri(connection, owner, f"{calendar.name}-shared")
            rename = "UPDATE calendarinstances SET uri = ? WHERE principaluri = ? AND uri = ?"
            run(rename, (free, principal(owner), calendar.name))
            _insert_instance(connection, number, owner, OWNER, calendar.name, calendar)

        yield f"create the calendar {calendar.name} of {owner}", make
        return
    wanted = _wanted(calendar, dict(zip(("displayname", "description", "calendarcolor"), row[1:], strict=True)))
    if wanted:
        setting = ", ".join(f"{column} = ?" for column in wanted)
        yield (
            f"set the declared properties of the calendar {calendar.name} of {owner}",
            lambda: run(f"UPDATE calendarinstances SET {setting} WHERE id = ?", (*wanted.values(), row[0])),
        )


def _address_book(connection: Connection, owner: str, book: Collection) -> Iterator[Step]:
    run = connection.execute
    query = "SELECT id, displayname, description FROM addressbooks WHERE principaluri = ? AND uri = ?"
    row = run(query, (principal(owner), book.name)).fetchone()
    if row is None:
        values = (principal(owner), book.display_name, book.name, book.description)
        statement = (
            "INSERT INTO addressbooks (principaluri, displayname, uri, description, synctoken) VALUES (?,?,?,?,1)"
        )
        yield f"create the address book {book.name} of {owner}", lambda: run(statement, values)
        return
    wanted = _wanted(book, dict(zip(("displayname", "description"), row[1:], strict=True)))
    if wanted:
        setting = ", ".join(f"{column} = ?" for column in wanted)
        yield (
            f"set the declared properties of the address book {book.name} of {owner}",
            lambda: run(f"UPDATE addressbooks SET {setting} WHERE id = ?", (*wanted.values(), row[0])),
        )


def _wanted(collection: Collection, stored: dict[str, str | None]) -> dict[str, str]:
    """Return the columns to change; the owner may choose what isn't declared (an empty description or colour)."""
    declared = {
        "displayname": collection.display_name if collection.displayed else "",
        "description": collection.description,
        "calendarcolor": collection.color,
    }
    return {column: text for column, text in declared.items() if text and column in stored and stored[column] != text}


def _shares(connection: Connection, owner: str, calendar: Collection) -> Iterator[Step]:
    run = connection.execute
    number = first_number(
        connection,
        f"SELECT calendarid FROM calendarinstances WHERE principaluri = ? AND uri = ? AND {OWNED}",
        [principal(owner), calendar.name],
    )
    for share in calendar.share:
        access = WRITE if share.access == "write" else READ
        query = "SELECT id, access FROM calendarinstances WHERE calendarid = ? AND principaluri = ?"
        row = run(query, (number, principal(share.principal))).fetchone()
        if row is None:
            uri = _free_uri(connection, share.principal, f"{owner}-{calendar.name}")
            instance = (number, share.principal, access, uri, calendar)
            sentence = f"share the calendar {calendar.name} of {owner} with {share.principal} ({share.access})"
            yield sentence, partial(_insert_instance, connection, *instance)
        elif row[1] != access:
            sentence = (
                f"set the access of {share.principal} to the calendar {calendar.name} of {owner} ({share.access})"
            )
            yield sentence, partial(run, "UPDATE calendarinstances SET access = ? WHERE id = ?", (access, row[0]))


def _free_uri(connection: Connection, name: str, wanted: str) -> str:
    """Return ``wanted``, or the first of ``wanted-2``, ``wanted-3``, … that is free among the calendars of ``name``."""
    query = "SELECT uri FROM calendarinstances WHERE principaluri = ?"
    taken = {uri for (uri,) in connection.execute(query, (principal(name),))}
    candidates = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
    return next(uri for uri in candidates if uri not in taken)


def _insert_instance(  # noqa: PLR0913, PLR0917 - one row's columns
    connection: Connection, number: int | None, name: str, access: int, uri: str, calendar: Collection
) -> None:
    """Add the calendar ``number`` to the calendars of ``name`` under ``uri``.

    Its time zone stays NULL: sabre/dav expects a complete VTIMEZONE there, and answers reports with 500 for a mere name.
    """
    columns = "calendarid, principaluri, access, displayname, uri, description, calendarcolor"
    statement = (
        f"INSERT INTO calendarinstances ({columns}, calendarorder, transparent, share_invitestatus)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?)"
    )
    shown = (calendar.display_name, uri, calendar.description, calendar.color)
    connection.execute(statement, (number, principal(name), access, *shown, ACCEPTED))


def _removal(connection: Connection, name: str) -> Iterator[Step]:
    if not _exists(connection, name):
        return
    run = connection.execute
    uri = principal(name)

    def remove() -> None:
        owned = f"SELECT calendarid FROM calendarinstances WHERE principaluri = ? AND {OWNED}"
        books = "SELECT id FROM addressbooks WHERE principaluri = ?"
        for table in ("calendarobjects", "calendarchanges"):
            run(f"DELETE FROM {table} WHERE calendarid IN ({owned})", (uri,))
        for table in ("cards", "addressbookchanges"):
            run(f"DELETE FROM {table} WHERE addressbookid IN ({books})", (uri,))
        run(f"DELETE FROM calendars WHERE id IN ({owned})", (uri,))
        run("DELETE FROM calendarinstances WHERE calendarid NOT IN (SELECT id FROM calendars)")
        for table in ("calendarinstances", "addressbooks", "calendarsubscriptions", "schedulingobjects"):
            run(f"DELETE FROM {table} WHERE principaluri = ?", (uri,))
        members = "DELETE FROM groupmembers WHERE {} IN (SELECT id FROM principals WHERE uri = ? OR uri = ? OR uri = ?)"
        proxies = (uri, f"{uri}/calendar-proxy-read", f"{uri}/calendar-proxy-write")
        for column in ("principal_id", "member_id"):
            run(members.format(column), proxies)
        run("DELETE FROM principals WHERE uri = ? OR uri = ? OR uri = ?", proxies)
        for home in (uri, f"calendars/{name}", f"addressbooks/{name}"):
            run(
                "DELETE FROM propertystorage WHERE path = ? OR substr(path, 1, ?) = ?",
                (home, len(home) + 1, f"{home}/"),
            )
        run("DELETE FROM users WHERE username = ?", (name,))

    yield f"remove the account {name} with its calendars and address books", remove
