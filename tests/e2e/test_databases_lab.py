"""The lab's own database servers: what a real client finds, and what is left after a power cut."""

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
given = json.load(sys.stdin)
ca = given["ca"] and "/tmp/ca.pem"
if ca:
    open(ca, "w").write(given["ca"])
try:
    if given["backend"] == "mysql":
        import pymysql  # which sends a password that is text in Latin-1, and PHP the bytes that it has
        tls = {"ssl": {"ca": ca}} if ca else {"ssl_disabled": True}
        connection = pymysql.connect(
            host=given["host"], user="baikal", password=given["password"].encode(), database=given["database"], **tls)
    else:
        import psycopg2
        tls = {"sslmode": "verify-full", "sslrootcert": ca} if ca else {"sslmode": "disable"}
        connection = psycopg2.connect(
            host=given["host"], user="baikal", password=given["password"], dbname=given["database"], **tls)
    cursor = connection.cursor()
    for statement in given["statements"]:
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
    """Give one server of each kind, on a network of its own."""
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, request.param, Signer.root()) as server,
    ):
        yield server


def ask(server: DatabaseServer, *statements: str, **changes: Any) -> str:  # noqa: ANN401 - of what the client is given
    """Return what a client in another container on the server's network was told, or why it wasn't."""
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
    """With its password and the authority's certificate; without TLS too, as long as nobody forbids it."""
    assert json.loads(ask(database, ENCRYPTED[database.backend])) == [[1]]
    assert json.loads(ask(database, ca="")) == [[1]]
    assert "denied" in ask(database, password="wrong") or "authentication failed" in ask(database, password="wrong")


def test_a_machine_that_runs_already_is_let_on_the_network(
    database: DatabaseServer, boot: Callable[..., Machine]
) -> None:
    """From then on it finds the server by name, and the port is open."""
    machine = boot()
    assert machine.run(f"getent hosts {database.host}", check=False) == ""
    attach(database.engine, database.network, machine.name)
    reach = f"import socket; socket.create_connection(('{database.host}', {database.kind.port}), 5)"
    machine.run(f'python3 -c "{reach}"')
    machine.remove()  # a network stays as long as somebody is on it


def test_a_certificate_of_another_authority_is_refused(database: DatabaseServer) -> None:
    """A client that verifies doesn't take it, so that it is the certificate that lets the others in."""
    assert "certificate verify failed" in ask(database, ca=Signer.root().pem)


def test_the_server_answers_on_loopback(database: DatabaseServer) -> None:
    """Programs on this computer reach it at the published port."""
    with socket.create_connection((LOCAL, database.local_port), timeout=5) as connection:
        connection.settimeout(5)
        if database.backend == "pgsql":
            connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest: S is yes
            assert connection.recv(1) == b"S"
        else:
            assert b"MariaDB" in connection.recv(100)


def test_the_account_may_do_what_baikal_needs_and_nothing_else(database: DatabaseServer) -> None:
    """Tables of its own database, changed as migrations do; nothing of the server, and no other database."""
    assert database.grants() == GRANTED[database.backend]
    made = ("CREATE TABLE probe (a INT)", "ALTER TABLE probe ADD b INT", "CREATE INDEX probe_b ON probe (b)")
    assert ask(database, *made, "ALTER TABLE probe RENAME TO moved", "DROP TABLE moved") == "done"
    for statement in FORBIDDEN[database.backend]:
        assert "denied" in (answer := ask(database, statement)), answer
    assert "denied" in (answer := ask(database, database="mysql" if database.backend == "mysql" else "postgres")) or (
        "no pg_hba.conf entry" in answer
    )


def test_bytes_go_in_as_they_are(database: DatabaseServer) -> None:
    """Rows in bulk, with text and bytes; and an empty database is empty again."""
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


def test_a_read_only_database_takes_no_writes_until_it_does_again(database: DatabaseServer) -> None:
    """As when a disk is full, or a replica is in its master's place."""
    database.read_only()
    assert "read-only" in ask(database, "CREATE TABLE probe (a INT)")
    assert json.loads(ask(database)) == [[1]]
    database.read_only(on=False)
    assert ask(database, "CREATE TABLE probe (a INT)", "DROP TABLE probe") == "done"


def test_what_was_committed_survives_a_power_cut(database: DatabaseServer) -> None:
    """Killed, it is away; started again, it has the rows, the account and the port that it had."""
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


def test_a_server_that_hangs_goes_on_afterwards(database: DatabaseServer) -> None:
    """A connection to it is taken, and nothing comes over it."""
    database.hang()
    with socket.create_connection((LOCAL, database.local_port), timeout=5) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    database.resume()
    assert json.loads(ask(database)) == [[1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_tls_is_asked_for_nobody_comes_in_without(engine: Engine, backend: Backend) -> None:
    """And a certificate that nobody has signed is none that a client takes."""
    pair = self_signed("elsewhere.lab.test")
    with (
        Network(engine) as network,
        DatabaseServer.run(engine, network, backend, Signer.root(), tls_only=True, pair=pair) as server,
    ):
        refused = ask(server, ca="")
        assert "denied" in refused or "no pg_hba.conf entry" in refused
        assert "certificate verify failed" in ask(server)
