"""The example for Docker Swarm, deployed unchanged, except for images, published ports and the subnet."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from tests.lab.clients import Account
from tests.lab.deploying import REPOSITORY
from tests.lab.engine import SWARM, Engine, locked, wait_until
from tests.lab.errors import LabError
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer, ask
from tests.lab.machine import free_port
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


EXAMPLE: Final = REPOSITORY / "examples" / "swarm"
READY_LIMIT_S: Final = 120
REMOVAL_LIMIT_S: Final = 60
UPDATE_LIMIT_S: Final = 300
SUBNET: Final = "10.47.12.0/24"
"""The subnet of the example's inner network."""
OWNER: Final = "baikal-lab"
"""Prefix of the names of the lab's stacks."""
POSTGRESQL: Final = """\
set -eu
data=/var/lib/postgresql/data
postgres="setpriv --reuid=postgres --regid=postgres --init-groups"
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
if [ ! -s $data/PG_VERSION ]; then
    install -d -o postgres -m 0700 $data
    $postgres initdb -D $data --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
    $postgres pg_ctl -D $data -o "-c listen_addresses=''" -w start
    for script in /docker-entrypoint-initdb.d/*.sql; do
        $postgres psql -v ON_ERROR_STOP=1 --no-psqlrc --username postgres --dbname postgres -f "$script"
    done
    $postgres pg_ctl -D $data -m fast -w stop
fi
exec $postgres postgres -D $data -c "listen_addresses=*"
"""
"""The parts of the official image's entry point that the example relies on, with Debian's packages."""


@contextlib.contextmanager
def swarm(engine: Engine) -> Iterator[None]:
    """Make the engine a swarm within the block; one block at a time on this computer.

    Raises LabError if the engine is already part of a swarm, which may be the user's.
    """
    with locked(SWARM):
        state = engine.docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip()
        if state == "active" and not swarm_owner(engine):
            message = (
                "this engine is part of a swarm, and the lab needs its own; leave it first (docker swarm leave --force)"
            )
            raise LabError(message)
        if state != "inactive":
            leave_swarm(engine)
        engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        try:
            (node,) = engine.docker("node", "ls", "--quiet").split()
            engine.docker(
                "node", "update", "--label-add", "baikal=volumes", "--label-add", f"{OWNER}={os.getpid()}", node
            )
            yield
        finally:
            leave_swarm(engine)


def swarm_owner(engine: Engine) -> int:
    """Return the id of the process that made the engine a swarm of the lab; 0 if it isn't a swarm of the lab."""
    owner = engine.docker("node", "inspect", "self", "--format", f'{{{{index .Spec.Labels "{OWNER}"}}}}', check=False)
    return int(owner) if owner.strip().isdigit() else 0


def leave_swarm(engine: Engine) -> None:
    """Leave the swarm; its services and their containers end."""
    services = engine.docker("service", "ls", "--quiet", check=False).split()
    if services:
        engine.docker("service", "rm", *services, check=False)
    wait_until(lambda: not _containers(engine, ""), REMOVAL_LIMIT_S)
    engine.docker("swarm", "leave", "--force")
    volumes = engine.docker("volume", "ls", "--quiet", "--filter", f"name=^{OWNER}-stack-").split()
    if volumes:
        engine.docker("volume", "rm", "--force", *volumes, check=False)


def _containers(engine: Engine, service: str) -> list[str]:
    """Return the ids of a service's running containers, or of all containers of all services."""
    if service:
        return engine.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").split()
    return engine.docker("ps", "-aq", "--filter", "label=com.docker.swarm.service.name").split()


