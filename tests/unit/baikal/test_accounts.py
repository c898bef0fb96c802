"""Accounts as rows, on a real database of Baïkal's schema."""
# ruff: noqa: S608 - only names of tables and columns are put into statements here

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl.baikal import accounts as account_rows
from tests.unit.samples import declared, user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.database import sqlite_file
    from baikalctl.desired.state import DesiredUser


TABLES = (
    *("users", "principals", "calendars", "calendarinstances", "calendarobjects", "calendarchanges"),
    *("addressbooks", "cards", "addressbookchanges", "calendarsubscriptions", "schedulingobjects"),
    *("groupmembers", "propertystorage", "locks"),
)
WORK = {"name": "work", "display_name": "Work", "color": "#FF0000", "description": "All of it"}
ABSENT = {"name": "jo", "state": "absent"}


def accounts(*tables: Mapping[str, object]) -> tuple[DesiredUser, ...]:
    """Return what a host knows of these accounts."""
    return declared(users=list(tables)).users


def fingerprints(*tables: Mapping[str, object]) -> dict[str, str]:
    """Return what is remembered once these accounts have been applied."""
    return {user.name: account_rows.fingerprint(user.digest) for user in accounts(*tables)}


def change(
    connection: sqlite_file.Connection, *tables: Mapping[str, object], applied: Mapping[str, str] | None = None
) -> list[str]:
    """Do all that is planned, and return the sentences."""
    sentences = []
    for sentence, act in account_rows.plan(connection, accounts(*tables), applied or {}):
        sentences.append(sentence)
        act()
    connection.commit()
    return sentences


def content(connection: sqlite_file.Connection) -> dict[str, list[Any]]:
    """Return every row of every table."""
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES}


def rows(connection: sqlite_file.Connection, query: str, *values: object) -> list[Any]:
    """Return the rows of a query, single columns unwrapped."""
    return [row[0] if len(row) == 1 else row for row in connection.execute(query, values)]


def fill(connection: sqlite_file.Connection, name: str) -> None:
    """Give an account all that clients and the admin pages leave behind: objects, shares, subscriptions, properties.

    sabre/dav leaves ``access`` NULL in calendars that clients make on SQLite.
    """
    run = connection.execute
    uri = f"principals/{name}"
    calendar = run("INSERT INTO calendars (synctoken, components) VALUES (3, 'VEVENT')").lastrowid
    run(
        "INSERT INTO calendarinstances (calendarid, principaluri, displayname, uri) VALUES (?, ?, ?, ?)",
        (calendar, uri, f"{name}'s own", f"made-by-{name}"),
    )
    query = "SELECT calendarid FROM calendarinstances WHERE principaluri = ? AND (access IS NULL OR access = 1)"
    owned = rows(connection, query, uri)
    for number in owned:
        run(
            "INSERT INTO calendarobjects (calendardata, uri, calendarid, lastmodified, etag, size) VALUES (?,?,?,1,'e',1)",
            ("BEGIN:VCALENDAR", f"{name}.ics", number),
        )
        run("INSERT INTO calendarchanges (uri, synctoken, calendarid, operation) VALUES (?, 1, ?, 1)", (name, number))
    book = run(
        "INSERT INTO addressbooks (principaluri, displayname, uri) VALUES (?, 'own', ?)", (uri, f"made-by-{name}")
    ).lastrowid
    run("INSERT INTO cards (addressbookid, carddata, uri) VALUES (?, 'BEGIN:VCARD', ?)", (book, f"{name}.vcf"))
    run("INSERT INTO addressbookchanges (uri, synctoken, addressbookid, operation) VALUES (?, 1, ?, 1)", (name, book))
    run("INSERT INTO calendarsubscriptions (uri, principaluri, source) VALUES ('holidays', ?, 'https://x')", (uri,))
    run("INSERT INTO schedulingobjects (principaluri, uri, etag, size) VALUES (?, 'i.ics', 'e', 1)", (uri,))
    proxy = run("INSERT INTO principals (uri) VALUES (?)", (f"{uri}/calendar-proxy-write",)).lastrowid
    (own,) = rows(connection, "SELECT id FROM principals WHERE uri = ?", uri)
    for other in rows(connection, "SELECT id FROM principals WHERE uri LIKE 'principals/%' AND uri NOT LIKE '%/%/%'"):
        if other != own:
            run("INSERT INTO groupmembers (principal_id, member_id) VALUES (?, ?)", (proxy, other))
    for home in (uri, f"calendars/{name}/work", f"addressbooks/{name}"):
        run("INSERT INTO propertystorage (path, name, valuetype, value) VALUES (?, '{x}y', 1, 'z')", (home,))
    connection.commit()


