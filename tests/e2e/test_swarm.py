"""Several replicas with one PostgreSQL, deployed with Docker Swarm from the example, during writes of clients."""

from __future__ import annotations

import http.cookies
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.lab.database_image import KINDS
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer
from tests.lab.images import machine_image
from tests.lab.stack import POSTGRESQL, UPDATE_LIMIT_S, Stack, swarm
from tests.lab.streams import CALENDAR, USER, Outcome, Put, Streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


BEGIN_LIMIT_S: Final = 60
BACK_LIMIT_S: Final = 90
UPDATE: Final = "{{.UpdateStatus.State}}"
QUERY: Final = '<d:propfind xmlns:d="DAV:"><d:prop><d:getetag/></d:prop></d:propfind>'
RETRIED: Final = "refused: status 503"
"""Outcomes that a client may see instead of an acknowledgement; it tries again."""


@pytest.fixture(scope="module")
def stack(engine: Engine, image: str) -> Iterator[Stack]:
    """Yield the example as a stack, with this machine's images in place of PostgreSQL's and Caddy's."""
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
    """Return eight clients that write through the proxy, not yet started."""
    return Streams(stack.port, name, host=HOSTNAME)


def wait_for(streams: Streams, count: int) -> None:
    """Return when ``count`` more events are acknowledged."""
    enough = len(streams.acknowledged()) + count
    assert wait_until(lambda: len(streams.acknowledged()) >= enough, BEGIN_LIMIT_S, pause_s=0.01), streams.outcomes()


def lost(stack: Stack, puts: Sequence[Put]) -> list[Put]:
    """Return events that aren't in the calendar exactly once. After an outage, a replica may still answer 503 once."""
    answers: list[Answer] = []

    def listed() -> bool:
        answers.append(stack.ask("PROPFIND", CALENDAR, user=USER, body=QUERY, headers={"Depth": "1"}))
        return answers[-1].status == 207

    assert wait_until(listed, BEGIN_LIMIT_S), answers
    answer = answers[-1]
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
    """Request the first page after the login."""
    return stack.ask("GET", "/admin/", headers={"Cookie": cookie})


def test_what_is_written_through_one_replica_is_read_through_the_others(engine: Engine, stack: Stack) -> None:
    """A client's event and contact; and requests until every replica has answered."""
    assert stack.account().round_trip_event("Überall") == "Überall"
    assert "FN:Zoë" in stack.account().round_trip_contact("Zoë")
    assert stack.ask("PUT", f"{CALENDAR}shared.ics", user=USER, body="").status == 415

    def all_have_answered() -> bool:
        assert stack.ask("PROPFIND", CALENDAR, user=USER, headers={"Depth": "1"}).status == 207
        return all(f"PROPFIND {CALENDAR}" in engine.docker("logs", name) for name in stack.containers())

    assert wait_until(all_have_answered, BEGIN_LIMIT_S)


def test_replicas_run_unprivileged_and_without_a_disk(engine: Engine, stack: Stack) -> None:
    """Only the proxy's ports are published, and a replica can write only to memory."""
    for name in stack.containers():
        command = "id -u; grep CapBnd /proc/1/status; touch /x 2>&1; stat -f -c %T /var/lib/baikal"
        lines = engine.docker("exec", name, "sh", "-c", command).splitlines()
        assert lines == [
            "1000",
            "CapBnd:\t0000000000000000",
            "touch: cannot touch '/x': Read-only file system",
            "tmpfs",
        ]
        assert engine.docker("inspect", "-f", "{{json .HostConfig.PortBindings}}", name).strip() in {"{}", "null"}


def test_keeper_archives_the_data_of_all_replicas(engine: Engine, stack: Stack) -> None:
    """Only this service has storage for archives; replicas make none."""
    (keeper,) = stack.containers("keeper")
    engine.docker("exec", keeper, "baikalctl", "backup")
    assert "is undamaged: made on " in engine.docker("exec", keeper, "baikalctl", "backup", "verify")
    services = {name: engine.docker("exec", name, "ls", "/run/baikal/service").split() for name in stack.containers()}
    assert all("backup" not in tables for tables in services.values()), services


