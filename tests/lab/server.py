"""A lab machine as a Baïkal server: its inventory entry, its deploy, and its clients."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.lab.clients import Account
from tests.lab.deploying import REPOSITORY, Outcome, pyinfra
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer, ask

if TYPE_CHECKING:
    from tests.lab.machine import Machine
    from tests.lab.release import Release

REFERENCE: Final[dict[str, object]] = {"env": "BAIKAL_ADMIN_PASSWORD"}
USERS: Final[list[dict[str, object]]] = [
    {
        "name": "jo",
        "display_name": "Jo Möller",
        "email": "jo@example.org",
        "password": REFERENCE,
        "calendars": [
            {"name": "work", "display_name": "Arbeit für alle", "color": "#FF8800", "share": [{"with": "Corey"}]},
            {"name": "default"},
            {"name": "Müll-Kalender", "share": [{"with": "a.b@example.org", "access": "write"}]},
        ],
        "address_books": [{"name": "default"}, {"name": "friends", "display_name": "Freunde"}],
    },
    {"name": "Corey", "email": "corey@example.org", "password": REFERENCE},
    {"name": "a.b@example.org", "email": "a.b@example.org", "password": REFERENCE},
]


@dataclass
class Server:
    """A machine, its declared settings, and its clients."""

    machine: Machine
    release: Release
    user: str = "root"
    data: dict[str, object] = field(default_factory=dict)
    """Host data in addition to those of every lab machine."""
    tree: Path = REPOSITORY
    """The checkout that is deployed from."""

    def host(self, **changes: object) -> tuple[str, dict[str, object]]:
        """Return the machine's entry in an inventory, with ``changes`` for this call."""
        declared: dict[str, object] = {
            "hostname": HOSTNAME,
            "baikal_version": self.release.version,
            "baikal_archive": str(self.release.path),
            "baikal_sha256": self.release.sha256,
            "users": USERS,
        }
        sudo = {} if self.user == "root" else {"_sudo": True}
        return self.machine.name, {**self.machine.ssh_data(self.user), **sudo, **declared, **self.data, **changes}

    def deploy(self, *arguments: str, **changes: object) -> Outcome:
        """Run the deploy against this machine, as CI would: without prompts, with output in JSON."""
        return pyinfra([self.host(**changes)], "-y", "--json", *arguments, tree=self.tree)

    @property
    def port(self) -> int:
        """The loopback port of HTTPS."""
        return self.machine.ports[443]

    @property
    def url(self) -> str:
        """The address that a user enters in a client."""
        return f"https://{HOSTNAME}:{self.port}"

    def ask(self, method: str, path: str, *, port: int = 443, **parts: Any) -> Answer:  # noqa: ANN401 - as ask takes them
        """Send one request unchanged and return the answer."""
        return ask(self.machine.ports[port], method, path, secure=port == 443, **parts)

    def account(self, user: str = "jo", password: str = PASSWORD) -> Account:
        """Return the account for real clients, which trust only this server's certificate."""
        trusted = Path(self.machine.directory.name) / "server.crt"
        trusted.write_text(self.machine.run(f"openssl x509 -in /var/lib/baikal/tls/selfsigned-{HOSTNAME}.pem"))
        return Account(self.url, trusted, user, password)

    def check(self) -> dict[str, Any]:
        """Return the report of ``baikalctl check`` on the machine."""
        report: dict[str, Any] = json.loads(self.machine.run("baikalctl check --json || true"))
        return report

    def rows(self, query: str) -> list[list[Any]]:
        """Return the rows that ``query`` selects in the machine's database."""
        program = f"""
import json, sqlite3
connection = sqlite3.connect("/var/lib/baikal/Specific/db/db.sqlite")
print(json.dumps(connection.execute({query!r}).fetchall()))
connection.commit()
"""
        rows: list[list[Any]] = json.loads(
            self.machine.engine.docker("exec", "-i", self.machine.name, "python3", "-", input=program)
        )
        return rows
