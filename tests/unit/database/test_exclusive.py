"""Locks of a database server that several machines share: what is sent, and what the answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from baikalctl.database import interface
from baikalctl.database.mysql import Mysql
from baikalctl.database.postgresql import Postgresql
from baikalctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from baikalctl.database.server import Server


LONG = "a" * 64
SECTIONS: dict[type[Server], str] = {Mysql: "mysql", Postgresql: "pgsql"}


class DriverError(Exception):
    """An error of PostgreSQL's driver."""

    def __init__(self, code: str) -> None:
        """Take the server's code."""
        super().__init__("canceling statement due to lock timeout")
        self.pgcode = code


class Connection:
    """A connection that gives one answer to every query, or fails; records the queries."""

    def __init__(self, answer: int | None, *, error: str = "", code: str = "") -> None:
        """Take the answer, or the error of queries for a lock, with PostgreSQL's code."""
        self.answer, self.error, self.code = answer, error, code
        self.queries: list[tuple[str, Sequence[Any]]] = []
        self.closed = False

    def execute(self, query: str, values: Sequence[Any] = ()) -> Connection:
        """Record the query."""
        self.queries.append((query, values))
        if self.error and "LOCK" in query.upper() and not query.startswith("SET"):
            try:
                raise DriverError(self.code)  # noqa: TRY301 - as the driver does
            except DriverError:
                raise interface.ServerError(self.error) from None
        return self

    def fetchone(self) -> tuple[int | None]:
        """Return the answer as a row."""
        return (self.answer,)

    def close(self) -> None:
        """Record that it is closed."""
        self.closed = True


def server(kind: type[Server], connection: Connection, monkeypatch: pytest.MonkeyPatch, name: str = "baikal") -> Server:
    """Return a server's database with this connection."""
    prefix = SECTIONS[kind]
    database = kind({"backend": prefix, f"{prefix}_host": "db.example.org", f"{prefix}_dbname": name})
    monkeypatch.setattr(database, "connect", lambda: connection)
    return database


@pytest.mark.parametrize(
    ("kind", "connection", "reason"),
    [
        (Mysql, Connection(0), "another machine has held its lock for an hour"),
        (Mysql, Connection(None), "gives no lock"),
        (Postgresql, Connection(None, error="timeout", code="55P03"), "another machine has held its lock for an hour"),
        (Postgresql, Connection(None, error="out of shared memory", code="53200"), "out of shared memory"),
    ],
)
def test_without_the_lock_the_block_does_not_begin(
    kind: type[Server], connection: Connection, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL answers 0 after the time that it may wait, and NULL if it failed; PostgreSQL has a code for the first."""
    message = rf"^the (MySQL|PostgreSQL) database baikal at db\.example\.org: .*{reason}.*run again$"
    with pytest.raises(HostError, match=message), server(kind, connection, monkeypatch).exclusive("apply"):
        pytest.fail("the block began")
    assert connection.closed


def test_the_name_of_mysqls_lock_is_short_and_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has 64 characters at most, and differs for each database and purpose."""
    connection = Connection(1)
    for name, purpose in ((LONG, "apply"), (LONG, "apply"), (f"{LONG[1:]}b", "apply"), (LONG, "move")):
        with server(Mysql, connection, monkeypatch, name).exclusive(purpose):
            assert not connection.closed
        assert connection.closed
        connection.closed = False
    names = [values[0] for query, values in connection.queries if "GET_LOCK" in query]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 64


def test_postgresqls_lock_is_one_of_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler that shares sessions would keep a session's lock for ever; an idle transaction must not be ended."""
    connection = Connection(1)
    with server(Postgresql, connection, monkeypatch).exclusive("apply"):
        pass
    queries = [query for query, _ in connection.queries]
    assert queries[-1] == "SELECT pg_advisory_xact_lock(?)"
    assert "SET LOCAL idle_in_transaction_session_timeout = 0" in queries


@pytest.mark.parametrize("kind", [Mysql, Postgresql])
def test_a_connection_that_is_lost_while_waiting_is_an_error(
    kind: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a remedy."""
    database = server(kind, Connection(1, error="server closed the connection"), monkeypatch)
    message = "server closed the connection; the server closed the connection; check that it runs"
    with pytest.raises(HostError, match=message), database.exclusive("apply"):
        pytest.fail("the block began")
