"""The two measured servers: ours, as deployed, and one installed by hand with all defaults."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from baikalctl import paths
from bench import load
from bench.contenders import BenchmarkError
from bench.corpus import PASSWORD, Corpus, build
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.objects import STORED
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.load import Load, Outcome
    from tests.lab.release import Release


DISTRIBUTION: Final = "debian:12"
START_LIMIT_S: Final = 30
PRISTINE: Final = "/root/corpus.sqlite"
"""Path, on the machine, of the filled database that every measurement starts with."""

BY_HAND: Final = """\
set -eu
python3 -m zipfile -e /root/baikal.zip /var/www
cd /var/www/baikal
mkdir -p Specific/db
touch Specific/INSTALL_DISABLED
cp /root/baikal.yaml config/baikal.yaml
chown -R www-data:www-data config Specific
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \\
    -keyout /etc/ssl/private/baikal.key -out /etc/ssl/certs/baikal.crt 2>&1
cp /root/site /etc/nginx/sites-enabled/baikal
nginx -t -q
systemctl reload nginx
"""
YAML: Final = """\
system:
    configured_version: {version}
    timezone: UTC
    card_enabled: true
    cal_enabled: true
    invite_from: noreply@localhost
    dav_auth_type: Basic
    admin_passwordhash: 'ee0b2f7c9e2c1d6a3a4b5c6d7e8f90112233445566778899aabbccddeeff0011'
    failed_access_message: 'user %u authentication failure for Baikal'
    auth_realm: BaikalDAV
    base_uri: ''
database:
    backend: sqlite
    sqlite_file: /var/www/baikal/Specific/db/db.sqlite
    mysql: false
    encryption_key: 'a0112233445566778899aabbccddeeff'
"""
SITE: Final = r"""
server {
    listen 443 ssl;
    server_name localhost;
    ssl_certificate /etc/ssl/certs/baikal.crt;
    ssl_certificate_key /etc/ssl/private/baikal.key;
    root /var/www/baikal/html;
    index index.php;
    rewrite ^/.well-known/caldav /dav.php redirect;
    rewrite ^/.well-known/carddav /dav.php redirect;
    charset utf-8;
    location ~ /(\.ht|Core|Specific|config) {
        deny all;
        return 404;
    }
    location ~ ^(.+\.php)(.*)$ {
        try_files $fastcgi_script_name =404;
        include /etc/nginx/fastcgi_params;
        fastcgi_split_path_info ^(.+\.php)(.*)$;
        fastcgi_pass unix:/run/php/php@PHP@-fpm.sock;
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        fastcgi_param PATH_INFO $fastcgi_path_info;
    }
}
"""
"""The site in Baïkal's own installation guide, with TLS."""

FRESH: Final = """\
set -eu
systemctl stop "$1"
rm -f "$2" "$2-wal" "$2-shm" "$2-journal"
install -m 600 -o "$3" -g "$3" "$4" "$2"
find "$5" -name 'sess_*' -delete
"""

# Compares the acknowledged writes of a load with the database: the object, its etag, and the change that informs
# other clients.
LOST = """
import hashlib, json, sqlite3
run, written = json.loads({asked!r})
connection = sqlite3.connect({database!r})
changed = set(connection.execute("SELECT calendarid, uri FROM calendarchanges WHERE synctoken > {token}"))
stored = {{}}
for principal, folder, calendar, uri, data, etag, size in connection.execute(
    "SELECT principaluri, i.uri, o.calendarid, o.uri, calendardata, etag, size FROM calendarobjects o "
    "JOIN calendarinstances i ON i.calendarid = o.calendarid WHERE lastmodified <> {stored}"
):
    data = data.encode() if isinstance(data, str) else data
    mark = data.partition(b"X-BENCH-WRITE:")[2].split(b"\\r\\n")[0].decode().split("/")
    whole = etag == hashlib.md5(data).hexdigest() and size == len(data)
    if whole and mark[0] == run and (calendar, uri) in changed:
        stored["/dav.php/calendars/" + principal.partition("/")[2] + "/" + folder + "/" + uri] = [int(n) for n in mark[1:]]
# A later write than the acknowledged one is right too: its answer may not have arrived before the load ended.
print(json.dumps([
    path for path, (thread, number) in written.items()
    if path not in stored or stored[path][0] != thread or stored[path][1] < number
]))
"""


