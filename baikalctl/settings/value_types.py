"""The kinds of values that settings have: how each is read, and what to say when it can't be.

A kind reads a value twice over: :meth:`Kind.read` from Python or TOML, where it has a type, and
:meth:`Kind.read_text` from an environment variable, where everything is text. Both raise ``ValueError`` with a
sentence that says what is wrong and what to do.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from baikalctl.settings import validators
from baikalctl.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Kind(Generic[T]):
    """How one kind of value is read. ``form`` says in words what it takes, for errors and the reference table."""

    form: str
    confidential: bool = False
    """Whether what was meant as a value may hold a secret, so that an error doesn't repeat it."""

    def read(self, raw: object) -> T:
        """Return ``raw`` as this kind of value; raises ``ValueError`` with what is wrong and the remedy."""
        raise NotImplementedError

    def read_text(self, text: str) -> T:
        """Return the value that an environment variable's ``text`` stands for; raises ``ValueError`` likewise."""
        return self.read(text)


def describe(raw: object) -> str:
    """Return ``raw`` as it would stand in a group_data file, shortened, for an error message."""
    try:
        shown = json.dumps(raw, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        shown = repr(raw)
    return shown if len(shown) <= 60 else shown[:57] + "…"


class Text(Kind[str]):
    """A string that ``rule`` accepts. ``rule`` gets the string and returns it, perhaps normalised, or raises."""

    def __init__(
        self, form: str, rule: Callable[[str], str] = str, *, empty: bool = False, confidential: bool = False
    ) -> None:
        """Take strings that ``rule`` accepts, and the empty one if ``empty``."""
        self.form = form
        self.confidential = confidential
        self._rule = rule
        self._empty = empty

    def read(self, raw: object) -> str:
        """Read a string; a number is refused, because ``--data`` has guessed (and may have rounded) it."""
        if isinstance(raw, bool) or not isinstance(raw, str):
            guessed = isinstance(raw, (bool, int, float))
            hint = (
                "--data guesses types: quote it twice, as in --data 'name=\"0.10\"'" if guessed else "put it in quotes"
            )
            message = f"is not text, but {type(raw).__name__}; {hint}"
            raise ValueError(message)
        if not raw and self._empty:
            return raw
        if not raw.strip() or any(ord(character) < 32 for character in raw):
            message = f"is empty or has control characters; it should be {self.form}"
            raise ValueError(message)
        return self._rule(raw)


class Number(Kind[int]):
    """A whole number from ``low`` to ``high``."""

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        """Take numbers from ``low`` to ``high``, both included."""
        self.low, self.high = low, high
        self.form = f"a whole number from {low} to {high}{' ' + unit if unit else ''}"

    def read(self, raw: object) -> int:
        """Read an ``int``; ``True`` is not 1 here."""
        if isinstance(raw, bool) or not isinstance(raw, int) or not self.low <= raw <= self.high:
            message = f"should be {self.form}"
            raise ValueError(message)
        return raw

    def read_text(self, text: str) -> int:
        """Read decimal digits."""
        return self.read(int(text) if text.strip().isascii() and text.strip().isdigit() else text)


class Flag(Kind[bool]):
    """True or false."""

    form = "true or false"

    def read(self, raw: object) -> bool:
        """Read a ``bool``, and nothing that merely looks like one."""
        if not isinstance(raw, bool):
            message = "should be True or False, without quotes"
            raise ValueError(message)
        return raw

    def read_text(self, text: str) -> bool:
        """Read the words for yes and no that compose files use."""
        word = text.strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        message = "should be true or false"
        raise ValueError(message)


class Choice(Kind[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        """Take exactly these ``words``."""
        self.words = words
        self.form = " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

    def read(self, raw: object) -> str:
        """Read one of the words; ``tls = False`` is what some write for ``off``, so it gets a hint."""
        if raw not in self.words or not isinstance(raw, str):
            hint = ' (in quotes: "off")' if raw is False and "off" in self.words else ""
            message = f"should be {self.form}{hint}"
            raise ValueError(message)
        return raw


class Networks(Kind["tuple[str, ...]"]):
    """A list of IP networks or addresses."""

    form = 'a list of networks, such as ["10.0.0.0/8", "fd00::/8"]'

    def read(self, raw: object) -> tuple[str, ...]:
        """Read a list of strings; each is normalised to a network in CIDR notation."""
        if isinstance(raw, str) or not isinstance(raw, (list, tuple)):
            message = f"should be {self.form}"
            raise ValueError(message)
        return tuple(self._network(item) for item in raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        """Read networks separated by commas or spaces."""
        return self.read(text.replace(",", " ").split())

    @staticmethod
    def _network(item: object) -> str:
        import ipaddress

        text = item if isinstance(item, str) and "%" not in item else ""
        try:
            return str(ipaddress.ip_network(text, strict=True))
        except ValueError as error:
            message = f"has {describe(item)}, which is no network ({error}); write it as 192.0.2.0/24 or 192.0.2.7"
            raise ValueError(message) from None


class Hostnames(Kind["tuple[str, ...]"]):
    """A list of host names, none of them twice."""

    form = 'a list of host names, such as ["dav.example.org", "kalender.example.org"]'

    def read(self, raw: object) -> tuple[str, ...]:
        """Read a list of strings, each normalised as a host name is."""
        if isinstance(raw, str) or not isinstance(raw, (list, tuple)):
            message = f"should be {self.form}"
            raise ValueError(message)
        names: list[str] = []
        for item in raw:
            name = self._name(item)
            if name in names:
                message = f"has {describe(item)} twice; keep one"
                raise ValueError(message)
            names.append(name)
        return tuple(names)

    def read_text(self, text: str) -> tuple[str, ...]:
        """Read names separated by commas or spaces."""
        return self.read(text.replace(",", " ").split())

    @staticmethod
    def _name(item: object) -> str:
        try:
            return validators.hostname(item) if isinstance(item, str) else Text("a host name").read(item)
        except ValueError as error:
            message = f"has {describe(item)}, which {error}"
            raise ValueError(message) from None


class Batches(Kind["tuple[int | str, ...]"]):
    """Sizes of batches of hosts: numbers, or shares of all of them such as ``25%``."""

    form = 'a number of hosts, a share such as "25%", or a list of these'

    def read(self, raw: object) -> tuple[int | str, ...]:
        """Read one size or a list of sizes."""
        sizes = raw if isinstance(raw, (list, tuple)) else [raw]
        return tuple(self._size(item) for item in sizes)

    def _size(self, item: object) -> int | str:
        if isinstance(item, int) and not isinstance(item, bool) and item >= 1:
            return item
        if isinstance(item, str) and re.fullmatch(r"(?:[1-9]\d?|100)%", item, re.ASCII):
            return item
        message = f"has {describe(item)}, which is no size; give {self.form}"
        raise ValueError(message)


class SecretValue(Kind["Secret | None"]):
    """A secret: by reference where the setting's file is committed or shown, plain where it is a secret file itself.

    ``plain`` accepts a plain string (a container's mounted settings.toml); otherwise only ``{"env": "NAME"}`` and
    ``{"file": "path"}`` are, read on this machine from ``environ`` and the disk.
    """

    form = 'a reference: {"env": "NAME"} or {"file": "path"}'
    confidential = True

    def __init__(self, rule: Callable[[str], str] = str, *, optional: bool = False, lines: bool = False) -> None:
        """Take what ``rule`` accepts, which must not repeat it in an error; a whole text of several ``lines`` or one.

        ``optional`` is for a setting that may be without any.
        """
        self.optional = optional
        self._rule = rule
        self._lines = lines

    def read(self, raw: object) -> Secret | None:
        """Resolve a reference against this process's environment and files."""
        return self.resolve(raw, os.environ, plain=False)

    def resolve(self, raw: object, environ: Mapping[str, str], *, plain: bool) -> Secret:
        """Return the secret that ``raw`` refers to (or is, where ``plain`` allows it); never shows it in an error."""
        if plain and isinstance(raw, str):
            return self._whole(raw, "the value")
        if not isinstance(raw, dict) or len(raw) != 1 or not isinstance(next(iter(raw.values())), str):
            message = f"is a secret and must be {self.form}, so that it is never committed or shown"
            raise ValueError(message)
        ((how, where),) = raw.items()
        if how == "env":
            if not ENVIRONMENT_NAME.fullmatch(where):
                message = 'names no environment variable; write {"env": "NAME"}'
                raise ValueError(message)
            if where not in environ:
                message = f"is to come from the environment variable {where}, which is not set; export it and run again"
                raise ValueError(message)
            return self._whole(environ[where], f"the environment variable {where}")
        if how == "file":
            try:
                content = Path(where).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, RuntimeError, ValueError) as error:
                # RuntimeError: ~somebody who isn't there; ValueError: a NUL in the path.
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                reason = "no such path" if isinstance(error, RuntimeError) else reason
                hint = f"; give uid {os.geteuid()} the file" if isinstance(error, PermissionError) else ""
                message = f"is to come from the file {where}, which cannot be read ({reason}){hint}"
                raise ValueError(message) from None
            return self._whole(content, f"the file {where}")
        message = f"must be {self.form}; {describe(how)} is neither"
        raise ValueError(message)

    def _whole(self, content: str, source: str) -> Secret:
        """Return the secret without the newline that editors and ``echo`` add; nothing else is trimmed."""
        if self._lines:
            content = content.replace("\r\n", "\n")
        content = content.removesuffix("\n").removesuffix("\r")
        inner = "\n\t" if self._lines else ""
        empty = not content or (self._lines and content.isspace())
        if empty or any(ord(character) < 32 and character not in inner for character in content):
            several = "" if self._lines else " or several lines"
            message = f"is empty or has control characters{several}; look into {source}"
            raise ValueError(message)
        return Secret(self._rule(content))
