"""Tables of account settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import ANN, JO, SECRET, Refused


def calendar_data(**fields: object) -> dict[str, object]:
    """Return two accounts; the first has one calendar with these ``fields``."""
    return {"users": [JO | {"calendars": [{"name": "work"} | fields]}, ANN]}


def book_data(**fields: object) -> dict[str, object]:
    """Return an account with one address book with these ``fields``."""
    return {"users": [JO | {"address_books": [{"name": "friends"} | fields]}]}


REFUSED = (
    Refused({"users": {"jo": SECRET}}, 'users: should be a list of tables, such as [{"name": "jo", …}]'),
    Refused({"users": f"jo:{SECRET}"}, 'users: should be a list of tables, such as [{"name": "jo", …}]'),
    Refused({"users": None}, 'users: should be a list of tables, such as [{"name": "jo", …}]'),
    Refused({"users": [f"jo:{SECRET}"]}, 'users[0]: should be a table, such as {"name": …}'),
    Refused({"users": [{}]}, "users[0].name: is missing; it should be a user name"),
    Refused({"users": [{"password": {"env": "GIVEN"}}]}, "users[0].name: is missing; it should be a user name"),
    Refused(
        {"users": [{"name": "jo"}]},
        'users[0].password: is missing; it should be a reference: {"env": "NAME"} or {"file": "path"}',
    ),
    Refused(
        {"users": [JO | {"password": SECRET}]},
        'users[0].password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that '
        "it is never committed or shown",
    ),
    Refused({"users": [JO | {"pasword": SECRET}]}, "users[0].pasword: no such setting; did you mean password?"),
    Refused(
        {"users": [JO | {"quota": 5}]},
        "users[0].quota: no such setting; there are address_books, calendars, display_name, email, name, "
        "password, state",
    ),
    Refused(
        {"users": [JO | {"name": "a:b"}]},
        'users[0].name = "a:b": has a space, a colon or one of / \\ ? # %; no client can log in with such a '
        "name, so choose another",
    ),
    Refused(
        {"users": [JO | {"name": "a/b"}]},
        'users[0].name = "a/b": has a space, a colon or one of / \\ ? # %; no client can log in with such a '
        "name, so choose another",
    ),
    Refused(
        {"users": [JO | {"name": "a b"}]},
        'users[0].name = "a b": has a space, a colon or one of / \\ ? # %; no client can log in with such a '
        "name, so choose another",
    ),
    Refused(
        {"users": [JO | {"name": ".."}]},
        'users[0].name = "..": has a space, a colon or one of / \\ ? # %; no client can log in with such a '
        "name, so choose another",
    ),
    Refused(
        {"users": [JO | {"name": 7}]},
        "users[0].name = 7: is not text, but int; --data guesses types: quote it twice, as in --data 'name=\"0.10\"'",
    ),
    Refused(
        {"users": [JO | {"name": "x" * 51}]},
        'users[0].name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": is longer than 50 bytes; shorten it',
    ),
    Refused({"users": [JO, ANN, JO]}, 'users[2].name = "jo": is declared twice; remove one'),
    Refused(
        {"users": [JO | {"email": "Jo <jo@example.org>"}]},
        'users[0].email = "Jo <jo@example.org>": is not an e-mail address; write only the address, such as '
        '"jo@example.org", at most 80 characters',
    ),
    Refused(
        {"users": [JO | {"email": "jo"}]},
        'users[0].email = "jo": is not an e-mail address; write only the address, such as "jo@example.org", at '
        "most 80 characters",
    ),
    Refused(
        {"users": [JO | {"email": "a@b.c,d@e.f"}]},
        'users[0].email = "a@b.c,d@e.f": is not an e-mail address; write only the address, such as '
        '"jo@example.org", at most 80 characters',
    ),
    Refused({"users": [JO | {"state": "gone"}]}, 'users[0].state = "gone": should be present or absent'),
    Refused({"users": [JO | {"calendars": "work"}]}, 'users[0].calendars = "work": should be a list of tables'),
    Refused({"users": [JO | {"calendars": ["work"]}]}, 'users[0].calendars[0]: should be a table, such as {"name": …}'),
    Refused(
        {"users": [JO | {"calendars": [{}]}]},
        "users[0].calendars[0].name: is missing; it should be a name for its URL",
    ),
    Refused(
        {"users": [JO | {"calendars": [{"color": "#FF0000"}]}]},
        "users[0].calendars[0].name: is missing; it should be a name for its URL",
    ),
    Refused(
        calendar_data(name="a/b"),
        'users[0].calendars[0].name = "a/b": is part of a URL, so it can\'t have / \\ ? # or %; use '
        "display_name for the name that users see",
    ),
    Refused(
        calendar_data(color="red"),
        'users[0].calendars[0].color = "red": is not a colour; write "#RRGGBB", or "#RRGGBBAA"',
    ),
    Refused(
        calendar_data(color="#F00"),
        'users[0].calendars[0].color = "#F00": is not a colour; write "#RRGGBB", or "#RRGGBBAA"',
    ),
    Refused(calendar_data(colour="#FF0000"), "users[0].calendars[0].colour: no such setting; did you mean color?"),
    Refused(
        {"users": [JO | {"calendars": [{"name": "a"}, {"name": "a"}]}]},
        'users[0].calendars[1].name = "a": is declared twice; remove one',
    ),
    Refused(
        calendar_data(share=[{"with": "eve"}]),
        'users[0].calendars[0].share[0].with = "eve": is not an account in users; declare the account, or '
        "remove the share",
    ),
    Refused(
        calendar_data(share=[{"with": "jo"}]),
        'users[0].calendars[0].share[0].with = "jo": is the calendar\'s own owner; remove it',
    ),
    Refused(
        calendar_data(share=[{"with": "ann"}, {"with": "ann", "access": "write"}]),
        'users[0].calendars[0].share[1].with = "ann": is named twice; remove one',
    ),
    Refused(
        {
            "users": [
                JO | {"calendars": [{"name": "work", "share": [{"with": "eve"}]}]},
                ANN,
                {"name": "eve", "state": "absent"},
            ]
        },
        'users[0].calendars[0].share[0].with = "eve": is not an account in users; declare the account, or '
        "remove the share",
    ),
    Refused(
        calendar_data(share=[{"access": "read"}]),
        "users[0].calendars[0].share[0].with: is missing; it should be a user name",
    ),
    Refused(calendar_data(share=[{}]), "users[0].calendars[0].share[0].with: is missing; it should be a user name"),
    Refused(calendar_data(share=["ann"]), 'users[0].calendars[0].share[0]: should be a table, such as {"with": …}'),
    Refused(
        calendar_data(share=[{"with": "ann", "access": "rw"}]),
        'users[0].calendars[0].share[0].access = "rw": should be read or write',
    ),
    Refused(
        book_data(color="#FF0000"),
        "users[0].address_books[0].color: no such setting; there are description, display_name, name",
    ),
    Refused(
        book_data(share=[{"with": "ann"}]),
        "users[0].address_books[0].share: no such setting; there are description, display_name, name",
    ),
    Refused(
        {"users": [JO | {"address_books": [{"name": "a"}, {"name": "a"}]}]},
        'users[0].address_books[1].name = "a": is declared twice; remove one',
    ),
)