def test_an_account_is_made_as_baikal_makes_it(connection: sqlite_file.Connection) -> None:
    """User, principal, calendar and address book have the columns that Baïkal's own User.php writes."""
    change(connection, user("jo", password="geheim", email="jo@example.org", display_name="Jo Doe"))
    digest = hashlib.md5(b"jo:BaikalDAV:geheim", usedforsecurity=False).hexdigest()
    assert rows(connection, "SELECT username, digesta1 FROM users") == [("jo", digest)]
    assert rows(connection, "SELECT uri, email, displayname FROM principals") == [
        ("principals/jo", "jo@example.org", "Jo Doe")
    ]
    assert rows(connection, "SELECT synctoken, components FROM calendars") == [(1, "VEVENT,VTODO")]
    columns = "calendarid, principaluri, access, uri, displayname, timezone, transparent, share_invitestatus"
    assert rows(connection, f"SELECT {columns} FROM calendarinstances") == [
        (1, "principals/jo", 1, "default", "Default calendar", None, 0, 2)
    ]
    assert rows(connection, "SELECT principaluri, uri, displayname, synctoken FROM addressbooks") == [
        ("principals/jo", "default", "Default address book", 1)
    ]


def test_each_step_is_a_sentence(connection: sqlite_file.Connection) -> None:
    """The operator of a deploy reads the changes; there is no password in them."""
    table = user("jo", password="hunter2-hunter2", calendars=[WORK | {"share": [{"with": "ann"}]}])
    sentences = change(connection, table, user("ann"))
    assert sentences[:4] == [
        "create the account jo",
        "create the principal of jo",
        "create the calendar work of jo",
        "create the address book default of jo",
    ]
    assert sentences[-1] == "share the calendar work of jo with ann (read)"
    assert "hunter2" not in "".join(sentences)


@pytest.mark.parametrize(
    "name", ["jo", "Corey", "a.b@example.org", "jürgen", "o'neill", "config", "名前", '"quoted"', "--", "x;DROP"]
)
def test_a_second_plan_is_empty(connection: sqlite_file.Connection, name: str) -> None:
    """With unusual names, an account is created once, too."""
    table = user(name, calendars=[WORK | {"name": "Ärger's"}], address_books=[{"name": "böoks", "description": "ß"}])
    assert change(connection, table)
    before = content(connection)
    assert change(connection, table, applied=fingerprints(table)) == []
    assert content(connection) == before
    assert rows(connection, "SELECT username FROM users") == [name]


def test_a_second_plan_is_empty_although_nothing_is_remembered(connection: sqlite_file.Connection) -> None:
    """A run that was interrupted before it could remember the passwords doesn't set them again."""
    table = user("jo", calendars=[WORK])
    change(connection, table)
    assert change(connection, table, applied={}) == []


def test_planning_changes_nothing(connection: sqlite_file.Connection) -> None:
    """A plan that is only read can be read in full, and the database stays as it was."""
    change(connection, user("ann"))
    before = content(connection)
    table = user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}])
    sentences = [
        sentence for sentence, _ in account_rows.plan(connection, accounts(table, user("ann", password="new")), {})
    ]
    assert len(sentences) == 6
    assert content(connection) == before
    assert not connection.in_transaction


def test_undeclared_rows_are_not_changed(connection: sqlite_file.Connection) -> None:
    """Other accounts, calendars made by clients, objects, and all else stay as they are."""
    change(connection, user("jo"), user("eve"))
    fill(connection, "eve")
    fill(connection, "jo")
    before = content(connection)
    change(connection, user("jo", calendars=[WORK]), applied=fingerprints(user("jo")))
    after = content(connection)
    for table in TABLES:
        assert [row for row in before[table] if row not in after[table]] == []
    added = {
        table: len(after[table]) - len(before[table]) for table in TABLES if len(after[table]) > len(before[table])
    }
    assert added == {"calendars": 1, "calendarinstances": 1}


