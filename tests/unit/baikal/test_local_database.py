"""What ``baikalctl apply`` does of a database server on the same machine, with the server's own clients to talk to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config, local_database
from baikalctl.changes import steps
from baikalctl.database import interface, registry
from baikalctl.desired.build import desired_state
from baikalctl.errors import HostError
from baikalctl.tls import selection
from tests.unit.samples import settings, user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from baikalctl.baikal.accounts import Step
    from baikalctl.desired.state import DesiredState


UNITS = {"mysql": "mariadb", "pgsql": "postgresql@15-main"}


@pytest.fixture
def server(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a server that accepts Baïkal after the file ``made`` exists; its clients record their input."""
    for client in ("mariadb", "psql"):
        path = host / "programs" / client
        path.write_text(
            f'#!/bin/sh\necho "$0 $*" >> {host}/asked\ncat >> {host}/asked\n. {host}/answer\n', encoding="utf-8"
        )
        path.chmod(0o755)
    systemctl = host / "programs/systemctl"
    systemctl.write_text(
        f'#!/bin/sh\necho "$*" >> {host}/systemctl\n'
        f"case $1 in is-active) [ -e {host}/running ] ;; start) . {host}/start ;; esac\n",
        encoding="utf-8",
    )
    (host / "answer").write_text(f"touch {host}/made\n", encoding="utf-8")
    (host / "start").write_text(f"touch {host}/running\n", encoding="utf-8")
    (host / "running").touch()
    monkeypatch.setattr(local_database, "POSTGRES", paths.USER)
    monkeypatch.setattr(local_database, "reachable", lambda _: (host / "made").exists() and (host / "running").exists())
    return host


def declared(backend: str, **changed: object) -> DesiredState:
    """Return the desired state of a machine with its own server."""
    values = dataclasses.replace(settings(**changed), database=backend, database_host="local", database_name="my_dav")
    return desired_state(values, (UNITS[backend], "php8.2-fpm", "nginx"))


def here(it: DesiredState) -> interface.Database:
    """Return the database of Baïkal there."""
    return registry.of(config.database_section(it.database, ""))


def taken(it: DesiredState) -> list[str]:
    """Take each step before the next is asked for, and return what they are."""
    message = []
    for sentence, act in local_database.steps(it, here(it)):
        message.append(sentence)
        act()
    return message


each_backend = pytest.mark.parametrize("backend", UNITS)


@each_backend
def test_where_baikal_reaches_its_database_nothing_is_asked(server: Path, backend: str) -> None:
    """A second run costs no client and no word."""
    (server / "made").touch()
    assert taken(declared(backend)) == []
    assert not (server / "asked").exists()
    assert not (server / "systemctl").exists()


@each_backend
def test_database_and_account_are_made_by_the_servers_own_administrator(server: Path, backend: str) -> None:
    """On a server that runs; a second run changes nothing."""
    assert (server / "running").exists()
    (sentence,) = taken(declared(backend))
    assert sentence == f"create {here(declared(backend))}, and the account baikal for it"
    assert taken(declared(backend)) == []


def test_mariadbs_account_may_no_more_than_it_must(server: Path) -> None:
    """Of its own database alone, and known by its socket; an underscore in a GRANT would stand for any letter."""
    taken(declared("mysql"))
    asked = (server / "asked").read_text(encoding="utf-8")
    assert "mariadb --no-defaults --protocol=socket --local-infile=0 --user=root\n" in asked
    assert "CREATE DATABASE IF NOT EXISTS `my_dav` CHARACTER SET utf8mb4;" in asked
    assert "CREATE USER IF NOT EXISTS `baikal`@localhost IDENTIFIED VIA unix_socket;" in asked
    assert (
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, TRIGGER ON `my\\_dav`.* TO `baikal`@localhost;"
        in asked
    )


