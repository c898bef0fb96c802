"""Start a database server on the same machine, and create Baïkal's database and an account with the least privileges.

No password is needed: the server asks the kernel for the account at the other end of its Unix socket. Other databases and
accounts on the server aren't changed.
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
"""Prefixes of the systemd units of such servers."""
LIMIT_S = 60
LONGEST = 500
"""Maximum characters of a server's message in ours."""
MYSQL = ("mariadb", "--no-defaults", "--protocol=socket", "--local-infile=0", "--user=root")
PGSQL = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align")
"""The clients for the server's administrator. MariaDB's client runs as root, so the server may not request files from it."""
POSTGRES = "postgres"
"""The account of Debian's and Ubuntu's PostgreSQL, its administrator."""
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER"
"""The privileges that rows, Baïkal's migrations, and our indexes and triggers need."""


def steps(declared: DesiredState, target: Database) -> Iterator[Step]:
    """Yield the steps until Baïkal can use its database ``target``; none if it already can."""
    if reachable(target):
        return
    units = [unit for unit in declared.services if unit.startswith(UNITS)]
    for unit in units:
        if not _runs(unit):
            yield f"start {unit}", partial(_start, unit)
    # In a dry run, a stopped server isn't started, so its databases are unknown.
    if all(map(_runs, units)) and not reachable(target):
        yield f"create {target}, and the account {declared.database.user} for it", partial(_make, declared, target)


def reachable(database: Database) -> bool:
    """Tell whether the data's owner can connect to the database."""
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
        message = f"{unit} can't be started ({_last(done.stderr)}); see journalctl -u {unit} for the reason"
        raise HostError(message)


def _make(declared: DesiredState, target: Database) -> None:
    """Create database and account, if they are missing."""
    name, user = declared.database.name, declared.database.user
    if declared.database.backend == "mysql":
        _ask(MYSQL, _in_mysql(name, user))
    else:
        owner = _ask(PGSQL, f"SELECT datdba::regrole FROM pg_database WHERE datname = '{name}'")  # noqa: S608 - a word
        if owner not in ("", user):
            message = f"{target} belongs to {owner}; set another database_name"
            raise HostError(message)
        _ask(PGSQL, _in_pgsql(name, user))
    if not reachable(target):
        message = (
            f"{target} requires a password from {user}: the account existed before; remove it there, or set its "
            'password and database_host = "127.0.0.1"'
        )
        raise HostError(message)


def _in_mysql(name: str, user: str) -> str:
    pattern = name.replace("_", r"\_")  # in a GRANT, _ matches any character
    return f"""
CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS `{user}`@localhost IDENTIFIED VIA unix_socket;
GRANT {RIGHTS} ON `{pattern}`.* TO `{user}`@localhost;
"""


def _in_pgsql(name: str, user: str) -> str:
    """Return the statements. The right to log in comes last, so that an account that can log in is complete."""
    unprivileged = "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    return rf"""
SELECT 'CREATE ROLE "{user}" {unprivileged}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}') \gexec
SELECT 'CREATE DATABASE "{name}" OWNER "{user}" ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \gexec
REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;
ALTER ROLE "{user}" LOGIN;
"""  # noqa: S608 - names are plain words, by their rules


def _ask(client: tuple[str, ...], statements: str) -> str:
    """Return the server's answer to ``statements``; raises :class:`HostError` if it refuses."""
    stop = ("--set=ON_ERROR_STOP=1", "--dbname=postgres") if client is PGSQL else ()
    command = [*client, *stop]
    if client is PGSQL:  # runs as the server's own administrator, with the limits of a child
        status, answer, refusal = confined(lambda: _output(_run(*command, statements=statements)), account=POSTGRES)
    else:
        status, answer, refusal = _output(_run(*command, statements=statements))
    if status:
        message = (
            f"the database server on this machine refuses the request: {_last(str(refusal))}; fix that, and run again"
        )
        raise HostError(message)
    return str(answer).strip()


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
        message = f"{command[0]} is not installed; run the deploy, which installs it"
        raise HostError(message) from None
    except subprocess.TimeoutExpired:
        message = f"{command[0]} has not answered for {LIMIT_S} seconds; check the database server, and run again"
        raise HostError(message) from None


def _last(output: str) -> str:
    return (output.strip().splitlines() or ["it gives no reason"])[-1][:LONGEST]
