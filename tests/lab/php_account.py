"""Attacks by PHP's account of a deployed machine or container, and root's commands under attack."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.php_attacks import (
    CHANGE_SECTION,
    DATA,
    LIBRARY,
    LISTEN,
    PWNED,
    RECEIVED,
    STOP,
    VICTIM,
    section,
    self_signed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LIMIT_S: Final = 60
"""Every command ends within this time."""
SAVED: Final = "/var/tmp/saved"  # noqa: S108 - on the machine under test
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
    ( exec 3<>"$fifo" )  # processes that block on it continue
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
"""Owner and mode of directories; of files also inode, size and times, so that every change is seen."""


@dataclass(frozen=True)
class Result:
    """A command on a host, and its result."""

    words: str
    status: int
    output: str
    seconds: float

    def __str__(self) -> str:
        """Return a description for a failed assertion."""
        return f"{self.words}: status {self.status} after {self.seconds:.1f} s\n{self.output}"


@dataclass(frozen=True)
class Host:
    """A machine or a container: its name in the engine, and its accounts."""

    engine: Engine
    name: str
    admin: str = "root"
    """The account that runs ``baikalctl``."""
    php: str = "baikal"

    def run(self, words: str, limit_s: float = LIMIT_S) -> Result:
        """Run a command as the administrator; after ``limit_s`` it is killed, with status 137."""
        began = time.monotonic()
        script = f'timeout --signal=KILL {limit_s} {words} 2>&1; echo "status $?"'
        output = self.execute("sh", "-c", script, user=self.admin)
        output, _, status = output.rpartition("status ")
        return Result(words, int(status), output, time.monotonic() - began)

    def execute(self, *command: str, user: str = "root", text: str | bytes = "", check: bool = True) -> str:
        """Run a command with ``text`` as its input, and return its output."""
        arguments = ("exec", "-i", "--user", user, self.name, *command)
        return self.engine.docker(*arguments, input=text, check=check, timeout=2 * LIMIT_S)

    def as_php(self, program: str, *arguments: str) -> str:
        """Run a Python program as PHP's account."""
        return self.execute("/usr/bin/python3", "-", *arguments, user=self.php, text=program)

    def exists(self, path: str) -> bool:
        """Whether the file exists."""
        return self.execute("sh", "-c", f"ls -d {shlex.quote(path)} 2>/dev/null || true") != ""

    def files_of_root(self) -> dict[str, str]:
        """Return all files and directories of root, by path, with the fields that reveal a change."""
        lines = self.execute("sh", "-c", _FILES_OF_ROOT).splitlines()
        return dict(sorted(line.split("\t", 1) for line in lines if "\t" in line))

    def save(self) -> None:
        """Save a copy of the data for :meth:`attacked` to restore."""
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
        """As PHP's account, listen at :data:`PORT`, answer with one byte, and record what is sent."""
        self.as_php(LISTEN, answer, RECEIVED)

    def offer_library(self, library: Path) -> None:
        """As PHP's account, name a hostile library in baikal.yaml, as the key for a database server's TLS."""
        self.execute("sh", "-c", f"cat > {LIBRARY}", user=self.php, text=library.read_bytes())
        self.execute("sh", "-c", self_signed(f"{DATA}/Specific"), user=self.php)
        self.listen("S")
        self.as_php(CHANGE_SECTION, json.dumps(section(f"{DATA}/Specific")))

    def is_machine(self) -> bool:
        """Whether this is a machine with systemd."""
        return self.exists("/run/systemd/system")

    def probed_since(self, moment: float) -> Result:
        """Return the engine's first health probe that began after ``moment`` (seconds since the epoch)."""
        probes: list[Result] = []

        def probed() -> bool:
            log = json.loads(self.engine.docker("inspect", "-f", "{{json .State.Health.Log}}", self.name))
            for each in log:
                began, ended = (datetime.fromisoformat(each[key][:19] + "+00:00") for key in ("Start", "End"))
                if began.timestamp() > moment:
                    seconds = (ended - began).total_seconds()
                    probes.append(Result("the engine's health probe", each["ExitCode"], each["Output"], seconds))
            return bool(probes)

        if not wait_until(probed, LIMIT_S):
            message = "the engine has not probed the container"
            raise LabError(message)
        return probes[0]