def test_an_account_that_is_no_longer_declared_stays(connection: sqlite_file.Connection) -> None:
    """Removal is explicit."""
    change(connection, user("jo"), user("ann"))
    before = content(connection)
    assert change(connection, user("ann"), applied=fingerprints(user("jo"), user("ann"))) == []
    assert content(connection) == before


def test_a_password_that_its_owner_changed_stays(connection: sqlite_file.Connection) -> None:
    """While the declaration stays the same, a password that the user has chosen stays."""
    table = user("jo")
    change(connection, table)
    connection.execute("UPDATE users SET digesta1 = 'chosen by jo'")
    assert change(connection, table, applied=fingerprints(table)) == []
    assert rows(connection, "SELECT digesta1 FROM users") == ["chosen by jo"]


def test_a_password_whose_declaration_changes_is_set(connection: sqlite_file.Connection) -> None:
    """This is how an administrator sets a user's new password."""
    old, new = user("jo", password="old"), user("jo", password="new")
    change(connection, old)
    connection.execute("UPDATE users SET digesta1 = 'forgotten'")
    assert change(connection, new, applied=fingerprints(old)) == ["set the declared password of jo"]
    assert rows(connection, "SELECT digesta1 FROM users") == [accounts(new)[0].digest]
    assert change(connection, new, applied=fingerprints(new)) == []


def test_an_account_that_was_there_before_gets_what_is_declared(connection: sqlite_file.Connection) -> None:
    """An account made in the admin pages becomes the declared one and keeps its calendars."""
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('jo', 'x')")
    connection.execute("INSERT INTO principals (uri, email, displayname) VALUES ('principals/jo', NULL, 'jo')")
    connection.commit()
    sentences = change(connection, user("jo"))
    assert sentences == [
        "set the declared password of jo",
        "create the calendar default of jo",
        "create the address book default of jo",
    ]


def test_half_an_account_is_completed(connection: sqlite_file.Connection) -> None:
    """A user without a principal (another tool's) gets one, and isn't made twice."""
    connection.execute("INSERT INTO users (username, digesta1) VALUES ('jo', ?)", (accounts(user("jo"))[0].digest,))
    connection.commit()
    assert change(connection, user("jo"))[0] == "create the principal of jo"
    assert rows(connection, "SELECT username FROM users") == ["jo"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"email": "new@example.org"}, ("new@example.org", "Jo")), ({"display_name": "Jö"}, ("jo@example.org", "Jö"))],
)
def test_a_declared_name_or_address_is_kept(
    connection: sqlite_file.Connection, changed: dict[str, object], expected: tuple[str, str]
) -> None:
    """What is declared of a person is set again when it differs."""
    table = user("jo", email="jo@example.org", display_name="Jo")
    change(connection, table)
    new = table | changed
    assert change(connection, new, applied=fingerprints(new)) == ["set the name and e-mail address of jo"]
    assert rows(connection, "SELECT email, displayname FROM principals") == [expected]


@pytest.mark.parametrize(("column", "value"), [("displayname", "Jo D."), ("email", "jo@home.example")])
def test_a_persons_name_and_address_that_are_not_declared_are_theirs(
    connection: sqlite_file.Connection, column: str, value: str
) -> None:
    """What users entered in the admin pages stays if it isn't declared; without an address, no invitation is sent."""
    table = user("jo")
    change(connection, table)
    connection.execute(f"UPDATE principals SET {column} = ?", (value,))
    assert change(connection, table, applied=fingerprints(table)) == []
    assert rows(connection, f"SELECT {column} FROM principals") == [value]


@pytest.mark.parametrize("kind", ["calendars", "address_books"])
def test_the_display_name_of_a_collection_that_is_not_declared_is_its_owners(
    connection: sqlite_file.Connection, kind: str
) -> None:
    """A client may rename it, and the next run leaves that alone; likewise description and colour."""
    table = user("jo", **{kind: [{"name": "work"}]})
    change(connection, table)
    target = "calendarinstances" if kind == "calendars" else "addressbooks"
    colour = ", calendarcolor = '#123456'" if kind == "calendars" else ""
    connection.execute(f"UPDATE {target} SET displayname = 'Mine', description = 'own'{colour} WHERE uri = 'work'")
    connection.commit()
    before = content(connection)
    assert change(connection, table, applied=fingerprints(table)) == []
    assert content(connection) == before


