"""The types of values that settings have: how each is read, and the error for an invalid value.

A type has two methods: :meth:`Kind.read` reads a value from Python or TOML, :meth:`Kind.read_text` reads the text of an
environment variable. Both raise ``ValueError`` with the problem and the remedy.
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
    """A type of values. ``form`` describes valid values in words, for errors and the reference table."""

    form: str
    confidential: bool = False
    """Whether a value may contain a secret: then errors don't repeat it."""

    def read(self, raw: object) -> T:
        """Return ``raw`` as this type of value; raises ``ValueError`` with the problem and the remedy."""
        raise NotImplementedError

    def read_text(self, text: str) -> T:
        """Return the value that an environment variable's ``text`` means; raises ``ValueError`` likewise."""
        return self.read(text)


def describe(raw: object) -> str:
    """Return ``raw`` as it is written in a group_data file, shortened, for an error message."""
    try:
        shown = json.dumps(raw, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        shown = repr(raw)
    return shown if len(shown) <= 60 else shown[:57] + "…"


class Text(Kind[str]):
    """A string that ``rule`` accepts: it returns the string, normalised if needed, or raises ``ValueError``."""

    def __init__(
        self, form: str, rule: Callable[[str], str] = str, *, empty: bool = False, confidential: bool = False
    ) -> None:
        """Accept strings that ``rule`` accepts, and the empty string if ``empty``."""
        self.form = form
        self.confidential = confidential
        self._rule = rule
        self._empty = empty

    def read(self, raw: object) -> str:
        """Read a string. A number is refused: ``--data`` guessed the type, and may have rounded the number."""
        if isinstance(raw, bool) or not isinstance(raw, str):
            guessed = isinstance(raw, (bool, int, float))
            hint = (
                "--data guesses types: quote it twice, as in --data 'name=\"0.10\"'" if guessed else "put it in quotes"
            )
            raise ValueError(f"is not text, but {type(raw).__name__}; {hint}")
        if not raw and self._empty:
            return raw
        if not raw.strip() or any(ord(character) < 32 for character in raw):
            raise ValueError(f"is empty or has control characters; it should be {self.form}")
        return self._rule(raw)


class Number(Kind[int]):
    """A whole number from ``low`` to ``high``."""

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        """Accept numbers from ``low`` to ``high``, both included."""
        self.low, self.high = low, high
        self.form = f"a whole number from {low} to {high}{' ' + unit if unit else ''}"

    def read(self, raw: object) -> int:
        """Read an ``int``; ``True`` is refused."""
        if isinstance(raw, bool) or not isinstance(raw, int) or not self.low <= raw <= self.high:
            raise ValueError(f"should be {self.form}")
        return raw

    def read_text(self, text: str) -> int:
        """Read decimal digits."""
        return self.read(int(text) if text.strip().isascii() and text.strip().isdigit() else text)


class Flag(Kind[bool]):
    """True or false."""

    form = "true or false"

    def read(self, raw: object) -> bool:
        """Read a ``bool``; other values that mean true or false are refused."""
        if not isinstance(raw, bool):
            raise ValueError("should be True or False, without quotes")
        return raw

    def read_text(self, text: str) -> bool:
        """Read the words for yes and no that compose files use."""
        word = text.strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise ValueError("should be true or false")


class Choice(Kind[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        """Accept exactly these ``words``."""
        self.words = words
        self.form = " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

    def read(self, raw: object) -> str:
        """Read one of the words. Some operators write ``tls = False`` for ``off``, so that gets a hint."""
        if raw not in self.words or not isinstance(raw, str):
            hint = ' (in quotes: "off")' if raw is False and "off" in self.words else ""
            raise ValueError(f"should be {self.form}{hint}")
        return raw


class _Texts(Kind["tuple[str, ...]"]):
    """A list of texts."""

    def read(self, raw: object) -> tuple[str, ...]:
        """Read a list of strings, each normalised."""
        if isinstance(raw, str) or not isinstance(raw, (list, tuple)):
            raise ValueError(f"should be {self.form}")
        return tuple(self._item(item) for item in raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        """Read texts separated by commas or spaces."""
        return self.read(text.replace(",", " ").split())

    def _item(self, item: object) -> str:
        raise NotImplementedError


class Networks(_Texts):
    """A list of IP networks or addresses; each is normalised to a network in CIDR notation."""

    form = 'a list of networks, such as ["10.0.0.0/8", "fd00::/8"]'

    def _item(self, item: object) -> str:
        import ipaddress

        text = item if isinstance(item, str) and "%" not in item else ""
        try:
            return str(ipaddress.ip_network(text, strict=True))
        except ValueError as error:
            message = f"has {describe(item)}, which is not a network ({error}); write it as 192.0.2.0/24 or 192.0.2.7"
            raise ValueError(message) from None


class Hostnames(_Texts):
    """A list of different host names."""

    form = 'a list of host names, such as ["dav.example.org", "kalender.example.org"]'

    def read(self, raw: object) -> tuple[str, ...]:
        """Read a list of strings, each normalised like a host name."""
        names = super().read(raw)
        assert isinstance(raw, (list, tuple))
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"has {describe(raw[position])} twice; remove one")
        return names

    def _item(self, item: object) -> str:
        try:
            return validators.hostname(item) if isinstance(item, str) else Text("a host name").read(item)
        except ValueError as error:
            raise ValueError(f"has {describe(item)}, which {error}") from None


class Batches(Kind["tuple[int | str, ...]"]):
    """Sizes of batches of hosts: numbers, or percentages of all hosts such as ``25%``."""

    form = 'a number of hosts, a percentage such as "25%", or a list of these'

    def read(self, raw: object) -> tuple[int | str, ...]:
        """Read one size or a list of sizes."""
        sizes = raw if isinstance(raw, (list, tuple)) else [raw]
        return tuple(self._size(item) for item in sizes)

    def _size(self, item: object) -> int | str:
        if isinstance(item, int) and not isinstance(item, bool) and item >= 1:
            return item
        if isinstance(item, str) and re.fullmatch(r"(?:[1-9]\d?|100)%", item, re.ASCII):
            return item
        raise ValueError(f"has {describe(item)}, which is not a size; write {self.form}")


class SecretValue(Kind["Secret | None"]):
    """A secret: a reference in files that are committed or shown, plain text in a file that is secret itself.

    With ``plain``, a plain string is accepted (a container's mounted settings.toml). Otherwise only ``{"env": "NAME"}``
    and ``{"file": "path"}`` are; they are read on this machine from ``environ`` and the disk.
    """

    form = 'a reference: {"env": "NAME"} or {"file": "path"}'
    confidential = True

    def __init__(self, rule: Callable[[str], str] = str, *, optional: bool = False, lines: bool = False) -> None:
        """Accept what ``rule`` accepts; its errors must not repeat the secret. With ``lines``, several lines are allowed.

        An ``optional`` secret may be missing.
        """
        self.optional = optional
        self._rule = rule
        self._lines = lines

    def read(self, raw: object) -> Secret | None:
        """Resolve a reference against this process's environment and files."""
        return self.resolve(raw, os.environ, plain=False)

    def resolve(self, raw: object, environ: Mapping[str, str], *, plain: bool) -> Secret:
        """Return the secret that ``raw`` refers to, or is (with ``plain``). Errors never contain the secret."""
        if plain and isinstance(raw, str):
            return self._whole(raw, "the value")
        if not isinstance(raw, dict) or len(raw) != 1 or not isinstance(next(iter(raw.values())), str):
            raise ValueError(f"is a secret and must be {self.form}, so that it is never committed or shown")
        ((how, where),) = raw.items()
        if how == "env":
            if not ENVIRONMENT_NAME.fullmatch(where):
                raise ValueError('is not the name of an environment variable; write {"env": "NAME"}')
            if where not in environ:
                raise ValueError(
                    f"is read from the environment variable {where}, which is not set; export it and run again"
                )
            return self._whole(environ[where], f"the environment variable {where}")
        if how == "file":
            try:
                content = Path(where).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, RuntimeError, ValueError) as error:
                # RuntimeError: the user after ~ doesn't exist; ValueError: a NUL in the path.
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                reason = "no such path" if isinstance(error, RuntimeError) else reason
                hint = f"; make it readable for uid {os.geteuid()}" if isinstance(error, PermissionError) else ""
                raise ValueError(f"is read from the file {where}, which cannot be read ({reason}){hint}") from None
            return self._whole(content, f"the file {where}")
        raise ValueError(f"must be {self.form}; {describe(how)} is neither")

    def _whole(self, content: str, source: str) -> Secret:
        """Return the secret without the newline that editors and ``echo`` add; nothing else is removed."""
        if self._lines:
            content = content.replace("\r\n", "\n")
        content = content.removesuffix("\n").removesuffix("\r")
        inner = "\n\t" if self._lines else ""
        empty = not content or (self._lines and content.isspace())
        if empty or any(ord(character) < 32 and character not in inner for character in content):
            several = "" if self._lines else " or several lines"
            raise ValueError(f"is empty or has control characters{several}; check {source}")
        return Secret(self._rule(content))
