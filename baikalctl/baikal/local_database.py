"""A database server on the same machine: running, with Baïkal's database and an account for it that may no more than it must.

Nobody needs a password: the server asks the kernel who is at the other end of its Unix socket. Whatever else is on the
server is somebody else's, and stays as it is.
"""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING

from baikalctl.errors import HostError
from baikalctl.host.boundary import confined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.baikal.accounts import Step
    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState


UNITS = ("mariadb", "postgresql")
"""What the units of such servers begin with."""
LIMIT_S = 60
LONGEST = 500
"""Letters of a server's message that are shown."""
MYSQL = ("mariadb", "--no-defaults", "--protocol=socket", "--local-infile=0", "--user=root")
PGSQL = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align")
"""How the server is spoken to as its own administrator. MariaDB's can't ask the client, which is root, for files."""
POSTGRES = "postgres"
"""The account of Debian's and Ubuntu's PostgreSQL, its administrator."""
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER"
"""What rows, Baïkal's migrations, and our indexes and triggers need."""


def steps(declared: DesiredState, target: Database) -> Iterator[Step]:
    """Yield what is to be done so that Baïkal reaches its database ``target``: nothing where it does."""
    if reachable(target):
        return
    units = [unit for unit in declared.services if unit.startswith(UNITS)]
    for unit in units:
        if not _runs(unit):
            yield f"start {unit}", partial(_start, unit)
    # Where that was only looked at, nobody can see what is there already.
    if all(map(_runs, units)) and not reachable(target):
        yield f"have {target}, and the account {declared.database.user} for it", partial(_make, declared, target)


def reachable(database: Database) -> bool:
    """Tell whether the data's owner can use the database ``database``."""
    try:
        confined(lambda: database.connect().close())
    except HostError:
        return False
    return True


def _runs(unit: str) -> bool:
    return not _run("systemctl", "is-active", "--quiet", unit).returncode


def _start(unit: str) -> None:
    _run("systemctl", "reset-failed", unit)
    done = _run("systemctl", "start", unit)
    if done.returncode:
        message = f"{unit} can't be started ({_last(done.stderr)}); journalctl -u {unit} tells why"
        raise HostError(message)


def _make(declared: DesiredState, target: Database) -> None:
    """Make database and account, or what is missing of them."""
    name, user = declared.database.name, declared.database.user
    if declared.database.backend == "mysql":
        _ask(MYSQL, _in_mysql(name, user))
    else:
        theirs = _ask(PGSQL, f"SELECT datdba::regrole FROM pg_database WHERE datname = '{name}'")  # noqa: S608 - a word
        if theirs not in ("", user):
            message = f"{target} belongs to {theirs}; leave it to its owner, and give another database_name"
            raise HostError(message)
        _ask(PGSQL, _in_pgsql(name, user))
    if not reachable(target):
        message = (
            f"{target} lets {user} in only with a password: the account was there before; remove it there, "
            'or give its password, with database_host = "127.0.0.1"'
        )
        raise HostError(message)


def _in_mysql(name: str, user: str) -> str:
    pattern = name.replace("_", r"\_")  # in a GRANT, it stands for any letter
    return f"""
CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS `{user}`@localhost IDENTIFIED VIA unix_socket;
GRANT {RIGHTS} ON `{pattern}`.* TO `{user}`@localhost;
"""


def _in_pgsql(name: str, user: str) -> str:
    """Return the statements; log-in comes last, so that whoever can log in has everything."""
    unprivileged = "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    return rf"""
SELECT 'CREATE ROLE "{user}" {unprivileged}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}') \gexec
SELECT 'CREATE DATABASE "{name}" OWNER "{user}" ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \gexec
REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;
ALTER ROLE "{user}" LOGIN;
"""  # noqa: S608 - names are plain words, by their rules


def _ask(client: tuple[str, ...], statements: str) -> str:
    """Return what the server says to ``statements``; raises :class:`HostError` if it says no."""
    stop = ("--set=ON_ERROR_STOP=1", "--dbname=postgres") if client is PGSQL else ()
    command = [*client, *stop]
    if client is PGSQL:  # as the server's own administrator, and with what a child may use at most
        status, printed, refusal = confined(lambda: _output(_run(*command, statements=statements)), account=POSTGRES)
    else:
        status, printed, refusal = _output(_run(*command, statements=statements))
    if status:
        message = f"the database server of this machine refuses: {_last(str(refusal))}; fix that, and run again"
        raise HostError(message)
    return str(printed).strip()


def _output(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def _run(*command: str, statements: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=statements,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=LIMIT_S,
            cwd="/",
            start_new_session=True,  # without root's terminal
        )
    except FileNotFoundError:
        message = f"{command[0]} is not there; run the deploy, which installs it"
        raise HostError(message) from None
    except subprocess.TimeoutExpired:
        message = f"{command[0]} has not answered for {LIMIT_S} seconds; look at the database server, and run again"
        raise HostError(message) from None


def _last(output: str) -> str:
    return (output.strip().splitlines() or ["it doesn't say why"])[-1][:LONGEST]
