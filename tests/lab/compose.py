"""The compose examples, started by compose unchanged, except for images, published ports and the subnet."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import random
import secrets
import shutil
import ssl
import subprocess
import tempfile
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from tests.lab.clients import Account
from tests.lab.container import LABELS, READY_LIMIT_S, Container
from tests.lab.deploying import REPOSITORY
from tests.lab.engine import Engine, apt_install, can_install, locked, wait_until
from tests.lab.errors import LabError
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer
from tests.lab.machine import LOCAL, START_ATTEMPTS, free_port
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping


EXAMPLES: Final = REPOSITORY / "examples" / "compose"
COMPOSE_LIMIT_S: Final = 120
ANSWER_LIMIT_S: Final = 60
SUBNET: Final = "10.47.11.0/24"
"""The subnet of the examples' inner network; where several runs share a machine, each needs its own."""
CERTIFICATES: Final[Mapping[str, tuple[str, str]]] = {
    "standalone": ("baikal", f"/var/lib/baikal/tls/selfsigned-{HOSTNAME}.pem"),
    "nginx": ("nginx", "/etc/nginx/tls/fullchain.pem"),
    "caddy": ("caddy", "/data/caddy/pki/authorities/local/root.crt"),
}
"""For each example that the lab can start: the service that terminates TLS, and the path of its certificate."""
ACCOUNT: Final = os.getuid() or 1000
"""The account that runs Baïkal and owns the secrets."""


@functools.cache
def compose_command(engine: Engine) -> list[str]:
    """Return the command for compose on this machine; as root on Debian or Ubuntu, install it if it is missing.

    Raises LabError with the remedy where there is none.
    """
    with locked("compose"):
        command = _command(engine)
        if not command and can_install():
            ubuntu = "ID=ubuntu" in Path("/etc/os-release").read_text().splitlines()
            package = "docker-compose-v2" if ubuntu else "docker-compose"
            engine.say(f"lab: installing compose with apt: {package}")
            apt_install((package,))
            command = _command(engine)
    if not command:
        message = "there is neither `docker compose` nor `docker-compose`; install the package docker-compose-plugin"
        raise LabError(message)
    return command


def _command(engine: Engine) -> list[str]:
    for command in ([engine.command, "compose"], ["/usr/bin/docker", "compose"], ["docker-compose"]):
        if not shutil.which(command[0]):
            continue
        if not subprocess.run([*command, "version"], capture_output=True, timeout=30, check=False).returncode:
            return command
    return []