@dataclass
class MeasuredServer:
    """A server to measure; as a context manager, its machine is removed at the end."""

    server: Server
    database: str
    owner: str
    sessions: str
    php: str
    """PHP's version, such as ``8.2``."""
    deployed: bool
    """Whether the server is ours, and has baikalctl."""
    originals: dict[str, str] = field(default_factory=dict)
    """The original texts of files that :meth:`edit` has changed."""

    @classmethod
    def ours(cls, engine: Engine, release: Release) -> Self:
        """Deploy to a machine with the packages, as a user would."""
        machine = _machine(engine)
        try:
            server = Server(machine, release)
            _deploy(server)
            return cls(server, paths.SQLITE, paths.USER, paths.SESSIONS, _php(machine), deployed=True)
        except BaseException:
            machine.remove()
            raise

    @classmethod
    def by_hand(cls, engine: Engine, release: Release) -> Self:
        """Install Baïkal as in its guide, with the same packages and the distribution's configuration."""
        machine = _machine(engine)
        try:
            php = _php(machine)
            engine.docker("cp", str(release.path), f"{machine.name}:/root/baikal.zip")
            machine.write("/root/baikal.yaml", YAML.format(version=release.version))
            machine.write("/root/site", SITE.replace("@PHP@", php))
            machine.run(BY_HAND)
            database = "/var/www/baikal/Specific/db/db.sqlite"
            return cls(Server(machine, release), database, "www-data", "/var/lib/php/sessions", php, deployed=False)
        except BaseException:
            machine.remove()
            raise

    def __enter__(self) -> Self:
        """Return the server; its machine is removed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the machine."""
        self.machine.remove()

    @property
    def machine(self) -> Machine:
        """The server's machine."""
        return self.server.machine

    def fill(self, corpus: Corpus, folder: Path) -> None:
        """Replace the database by ``corpus``, which is cached in ``folder``; ours is then tuned as usual."""
        self.put_back()
        source = folder / f"{corpus.name}.sqlite"
        if not source.exists():
            build(corpus, self.server.release.path, source)
        self.machine.engine.docker("cp", str(source), f"{self.machine.name}:{PRISTINE}")
        self.fresh()
        if self.deployed:
            # Our deploy tunes every database, also an imported one.
            self.machine.run("baikalctl apply")
            self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
            self.machine.run(f"cp {self.database} {PRISTINE}")
        self.start()

    def fresh(self) -> None:
        """Stop PHP and restore the filled database; then call :meth:`start`."""
        arguments = (self._unit, self.database, self.owner, PRISTINE, self.sessions)
        self.machine.engine.docker("exec", self.machine.name, "sh", "-c", FRESH, "fresh", *arguments)

    def start(self) -> None:
        """Start PHP and return when Baïkal answers."""
        self.machine.run(f"systemctl reset-failed {self._unit}; systemctl start {self._unit}")
        if not wait_until(lambda: self.server.ask("GET", "/dav.php/").status == 401, START_LIMIT_S):
            answer = self.server.ask("GET", "/dav.php/")
            message = f"the server doesn't start: it answers {answer.status} instead of 401: {answer.body[:500]}"
            raise BenchmarkError(message)

    def sql(self, *statements: str) -> list[list[Any]]:
        """Run ``statements`` on the database and return the rows of the last one."""
        program = f"""
import json, sqlite3
connection = sqlite3.connect({self.database!r}, isolation_level=None)
for statement in {list(statements)!r}:
    answer = connection.execute(statement).fetchall()
connection.close()
print(json.dumps(answer))
"""
        output = self.machine.engine.docker("exec", "-i", self.machine.name, "python3", "-", input=program)
        rows: list[list[Any]] = json.loads(output)
        return rows

    def edit(self, path: str, pattern: str, replacement: str = "") -> None:
        """Replace the matches of ``pattern`` in a file until :meth:`put_back`; BenchmarkError if there is no match."""
        text = self.machine.read(path)
        changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if not count:
            message = f"{path} has no match for {pattern!r}: adapt the benchmark to the changed template"
            raise BenchmarkError(message)
        self.originals.setdefault(path, text)
        self.machine.write(path, changed)

    def put_back(self) -> None:
        """Undo every :meth:`edit`; this takes effect at the next :meth:`start`."""
        for path, text in self.originals.items():
            self.machine.write(path, text)
        self.originals.clear()

    def drive(self, corpus: Corpus, wanted: Load) -> Outcome:
        """Run a load on the server; raises BenchmarkError if an answer is wrong or an acknowledged write is lost."""
        outcome = load.drive(self.server.port, corpus, wanted)
        # Requests still running at the end of the load complete before this answer, so they don't affect other measurements.
        self.server.ask("GET", "/dav.php/")
        lost = self._lost(corpus, outcome)
        if lost:
            message = f"{len(lost)} of {len(outcome.written)} acknowledged objects are lost, {lost[0]} among them"
            raise BenchmarkError(message)
        return outcome

    def log_in(self, corpus: Corpus, people: int) -> list[str]:
        """Return the server's cookie for each of ``people``; empty if there is none."""
        cookies = []
        for name in corpus.names()[:people]:
            answer = self.server.ask("PROPFIND", "/dav.php/", user=name, headers={"Depth": "0"}, password=PASSWORD)
            cookies.append(answer.headers.get("set-cookie", "").partition(";")[0])
        return cookies

    @property
    def _unit(self) -> str:
        return f"php{self.php}-fpm"

    def _lost(self, corpus: Corpus, outcome: Outcome) -> Sequence[str]:
        asked = json.dumps([outcome.run, outcome.written])
        program = LOST.format(asked=asked, database=self.database, token=corpus.events, stored=STORED)
        docker = self.machine.engine.docker
        lost: list[str] = json.loads(docker("exec", "-i", self.machine.name, "python3", "-", input=program))
        return lost


def _deploy(server: Server) -> None:
    outcome = server.deploy(users=[])
    if outcome.status:
        message = f"the deploy failed: {outcome.output[-2000:]}"
        raise BenchmarkError(message)


def _machine(engine: Engine) -> Machine:
    return Machine.start(engine, machine_image(engine, DISTRIBUTION, PACKAGES))


def _php(machine: Machine) -> str:
    return machine.run("ls /etc/php").split()[-1]
