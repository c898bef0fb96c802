"""Tests of the lab's database servers, with real clients and power cuts."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer, self_signed
from tests.lab.container import LABELS
from tests.lab.databases import BACKENDS, DatabaseServer, attach
from tests.lab.errors import LabError
from tests.lab.machine import LOCAL, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.database_image import Backend
    from tests.lab.engine import Engine


CLIENT: Final = """\
import json, sys
order = json.load(sys.stdin)
ca = order["ca"] and "/tmp/ca.pem"
if ca:
    open(ca, "w").write(order["ca"])
try:
    if order["backend"] == "mysql":
        import pymysql  # it encodes a text password as Latin-1; PHP sends the bytes
        tls = {"ssl": {"ca": ca}} if ca else {"ssl_disabled": True}
        connection = pymysql.connect(
            host=order["host"], user="baikal", password=order["password"].encode(), database=order["database"], **tls)
    else:
        import psycopg2
        tls = {"sslmode": "verify-full", "sslrootcert": ca} if ca else {"sslmode": "disable"}
        connection = psycopg2.connect(
            host=order["host"], user="baikal", password=order["password"], dbname=order["database"], **tls)
    cursor = connection.cursor()
    for statement in order["statements"]:
        cursor.execute(statement)
    print(json.dumps(cursor.fetchall()) if cursor.description else "done", end="")
    connection.commit()
except Exception as error:
    print(repr(error), end="")
"""
ENCRYPTED: Final[dict[Backend, str]] = {
    "mysql": "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
    "pgsql": "SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}
GRANTED: Final[dict[Backend, list[str]]] = {
    "mysql": [
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, TRIGGER ON `baikal`.* TO `baikal`@`%`",
        "GRANT USAGE ON *.* TO `baikal`@`%`",
    ],
    "pgsql": ["CONNECT ON baikal", "CREATE ON baikal", "OWNER OF baikal", "TEMPORARY ON baikal"],
}
FORBIDDEN: Final[dict[Backend, tuple[str, ...]]] = {
    "mysql": ("CREATE DATABASE other", "SET GLOBAL read_only = 1", "SELECT 1 FROM mysql.user"),
    "pgsql": ("CREATE ROLE other", "SELECT 1 FROM pg_authid", "COPY (SELECT 1) TO '/tmp/x'"),
}


@pytest.fixture(scope="module", params=BACKENDS)
def database(request: pytest.FixtureRequest, engine: Engine) -> Iterator[DatabaseServer]:
    """Yield a server of each kind, on its own network."""
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, request.param, Signer.root()) as server,
    ):
        yield server


def ask(server: DatabaseServer, *statements: str, **changes: Any) -> str:  # noqa: ANN401 - of what the client is given
    """Return the result of a client in another container on the server's network, or its error."""
    environment = {
        "backend": server.backend,
        "host": server.host,
        "password": server.password,
        "database": "baikal",
        "ca": server.ca,
        "statements": statements or ("SELECT 1",),
    }
    image = server.kind.image(server.engine)
    command = ("run", "--rm", "-i", *LABELS, "--network", server.network.name, image, "python3", "-c", CLIENT)
    return server.engine.docker(*command, input=json.dumps({**environment, **changes}))


def test_the_account_logs_in_by_name_and_encrypted(database: DatabaseServer) -> None:
    """With its password and the CA's certificate; without TLS too, unless the server requires it."""
    assert json.loads(ask(database, ENCRYPTED[database.backend])) == [[1]]
    assert json.loads(ask(database, ca="")) == [[1]]
    assert "denied" in ask(database, password="wrong") or "authentication failed" in ask(database, password="wrong")


def test_running_machine_is_connected_to_the_network(database: DatabaseServer, boot: Callable[..., Machine]) -> None:
    """It then resolves the server's name, and the port is open."""
    machine = boot()
    assert machine.run(f"getent hosts {database.host}", check=False) == ""
    attach(database.engine, database.network, machine.name)
    reach = f"import socket; socket.create_connection(('{database.host}', {database.kind.port}), 5)"
    machine.run(f'python3 -c "{reach}"')
    machine.remove()  # a network can't be removed with containers on it


