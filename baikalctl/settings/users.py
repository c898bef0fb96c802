"""The setting ``users``: accounts with their calendars, address books and shares."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl.errors import Fault, unknown_name
from baikalctl.settings.value_types import Choice, Kind, SecretValue, Text, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from baikalctl.settings.secret import Secret


NAME_BYTES = 50
"""Longest user name: ``users.username`` is VARBINARY(50) in Baïkal's MySQL schema. The limit applies to all databases."""
COLLECTION_BYTES = 200
"""Longest name of a calendar or address book: ``uri`` is VARBINARY(200) in that schema."""


@dataclass(frozen=True)
class Share:
    """Access of another account to a calendar: ``principal`` is a declared user, ``access`` is ``read`` or ``write``."""

    principal: str
    access: str


@dataclass(frozen=True)
class Collection:
    """A calendar or an address book; ``name`` is the last part of its URL. Only calendars have ``color`` and ``share``."""

    name: str
    display_name: str
    description: str = ""
    color: str = ""
    share: tuple[Share, ...] = ()
    displayed: bool = True
    """Whether the display name was declared. If not, it is only set for a new collection, and the owner may change it."""


@dataclass(frozen=True)
class User:
    """An account. If ``present`` is false, the account is removed, with all of its data."""

    name: str
    display_name: str
    email: str
    password: Secret | None
    calendars: tuple[Collection, ...]
    address_books: tuple[Collection, ...]
    present: bool = True
    displayed: bool = True
    """Whether the display name was declared, as in :class:`Collection`."""


class UsersValue(Kind["tuple[User, ...]"]):
    """The list of accounts. :func:`read_users` reads it, because one list can have many faults."""

    form = "a list of accounts"
    confidential = True


def _user_name(text: str) -> str:
    if re.search(r"[\s/:\\?#%\x7f]", text) or text in (".", ".."):
        raise ValueError(
            "has a space, a colon or one of / \\ ? # %; no client can log in with such a name, so choose another"
        )
    return _short(text, NAME_BYTES)


def _collection_name(text: str) -> str:
    if re.search(r"[/\\?#%\x7f]", text) or text in (".", ".."):
        raise ValueError(
            "is part of a URL, so it can't have / \\ ? # or %; use display_name for the name that users see"
        )
    return _short(text, COLLECTION_BYTES)


def _short(text: str, limit: int) -> str:
    normal = unicodedata.normalize("NFC", text)
    if len(normal.encode()) > limit:
        raise ValueError(f"is longer than {limit} bytes; shorten it")
    return normal


