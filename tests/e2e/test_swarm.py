"""Several replicas with one PostgreSQL, deployed by Docker Swarm from the example, while clients write."""

from __future__ import annotations

import http.cookies
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.lab.asking import HOSTNAME, PASSWORD, Answer
from tests.lab.database_image import KINDS
from tests.lab.engine import Engine, wait_until
from tests.lab.images import machine_image
from tests.lab.stack import POSTGRESQL, UPDATE_LIMIT_S, Stack, swarm
from tests.lab.streams import CALENDAR, USER, Fate, Put, Streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


BEGIN_LIMIT_S: Final = 60
BACK_LIMIT_S: Final = 90
UPDATE: Final = "{{.UpdateStatus.State}}"
QUERY: Final = '<d:propfind xmlns:d="DAV:"><d:prop><d:getetag/></d:prop></d:propfind>'
AGAIN: Final = "refused: status 503"
"""What a client may be told in place of an acknowledgement: it tries again."""


@pytest.fixture(scope="module")
def stack(engine: Engine, image: str) -> Iterator[Stack]:
    """Give the example as a stack, with what this machine has in place of the images of PostgreSQL and Caddy."""
    instead: dict[str, dict[str, Any]] = {
        "baikal": {"image": image},
        "keeper": {"image": image},
        "database": {
            "image": KINDS["pgsql"].image(engine),
            "command": ["sh", "-c", POSTGRESQL],
            "stop_signal": "SIGINT",
        },
        "caddy": {
            "image": machine_image(engine, "debian:13", ("caddy", "nginx")),
            "command": ["caddy", "run", "--config", "/etc/caddy/Caddyfile"],
            "stop_signal": "SIGTERM",
            "environment": {"XDG_DATA_HOME": "/data"},
        },
    }
    with swarm(engine), Stack.deploy(engine, instead) as stack:
        yield stack


def load(stack: Stack, name: str) -> Streams:
    """Return eight clients that write through the proxy, to be begun."""
    return Streams(stack.port, name, host=HOSTNAME)


def wait_for(streams: Streams, count: int) -> None:
    """Return when so many more events are acknowledged."""
    enough = len(streams.acknowledged()) + count
    assert wait_until(lambda: len(streams.acknowledged()) >= enough, BEGIN_LIMIT_S, pause_s=0.01), streams.fates()


def lost(stack: Stack, puts: Sequence[Put]) -> list[Put]:
    """Return those events that aren't in the calendar exactly once."""
    answer = stack.ask("PROPFIND", CALENDAR, user=USER, body=QUERY, headers={"Depth": "1"})
    assert answer.status == 207, answer
    held = [one.text for one in ET.fromstring(answer.body).iter("{DAV:}href")]  # noqa: S314 - from our own server
    return [put for put in puts if held.count(put.uri) != 1]


def log_in(stack: Stack) -> str:
    """Log in to the admin pages and return the cookie of the session."""
    form = urllib.parse.urlencode({"auth": "1", "login": "admin", "password": PASSWORD})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = stack.ask("POST", "/admin/", body=form, headers=headers)
    (cookie,) = http.cookies.SimpleCookie(answer.headers["set-cookie"]).values()
    return f"{cookie.key}={cookie.value}"


def dashboard(stack: Stack, cookie: str) -> Answer:
    """Ask for the first page behind the log-in."""
    return stack.ask("GET", "/admin/", headers={"Cookie": cookie})


def test_what_is_written_through_one_replica_is_read_through_the_others(engine: Engine, stack: Stack) -> None:
    """A client's event and contact; and as many requests reach each replica as are needed to see that all serve."""
    assert stack.account().round_trip_event("Überall") == "Überall"
    assert "FN:Zoë" in stack.account().round_trip_contact("Zoë")
    assert stack.ask("PUT", f"{CALENDAR}shared.ics", user=USER, body="").status == 415

    def all_have_answered() -> bool:
        assert stack.ask("PROPFIND", CALENDAR, user=USER, headers={"Depth": "1"}).status == 207
        return all(f"PROPFIND {CALENDAR}" in engine.docker("logs", name) for name in stack.containers())

    assert wait_until(all_have_answered, BEGIN_LIMIT_S)


def test_replicas_are_ordinary_accounts_without_powers_or_a_disk(engine: Engine, stack: Stack) -> None:
    """Nothing is published but the proxy's ports, and a replica can write to memory alone."""
    for name in stack.containers():
        command = "id -u; grep CapBnd /proc/1/status; touch /x 2>&1; stat -f -c %T /var/lib/baikal"
        said = engine.docker("exec", name, "sh", "-c", command).splitlines()
        assert said == ["1000", "CapBnd:\t0000000000000000", "touch: cannot touch '/x': Read-only file system", "tmpfs"]
        assert engine.docker("inspect", "-f", "{{json .HostConfig.PortBindings}}", name).strip() in {"{}", "null"}


