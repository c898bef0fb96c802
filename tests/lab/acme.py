"""An ACME server in place of Let's Encrypt: pebble, its name server, and a proxy that can refuse orders."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.lab.acme_image import (
    ALIAS,
    FRONT_START,
    FRONT_STOP,
    ZONE,
    acme_image,
    authority,
    bind_files,
    limit_files,
    server_files,
)
from tests.lab.container import LABELS
from tests.lab.engine import SWARM, Engine, locked, wait_until
from tests.lab.errors import LabError
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping


READY_LIMIT_S: Final = 20
FRONT_PORT: Final = 14000
PEBBLE_PORT: Final = 14001
EAB_KEY_ID: Final = "kid-1"
TSIG_NAME: Final = "certbot"
TSIG_ALGORITHM: Final = "hmac-sha512"


@dataclass
class Network:
    """A Docker network on which containers find each other by name; as a context manager, removed at the end."""

    engine: Engine
    name: str = field(default_factory=lambda: f"baikal-lab-{secrets.token_hex(4)}")
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False, compare=False)

    def __enter__(self) -> Self:
        """Make the network, when no swarm is there."""
        self._stack.enter_context(locked(SWARM, shared=True))
        self.engine.docker("network", "create", *LABELS, self.name)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the network; with containers on it, it stays until the next run's ``remove_leftovers``."""
        self.engine.docker("network", "rm", self.name, check=False)
        self._stack.close()


def address(engine: Engine, network: Network, container_name: str) -> str:
    """Return the IPv4 address that a running container has on the network; LabError if it has none."""
    template = f'{{{{with index .NetworkSettings.Networks "{network.name}"}}}}{{{{.IPAddress}}}}{{{{end}}}}'
    ip_address = engine.docker("inspect", "-f", template, container_name).strip()
    if not ip_address:
        message = (
            f"the container {container_name} has no address on {network.name}: is it running, and on that network?"
        )
        raise LabError(message)
    return ip_address