@pytest.mark.parametrize(
    ("kind", "table", "column"),
    [
        ("calendars", "calendarinstances", "displayname"),
        ("calendars", "calendarinstances", "description"),
        ("calendars", "calendarinstances", "calendarcolor"),
        ("address_books", "addressbooks", "displayname"),
        ("address_books", "addressbooks", "description"),
    ],
)
def test_what_is_declared_of_a_collection_is_kept(
    connection: sqlite_file.Connection, kind: str, table: str, column: str
) -> None:
    """A declared name, description or colour is set again when it differs, and nothing else with it."""
    fields = WORK if kind == "calendars" else {name: WORK[name] for name in ("name", "display_name", "description")}
    jo = user("jo", **{kind: [fields]})
    change(connection, jo)
    before = content(connection)
    connection.execute(f"UPDATE {table} SET {column} = 'other' WHERE uri = 'work'")
    thing = "calendar" if kind == "calendars" else "address book"
    assert change(connection, jo, applied=fingerprints(jo)) == [
        f"set the declared properties of the {thing} work of jo"
    ]
    assert content(connection) == before


def test_a_calendar_that_a_client_made_becomes_the_declared_one(connection: sqlite_file.Connection) -> None:
    """It is found although sabre/dav left its access empty, keeps its events, and can be shared."""
    change(connection, user("jo"), user("ann"))
    fill(connection, "jo")
    calendars = [{"name": "made-by-jo", "display_name": "Ours", "share": [{"with": "ann"}]}]
    tables = [user("jo", calendars=calendars), user("ann")]
    assert change(connection, *tables, applied=fingerprints(*tables)) == [
        "set the declared properties of the calendar made-by-jo of jo",
        "share the calendar made-by-jo of jo with ann (read)",
    ]
    query = """SELECT principaluri, displayname FROM calendarinstances JOIN calendarobjects USING (calendarid)
               WHERE displayname = 'Ours' ORDER BY principaluri"""
    assert rows(connection, query) == [("principals/ann", "Ours"), ("principals/jo", "Ours")]
    assert change(connection, *tables, applied=fingerprints(*tables)) == []


def test_a_share_shows_a_calendar_to_another_user(connection: sqlite_file.Connection) -> None:
    """One more row for the other principal, accepted already, with the access that is declared."""
    shares = [{"with": "ann", "access": "read"}, {"with": "bob", "access": "write"}]
    change(connection, user("jo", calendars=[WORK | {"share": shares}]), user("ann"), user("bob"))
    query = "SELECT principaluri, access, share_invitestatus, displayname FROM calendarinstances WHERE calendarid = 1"
    assert rows(connection, query) == [
        ("principals/jo", 1, 2, "Work"),
        ("principals/ann", 2, 2, "Work"),
        ("principals/bob", 3, 2, "Work"),
    ]


@pytest.mark.parametrize(("first", "then", "number"), [("read", "write", 3), ("write", "read", 2)])
def test_access_that_changes_is_changed_in_its_row(
    connection: sqlite_file.Connection, first: str, then: str, number: int
) -> None:
    """From read to write and back, without a second row; the other user's name of the calendar stays."""

    def tables(access: str) -> list[dict[str, object]]:
        return [user("jo", calendars=[WORK | {"share": [{"with": "ann", "access": access}]}]), user("ann")]

    change(connection, *tables(first))
    connection.execute("UPDATE calendarinstances SET displayname = 'Jos' WHERE principaluri = 'principals/ann'")
    sentences = change(connection, *tables(then), applied=fingerprints(*tables(then)))
    assert sentences == [f"set the access of ann to the calendar work of jo ({then})"]
    query = "SELECT access, displayname FROM calendarinstances WHERE principaluri = 'principals/ann' AND calendarid = 1"
    assert rows(connection, query) == [(number, "Jos")]
    assert change(connection, *tables(then), applied=fingerprints(*tables(then))) == []


