"""A release without baikal-deploy: in PHP's built-in web server, with data of any version in any database."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from tests.lab.container import LABELS
from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD, Answer, ask
from tests.lab.images import INSTALL, base_image, built_image
from tests.lab.machine import LOCAL, free_port
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.acme import Network
    from tests.lab.release import Release


BASE: Final = "debian:12"
PACKAGES: Final = ("php-cli", "php-mbstring", "php-mysql", "php-pgsql", "php-sqlite3", "php-xml", "python3")
MIGRATE: Final = Path(__file__).parents[2] / "templates/usr/local/lib/baikalctl/migrate.php"
USER: Final = "jo"
REALM: Final = "BaikalDAV"
DATA: Final = "/data"
SQLITE: Final[Mapping[str, object]] = {"backend": "sqlite", "sqlite_file": f"{DATA}/Specific/db/db.sqlite"}
CA: Final = f"{DATA}/ca.pem"
"""Path of the database server's CA, if there is one."""
INSTANCE: Final = """\
INSERT INTO calendarinstances (calendarid, access, displayname, uri, principaluri)
VALUES (1, 1, 'Kalender', 'default', ?)
"""
READY_LIMIT_S: Final = 20

# Creates tables as Baïkal's installer does: from its SQL file, split at semicolons.
SQL: Final = """\
[$section, $statements] = json_decode(stream_get_contents(STDIN), true);
$backend = $section['backend'];
$pdo = $backend === 'sqlite' ? new PDO("sqlite:$section[sqlite_file]") : new PDO(
    "$backend:host={$section["{$backend}_host"]};dbname={$section["{$backend}_dbname"]}",
    $section["{$backend}_username"],
    $section["{$backend}_password"],
    $backend === 'mysql' && $section['mysql_ca_cert'] ? [PDO::MYSQL_ATTR_SSL_CA => $section['mysql_ca_cert']] : [],
);
$found = [];
foreach ($statements as [$sql, $values]) {
    $statement = $pdo->prepare($sql);
    $statement->execute($values);
    $found = $statement->columnCount() ? $statement->fetchAll(PDO::FETCH_NUM) : [];
}
echo json_encode($found, JSON_INVALID_UTF8_SUBSTITUTE);
"""


