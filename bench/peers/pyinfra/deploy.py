"""Baïkal, as users of pyinfra write it: one operation per file, and each operation queries the host.

Host data: files, archive, version, php, server_name.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd
from pyinfra.operations.util import any_changed

if TYPE_CHECKING:
    from collections.abc import Generator

GIVEN = Path(host.data.files)
VERSION, PHP, NAME = host.data.version, host.data.php, host.data.server_name
DATA = "/var/lib/baikal"
RELEASE = f"/opt/baikal/{VERSION}"
CERTIFICATE = f"{DATA}/tls/selfsigned-{NAME}.pem"
RENEW = "/usr/local/sbin/baikal-certificate"
DATABASE = f"{DATA}/Specific/db/db.sqlite"
MAKE_DATABASE = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())"


@operation()
def answers(url: str, status: str) -> Generator[str, None, None]:
    """Fail unless ``url`` answers with ``status``; not by server.shell, which always counts as a change."""
    curl = "curl --silent --insecure --retry 5 --retry-connrefused --output /dev/null --write-out '%{http_code}'"
    output = host.get_fact(Command, f"{curl} {url} || true")
    if output != status:
        yield f"echo {url} answers {output} and not {status} >&2; exit 1"


apt.packages(
    name="Install the distribution's packages",
    packages=[
        *("ca-certificates", "nginx", "openssl", "php-fpm", "php-mbstring", "php-sqlite3", "php-xml"),
        *("python3", "python3-jinja2", "python3-yaml", "tzdata", "unzip"),
    ],
    update=True,
    cache_time=86400,
    no_recommends=True,
)

server.user(  # noqa: S604 - the account's shell
    name="Create PHP's account",
    user="baikal",
    system=True,
    home="/nonexistent",
    shell="/usr/sbin/nologin",
    ensure_home=False,
)

for path, owner, mode in (
    ("/opt/baikal", "root", "755"),
    ("/usr/local/lib/baikalctl", "root", "755"),
    (DATA, "root", "755"),
    (f"{DATA}/tls", "root", "700"),
    (f"{DATA}/acme", "root", "700"),
    (f"{DATA}/acme/issued", "root", "700"),
    (f"{DATA}/challenges", "root", "755"),
    (f"{DATA}/maintenance", "root", "711"),
    (f"{DATA}/config", "baikal", "700"),
    (f"{DATA}/Specific", "baikal", "700"),
    (f"{DATA}/Specific/db", "baikal", "700"),
    (f"{DATA}/sessions", "baikal", "700"),
    (f"{DATA}/mail", "root", "755"),
    (f"{DATA}/mail/kept", "baikal", "700"),
):
    files.directory(name=f"Make {path}", path=path, user=owner, group=owner, mode=mode)

unpacked = files.unarchive(
    name="Unpack the release", src=host.data.archive, dest="/opt/baikal", creates=f"{RELEASE}/html/dav.php"
)
server.shell(
    name="Move the release to its directory", commands=[f"mv /opt/baikal/baikal {RELEASE}"], _if=unpacked.did_change
)
files.link(name="Make the release the current one", path="/opt/baikal/current", target=VERSION)

for script in ("prepend.php", "away.php", "sessions.php"):
    files.put(
        name=f"Upload {script}, so that DAV requests get no session",
        src=str(GIVEN / script),
        dest=f"/usr/local/lib/baikalctl/{script}",
        user="root",
        group="root",
        mode="644",
    )
pool = files.put(
    name="Configure a PHP pool for Baïkal",
    src=str(GIVEN / "pool.conf"),
    dest=f"/etc/php/{PHP}/fpm/pool.d/baikal.conf",
    user="root",
    group="root",
    mode="644",
)
ini = files.put(
    name="Configure PHP",
    src=str(GIVEN / "baikal.ini"),
    dest=f"/etc/php/{PHP}/fpm/conf.d/99-baikal.ini",
    user="root",
    group="root",
    mode="644",
)
site = files.put(
    name="Configure nginx",
    src=str(GIVEN / "site.conf"),
    dest="/etc/nginx/conf.d/baikal.conf",
    user="root",
    group="root",
    mode="644",
)
default = files.link(name="Disable the distribution's site", path="/etc/nginx/sites-enabled/default", present=False)

files.put(
    name="Upload the certificate script",
    src=str(GIVEN / "certificate.sh"),
    dest=RENEW,
    user="root",
    group="root",
    mode="755",
)
if not host.get_fact(File, CERTIFICATE):
    server.shell(name="Create a self-signed certificate", commands=[f"{RENEW} {NAME}"])
files.put(
    name="Upload the backup script",
    src=str(GIVEN / "backup.sh"),
    dest="/usr/local/sbin/baikal-backup",
    user="root",
    group="root",
    mode="755",
)
units = [
    files.put(
        name=f"Upload baikal-{unit}",
        src=str(GIVEN / f"baikal-{unit}"),
        dest=f"/etc/systemd/system/baikal-{unit}",
        user="root",
        group="root",
        mode="644",
    )
    for unit in ("certificate.service", "certificate.timer", "backup.service", "backup.timer")
]

drop_in = files.put(
    name="Recover from a power cut when PHP starts",
    src=str(GIVEN / "php-fpm.service.conf"),
    dest=f"/etc/systemd/system/php{PHP}-fpm.service.d/baikal.conf",
    user="root",
    group="root",
    mode="644",
)

# Baïkal rewrites its configuration and fills its database, so both are created once.
if not host.get_fact(File, f"{DATA}/config/baikal.yaml"):
    files.put(
        name="Configure Baïkal",
        src=str(GIVEN / "baikal.yaml"),
        dest=f"{DATA}/config/baikal.yaml",
        user="baikal",
        group="baikal",
        mode="600",
    )
if not host.get_fact(File, DATABASE):
    server.shell(
        name="Create the database and an account",
        commands=[f"runuser -u baikal -- python3 -c {shlex.quote(MAKE_DATABASE)} {DATABASE}"],
        _stdin=(GIVEN / "database.sql").read_text(),
    )
files.file(name="Set the database's owner and mode", path=DATABASE, user="baikal", group="baikal", mode="600")
files.file(
    name="Close the web installer",
    path=f"{DATA}/Specific/INSTALL_DISABLED",
    user="baikal",
    group="baikal",
    mode="600",
)

systemd.service(name="Run PHP, now and after a reboot", service=f"php{PHP}-fpm", running=True, enabled=True)
systemd.service(name="Run nginx, now and after a reboot", service="nginx", running=True, enabled=True)
systemd.daemon_reload(name="Reload systemd's units", _if=any_changed(*units, drop_in))
systemd.service(
    name="Start the certificate timer, now and after a reboot",
    service="baikal-certificate.timer",
    running=True,
    enabled=True,
)
systemd.service(
    name="Start the backup timer, now and after a reboot", service="baikal-backup.timer", running=True, enabled=True
)
systemd.service(
    name="Reload PHP", service=f"php{PHP}-fpm", reloaded=True, _if=lambda: pool.did_change() or ini.did_change()
)
systemd.service(
    name="Reload nginx", service="nginx", reloaded=True, _if=lambda: site.did_change() or default.did_change()
)

answers(name="Check that the server answers", url="https://127.0.0.1/dav.php/", status="401")
