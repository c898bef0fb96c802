"""Declared accounts."""

from __future__ import annotations

import unicodedata

import pytest

from baikalctl.errors import SettingsError
from baikalctl.settings import load
from baikalctl.settings.users import Collection, Share
from tests.unit.samples import settings, user


def test_account_without_collections_gets_a_calendar_and_an_address_book() -> None:
    """Both are called default, and the owner may change their display names."""
    (jo,) = settings(users=[user()]).users
    assert [(calendar.name, calendar.displayed) for calendar in jo.calendars] == [("default", False)]
    assert [(book.name, book.displayed) for book in jo.address_books] == [("default", False)]


def test_default_display_name_is_the_user_name() -> None:
    """A declared display name is used instead."""
    jo, ann = settings(users=[user("jo"), user("ann", display_name="Änne Öz")]).users
    assert (jo.display_name, ann.display_name) == ("jo", "Änne Öz")


def test_every_field_of_an_account_is_read() -> None:
    """Also the fields of collections and shares."""
    work = {
        "name": "work",
        "display_name": "Work",
        "description": "All of it",
        "color": "#ff8800cc",
        "share": [{"with": "ann", "access": "write"}, {"with": "bob"}],
    }
    books = [{"name": "friends", "description": "Real ones"}]
    jo = settings(
        users=[user(email="jo@example.org", calendars=[work], address_books=books), user("ann"), user("bob")]
    ).users[0]
    shares = (Share("ann", "write"), Share("bob", "read"))
    assert jo.email == "jo@example.org"
    assert jo.calendars == (Collection("work", "Work", "All of it", "#FF8800CC", shares),)
    assert jo.address_books == (Collection("friends", "friends", "Real ones", displayed=False),)


def test_an_absent_account_needs_no_password() -> None:
    """An operator who removes an account doesn't need to know its password."""
    (gone,) = settings(users=[{"name": "gone", "state": "absent"}]).users
    assert not gone.present
    assert gone.password is None


@pytest.mark.parametrize(
    "name", ["Corey", "a.b@example.org", "jürgen", "config", "o'neill", "x" * 50, "名前", "-", "calendar-proxy-read"]
)
def test_user_name_that_clients_can_log_in_with_is_accepted(name: str) -> None:
    """Dots, umlauts, e-mail addresses, and the names of Baïkal's directories."""
    assert settings(users=[user(name)]).users[0].name == name


def test_user_name_with_decomposed_umlauts_is_a_duplicate() -> None:
    """Decomposed umlauts (as from macOS) are composed, so both names are one account."""
    with pytest.raises(SettingsError) as caught:
        settings(users=[user("jürgen"), user(unicodedata.normalize("NFD", "jürgen"))])
    assert [fault.setting for fault in caught.value.faults] == ["users[1].name"]


def test_length_of_a_user_name_is_limited_in_bytes() -> None:
    """The column in MySQL has 50 bytes, and an umlaut needs two."""
    with pytest.raises(SettingsError, match="longer than 50 bytes"):
        settings(users=[user("ü" * 26)])
    assert settings(users=[user("ü" * 25)]).users[0].name == "ü" * 25


@pytest.mark.parametrize("email", ["jo@example.org", "jo+tag@example.org", "jo.doe@sub.example.org", "jö@exämple.org"])
def test_email_address_is_accepted(email: str) -> None:
    """With tags and umlauts."""
    assert settings(users=[user(email=email)]).users[0].email == email


@pytest.mark.parametrize("access", ["read", "write"])
def test_access_of_a_share_is_read(access: str) -> None:
    """Both kinds."""
    calendars = [{"name": "work", "share": [{"with": "ann", "access": access}]}]
    jo = settings(users=[user(calendars=calendars), user("ann")]).users[0]
    assert jo.calendars[0].share == (Share("ann", access),)


def test_two_accounts_may_have_calendars_of_the_same_name() -> None:
    """Names must be unique per account. An address book may have the same name as a calendar."""
    same = {"calendars": [{"name": "work"}], "address_books": [{"name": "work"}]}
    assert len(settings(users=[user("jo", **same), user("ann", **same)]).users) == 2


def test_thousand_accounts_are_read() -> None:
    """Without a noticeable delay."""
    assert len(settings(users=[user(f"user{number}") for number in range(1000)]).users) == 1000


def test_plain_password_of_an_account_is_refused_in_group_data() -> None:
    """Group data is committed, so it may only have references. The error doesn't repeat the password."""
    data = {"hostname": "cal.example.org", "admin_password": {"file": "/proc/self/comm"}}
    with pytest.raises(SettingsError) as caught:
        load.from_data(data | {"users": [user(password="hunter2")]})
    assert [fault.setting for fault in caught.value.faults] == ["users[0].password"]
    assert "hunter2" not in str(caught.value)
