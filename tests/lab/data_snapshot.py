"""What the people of a corpus have on a server, and their clients: to be looked at before and after something happens."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.lab.contents import Contents, compare, fetch_all
from tests.lab.dav import Dav
from tests.lab.engine import wait_until
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.syncing import Syncer

if TYPE_CHECKING:
    from tests.lab.corpus import Corpus
    from tests.lab.machine import Machine
    from tests.lab.server import Server

ARRIVAL_LIMIT_S = 60
PLACE = "/run/standing"
STANDS, MAY_GO, SAID = f"{PLACE}/stands", f"{PLACE}/may-go", f"{PLACE}/said"
STANDING = """\
import os, sys, time
sys.path.insert(0, "/usr/local/lib/baikalctl")
import importlib
place, moment, *words = sys.argv[1:]
module = importlib.import_module("baikalctl." + place)
real = getattr(module, moment)
def stand(*arguments, **named):
    with open({stands!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({stands!r} + ".new", {stands!r})
    while not os.path.exists({may_go!r}):
        time.sleep(0.02)
    return real(*arguments, **named)
setattr(module, moment, stand)
from baikalctl.cli import main
sys.exit(main(words))
"""
"""Runs baikalctl, which stands still when it comes to a function of its own."""


@dataclass
class DataSnapshot:
    """What all of a corpus' people had at one moment, and a client of each collection that was in step with it then."""

    corpus: Corpus
    before: Contents
    syncers: list[Syncer]
    exact: bool = True

    @classmethod
    def take(cls, server: Server, corpus: Corpus, *, exact: bool = True) -> Self:
        """Look at everything; where not ``exact``, CR is left out, which is faster."""
        before = _fetch(server, corpus, exact=exact)
        syncers = [
            Syncer(Dav(server.url, user, PASSWORD), href)
            for user in corpus.names()
            for href in before.tokens
            if f"/{user}/" in href
        ]
        for syncer in syncers:
            syncer.sync()
        return cls(corpus, before, syncers, exact)

    def wrong(self, server: Server) -> list[str]:
        """Return what is different on ``server``, and which clients are told a change, or have to start over."""
        differences = compare(self.before, _fetch(server, self.corpus, exact=self.exact), tokens=False)
        for syncer in self.syncers:
            syncer.dav.close()
            syncer.dav.url = server.url
            synced = syncer.sync()
            if synced.started_over or synced.changed or synced.gone:
                differences.append(f"{syncer.collection} of {syncer.dav.user}: {synced}")
            differences += syncer.wrong()
            syncer.dav.close()
        return differences


def _fetch(server: Server, corpus: Corpus, *, exact: bool) -> Contents:
    """Fetch everything; where something isn't given out, what the web server has logged of it is said too."""
    try:
        return fetch_all(server.url, corpus.people(), exact=exact)
    except LabError as error:
        message = f"{error}\n{server.machine.run('tail -n 5 /var/log/nginx/error.log')}"
        raise LabError(message) from None


def pause_command(machine: Machine, moment: str, *words: str) -> None:
    """Have ``baikalctl`` with these ``words`` stop at ``moment``, such as ``changes.staging.keep``; return when it is there.

    ``go_on`` lets it go on.
    """
    machine.run(f"rm -rf {PLACE} && mkdir -m 1777 {PLACE}")
    program = STANDING.format(stands=STANDS, may_go=MAY_GO)
    command = shlex.join(["python3", "-c", program, *moment.rsplit(".", 1), *words])
    machine.run(f"nohup sh -c {shlex.quote(command + '; echo status $?')} > {SAID} 2>&1 < /dev/null &")

    def stands() -> bool:
        assert "\nstatus " not in machine.read(SAID), machine.read(SAID)
        return machine.run(f"ls {STANDS} 2>/dev/null || true") != ""

    assert wait_until(stands, ARRIVAL_LIMIT_S), machine.read(SAID)


def resume_command(machine: Machine) -> list[str]:
    """Have it go on, and return the lines that it has said, with its status as the last."""
    machine.run(f"touch {MAY_GO}")
    assert wait_until(lambda: "\nstatus " in machine.read(SAID), ARRIVAL_LIMIT_S)
    return machine.read(SAID).splitlines()


def run_command(machine: Machine, *words: str) -> list[str]:
    """Return the lines that ``baikalctl`` with these ``words`` says, with its status as the last."""
    return machine.run(f"baikalctl {shlex.join(words)} 2>&1; echo status $?", timeout=300).splitlines()


def is_cleaned_up(machine: Machine) -> bool:
    """Tell whether nothing is left of a change: no journal, nobody is told to come again, nothing half is lying about."""
    paths = "/var/lib/baikal/state/transition.json /var/lib/baikal/.incoming"
    return machine.run(f"ls -A /var/lib/baikal/maintenance; ls -d {paths} 2>/dev/null || true").split() == []
