"""MariaDB and PostgreSQL servers for tests, each with TLS, an empty database and an account for it."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.lab.container import LABELS
from tests.lab.database_image import ACCOUNT, FOLDER, GRANTS, HBA, KINDS, NAME, SESSIONS, Backend, Kind
from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.machine import LOCAL, START_ATTEMPTS, free_port
from tests.lab.removable import Removable
from tests.lab.sql import EXECUTE, Statement, to_json

if TYPE_CHECKING:
    from tests.lab.acme import Network
    from tests.lab.certificates import Pair, Signer

BACKENDS: Final[tuple[Backend, ...]] = ("mysql", "pgsql")
PASSWORD: Final = """pass word: "it's" #1 \\ 100% $HOME; Müll"""
"""A password that needs escaping in every configuration file and connection string."""
READY_LIMIT_S: Final = 30


@dataclass
class DatabaseServer(Removable):
    """A server with the database ``baikal`` and an account of that name; as a context manager, removed at the end.

    Its address is ``host`` on its network, and ``local_port`` of 127.0.0.1 on this computer; its certificate has both.
    """

    engine: Engine
    network: Network
    backend: Backend
    name: str
    """The container's."""
    ca: str
    """PEM of the CA."""
    password: str = field(default=PASSWORD, repr=False)
    local_port: int = 0

    @classmethod
    def run(  # noqa: PLR0913 - one for each thing that servers differ in
        cls,
        engine: Engine,
        network: Network,
        backend: Backend,
        signer: Signer,
        *,
        password: str = PASSWORD,
        tls_only: bool = False,
        pair: Pair | None = None,
    ) -> Self:
        """Start a server and return when it accepts connections; one of each kind per network.

        With ``tls_only``, the account can't log in without TLS. ``pair`` replaces the valid certificate.
        Raises LabError with the server's log.
        """
        server = cls(engine, network, backend, f"baikal-lab-{secrets.token_hex(4)}", signer.pem, password)
        pair = pair or signer.issue(server.host, "localhost", LOCAL)
        files = {"ca.pem": signer.pem, "certificate.pem": pair.chain, "key.pem": pair.key}
        if backend == "pgsql":
            files["hba.conf"] = HBA.format(host="hostssl" if tls_only else "host", name=NAME)
        try:
            server._create(files)
            server._wait_until_ready()
            tls = "SSL" if tls_only else "NONE"
            for sql in ACCOUNT[backend]:
                server._execute("", (sql.format(tls=tls), [password]) if "%s" in sql else (sql,))
        except BaseException:
            server.remove()
            raise
        return server

    @property
    def kind(self) -> Kind:
        """How this server is run."""
        return KINDS[self.backend]

    @property
    def host(self) -> str:
        """The server's host name for machines and containers on its network."""
        return self.kind.alias

    def section(self, ca: str = "", *, local: bool = False) -> dict[str, object]:
        """Return the database section of a baikal.yaml, as Baïkal 0.11 and later read it.

        ``ca`` is the path of the CA's certificate on the host: with it, the connection is encrypted and the server's
        certificate is verified. ``local`` is for programs on this computer rather than on the network.
        """
        host = f"{LOCAL};port={self.local_port}" if local else self.host
        keys: dict[str, object] = {
            f"{self.backend}_host": host,
            f"{self.backend}_dbname": NAME,
            f"{self.backend}_username": NAME,
            f"{self.backend}_password": self.password,
        }
        if self.backend == "mysql":
            keys["mysql_ca_cert"] = ca
        elif ca:
            keys["pgsql_host"] = f"{host};sslmode=verify-full;sslrootcert={ca}"
        return {"backend": self.backend, "encryption_key": "5d5b6ed8eb6ac7f5e0c0ab4b9a9c4a9b", **keys}

    def rows(self, query: str) -> list[list[Any]]:
        """Run ``query`` as the database's administrator and return its rows; bytes as text."""
        return self._execute(NAME, (query,))

    def execute(self, *statements: Statement) -> list[list[Any]]:
        """Run all statements in one transaction, as the administrator, and return the rows of the last one.

        The placeholder for values is ``%s``.
        """
        return self._execute(NAME, *statements)

    def grants(self) -> list[str]:
        """Return the account's privileges as the server prints them, sorted, and without the hash of its password."""
        grants = (str(row[0]) for row in self.rows(GRANTS[self.backend]))
        return sorted(re.sub(r" IDENTIFIED BY PASSWORD '[^']*'", "", line) for line in grants)

    def sessions(self) -> int:
        """Return the number of the account's open connections."""
        return int(self.rows(SESSIONS[self.backend])[0][0])

    def empty(self) -> None:
        """Recreate the empty database, owned by the account."""
        if self.backend == "mysql":
            self._execute("", (f"DROP DATABASE {NAME}",), (ACCOUNT["mysql"][0],))
            return
        self._execute(NAME, ("DROP SCHEMA public CASCADE",), ("CREATE SCHEMA public AUTHORIZATION pg_database_owner",))

    def read_only(self, *, on: bool = True) -> None:
        """Make the database read-only for the account's next connections, or writable again."""
        if self.backend == "mysql":
            self._execute("", (f"SET GLOBAL read_only = {int(on)}",))
        else:
            state = "on" if on else "off"
            self._execute("", (f"ALTER DATABASE {NAME} SET default_transaction_read_only = {state}",))

    def stop(self) -> None:
        """Shut the server down cleanly; connections are refused until ``start``."""
        self.engine.docker("stop", "-t", "30", self.name)

    def kill(self) -> None:
        """Cut the power: all processes are killed at once, nothing is saved."""
        self.engine.docker("kill", "-s", "KILL", self.name)

    def settings(self, password: Path, ca: str) -> dict[str, object]:
        """Return the settings for this server, for a host with its ``ca``; write its password to the file ``password``."""
        password.touch(mode=0o600)
        password.write_text(self.password, encoding="utf-8")
        reference = {"file": str(password)}
        return {
            "database": self.backend,
            "database_host": self.host,
            "database_password": reference,
            "database_ca": ca,
        }

    def start(self) -> None:
        """Start the server again after ``stop`` or ``kill``, with the same data and port, and wait until it answers."""
        self.engine.docker("start", self.name)
        self._wait_until_ready()

    def hang(self) -> None:
        """Pause the server: connections are accepted, but nothing is answered until ``resume``."""
        self.engine.docker("pause", self.name)

    def resume(self) -> None:
        """Let the server continue after ``hang``."""
        self.engine.docker("unpause", self.name)

    def remove(self) -> None:
        """Remove the server with its data; a second call does nothing."""
        self.engine.docker("rm", "-f", "-v", self.name, check=False)

    def log(self) -> str:
        """Return the server's log."""
        return self.engine.docker("logs", self.name, check=False)

    def _create(self, files: dict[str, str]) -> None:
        """Create and start the container; with another port if a different process has taken the first one."""
        image = self.kind.image(self.engine)
        options = ("--network", self.network.name, "--network-alias", self.host, "--stop-signal", self.kind.stop_signal)
        for attempt in range(1, START_ATTEMPTS + 1):
            self.local_port = free_port()
            published = f"--publish={LOCAL}:{self.local_port}:{self.kind.port}"
            main = ("sh", "-c", self.kind.main)
            self.engine.docker("create", "--name", self.name, *LABELS, *options, published, image, *main)
            with tempfile.TemporaryDirectory(prefix="baikal-lab-") as folder:
                for name, text in files.items():
                    (Path(folder) / name).write_text(text, encoding="utf-8")
                self.engine.docker("cp", f"{folder}/.", f"{self.name}:{FOLDER}")
            try:
                self.engine.docker("start", self.name)
            except LabError as error:
                taken = "already allocated" in str(error) or "address already in use" in str(error)
                if not taken or attempt == START_ATTEMPTS:
                    raise
                self.remove()
            else:
                return

    def _wait_until_ready(self) -> None:
        def answers() -> bool:
            try:
                return self._execute("", ("SELECT 1",)) == [[1]]
            except LabError:
                return False

        if not wait_until(answers, READY_LIMIT_S, pause_s=0.05):
            message = f"{self.kind.title} does not answer within {READY_LIMIT_S} s:\n{self.log()[-4000:]}"
            raise LabError(message)

    def _execute(self, database: str, *statements: Statement) -> list[list[Any]]:
        """Run the statements in one transaction, or one by one if no database is named; return the last one's rows."""
        order = to_json(database, statements)
        command = (
            "exec",
            "-i",
            "-u",
            self.kind.user,
            self.name,
            "python3",
            "-c",
            EXECUTE.format(connect=self.kind.connect, many=self.kind.many),
        )
        rows: list[list[Any]] = json.loads(self.engine.docker(*command, input=order))
        return rows


def attach(engine: Engine, network: Network, *containers: str) -> None:
    """Connect running machines or containers, by name, to the network, so that they can reach the server."""
    for name in containers:
        engine.docker("network", "connect", network.name, name)
