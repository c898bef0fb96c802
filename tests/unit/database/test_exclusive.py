"""Of several machines with one database, one is at it: how a server is asked, and what its answers mean."""

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


class Told:
    """A connection that gives one answer to everything, or goes away; remembers what it was asked for."""

    def __init__(self, answer: int | None, *, away: bool = False) -> None:
        """Take the answer."""
        self.answer, self.away = answer, away
        self.asked: list[Sequence[Any]] = []
        self.closed = False

    def execute(self, _: str, values: Sequence[Any] = ()) -> Told:
        """Remember the values."""
        self.asked.append(values)
        if self.away:
            message = "server closed the connection"
            raise interface.ServerError(message)
        return self

    def fetchone(self) -> tuple[int | None]:
        """Return the answer as a row."""
        return (self.answer,)

    def close(self) -> None:
        """Remember that it was."""
        self.closed = True


def server(kind: type[Server], told: Told, monkeypatch: pytest.MonkeyPatch, name: str = "baikal") -> Server:
    """Return a server's database that is reached through ``told``."""
    prefix = SECTIONS[kind]
    made = kind({"backend": prefix, f"{prefix}_host": "db.example.org", f"{prefix}_dbname": name})
    monkeypatch.setattr(made, "connect", lambda: told)
    return made


@pytest.mark.parametrize(("answer", "said"), [(0, "another machine has held it for an hour"), (None, "gives no lock")])
def test_who_does_not_get_mysqls_lock_does_not_go_on(
    answer: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 0 after the time it may wait, and NULL where it failed."""
    told = Told(answer)
    there = server(Mysql, told, monkeypatch)
    message = rf"^the MySQL database baikal at db\.example\.org: .*{said}.*run again$"
    with pytest.raises(HostError, match=message), there.exclusive("apply"):
        pytest.fail("it went on")
    assert told.closed


def test_the_name_of_mysqls_lock_is_one_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has 64 characters at most, and is another one for each database and each work."""
    told = Told(1)
    for name, work in ((LONG, "apply"), (LONG, "apply"), (f"{LONG[1:]}b", "apply"), (LONG, "move")):
        with server(Mysql, told, monkeypatch, name).exclusive(work):
            assert not told.closed
        assert told.closed
        told.closed = False
    names = [values[0] for values in told.asked]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 64


@pytest.mark.parametrize("kind", [Mysql, Postgresql])
def test_a_server_that_goes_away_meanwhile_is_told(kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sentence with a remedy."""
    there = server(kind, Told(1, away=True), monkeypatch)
    message = "server closed the connection; the server went away; look whether it runs"
    with pytest.raises(HostError, match=message), there.exclusive("apply"):
        pytest.fail("it went on")
