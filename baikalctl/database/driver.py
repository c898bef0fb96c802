"""Python's drivers of MySQL and PostgreSQL, made alike: one way to name a server, one to put a question, one error."""

from __future__ import annotations

import contextlib
import importlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl.database import interface, transfer
from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


CONNECT_SECONDS = 5
LONGEST_MESSAGE = 500
HOSTS = re.compile(r"([A-Za-z0-9._:\[\]-]{0,255}|/[A-Za-z0-9._/-]{0,100})(;.*)?")
"""Names and addresses, and directories of sockets; nothing that libpq or PDO takes for several hosts or for options."""
NAMES = re.compile(r"[^\x00-\x1f\x7f=:;'\"\\\\]{0,64}")
"""Names of databases and accounts: none that libpq takes for a list of options or an address."""
FILES = re.compile(r"(/[^\x00-\x1f\x7f:;=]{1,1000})?")
_NUMBER = re.compile(r"[0-9]{1,5}")
OPTIONS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "mysql": {"port": _NUMBER},
    "pgsql": {
        "port": _NUMBER,
        "sslmode": re.compile("disable|allow|prefer|require|verify-ca|verify-full"),
        "sslrootcert": FILES,
        "tcp_user_timeout": _NUMBER,
        "keepalives_idle": _NUMBER,
        "keepalives_interval": _NUMBER,
        "keepalives_count": _NUMBER,
    },
}
"""The options that may stand behind a host, and the form of their values. Others would have the libraries load files
(libpq's sslkey may name a program to load) or connect elsewhere."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and how it is logged in to."""

    host: str
    """A name, an address, or for PostgreSQL the directory of its socket."""
    options: Mapping[str, str]
    """What stands behind the host in baikal.yaml, for PHP as much as for us: ``port``, and for PostgreSQL TLS."""
    name: str
    user: str
    password: str
    ca: str = ""
    """For MySQL, the file that the server's certificate is checked with; nothing for no TLS."""

    @classmethod
    def of(cls, section: Mapping[str, Any], prefix: str) -> Address:
        """Return what the section ``database`` of a baikal.yaml says, in keys that begin with ``prefix``.

        The section may be anybody's: what is not of the fixed form that we write ourselves raises :class:`HostError`.
        """

        def text(key: str, form: re.Pattern[str]) -> str:
            value = str(section.get(key) or "")
            if not form.fullmatch(value):
                message = f"baikal.yaml has a {key} that is not allowed ({value[:80]!r}); fix it there"
                raise HostError(message)
            return value

        host, *options = str(section.get(f"{prefix}_host") or "").split(";")
        text(f"{prefix}_host", HOSTS)
        return cls(
            host=host,
            options=dict(_option(f"{prefix}_host", option, OPTIONS[prefix]) for option in options),
            name=text(f"{prefix}_dbname", NAMES),
            user=text(f"{prefix}_username", NAMES),
            password=str(section.get(f"{prefix}_password") or ""),
            ca=text("mysql_ca_cert", FILES) if prefix == "mysql" else "",
        )


def _option(key: str, text: str, allowed: Mapping[str, re.Pattern[str]]) -> tuple[str, str]:
    """Return name and value of an option; raises :class:`HostError` for one that is not ``allowed``."""
    name, _, value = text.partition("=")
    if name not in allowed or not allowed[name].fullmatch(value):
        message = f"baikal.yaml has the option {text[:80]!r} in {key}, which is not allowed; remove it there"
        raise HostError(message)
    return name, value


class Rows:
    """What a query has found, with bytes that are text as text."""

    def __init__(self, cursor: Any) -> None:  # noqa: ANN401 - the driver's
        """Read from the driver's ``cursor``."""
        self._cursor = cursor
        self.rowcount: int = cursor.rowcount

    def fetchone(self) -> Any:  # noqa: ANN401 - a row, of whatever its columns are
        """Return the next row, or None."""
        return next(iter(self), None)

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""
        while (row := self._cursor.fetchone()) is not None:
            yield tuple(transfer.decoded(value) for value in row)


class Connection:
    """A driver's connection as :class:`baikalctl.database.interface.Connection` describes one."""

    def __init__(self, opened: Any, error: type[Exception]) -> None:  # noqa: ANN401 - the driver's
        """Speak through ``opened``, whose driver raises ``error``."""
        self.opened = opened
        self._error = error

    def execute(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """Run ``query`` with ``values`` for its question marks; raises :data:`baikalctl.database.interface.Error`."""
        with self.errors():
            cursor = self.opened.cursor()
            cursor.execute(with_driver_marks(query), tuple(values))
            return Rows(cursor)

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Run ``query`` for each of ``values``."""
        with self.errors():
            self._many(self.opened.cursor(), with_driver_marks(query), list(values))

    def insert(self, table: str, **columns: object) -> int:
        """Add a row to ``table`` and return its id."""
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        with self.errors():
            cursor = self.opened.cursor()
            return self._inserted(cursor, f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))

    def commit(self) -> None:
        """Keep what was done since the last time."""
        with self.errors():
            self.opened.commit()

    def rollback(self) -> None:
        """Forget what was done since the last time."""
        with self.errors():
            self.opened.rollback()

    def close(self) -> None:
        """End the connection, and what was not committed."""
        with contextlib.suppress(self._error):
            self.opened.close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Have what the driver raises be ours, in one line."""
        try:
            yield
        except self._error as error:
            raise interface.ServerError(error_text(error)) from None
        except (ValueError, TypeError, LookupError, RuntimeError, struct.error) as error:  # an answer of another form
            message = f"the server's answer can't be understood ({error_text(error)})"
            raise interface.ServerError(message) from None

    def _many(self, cursor: Any, query: str, values: list[Sequence[Any]]) -> None:  # noqa: ANN401 - the driver's
        cursor.executemany(query, values)

    def _inserted(self, cursor: Any, statement: str, values: tuple[object, ...]) -> int:  # noqa: ANN401 - the driver's
        cursor.execute(statement, values)
        return int(cursor.lastrowid)


def load_driver(name: str, package: str) -> Any:  # noqa: ANN401 - a module
    """Return the driver's module; raises :class:`HostError` where the distribution's ``package`` isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"{package} is missing here; declare the database (database = …) and run the deploy, or install it"
        raise HostError(message) from None


def with_driver_marks(query: str) -> str:
    """Return ``query`` with the drivers' marks for values in place of question marks."""
    return query.replace("%", "%%").replace("?", "%s")


def error_text(error: Exception) -> str:
    """Return what a driver's error says, in one line."""
    output = error.args[-1] if error.args else error
    return " ".join(str(output)[:LONGEST_MESSAGE].split())