def email(text: str) -> str:
    """Return an e-mail address (RFC 5321's dot-atom form) in lower case. Only its form is checked.

    Baïkal converts an event's addresses to lower case and compares them with this one.
    """
    if len(text) > 80 or not re.fullmatch(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+", text):
        raise ValueError(
            'is not an e-mail address; write only the address, such as "jo@example.org", at most 80 characters'
        )
    return text.lower()


def _color(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?", text):
        raise ValueError('is not a colour; write "#RRGGBB", or "#RRGGBBAA"')
    return text.upper()


NAME = Text("a user name", _user_name)
COLLECTION_NAME = Text("a name for its URL", _collection_name)
FREE_TEXT = Text("text", str.strip, empty=True)
EMAIL = Text("an e-mail address", email, empty=True)
COLOR = Text("a colour", _color, empty=True)
ACCESS = Choice("read", "write")
STATE = Choice("present", "absent")


class _Table:
    """One table of the list ``users``: reads its fields, and collects their faults."""

    def __init__(self, raw: object, path: str, fields: tuple[str, ...], faults: list[Fault]) -> None:
        self.path, self.faults = path, faults
        self.raw: dict[str, Any] = {}
        self.readable = isinstance(raw, dict)
        if not isinstance(raw, dict):
            # The value isn't shown: it may contain a password.
            faults.append(Fault(path, f'should be a table, such as {{"{fields[0]}": …}}'))
            return
        self.raw = raw
        faults.extend(Fault(f"{path}.{key}", unknown_name(str(key), fields)) for key in raw if key not in fields)

    def text(self, field: str, kind: Kind[str], default: str | None = "") -> str:
        """Return a field read by ``kind``, or ``default`` if it is missing; a field with the default None is required."""
        if field not in self.raw:
            if default is None and self.readable:
                self.faults.append(Fault(f"{self.path}.{field}", f"is missing; it should be {kind.form}"))
            return default or ""
        try:
            return kind.read(self.raw[field])
        except ValueError as error:
            self.faults.append(Fault(f"{self.path}.{field}", str(error), describe(self.raw[field])))
            return ""

    def items(self, field: str) -> list[tuple[str, object]]:
        """Return the entries of a list field, each with its path."""
        raw = self.raw.get(field, [])
        if isinstance(raw, (str, dict)) or not isinstance(raw, (list, tuple)):
            self.faults.append(Fault(f"{self.path}.{field}", "should be a list of tables", describe(raw)))
            return []
        return [(f"{self.path}.{field}[{position}]", item) for position, item in enumerate(raw)]


def read_users(raw: object, faults: list[Fault], environ: Mapping[str, str], *, plain: bool) -> tuple[User, ...]:
    """Return the accounts that ``raw`` declares; all errors are added to ``faults``.

    ``environ`` and ``plain`` are for passwords, as in :meth:`baikalctl.settings.value_types.SecretValue.resolve`.
    """
    if isinstance(raw, (str, dict)) or not isinstance(raw, (list, tuple)):
        faults.append(Fault("users", 'should be a list of tables, such as [{"name": "jo", …}]'))
        return ()

    def password(table: _Table) -> Secret | None:
        try:
            return SecretValue().resolve(table.raw["password"], environ, plain=plain)
        except KeyError:
            problem = f"is missing; it should be {SecretValue.form}"
        except ValueError as error:
            problem = str(error)
        faults.append(Fault(f"{table.path}.password", problem))
        return None

    users = tuple(_read_user(item, f"users[{position}]", faults, password) for position, item in enumerate(raw))
    _cross_check(users, faults)
    return users


def _read_user(raw: object, path: str, faults: list[Fault], password: Callable[[_Table], Secret | None]) -> User:
    fields = ("name", "display_name", "email", "password", "calendars", "address_books", "state")
    table = _Table(raw, path, fields, faults)
    name = table.text("name", NAME, None)
    present = table.text("state", STATE, "present") != "absent"
    calendars = tuple(_read_collection(item, where, faults, calendar=True) for where, item in table.items("calendars"))
    books = tuple(_read_collection(item, where, faults, calendar=False) for where, item in table.items("address_books"))
    for kind, collections in (("calendars", calendars), ("address_books", books)):
        _refuse_duplicates(f"{path}.{kind}", [collection.name for collection in collections], faults)
    return User(
        name=name,
        display_name=table.text("display_name", FREE_TEXT) or name,
        email=table.text("email", EMAIL),
        password=password(table) if present and table.raw else None,
        calendars=calendars or (Collection("default", "Default calendar", displayed=False),),
        address_books=books or (Collection("default", "Default address book", displayed=False),),
        present=present,
        displayed="display_name" in table.raw,
    )


def _read_collection(raw: object, path: str, faults: list[Fault], *, calendar: bool) -> Collection:
    fields = ("name", "display_name", "description", *(("color", "share") if calendar else ()))
    table = _Table(raw, path, fields, faults)
    name = table.text("name", COLLECTION_NAME, None)
    share = []
    for where, item in table.items("share") if calendar else ():
        entry = _Table(item, where, ("with", "access"), faults)
        share.append(Share(entry.text("with", NAME, None), entry.text("access", ACCESS, "read")))
    return Collection(
        name=name,
        display_name=table.text("display_name", FREE_TEXT) or name,
        description=table.text("description", FREE_TEXT),
        color=table.text("color", COLOR) if calendar else "",
        share=tuple(share),
        displayed="display_name" in table.raw,
    )


def _refuse_duplicates(path: str, names: list[str], faults: list[Fault]) -> None:
    for position, name in enumerate(names):
        if name and name in names[:position]:
            faults.append(Fault(f"{path}[{position}].name", "is declared twice; remove one", describe(name)))


def _cross_check(users: tuple[User, ...], faults: list[Fault]) -> None:
    """Find errors between accounts: duplicates, and shares with unknown accounts, with the owner, or twice."""
    _refuse_duplicates("users", [user.name for user in users], faults)
    present = {user.name for user in users if user.present}
    for position, user in enumerate(users):
        for number, calendar in enumerate(user.calendars):
            sharees: set[str] = set()
            for entry, share in enumerate(calendar.share):
                path = f"users[{position}].calendars[{number}].share[{entry}].with"
                if share.principal == user.name:
                    faults.append(Fault(path, "is the calendar's own owner; remove it", describe(share.principal)))
                elif share.principal and share.principal not in present:
                    problem = "is not an account in users; declare the account, or remove the share"
                    faults.append(Fault(path, problem, describe(share.principal)))
                elif share.principal in sharees:
                    faults.append(Fault(path, "is named twice; remove one", describe(share.principal)))
                sharees.add(share.principal)