@dataclass
class AcmeServer(Removable):
    """An ACME server that is reached as ``acme.lab.test``; as a context manager, removed at the end of the block.

    No name has an address until ``set_address`` is called; each order is validated again.
    """

    engine: Engine
    name: str
    """The container's."""
    ca: str
    """PEM of the CA of the server's own HTTPS certificate, the same for all servers of a process."""
    eab_key_id: str = ""
    eab_hmac_key: str = field(default="", repr=False)
    """With ``eab``, the key for external account binding, in base64url as clients take it."""
    tsig_name: str = ""
    tsig_algorithm: str = ""
    tsig_secret: str = field(default="", repr=False)
    """With ``bind``, the key that may change the zone ``lab.test``, in base64; bind answers at port 53 of ``name``."""
    directory: str = f"https://{ALIAS}:{FRONT_PORT}/dir"
    dns_management: str = f"http://{ALIAS}:8055"
    """URL of pebble-challtestsrv, where records are set (/set-txt, /clear-txt). Pebble queries it unless ``bind`` is used."""

    @classmethod
    def start(  # noqa: PLR0913 - one for each thing that authorities do differently
        cls,
        engine: Engine,
        network: Network,
        *,
        validity_s: int = 7_776_000,
        eab: bool = False,
        nonce_reject_percent: int = 0,
        bind: bool = False,
    ) -> Self:
        """Start a server and return when it answers; only one per network, since all have the same name.

        With ``bind``, names are in the zone of a real name server, which accepts dynamic updates (RFC 2136).
        Raises LabError with the server's logs.
        """
        image = acme_image(engine)
        ca, certificate, key = authority(engine)
        server = cls(engine, f"baikal-lab-{secrets.token_hex(4)}", ca)
        if eab:
            server.eab_key_id = EAB_KEY_ID
            server.eab_hmac_key = base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()
        if bind:
            server.tsig_name, server.tsig_algorithm = TSIG_NAME, TSIG_ALGORITHM
            server.tsig_secret = base64.b64encode(secrets.token_bytes(64)).decode()
        keys = {server.eab_key_id: server.eab_hmac_key} if eab else {}
        files = {"own.crt": certificate, "own.key": key, **server_files(validity_s, keys)}
        if bind:
            files |= bind_files(server.tsig_name, server.tsig_algorithm, server.tsig_secret)
        environment = {
            "DNS_SERVER": "127.0.0.1:53" if bind else "127.0.0.1:8053",
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_AUTHZREUSE": "0",
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject_percent),
        }
        words = [f"--env={name}={value}" for name, value in environment.items()]
        options = ("--network", network.name, "--network-alias", ALIAS, "--workdir", "/acme")
        try:
            engine.docker("create", "--init", "--name", server.name, *LABELS, *options, *words, image, "sh", "main")
            server._copy(files)
            engine.docker("start", server.name)
            server._wait_until_ready(FRONT_PORT)
        except BaseException:
            server.remove()
            raise
        return server

    def root(self) -> str:
        """Return the PEM of the current root certificate; it changes with each ``restart``."""
        return self._run("curl -fsSk https://127.0.0.1:15000/roots/0")

    def issued(self) -> int:
        """Return how many certificates pebble has issued since its last start."""
        return self._run("cat pebble.log").count("Issued certificate serial ")

    def set_address(self, name: str, address: str) -> None:
        """Set this IPv4 address, and no other, for a name."""
        self._update_address(name, address)

    def remove_address(self, name: str) -> None:
        """Remove the address of a name."""
        self._update_address(name, "")

    def stop(self) -> None:
        """Refuse connections until ``resume``; accounts and orders are kept."""
        self._run(FRONT_STOP)

    def resume(self) -> None:
        """Accept connections again."""
        self._run(FRONT_START)

    def restart(self) -> None:
        """Restart pebble: accounts and orders are lost and the root is new; the addresses of names stay."""
        self._run('pid=$(cat pebble.pid); kill -KILL "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done')
        self._wait_until_ready(PEBBLE_PORT)  # the proxy may be stopped

    def limit(self, detail: str, retry_after_s: int) -> None:
        """Refuse new orders from now on, as Let's Encrypt does above its rate limit (RFC 8555, 6.6)."""
        self._run(FRONT_STOP)
        self._copy(limit_files(detail, retry_after_s))
        self._run(FRONT_START)

    def unlimit(self) -> None:
        """Accept new orders again."""
        self._run(FRONT_STOP)
        self._run("rm -f limit.conf")
        self._run(FRONT_START)

    def remove(self) -> None:
        """Remove the server; a second call does nothing."""
        self.engine.docker("rm", "-f", "-v", self.name, check=False)

    def _update_address(self, name: str, address: str) -> None:
        if self.tsig_name:
            added = f"update add {name}. 1 A {address}\n" if address else ""
            update = f"server 127.0.0.1\nzone {ZONE}\nupdate delete {name}. A\n{added}send\n"
            key = f"{self.tsig_algorithm}:{self.tsig_name}:{self.tsig_secret}"
            self.engine.docker("exec", "-i", self.name, "nsupdate", "-y", key, input=update)
            return
        tell = "curl -fsS -d '{}' http://127.0.0.1:8055/{}"
        steps = [tell.format(json.dumps({"host": f"{name}."}), "clear-a")]
        if address:
            steps.append(tell.format(json.dumps({"host": f"{name}.", "addresses": [address]}), "add-a"))
        self._run(" && ".join(steps))

    def _copy(self, files: Mapping[str, str]) -> None:
        """Copy files into the container's /acme."""
        with tempfile.TemporaryDirectory(prefix="baikal-lab-") as folder:
            for name, text in files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            self.engine.docker("cp", f"{folder}/.", f"{self.name}:/acme")

    def _run(self, script: str) -> str:
        return self.engine.docker("exec", self.name, "sh", "-euc", script)

    def _wait_until_ready(self, port: int) -> None:
        """Wait until pebble (at this port), its root and the name server answer; else LabError with the logs."""
        asked = [f"https://127.0.0.1:{port}/dir", "https://127.0.0.1:15000/roots/0"]
        steps = [f"curl -fsSko /dev/null {url}" for url in asked] + ["curl -sSo /dev/null http://127.0.0.1:8055"]
        if self.tsig_name:
            steps.append(f"dig @127.0.0.1 +time=1 +tries=1 {ZONE} SOA")
        command = ("exec", self.name, "sh", "-c", f"{' && '.join(steps)} >/dev/null && echo ready")
        if not wait_until(lambda: "ready" in self.engine.docker(*command, check=False), READY_LIMIT_S, pause_s=0.05):
            logs = self.engine.docker("cp", f"{self.name}:/acme/pebble.log", "-", check=False).replace("\0", "")
            message = f"the ACME server does not answer:\n{logs[-4000:]}"
            raise LabError(message)