@dataclass
class Stack(Removable):
    """The example, deployed; as a context manager, removed with its volumes at the end of the block."""

    engine: Engine
    name: str
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)
    ports: dict[int, int] = field(default_factory=dict)
    """Published ports: from the proxy's port to the one on this computer."""

    @classmethod
    def deploy(cls, engine: Engine, instead: Mapping[str, Mapping[str, Any]]) -> Self:
        """Deploy a copy of the example and return when all replicas serve.

        ``instead`` replaces, for some services, the example's image with one of this machine. The host name is
        ``localhost``, every password ``PASSWORD``. Raises LabError with the logs.
        """
        folder = tempfile.TemporaryDirectory(prefix="baikal-lab-")
        stack = cls(engine, f"{OWNER}-stack-{secrets.token_hex(3)}", folder)
        try:
            stack._copy(instead)
            file = str(stack.path("compose.yaml"))
            engine.docker("stack", "deploy", "--resolve-image=never", "--compose-file", file, stack.name)
            stack.wait_until_serving()
        except BaseException:
            stack.remove()
            raise
        return stack

    @property
    def port(self) -> int:
        """The proxy's port for TLS."""
        return self.ports[443]

    def path(self, name: str) -> Path:
        """Return the path of a file of the example."""
        return Path(self.folder.name) / name

    def account(self) -> Account:
        """Return the account for real clients."""
        certificate = self.path("trusted.pem")
        (proxy,) = self.containers("caddy")
        root = "/data/caddy/pki/authorities/local/root.crt"
        certificate.write_text(self.engine.docker("exec", proxy, "cat", root))
        return Account(f"https://{HOSTNAME}:{self.port}", certificate, "jo", PASSWORD)

    def ask(self, method: str, path: str, **parts: Any) -> Answer:  # noqa: ANN401 - as ask takes them
        """Send one request to the proxy."""
        return ask(self.port, method, path, host=HOSTNAME, **parts)

    def containers(self, service: str = "baikal") -> list[str]:
        """Return the ids of the service's running containers, in any order."""
        return _containers(self.engine, f"{self.name}_{service}")

    def healthy(self, service: str = "baikal") -> list[str]:
        """Return the ids of the healthy containers."""
        running = self.containers(service)
        if not running:
            return []
        shown = self.engine.docker("inspect", "-f", "{{.Id}} {{.State.Health.Status}}", *running, check=False)
        well = [line.split()[0] for line in shown.splitlines() if line.endswith(" healthy")]
        return [name for name in running if any(line.startswith(name) for line in well)]

    def update(self, *options: str) -> None:
        """Run ``docker service update`` on Baïkal's service."""
        self.engine.docker("service", "update", "--quiet", *options, f"{self.name}_baikal", timeout=UPDATE_LIMIT_S)

    def scale(self, replicas: int) -> None:
        """Set the number of replicas, and don't wait for them."""
        self.engine.docker("service", "scale", "--detach", f"{self.name}_baikal={replicas}")

    def inspect(self, template: str) -> str:
        """Return a value of ``docker service inspect`` for Baïkal's service."""
        return self.engine.docker("service", "inspect", "--format", template, f"{self.name}_baikal").strip()

    def rows(self, query: str) -> list[str]:
        """Run a query as PostgreSQL's administrator and return the lines of the result."""
        (database,) = self.containers("database")
        command = ("psql", "--username=postgres", "--tuples-only", "--no-align", "baikal", "--command", query)
        return self.engine.docker("exec", "-u", "postgres", database, *command).splitlines()

    def log(self) -> str:
        """Return the end of the services' logs, and the states of their containers."""
        tasks = self.engine.docker("stack", "ps", "--no-trunc", self.name, check=False)
        services = self.engine.docker("stack", "services", "--format", "{{.Name}}", self.name, check=False).split()
        logs = [self.engine.docker("service", "logs", "--tail=40", name, check=False) for name in services]
        return "\n".join([tasks, *logs])

    def wait_until_serving(self, replicas: int = 2) -> None:
        """Wait until this many replicas are healthy and reachable through the proxy; raises LabError with the logs."""

        def serves() -> bool:
            if len(self.healthy()) != replicas or len(self.containers()) != replicas:
                return False
            try:
                return self.ask("PROPFIND", "/dav.php/", user="jo", timeout_s=5).status == 207
            except OSError:
                return False

        if not wait_until(serves, READY_LIMIT_S):
            message = f"the stack doesn't serve with {replicas} replicas:\n{self.log()[-12000:]}"
            raise LabError(message)

    def remove(self) -> None:
        """Remove services, networks and volumes; a second call does nothing."""
        if not Path(self.folder.name).exists():
            return
        try:
            self.engine.docker("stack", "rm", self.name, check=False)
            label = f"label=com.docker.stack.namespace={self.name}"
            wait_until(lambda: not self.engine.docker("ps", "-aq", "--filter", label).strip(), REMOVAL_LIMIT_S)
            volumes = self.engine.docker("volume", "ls", "-q", "--filter", label).split()
            if volumes:
                self.engine.docker("volume", "rm", "-f", *volumes, check=False)
        finally:
            self.folder.cleanup()

    def _copy(self, instead: Mapping[str, Mapping[str, Any]]) -> None:
        """Copy the example, create the passwords that its first lines ask for, and change what must differ."""
        shutil.copytree(EXAMPLE, self.folder.name, dirs_exist_ok=True)
        self.path("secrets").mkdir(mode=0o700)
        number = f"10.{random.randrange(200, 250)}.{random.randrange(256)}.0/24"  # noqa: S311 - no secret
        project = yaml.safe_load(self.path("compose.yaml").read_text(encoding="utf-8").replace(SUBNET, number))
        for name in project["secrets"]:
            (self.path("secrets") / name).write_text(f"{PASSWORD}\n")
        for name in [key for key in project if key.startswith("x-")]:
            del project[name]  # what its services share, and have already received
        for name, service in project["services"].items():
            for port in service.get("ports", []):
                port["published"] = self.ports.setdefault(port["target"], free_port())
            if "BAIKAL_HOSTNAME" in service.get("environment", {}):
                service["environment"]["BAIKAL_HOSTNAME"] = HOSTNAME
            for key, value in instead[name].items():
                service[key] = service[key] | value if isinstance(value, dict) else value
        # A dollar would begin a variable. The text is JSON, which is valid YAML without anchors.
        self.path("compose.yaml").write_text(json.dumps(project).replace("$", "$$"), encoding="utf-8")
