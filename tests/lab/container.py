"""A container of our image, run as a user of Docker would, and its volume."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.lab.clients import Account
from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer, ask
from tests.lab.machine import HOST_LABEL, LOCAL, RUN_LABEL, START_ATTEMPTS, free_port
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


USERS: Final = json.dumps([{"name": "jo", "email": "jo@example.org", "password": PASSWORD}])
ENVIRONMENT: Final[Mapping[str, str]] = {
    "BAIKAL_HOSTNAME": HOSTNAME,
    "BAIKAL_ADMIN_PASSWORD": PASSWORD,
    "BAIKAL_USERS": USERS,
}
"""Default environment: the account ``jo`` and the administrator, both with ``PASSWORD``."""
READY_LIMIT_S: Final = 20
LABELS: Final = ("--label", f"{RUN_LABEL}={os.getpid()}", "--label", f"{HOST_LABEL}={socket.gethostname()}")
"""Labels by which the next run recognises leftover containers and volumes."""
UNPRIVILEGED: Final = (
    "--user=4711:4711",
    "--read-only",
    "--tmpfs=/run/baikal:mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
)
"""Options of a container with minimal privileges."""


@dataclass
class Volume:
    """A named volume; as a context manager, removed at the end of the block."""

    engine: Engine
    name: str = field(default_factory=lambda: f"baikal-lab-{secrets.token_hex(4)}")
    size: str = ""
    """Such as 1m: a volume of this size in memory instead of on disk; it lasts as long as a container uses it."""
    options: Sequence[str] = ()
    """Further options of docker volume create."""

    def __enter__(self) -> Self:
        """Create the volume."""
        small = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size={self.size}") if self.size else ()
        self.engine.docker("volume", "create", *LABELS, *small, *self.options, self.name)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the volume."""
        self.engine.docker("volume", "rm", "-f", self.name, check=False)


@dataclass
class Container(Removable):
    """A container of our image; as a context manager, removed with its anonymous volumes at the end of the block."""

    engine: Engine
    name: str
    ports: dict[int, int]
    """Published ports: from the container's port to the one on 127.0.0.1."""
    directory: tempfile.TemporaryDirectory[str] = field(repr=False)

    @classmethod
    def run(  # noqa: PLR0913 - the parts of docker run
        cls,
        engine: Engine,
        image: str,
        *arguments: str,
        name: str = "",
        environment: Mapping[str, str | None] | None = None,
        volume: Volume | None = None,
        options: Sequence[str] = (),
        ports: Sequence[int] = (80, 443),
        ready: bool = True,
    ) -> Self:
        """Run the image with ``arguments`` and return when it serves; immediately if ``ready`` is false.

        ``environment`` changes :data:`ENVIRONMENT`; None removes a variable. ``options`` are further options of docker
        run. Raises LabError with the container's log if it doesn't serve.
        """
        variables = {**ENVIRONMENT, **(environment or {})}
        words = [f"--env={name}={value}" for name, value in variables.items() if value is not None]
        if volume:
            words.append(f"--volume={volume.name}:/var/lib/baikal")
        directory = tempfile.TemporaryDirectory(prefix="baikal-lab-")
        container = cls(engine, name or f"baikal-lab-{secrets.token_hex(4)}", {}, directory)
        try:
            container._run([*LABELS, *words, *options], ports, image, arguments)
            if ready:
                container.wait_until_serving()
        except BaseException:
            container.remove()
            raise
        return container

    def _run(self, options: Sequence[str], ports: Sequence[int], image: str, arguments: Sequence[str]) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            self.ports = {port: free_port() for port in ports}
            published = [f"--publish={LOCAL}:{outer}:{inner}" for inner, outer in self.ports.items()]
            try:
                self.engine.docker("run", "-d", "--name", self.name, *options, *published, image, *arguments)
            except LabError as error:
                taken = "already allocated" in str(error) or "address already in use" in str(error)
                if not taken or attempt == START_ATTEMPTS:
                    raise
                self.engine.docker("rm", "-f", "-v", self.name, check=False)
            else:
                return

    @property
    def url(self) -> str:
        """The address that a user enters in a client."""
        return f"https://{HOSTNAME}:{self.ports[443]}"

    def ask(self, method: str, path: str, *, port: int = 443, **parts: Any) -> Answer:  # noqa: ANN401 - as ask takes them
        """Send one request unchanged and return the answer; over TLS unless ``port`` is 80."""
        return ask(self.ports[port], method, path, **({"secure": port != 80} | parts))

    def account(self, user: str = "jo", password: str = PASSWORD) -> Account:
        """Return the account for real clients, which trust only this server's certificate."""
        return Account(self.url, self.certificate(), user, password)

    def certificate(self, hostname: str = HOSTNAME) -> Path:
        """Return the path of a copy of the self-signed certificate for a name, for clients to trust."""
        copy = Path(self.directory.name) / f"{hostname}.crt"
        copy.write_text(self.execute("openssl", "x509", "-in", f"/var/lib/baikal/tls/selfsigned-{hostname}.pem"))
        return copy

    def execute(self, *command: str, check: bool = True, user: str = "") -> str:
        """Run a command in the container and return its output."""
        whose = ("--user", user) if user else ()
        return self.engine.docker("exec", *whose, self.name, *command, check=check)

    def log(self) -> str:
        """Return the container's log so far, of both streams."""
        command = [self.engine.command, "logs", self.name]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    def inspect(self, template: str) -> str:
        """Return a value of ``docker inspect``."""
        return self.engine.docker("inspect", "-f", template, self.name).strip()

    def running(self) -> bool:
        """Whether the container runs."""
        return self.inspect("{{.State.Running}}") == "true"

    def exit_status(self, limit_s: float = READY_LIMIT_S) -> int:
        """Wait for the container's end and return its exit status; LabError if it still runs after ``limit_s``."""
        if not wait_until(lambda: not self.running(), limit_s):
            message = f"the container still runs after {limit_s} s:\n{self.log()}"
            raise LabError(message)
        return int(self.inspect("{{.State.ExitCode}}"))

    def serving(self) -> bool:
        """Whether ``baikalctl health`` reports the container as healthy."""
        try:
            self.execute("baikalctl", "health")
        except LabError:
            return False
        return True

    def wait_until_serving(self) -> None:
        """Wait until the container is healthy; LabError with its log if it ends, or after the limit."""
        if (
            not wait_until(lambda: not self.running() or self.serving(), READY_LIMIT_S, pause_s=0.05)
            or not self.running()
        ):
            message = f"the container doesn't serve:\n{self.log()}"
            raise LabError(message)

    def rows(self, query: str) -> list[list[Any]]:
        """Return the rows that ``query`` selects in the container's database."""
        program = (
            "import json, sqlite3; connection = sqlite3.connect('/var/lib/baikal/Specific/db/db.sqlite');"
            f"print(json.dumps(connection.execute({query!r}).fetchall())); connection.commit()"
        )
        rows: list[list[Any]] = json.loads(self.execute("python3", "-c", program))
        return rows

    def stop(self) -> None:
        """Stop the container with ``docker stop``."""
        self.engine.docker("stop", self.name)

    def kill(self) -> None:
        """Kill all processes of the container at once."""
        self.engine.docker("kill", "-s", "KILL", self.name)

    def start(self) -> None:
        """Start the container again, with the same environment, and wait until it serves."""
        self.engine.docker("start", self.name)
        self.wait_until_serving()

    def remove(self) -> None:
        """Remove the container; a second call does nothing."""
        self.engine.docker("rm", "-f", "-v", self.name, check=False)
        self.directory.cleanup()