def test_a_share_that_its_owner_made_is_taken_for_the_declared_one(connection: sqlite_file.Connection) -> None:
    """With any address that a client gave it, there is one row for each person."""
    tables = [user("jo", calendars=[WORK]), user("ann")]
    change(connection, *tables)
    connection.execute(
        "INSERT INTO calendarinstances (calendarid, principaluri, access, uri) VALUES (1, 'principals/ann', 2, 'uuid')"
    )
    tables[0] = user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}])
    assert change(connection, *tables, applied=fingerprints(*tables)) == []


def test_two_people_share_calendars_of_one_name_with_a_third(connection: sqlite_file.Connection) -> None:
    """Both get an address of their own in the third's home."""
    shared = WORK | {"share": [{"with": "ann"}]}
    tables = [user("jo", calendars=[shared]), user("bob", calendars=[shared]), user("ann")]
    change(connection, *tables)
    query = "SELECT count(DISTINCT uri) FROM calendarinstances WHERE principaluri = 'principals/ann' AND access = 2"
    assert rows(connection, query) == [2]
    assert change(connection, *tables, applied=fingerprints(*tables)) == []


def test_a_share_whose_address_is_taken_gets_another(connection: sqlite_file.Connection) -> None:
    """The other person may have a calendar of that very name, declared or made by a client."""
    tables = [
        user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}]),
        user("ann", calendars=[{"name": "jo-work"}]),
    ]
    change(connection, *tables)
    query = "SELECT count(*) FROM calendarinstances WHERE principaluri = 'principals/ann'"
    assert rows(connection, query) == [2]
    assert change(connection, *tables, applied=fingerprints(*tables)) == []


def test_a_calendar_whose_address_a_share_has_taken_is_made(connection: sqlite_file.Connection) -> None:
    """The other way round: the share is there when the calendar is declared."""
    tables = [user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}]), user("ann")]
    change(connection, *tables)
    tables[1] = user("ann", calendars=[{"name": "jo-work"}])
    change(connection, *tables)
    query = "SELECT count(*) FROM calendarinstances WHERE principaluri = 'principals/ann' AND uri = 'jo-work'"
    assert rows(connection, f"{query} AND access = 1") == [1]
    assert change(connection, *tables, applied=fingerprints(*tables)) == []


def test_shares_whose_names_run_together_both_work(connection: sqlite_file.Connection) -> None:
    """The calendar b-c of a and the calendar c of a-b are different, also for a user who has shares of both."""
    shares = {"share": [{"with": "ann"}]}
    tables = [
        user("a", calendars=[{"name": "b-c"} | shares]),
        user("a-b", calendars=[{"name": "c"} | shares]),
        user("ann"),
    ]
    change(connection, *tables)
    query = "SELECT count(*) FROM calendarinstances WHERE principaluri = 'principals/ann' AND access = 2"
    assert rows(connection, query) == [2]


def test_an_absent_account_is_removed_with_all_that_it_has(connection: sqlite_file.Connection) -> None:
    """Nothing of it is left in any table, neither what was declared nor what clients left."""
    tables = [user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}]), user("ann")]
    change(connection, *tables)
    connection.execute("DELETE FROM calendarinstances WHERE calendarid = 1 AND principaluri = 'principals/ann'")
    before = content(connection)
    untouched = {table: [row for row in before[table] if "jo" not in str(row)] for table in TABLES}
    fill(connection, "jo")
    sentences = change(connection, ABSENT, user("ann"), applied=fingerprints(*tables))
    assert sentences == ["remove the account jo with its calendars and address books"]
    after = content(connection)
    assert "jo" not in str({table: after[table] for table in TABLES if table != "calendars"})
    for table in ("users", "principals", "addressbooks", "calendarinstances"):
        assert after[table] == untouched[table]
    for table in ("calendarobjects", "calendarchanges", "cards", "addressbookchanges", "schedulingobjects"):
        assert after[table] == []
    for table in ("calendarsubscriptions", "groupmembers", "propertystorage"):
        assert after[table] == []
    owners = rows(connection, "SELECT calendarid FROM calendarinstances")
    assert [row[0] for row in after["calendars"]] == owners