def test_account_in_postgresql_has_access_to_its_own_database_only(stack: Stack) -> None:
    """As in account.sql: not a superuser, and without access to other databases."""
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    assert stack.rows(f"SELECT {powers} FROM pg_roles WHERE rolname = 'baikal'") == ["f"]  # noqa: S608 - our words
    may = "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('baikal', datname, 'CONNECT')"
    assert stack.rows(may) == ["baikal"]


def test_no_acknowledged_write_is_lost_when_a_replica_is_killed(engine: Engine, stack: Stack) -> None:
    """Eight clients get acknowledgements, or 503 for requests of the killed replica, which is replaced."""
    for kill in range(2):
        with load(stack, f"kill-{kill}") as streams:
            wait_for(streams, 50)
            engine.docker("kill", stack.containers()[0])
            wait_for(streams, 100)
        outcomes = streams.outcomes()
        assert set(outcomes) <= {str(Outcome.ACKNOWLEDGED), RETRIED}, outcomes
        assert outcomes[RETRIED] <= 2 * streams.streams, "more than the requests at the replica"
        assert lost(stack, streams.acknowledged()) == []
        stack.wait_until_serving()


def test_503_has_retry_after(stack: Stack) -> None:
    """Without replicas the proxy answers itself, and later it finds new ones."""
    stack.scale(0)
    assert wait_until(lambda: not stack.containers(), BACK_LIMIT_S)
    answer = stack.ask("PROPFIND", CALENDAR, user=USER)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    stack.scale(2)
    stack.wait_until_serving()


def test_rolling_update_has_no_effect_on_clients(stack: Stack) -> None:
    """Both replicas are replaced, each when its successor is healthy; all writes are acknowledged, and none is lost."""
    before = set(stack.containers())
    with load(stack, "update") as streams:
        wait_for(streams, 50)
        stack.update("--detach=false", "--force", "--update-monitor=1s")
        wait_for(streams, 50)
    assert wait_until(lambda: not before & set(stack.containers()), BACK_LIMIT_S)
    assert set(streams.outcomes()) == {str(Outcome.ACKNOWLEDGED)}, streams.outcomes()
    assert lost(stack, streams.acknowledged()) == []


def test_failed_update_is_rolled_back_without_an_effect_on_clients(stack: Stack) -> None:
    """With an unknown setting, no new replica becomes healthy, and both old ones continue."""
    before = set(stack.containers())
    with load(stack, "rollback") as streams:
        wait_for(streams, 50)
        stack.update("--detach", "--env-add=BAIKAL_TLS=maybe")
        assert wait_until(lambda: stack.inspect(UPDATE) == "rollback_completed", UPDATE_LIMIT_S), stack.inspect(UPDATE)
        wait_for(streams, 50)
    assert before & set(stack.containers())
    assert set(streams.outcomes()) == {str(Outcome.ACKNOWLEDGED)}, streams.outcomes()
    assert lost(stack, streams.acknowledged()) == []
    stack.wait_until_serving()


def test_admin_session_survives_the_loss_of_a_replica(engine: Engine, stack: Stack) -> None:
    """Each replica is killed in turn; the session is valid in the new ones, and other cookies aren't."""
    cookie = log_in(stack)
    welcome = dashboard(stack, cookie).body
    assert "Logout" in welcome
    for replica in stack.containers():
        engine.docker("kill", replica)
        assert wait_until(lambda: len(stack.healthy()) == 2, BACK_LIMIT_S), stack.log()
        assert "Logout" in dashboard(stack, cookie).body
    assert "Logout" not in dashboard(stack, re.sub("=.*", "=somebodyelse0123456789abcdef", cookie)).body


def test_clients_get_503_during_a_database_outage(engine: Engine, stack: Stack) -> None:
    """It is killed under load and restarted by the swarm; no acknowledged write is lost."""
    with load(stack, "database") as streams:
        wait_for(streams, 50)
        engine.docker("kill", *stack.containers("database"))
        assert wait_until(lambda: RETRIED in streams.outcomes(), BEGIN_LIMIT_S), streams.outcomes()
        wait_for(streams, 50)
    assert set(streams.outcomes()) <= {str(Outcome.ACKNOWLEDGED), RETRIED}, streams.outcomes()
    stack.wait_until_serving()
    assert lost(stack, streams.acknowledged()) == []