@dataclass
class BareRelease(Removable):
    """A container with releases and data; as a context manager, removed at the end of the block."""

    engine: Engine
    name: str
    section: dict[str, object]
    """The section "database" of baikal.yaml."""
    port: int = 0
    releases: dict[str, Release] = field(default_factory=dict)
    """The unpacked releases, by name."""

    @classmethod
    def run(cls, engine: Engine, network: Network | None, section: Mapping[str, object] = SQLITE, ca: str = "") -> Self:
        """Start a container without a release, on the network of the database server in ``section``."""
        image = built_image(
            engine, base_image(engine, BASE).tag, f"bare:{BASE.replace(':', '-')}", INSTALL, sorted(PACKAGES)
        )
        bare = cls(engine, f"baikal-lab-{secrets.token_hex(4)}", dict(section), free_port())
        options = ("--network", network.name) if network else ()
        published = f"--publish={LOCAL}:{bare.port}:80"
        try:
            engine.docker(
                "run", "-d", "--init", "--name", bare.name, *LABELS, *options, published, image, "sleep", "inf"
            )
            bare.run_shell(f"mkdir -p {DATA}/config {DATA}/Specific/db /code")
            bare.write(CA, ca)
            engine.docker("cp", str(MIGRATE), f"{bare.name}:/code/migrate.php")
        except BaseException:
            bare.remove()
            raise
        return bare

    def add(self, release: Release, name: str = "") -> str:
        """Unpack a further release and return its name, by default its version."""
        name = name or release.version
        with tempfile.TemporaryDirectory(prefix="baikal-lab-") as folder:
            with zipfile.ZipFile(release.path) as archive:
                archive.extractall(folder)
            self.engine.docker("cp", f"{folder}/baikal", f"{self.name}:/code/{name}")
        self.releases[name] = release
        if tuple(map(int, release.version.split("."))) < (0, 10, 0):
            self.run_shell(f"cd /code/{name}; rm -rf config Specific; ln -s {DATA}/config {DATA}/Specific .")
        return name

    def install(self, name: str, *, section: Mapping[str, object] | None = None) -> None:
        """Create the tables, the account ``jo`` and a baikal.yaml, in the version of the release ``name``."""
        folder = {"sqlite": "SQLite", "mysql": "MySQL", "pgsql": "PgSQL"}[str(self.section["backend"])]
        schema = self.run_shell(f"cat /code/{name}/Core/Resources/Db/{folder}/db.sql")
        digest = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode(), usedforsecurity=False).hexdigest()
        principal = f"principals/{USER}"
        self.sql(
            *((statement,) for statement in schema.split(";") if statement.strip()),
            ("INSERT INTO users (username, digesta1) VALUES (?, ?)", USER, digest),
            ("INSERT INTO principals (uri, email, displayname) VALUES (?, 'jo@example.org', 'Jo Möller')", principal),
            ("INSERT INTO calendars (synctoken, components) VALUES (1, 'VEVENT,VTODO')",),
            (INSTANCE, principal),
            ("INSERT INTO addressbooks (principaluri, displayname, uri) VALUES (?, 'Kontakte', 'default')", principal),
        )
        system = {
            "configured_version": self.releases[name].version,
            "timezone": "Europe/Berlin",
            "card_enabled": True,
            "cal_enabled": True,
            "dav_auth_type": "Basic",
            "admin_passwordhash": hashlib.sha256(f"admin:{REALM}:{PASSWORD}".encode()).hexdigest(),
            "failed_access_message": "user %u authentication failure for Baikal",
            "auth_realm": REALM,
            "base_uri": "",
            "invite_from": "",
        }
        text = yaml.safe_dump({"system": system, "database": dict(section or self.section)}, allow_unicode=True)
        self.write(f"{DATA}/config/baikal.yaml", text)
        self.run_shell(f"touch {DATA}/Specific/INSTALL_DISABLED")

    def yaml(self) -> dict[str, dict[str, Any]]:
        """Return baikal.yaml as it is now."""
        config: dict[str, dict[str, Any]] = yaml.safe_load(self.run_shell(f"cat {DATA}/config/baikal.yaml"))
        return config

    def serve(self, name: str) -> None:
        """Serve only the release ``name``, and return when it answers."""
        self.run_shell("[ ! -f /code/pid ] || kill $(cat /code/pid)")
        start = f"echo $$ >/code/pid; exec php -d opcache.enable=0 -S 0.0.0.0:80 -t /code/{name}/html >/code/log 2>&1"
        self.engine.docker("exec", "-d", *self._environment(), self.name, "sh", "-c", start)

        def answers() -> bool:
            try:
                return ask(self.port, "GET", "/robots.txt", secure=False).status > 0
            except OSError:
                return False

        if not wait_until(answers, READY_LIMIT_S):
            message = f"PHP's web server does not answer: {self.run_shell('cat /code/log')[-2000:]}"
            raise LabError(message)

    def ask(self, method: str, path: str, **parts: Any) -> Answer:  # noqa: ANN401 - as ask takes them
        """Send one request unchanged and return the answer."""
        return ask(self.port, method, path, secure=False, **parts)

    def upgrade(self, name: str) -> str:
        """Run the upgrade of the release ``name``, without a web server, and return its output."""
        command = f"php -d display_errors=stderr /code/migrate.php /code/{name} 2>&1; echo; echo status $?"
        return self.engine.docker("exec", *self._environment(), self.name, "sh", "-c", command)

    def sql(self, *statements: tuple[object, ...]) -> list[list[Any]]:
        """Run statements, each with its values, as Baïkal's account; return the rows of the last one."""
        order = json.dumps([self.section, [[sql, values] for sql, *values in statements]])
        command = ("exec", "-i", self.name, "php", "-d", "display_errors=stderr", "-r", SQL)
        rows: list[list[Any]] = json.loads(self.engine.docker(*command, input=order))
        return rows

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.engine.docker("exec", "-i", self.name, "sh", "-c", 'cat >"$1"', "write", path, input=text)

    def run_shell(self, script: str) -> str:
        """Run a shell script in the container and return its output."""
        return self.engine.docker("exec", self.name, "sh", "-euc", script)

    def remove(self) -> None:
        """Remove the container; a second call does nothing."""
        self.engine.docker("rm", "-f", "-v", self.name, check=False)

    @staticmethod
    def _environment() -> tuple[str, ...]:
        return ("-e", f"BAIKAL_PATH_CONFIG={DATA}/config/", "-e", f"BAIKAL_PATH_SPECIFIC={DATA}/Specific/")