@pytest.mark.parametrize("others", [["ann", "joanna", "j"], ["jo2", "jo.doe", "JO"], ["jo@example.org", "jö"]])
def test_removing_an_account_removes_nothing_of_others(connection: sqlite_file.Connection, others: list[str]) -> None:
    """Also not of those whose names begin alike, or who shared a calendar with it."""
    tables = [user(name) for name in others]
    change(connection, *tables)
    for name in others:
        fill(connection, name)
    before = content(connection)
    jo = user("jo", calendars=[WORK])
    sharing = [
        *tables[1:],
        jo,
        user(others[0], calendars=[{"name": "default", "share": [{"with": "jo", "access": "write"}]}]),
    ]
    change(connection, *sharing, applied=fingerprints(*tables))
    fill(connection, "jo")
    change(connection, ABSENT, *tables, applied=fingerprints(*tables))
    assert content(connection) == before


def test_a_calendar_that_was_shared_by_the_removed_vanishes_for_all(connection: sqlite_file.Connection) -> None:
    """A row without a calendar would break the clients of the other user."""
    tables = [user("jo", calendars=[WORK | {"share": [{"with": "ann", "access": "write"}]}]), user("ann")]
    change(connection, *tables)
    change(connection, ABSENT, user("ann"), applied=fingerprints(*tables))
    query = "SELECT uri, access FROM calendarinstances WHERE principaluri = 'principals/ann'"
    assert rows(connection, query) == [("default", 1)]


def test_removing_an_account_twice_does_nothing_more(connection: sqlite_file.Connection) -> None:
    """The declaration may stay until the operator deletes it."""
    change(connection, user("jo"))
    change(connection, ABSENT)
    assert change(connection, ABSENT) == []
    assert account_rows.removals(connection, accounts(ABSENT)) == []


def test_who_is_to_be_removed_is_known_beforehand(connection: sqlite_file.Connection) -> None:
    """So that a backup is made first, and only if there is anybody to remove."""
    change(connection, user("jo"), user("ann"))
    assert account_rows.removals(connection, accounts(ABSENT, user("ann"), {"name": "eve", "state": "absent"})) == [
        "jo"
    ]


def test_half_an_account_is_removed_as_well(connection: sqlite_file.Connection) -> None:
    """A principal without a user is what an older tool may have left."""
    connection.execute("INSERT INTO principals (uri) VALUES ('principals/jo')")
    change(connection, ABSENT)
    assert content(connection)["principals"] == []


def test_an_account_can_come_back(connection: sqlite_file.Connection) -> None:
    """After its removal the name is free, and the new account is empty."""
    change(connection, user("jo"))
    fill(connection, "jo")
    change(connection, ABSENT)
    change(connection, user("jo"))
    assert rows(connection, "SELECT uri FROM calendarinstances") == ["default"]
    assert content(connection)["calendarobjects"] == []


@pytest.mark.parametrize("steps", range(8))
def test_a_run_that_breaks_off_midway_leaves_nothing(connection: sqlite_file.Connection, steps: int) -> None:
    """Steps belong to one transaction; after it is undone the next run does all of them."""
    change(connection, user("eve"))
    before = content(connection)
    tables = [user("jo", calendars=[WORK | {"share": [{"with": "ann"}]}]), user("ann")]
    for taken, (_, act) in enumerate(account_rows.plan(connection, accounts(*tables), {})):
        if taken == steps:
            break
        act()
    connection.rollback()
    assert content(connection) == before
    assert len(change(connection, *tables)) == 9


def test_what_is_remembered_of_a_password_cannot_log_in() -> None:
    """The fingerprint is neither the verifier nor derived from the name alone."""
    (jo,) = accounts(user("jo"))
    assert jo.digest not in account_rows.fingerprint(jo.digest)
    assert account_rows.fingerprint(jo.digest) != account_rows.fingerprint(
        accounts(user("jo", password="other"))[0].digest
    )


def test_many_accounts_are_each_made_once(connection: sqlite_file.Connection) -> None:
    """Many people with shares among them are created, and a second run changes nothing."""
    everybody = [f"member{number}" for number in range(60)]
    tables = [
        user(name, calendars=[{"name": "club", "share": [{"with": other}]}])
        for name, other in zip(everybody, [*everybody[1:], everybody[0]], strict=True)
    ]
    assert len(change(connection, *tables)) == 5 * len(everybody)
    assert change(connection, *tables, applied=fingerprints(*tables)) == []