@dataclass
class Project(Removable):
    """A running example; as a context manager, removed with its volumes and networks at the end of the block."""

    engine: Engine
    name: str
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)
    ports: dict[int, int] = field(default_factory=dict)
    """Published ports: from the container's port to the one on 127.0.0.1."""

    @classmethod
    def start(cls, engine: Engine, example: str, instead: Mapping[str, Mapping[str, Any]]) -> Self:
        """Start a copy of the example and return when it serves.

        ``instead`` replaces, for some services, the example's image with one of this machine. The host name is
        ``localhost``, every password ``PASSWORD``. Raises LabError with the logs.
        """
        folder = tempfile.TemporaryDirectory(prefix="baikal-lab-")
        project = cls(engine, f"baikal-lab-{secrets.token_hex(4)}", folder)
        try:
            project._copy(EXAMPLES / example)
            project._up(instead)
            project.baikal.wait_until_serving()
            project._wait_until_serving(*CERTIFICATES[example])
        except BaseException:
            project.remove()
            raise
        return project

    @property
    def baikal(self) -> Container:
        """Baïkal's container, with the ports that the example publishes."""
        return Container(self.engine, self.container("baikal"), self.ports, self.folder)

    @property
    def url(self) -> str:
        """The address that a user enters in a client."""
        return f"https://{HOSTNAME}:{self.ports[443]}"

    @property
    def certificate(self) -> Path:
        """The certificate that clients trust."""
        return self.path("trusted.pem")

    def ask(self, method: str, path: str, *, user: str = "", body: str = "", port: int = 443) -> Answer:
        """Send one request by name, trusting only the example's certificate; over TLS except at port 80."""
        headers = {"Authorization": "Basic " + b64encode(f"{user}:{PASSWORD}".encode()).decode()} if user else {}
        where = (HOSTNAME, self.ports[port])
        connection = (
            http.client.HTTPConnection(*where, timeout=ANSWER_LIMIT_S)
            if port == 80
            else http.client.HTTPSConnection(
                *where, timeout=ANSWER_LIMIT_S, context=ssl.create_default_context(cafile=str(self.certificate))
            )
        )
        with contextlib.closing(connection):
            connection.request(method, path, body.encode() or None, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)

    def account(self) -> Account:
        """Return the account for real clients."""
        return Account(self.url, self.certificate, "jo", PASSWORD)

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        ours = (f"label=com.docker.compose.{what}" for what in (f"project={self.name}", f"service={service}"))
        filters = [word for label in ours for word in ("--filter", label)]
        return self.engine.docker("ps", "-a", "-q", *filters).strip()

    def path(self, name: str) -> Path:
        """Return the path of a file of the example."""
        return Path(self.folder.name) / name

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run compose on the project and return its output; raises LabError with its message if it fails."""
        command = [*compose_command(self.engine), "--project-name", self.name, *arguments]
        done = subprocess.run(
            command, cwd=self.folder.name, capture_output=True, text=True, timeout=COMPOSE_LIMIT_S, check=False
        )
        if check and done.returncode:
            message = f"compose {arguments[0]} failed: {done.stderr.strip()[-4000:]}"
            raise LabError(message)
        return done.stdout

    def remove(self) -> None:
        """Remove containers, networks and volumes; a second call does nothing."""
        if not Path(self.folder.name).exists():
            return
        try:
            self.compose("down", "--volumes", "--timeout", "5", check=False)
        finally:
            self.folder.cleanup()

    def _wait_until_serving(self, service: str, certificate: str) -> None:
        """Wait until the service has its certificate and answers for Baïkal."""
        container = self.container(service)

        def answers() -> bool:
            # Not the key, which may follow.
            shown = ("sed", "-n", "/BEGIN CERTIFICATE/,/END CERTIFICATE/p", certificate)
            self.certificate.write_text(self.engine.docker("exec", container, *shown, check=False))
            try:
                return self.ask("GET", "/").status == 200
            except (OSError, http.client.HTTPException):
                return False

        if not wait_until(answers, READY_LIMIT_S):
            message = f"{service} doesn't answer for Baïkal:\n{self.compose('logs', service)[-4000:]}"
            raise LabError(message)

    def _copy(self, example: Path) -> None:
        """Copy the example, and create what its first lines ask for: passwords, and a certificate in tls/."""
        shutil.copytree(example, self.folder.name, dirs_exist_ok=True)
        self.path("secrets").mkdir()
        for name in ("admin", "jo"):
            secret = self.path("secrets") / name
            secret.touch(mode=0o600)
            secret.write_text(f"{PASSWORD}\n")
            if os.getuid() == 0:
                os.chown(secret, ACCOUNT, ACCOUNT)
        self.path("tls").mkdir()
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        options = ["-keyout", str(self.path("tls/privkey.pem")), "-out", str(self.path("tls/fullchain.pem"))]
        names = ["-days", "2", "-subj", f"/CN={HOSTNAME}", "-addext", f"subjectAltName=DNS:{HOSTNAME}"]
        subprocess.run([*request, *options, *names], capture_output=True, check=True)

    def _up(self, instead: Mapping[str, Mapping[str, Any]]) -> None:
        text = self.path("compose.yaml").read_text(encoding="utf-8")
        for attempt in range(1, START_ATTEMPTS + 1):
            number = f"10.{random.randrange(200, 250)}.{random.randrange(256)}.0/24"  # noqa: S311 - no secret
            project = yaml.safe_load(text.replace(SUBNET, number))
            self._adapt(project, instead)
            self.path("compose.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
            try:
                self.compose("up", "--detach")
            except LabError as error:
                taken = any(word in str(error) for word in ("already allocated", "already in use", "overlaps"))
                if not taken or attempt == START_ATTEMPTS:
                    raise
                self.compose("down", "--volumes", check=False)
            else:
                return

    def _adapt(self, project: dict[str, Any], instead: Mapping[str, Mapping[str, Any]]) -> None:
        """Change what differs on each machine, and label everything that the example creates with this run."""
        marks = [label for label in LABELS if "=" in label]
        self.ports = {}
        for name, service in project["services"].items():
            service["labels"] = marks
            service["ports"] = [self._published(port) for port in service.get("ports", [])]
            if "BAIKAL_HOSTNAME" in service.get("environment", {}):
                service["environment"]["BAIKAL_HOSTNAME"] = HOSTNAME
            if "user" in service:
                service["user"] = str(ACCOUNT)
            for key, value in instead[name].items():
                service[key] = service[key] | value if isinstance(value, dict) else value
        project.setdefault("networks", {}).setdefault("default", {})
        for kind in ("networks", "volumes"):
            project[kind] = {name: {**(made or {}), "labels": marks} for name, made in project[kind].items()}

    def _published(self, port: str) -> str:
        """Return an example's published port as a free one on 127.0.0.1; TCP and UDP get the same one."""
        inner, slash, protocol = port.partition(":")[2].partition("/")
        outer = self.ports.setdefault(int(inner), free_port())
        return f"{LOCAL}:{outer}:{inner}{slash}{protocol}"
