"""The people of a server as they are declared."""

from __future__ import annotations

import unicodedata

import pytest

from baikalctl.errors import SettingsError
from baikalctl.settings import load
from baikalctl.settings.users import Collection, Share
from tests.unit.samples import settings, user


def test_an_account_without_collections_gets_a_calendar_and_an_address_book() -> None:
    """One of each, called default, with names for people that are the owner's to change."""
    (jo,) = settings(users=[user()]).users
    assert [(calendar.name, calendar.displayed) for calendar in jo.calendars] == [("default", False)]
    assert [(book.name, book.displayed) for book in jo.address_books] == [("default", False)]


def test_an_account_is_shown_by_its_name_unless_another_is_declared() -> None:
    """People see the display name, and the account's name where there is none."""
    jo, ann = settings(users=[user("jo"), user("ann", display_name="Änne Öz")]).users
    assert (jo.display_name, ann.display_name) == ("jo", "Änne Öz")


def test_everything_that_can_be_declared_of_an_account_is_read() -> None:
    """Each field ends where it belongs."""
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
    """Whoever removes an account need not know its password any more."""
    (gone,) = settings(users=[{"name": "gone", "state": "absent"}]).users
    assert not gone.present
    assert gone.password is None


@pytest.mark.parametrize(
    "name", ["Corey", "a.b@example.org", "jürgen", "config", "o'neill", "x" * 50, "名前", "-", "calendar-proxy-read"]
)
def test_names_that_clients_can_log_in_with_are_taken(name: str) -> None:
    """Dots, umlauts, whole e-mail addresses, and the names of Baïkal's own directories are just names."""
    assert settings(users=[user(name)]).users[0].name == name


def test_a_name_is_the_same_however_its_umlauts_are_typed() -> None:
    """A decomposed umlaut (macOS types some) becomes the composed one, so it is one account and not two."""
    with pytest.raises(SettingsError) as caught:
        settings(users=[user("jürgen"), user(unicodedata.normalize("NFD", "jürgen"))])
    assert [fault.setting for fault in caught.value.faults] == ["users[1].name"]


def test_the_length_of_a_name_is_counted_in_bytes() -> None:
    """The column of other databases has 50 bytes, and an umlaut needs two of them."""
    with pytest.raises(SettingsError, match="longer than 50 bytes"):
        settings(users=[user("ü" * 26)])
    assert settings(users=[user("ü" * 25)]).users[0].name == "ü" * 25


@pytest.mark.parametrize("email", ["jo@example.org", "jo+tag@example.org", "jo.doe@sub.example.org", "jö@exämple.org"])
def test_email_addresses_are_taken_bare(email: str) -> None:
    """Tags and umlauts are part of addresses."""
    assert settings(users=[user(email=email)]).users[0].email == email


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_share_says_who_may_what(access: str) -> None:
    """Both kinds of access are read as they stand."""
    calendars = [{"name": "work", "share": [{"with": "ann", "access": access}]}]
    jo = settings(users=[user(calendars=calendars), user("ann")]).users[0]
    assert jo.calendars[0].share == (Share("ann", access),)


def test_two_people_may_have_calendars_of_one_name() -> None:
    """Names of calendars are their owner's, and address books may have them as well."""
    same = {"calendars": [{"name": "work"}], "address_books": [{"name": "work"}]}
    assert len(settings(users=[user("jo", **same), user("ann", **same)]).users) == 2


def test_a_user_list_of_a_thousand_is_read() -> None:
    """Nothing about reading accounts is slow enough to be noticed."""
    assert len(settings(users=[user(f"user{number}") for number in range(1000)]).users) == 1000


def test_an_account_in_group_data_refuses_a_plain_password() -> None:
    """Group data gets committed, so a password there is a reference, and the plain one isn't repeated in the error."""
    data = {"hostname": "cal.example.org", "admin_password": {"file": "/proc/self/comm"}}
    with pytest.raises(SettingsError) as caught:
        load.from_data(data | {"users": [user(password="hunter2")]})
    assert [fault.setting for fault in caught.value.faults] == ["users[0].password"]
    assert "hunter2" not in str(caught.value)