def test_the_keeper_makes_an_archive_of_what_all_have_written(engine: Engine, stack: Stack) -> None:
    """It has a place for it, by itself; replicas have been told to make none."""
    (keeper,) = stack.containers("keeper")
    engine.docker("exec", keeper, "baikalctl", "backup")
    assert "is undamaged: made on " in engine.docker("exec", keeper, "baikalctl", "backup", "verify")
    services = {name: engine.docker("exec", name, "ls", "/run/baikal/service").split() for name in stack.containers()}
    assert all("backup" not in there for there in services.values()), services


def test_baikals_account_in_postgresql_owns_its_database_and_may_do_nothing_else(stack: Stack) -> None:
    """As account.sql makes it: no superuser, and no other database to connect to."""
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    assert stack.rows(f"SELECT {powers} FROM pg_roles WHERE rolname = 'baikal'") == ["f"]  # noqa: S608 - our words
    may = "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('baikal', datname, 'CONNECT')"
    assert stack.rows(may) == ["baikal"]


def test_nothing_that_was_acknowledged_is_lost_when_a_replica_is_killed(engine: Engine, stack: Stack) -> None:
    """Eight clients see acknowledgements, or 503 from what the replica was at work on; another takes its place."""
    for kill in range(2):
        with load(stack, f"kill-{kill}") as streams:
            wait_for(streams, 50)
            engine.docker("kill", stack.containers()[0])
            wait_for(streams, 100)
        told = streams.fates()
        assert set(told) <= {str(Fate.ACKNOWLEDGED), AGAIN}, told
        assert told[AGAIN] <= 2 * streams.streams, "more than the replica had in hand, or was just being led to it"
        assert lost(stack, streams.acknowledged()) == []
        stack.wait_until_serving()


def test_a_503_says_when_to_try_again(stack: Stack) -> None:
    """Without any replica the proxy answers by itself, and it finds the next ones by itself."""
    stack.scale(0)
    assert wait_until(lambda: not stack.containers(), BACK_LIMIT_S)
    answer = stack.ask("PROPFIND", CALENDAR, user=USER)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    stack.scale(2)
    stack.wait_until_serving()


def test_clients_notice_nothing_of_a_rolling_update(stack: Stack) -> None:
    """Both replicas are replaced, each after its successor is healthy; every write is acknowledged, and none is lost."""
    before = set(stack.containers())
    with load(stack, "update") as streams:
        wait_for(streams, 50)
        stack.update("--detach=false", "--force", "--update-monitor=1s")
        wait_for(streams, 50)
    assert wait_until(lambda: not before & set(stack.containers()), BACK_LIMIT_S)
    assert set(streams.fates()) == {str(Fate.ACKNOWLEDGED)}, streams.fates()
    assert lost(stack, streams.acknowledged()) == []


def test_an_update_that_fails_is_rolled_back_and_clients_notice_nothing(stack: Stack) -> None:
    """A setting that isn't one: no new replica becomes healthy, and both old ones go on."""
    before = set(stack.containers())
    with load(stack, "rollback") as streams:
        wait_for(streams, 50)
        stack.update("--detach", "--env-add=BAIKAL_TLS=maybe")
        assert wait_until(lambda: stack.told(UPDATE) == "rollback_completed", UPDATE_LIMIT_S), stack.told(UPDATE)
        wait_for(streams, 50)
    assert before & set(stack.containers())
    assert set(streams.fates()) == {str(Fate.ACKNOWLEDGED)}, streams.fates()
    assert lost(stack, streams.acknowledged()) == []
    stack.wait_until_serving()


def test_an_administrator_stays_logged_in_when_the_replica_dies_that_let_them_in(engine: Engine, stack: Stack) -> None:
    """Each replica is killed in turn; the session goes on in those that take their place, and other cookies don't."""
    cookie = log_in(stack)
    welcome = dashboard(stack, cookie).body
    assert "Logout" in welcome
    for replica in stack.containers():
        engine.docker("kill", replica)
        assert wait_until(lambda: len(stack.healthy()) == 2, BACK_LIMIT_S), stack.log()
        assert "Logout" in dashboard(stack, cookie).body
    assert "Logout" not in dashboard(stack, re.sub("=.*", "=somebodyelse0123456789abcdef", cookie)).body


def test_while_the_database_is_away_clients_are_told_to_try_again(engine: Engine, stack: Stack) -> None:
    """Killed under load, it is started again by the swarm; nothing acknowledged before or after is lost."""
    with load(stack, "database") as streams:
        wait_for(streams, 50)
        engine.docker("kill", *stack.containers("database"))
        assert wait_until(lambda: AGAIN in streams.fates(), BEGIN_LIMIT_S), streams.fates()
        wait_for(streams, 50)
    assert set(streams.fates()) <= {str(Fate.ACKNOWLEDGED), AGAIN}, streams.fates()
    stack.wait_until_serving()
    assert lost(stack, streams.acknowledged()) == []
