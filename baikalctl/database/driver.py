"""One interface to Python's drivers for MySQL and PostgreSQL: addresses, connections, queries and errors."""

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
"""Names, addresses and directories of sockets; nothing that libpq or PDO would parse as several hosts or as options."""
NAMES = re.compile(r"[^\x00-\x1f\x7f=:;'\"\\\\]{0,64}")
"""Names of databases and accounts; nothing that libpq would parse as a list of options or an address."""
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
"""The options that may follow a host, and the form of their values. With others, the libraries could load files (libpq's
sslkey may name a program to load) or connect to other hosts."""


@dataclass(frozen=True)
class Address:
    """The address of a server, and the login."""

    host: str
    """A name, an address, or for PostgreSQL the directory of its socket."""
    options: Mapping[str, str]
    """The options that follow the host in baikal.yaml, for PHP and for us: ``port``, and TLS for PostgreSQL."""
    name: str
    user: str
    password: str
    ca: str = ""
    """For MySQL, the file of the authority that has signed the server's certificate; empty for no TLS."""

    @classmethod
    def of(cls, section: Mapping[str, Any], prefix: str) -> Address:
        """Read the keys of the section ``database`` of a baikal.yaml that begin with ``prefix``.

        The section is untrusted: values that don't have the form in which we write them raise :class:`HostError`.
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
    """Return name and value of an option; raises :class:`HostError` if it isn't ``allowed``."""
    name, _, value = text.partition("=")
    if name not in allowed or not allowed[name].fullmatch(value):
        message = f"baikal.yaml has the option {text[:80]!r} in {key}, which is not allowed; remove it there"
        raise HostError(message)
    return name, value


class Rows:
    """The result of a query; bytes that are text are decoded."""

    def __init__(self, cursor: Any) -> None:  # noqa: ANN401 - the driver's
        """Read from the driver's ``cursor``."""
        self._cursor = cursor
        self.rowcount: int = cursor.rowcount

    def fetchone(self) -> Any:  # noqa: ANN401 - a row, with columns of any type
        """Return the next row, or None."""
        return next(iter(self), None)

    def fetchall(self) -> list[Any]:
        """Return all remaining rows."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""
        while (row := self._cursor.fetchone()) is not None:
            yield tuple(transfer.decoded(value) for value in row)


class Connection:
    """A driver's connection as :class:`baikalctl.database.interface.Connection` describes one."""

    def __init__(self, opened: Any, error: type[Exception]) -> None:  # noqa: ANN401 - the driver's
        """Use the driver's connection ``opened``; the driver raises ``error``."""
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
        """Commit the transaction."""
        with self.errors():
            self.opened.commit()

    def rollback(self) -> None:
        """Roll the transaction back."""
        with self.errors():
            self.opened.rollback()

    def close(self) -> None:
        """Close the connection; changes that weren't committed are lost."""
        with contextlib.suppress(self._error):
            self.opened.close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Convert the driver's errors to ours, with a message of one line."""
        try:
            yield
        except self._error as error:
            raise interface.ServerError(error_text(error)) from None
        except (ValueError, TypeError, LookupError, RuntimeError, struct.error) as error:  # a malformed answer
            message = f"the server's answer can't be understood ({error_text(error)})"
            raise interface.ServerError(message) from None

    def _many(self, cursor: Any, query: str, values: list[Sequence[Any]]) -> None:  # noqa: ANN401 - the driver's
        cursor.executemany(query, values)

    def _inserted(self, cursor: Any, statement: str, values: tuple[object, ...]) -> int:  # noqa: ANN401 - the driver's
        cursor.execute(statement, values)
        return int(cursor.lastrowid)


def load_driver(name: str, package: str) -> Any:  # noqa: ANN401 - a module
    """Return the driver's module; raises :class:`HostError` if the distribution's ``package`` isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = (
            f"{package} is not installed; set the database (database = …) and run the deploy, or install the package"
        )
        raise HostError(message) from None


def with_driver_marks(query: str) -> str:
    """Return ``query`` with the drivers' placeholders (%s) in place of question marks."""
    return query.replace("%", "%%").replace("?", "%s")


def error_text(error: Exception) -> str:
    """Return the message of a driver's error, in one line."""
    output = error.args[-1] if error.args else error
    return " ".join(str(output)[:LONGEST_MESSAGE].split())