def test_a_certificate_of_another_authority_is_refused(database: DatabaseServer) -> None:
    """A verifying client refuses it, so the right certificate matters."""
    assert "certificate verify failed" in ask(database, ca=Signer.root().pem)


def test_the_server_answers_on_loopback(database: DatabaseServer) -> None:
    """Programs on this computer reach it at the published port."""
    with socket.create_connection((LOCAL, database.local_port), timeout=5) as connection:
        connection.settimeout(5)
        if database.backend == "pgsql":
            connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest: S means yes
            assert connection.recv(1) == b"S"
        else:
            assert b"MariaDB" in connection.recv(100)


def test_the_account_may_do_what_baikal_needs_and_nothing_else(database: DatabaseServer) -> None:
    """It changes tables of its own database as migrations do; not the server, and no other database."""
    assert database.grants() == GRANTED[database.backend]
    made = ("CREATE TABLE probe (a INT)", "ALTER TABLE probe ADD b INT", "CREATE INDEX probe_b ON probe (b)")
    assert ask(database, *made, "ALTER TABLE probe RENAME TO moved", "DROP TABLE moved") == "done"
    for statement in FORBIDDEN[database.backend]:
        assert "denied" in (answer := ask(database, statement)), answer
    assert "denied" in (answer := ask(database, database="mysql" if database.backend == "mysql" else "postgres")) or (
        "no pg_hba.conf entry" in answer
    )


def test_bytes_are_stored_unchanged(database: DatabaseServer) -> None:
    """Bulk rows with text and bytes; and an emptied database is empty."""
    kind = {"mysql": "MEDIUMBLOB", "pgsql": "BYTEA"}[database.backend]
    database.execute(
        (f"CREATE TABLE things (a VARCHAR(20), b {kind})",),
        ("INSERT INTO things VALUES (%s, %s)", *[(f"Müll 🗑 {number}", b"\r\n\xc3\xbc'\\%") for number in range(3)]),
    )
    assert database.rows("SELECT a, b FROM things ORDER BY a") == [[f"Müll 🗑 {n}", "\r\nü'\\%"] for n in range(3)]
    database.empty()
    with pytest.raises(LabError, match="things"):
        database.rows("SELECT a FROM things")
    assert ask(database, "CREATE TABLE again (a INT)", "DROP TABLE again") == "done"


def test_read_only_database_refuses_writes_until_it_is_writable(database: DatabaseServer) -> None:
    """As on a full disk, or on a replica."""
    database.read_only()
    assert "read-only" in ask(database, "CREATE TABLE probe (a INT)")
    assert json.loads(ask(database)) == [[1]]
    database.read_only(on=False)
    assert ask(database, "CREATE TABLE probe (a INT)", "DROP TABLE probe") == "done"


def test_committed_rows_survive_a_power_cut(database: DatabaseServer) -> None:
    """After a kill and a start, it has the same rows, account and port."""
    port = database.local_port
    ask(database, "CREATE TABLE kept (a INT)", "INSERT INTO kept VALUES (7)")
    database.kill()
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection((LOCAL, port), timeout=5).recv(1)
    database.start()
    assert json.loads(ask(database, "SELECT a FROM kept")) == [[7]]
    database.stop()
    database.start()
    assert database.rows("SELECT a FROM kept") == [[7]]
    assert database.local_port == port
    ask(database, "DROP TABLE kept")


def test_hanging_server_continues_afterwards(database: DatabaseServer) -> None:
    """It accepts a connection, and sends nothing."""
    database.hang()
    with socket.create_connection((LOCAL, database.local_port), timeout=5) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    database.resume()
    assert json.loads(ask(database)) == [[1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_server_that_requires_tls_refuses_logins_without(engine: Engine, backend: Backend) -> None:
    """And clients refuse a self-signed certificate."""
    pair = self_signed("elsewhere.lab.test")
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, backend, Signer.root(), tls_only=True, pair=pair) as server,
    ):
        refused = ask(server, ca="")
        assert "denied" in refused or "no pg_hba.conf entry" in refused
        assert "certificate verify failed" in ask(server)