def test_postgresqls_account_owns_its_database_and_can_do_nothing_else(server: Path) -> None:
    """It can log in only when everything is done, and no other account can connect."""
    taken(declared("pgsql"))
    asked = (server / "asked").read_text(encoding="utf-8")
    assert "psql --no-psqlrc" in asked
    assert 'CREATE ROLE "baikal" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION' in asked
    order = [
        asked.index(part) for part in ('CREATE DATABASE "my_dav" OWNER "baikal"', "REVOKE ALL ON", '"baikal" LOGIN;')
    ]
    assert order == sorted(order)


@each_backend
def test_a_server_that_is_down_is_started_and_then_looked_at_again(server: Path, backend: str) -> None:
    """What is on it is there already."""
    (server / "made").touch()
    (server / "running").unlink()
    assert taken(declared(backend)) == [f"start {UNITS[backend]}"]
    assert not (server / "asked").exists()
    assert f"reset-failed {UNITS[backend]}\nstart {UNITS[backend]}\n" in (server / "systemctl").read_text("utf-8")


@each_backend
def test_a_look_at_a_server_that_is_down_guesses_nothing_of_what_is_on_it(server: Path, backend: str) -> None:
    """Perhaps all of it is there."""
    (server / "running").unlink()
    it = declared(backend)
    assert [sentence for sentence, _ in local_database.steps(it, here(it))] == [f"start {UNITS[backend]}"]
    assert not (server / "asked").exists()


def refused(server: Path, backend: str, answer: str) -> str:
    """Return the error if the server's clients run the script ``answer``."""
    (server / "answer").write_text(f"{answer}\n", encoding="utf-8")
    with pytest.raises(HostError) as caught:
        taken(declared(backend))
    return str(caught.value)


@each_backend
def test_a_refusal_of_the_server_is_reported_in_its_own_words(server: Path, backend: str) -> None:
    """The last line, which has the reason."""
    message = refused(server, backend, "echo hint >&2; echo 'ERROR: no room' >&2; exit 1")
    assert message == "the database server on this machine refuses the request: ERROR: no room; fix that, and run again"


def test_a_database_of_another_owner_is_refused(server: Path) -> None:
    """A change of its owner would lock that account out."""
    message = refused(server, "pgsql", "echo paperless")
    assert message.endswith("belongs to paperless; set another database_name")
    assert "REVOKE" not in (server / "asked").read_text(encoding="utf-8")


@each_backend
def test_an_account_with_a_password_is_reported(server: Path, backend: str) -> None:
    """It is left as it is, with the two ways out."""
    message = refused(server, backend, "true")
    assert "requires a password from baikal" in message
    assert 'or set its password and database_host = "127.0.0.1"' in message


def test_a_server_that_cannot_start_is_named_with_where_the_reason_stands(server: Path) -> None:
    """Its journal has it."""
    (server / "running").unlink()
    (server / "start").write_text("echo 'Job failed.' >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(
        HostError, match=r"^mariadb can't be started \(Job failed\.\); see journalctl -u mariadb for the reason$"
    ):
        taken(declared("mysql"))


def test_a_machine_whose_server_was_taken_away_says_so(server: Path) -> None:
    """No stack trace."""
    (server / "programs/psql").unlink()
    with pytest.raises(HostError, match=r"^(psql|the database server on this machine)"):
        taken(declared("pgsql"))


@each_backend
@pytest.mark.usefixtures("release_standing")
def test_a_plan_on_a_fresh_machine_goes_as_far_as_can_be_seen(
    server: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made, and what can only be looked at later is one sentence."""

    def nothing(_: DesiredState) -> Iterator[Step]:
        yield from ()

    monkeypatch.setattr(selection, "steps", nothing)
    it = declared(backend, users=[user()])
    assert steps.pending(it) == [
        f"activate Baïkal {it.version}",
        f"create {here(it)}, and the account baikal for it",
        "update the accounts and settings in the database",
    ]
    assert not (server / "asked").exists()
