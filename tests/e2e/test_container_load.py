"""A container under load: killed, stopped, and with crashing processes; and its log."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import pytest

from tests.lab import streams
from tests.lab.clients import EVENT
from tests.lab.container import Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.streams import CALENDAR, USER, Outcome, Put, Streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


KILLS: Final = 10
STOPS: Final = 3
LEAST_ACKNOWLEDGED: Final = 200
BEGIN_LIMIT_S: Final = 30
KILLED: Final = 128 + 9
DOCKER_STOP_TIMEOUT_S: Final = 10
"""After this time, ``docker stop`` kills, and the status is ``KILLED``."""
SLOW_S: Final = 3
BACK_S: Final = 1
CRASHES: Final = 3
"""s6 gives up at five within 20 seconds."""
LOG_LIMIT_S: Final = 5
QUERY: Final = (
    '<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><c:calendar-data/></d:prop>'
    '<c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT"/></c:comp-filter></c:filter>'
    "</c:calendar-query>"
)
DAV: Final = "{DAV:}"
CALDAV: Final = "{urn:ietf:params:xml:ns:caldav}"

CRASH: Final = """
import http.client, json, os, ssl, subprocess, sys, time

service, whose = sys.argv[1:]

def master():
    command = ["s6-svstat", "-o", "pid", f"/run/baikal/service/{service}"]
    return int(subprocess.run(command, capture_output=True, text=True).stdout)

def workers(parent):
    command = ["ps", "-o", "pid=", "--ppid", str(parent)]
    return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]

def answers():
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("localhost", 443, timeout=5, context=context)
    try:
        connection.request("GET", "/dav.php/", headers={"User-Agent": "baikalctl-check"})
        return connection.getresponse().status == 401
    except OSError:
        return False
    finally:
        connection.close()

parent = master()
before = workers(parent)
victim = parent if whose == "master" else before[0]
os.kill(victim, 9)
began = time.monotonic()
back = False
while not back and time.monotonic() < began + 10:
    now = master()
    back = victim not in (now, *workers(now)) and len(workers(now)) == len(before) and answers()
    time.sleep(0.01)
seconds = time.monotonic() - began
zombies = True
while zombies and time.monotonic() < began + 15:
    states = subprocess.run(["ps", "-eo", "stat=,args="], capture_output=True, text=True).stdout
    zombies = [line for line in states.splitlines() if line.startswith("Z")]
print(json.dumps([back, seconds, zombies]))
"""
"""Kills a service's master or worker, and prints whether all processes came back, after how many seconds, and which
zombies there are. It runs in the container, where a check takes a hundredth of the time of ``docker exec``."""


@pytest.fixture(scope="module")
def container(engine: Engine, image: str) -> Iterator[Container]:
    """Yield a container for the tests that keep it serving."""
    with Container.run(engine, image) as container:
        yield container


def wait_for(load: Streams, count: int) -> None:
    """Return when the server has acknowledged more than ``count`` events."""
    assert wait_until(lambda: len(load.acknowledged()) > count, BEGIN_LIMIT_S, pause_s=0.005), load.outcomes()


def wait_for_time(due: float) -> None:
    """Wait, as a slow client does, until this time of the monotonic clock."""
    assert wait_until(lambda: time.monotonic() >= due, SLOW_S, pause_s=0.01)


def lost(container: Container, puts: Sequence[Put]) -> list[Put]:
    """Return events that are missing in the calendar, or have another UID or title."""
    answer = container.ask("REPORT", CALENDAR, user=USER, body=QUERY, headers={"Depth": "1"})
    assert answer.status == 207, answer
    held = {}
    for response in ET.fromstring(answer.body).iter(f"{DAV}response"):  # noqa: S314 - from our own server
        data = response.findtext(f".//{CALDAV}calendar-data", "")
        held[response.findtext(f"{DAV}href")] = set(data.splitlines())
    return [put for put in puts if not {f"UID:{put.uid}", f"SUMMARY:{put.summary}"} <= held.get(put.uri, set())]


def log_lines(container: Container, pattern: str, name: str = "stderr") -> list[str]:
    """Return the matching lines of one of the container's streams."""
    return [line for line in stream(container, name) if re.search(pattern, line)]


def client(container: Container) -> str:
    """Return a pattern for this machine's address as seen by the container."""
    return re.escape(container.inspect("{{.NetworkSettings.Gateway}}"))


def stream(container: Container, name: str) -> list[str]:
    """Return the lines of the container's ``stdout`` or ``stderr``."""
    command = [container.engine.command, "logs", container.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout if name == "stdout" else done.stderr).splitlines()


def lines(container: Container, name: str, pattern: str, count: int) -> bool:
    """Wait until a stream has exactly ``count`` matching lines; return whether it does."""
    return wait_until(lambda: len(log_lines(container, pattern, name)) == count, LOG_LIMIT_S)


def test_no_acknowledged_event_is_lost_when_the_container_is_killed(engine: Engine, image: str) -> None:
    """All processes are killed ten times during eight streams of PUTs: no acknowledged event is lost or damaged."""
    acknowledged: list[Put] = []
    with Volume(engine) as volume:
        container = Container.run(engine, image, volume=volume)
        try:
            for kill in range(KILLS):
                with Streams(container.ports[443], f"kill-{kill}") as load:
                    wait_for(load, LEAST_ACKNOWLEDGED // KILLS + kill)
                    container.kill()
                    load.wait()
                assert container.exit_status() == KILLED
                assert not [put for put in load.puts if put.result is Outcome.REFUSED], load.outcomes()
                assert {put.result for put in load.puts} & {Outcome.DROPPED, Outcome.CUT}, (
                    f"there were no requests: {load.outcomes()}"
                )
                acknowledged += load.acknowledged()
                if kill % 2:
                    container.start()
                else:
                    container.remove()
                    container = Container.run(engine, image, volume=volume)
                assert lost(container, acknowledged) == []
                assert "and is sound" in container.execute("baikalctl", "check", "--thorough")
        finally:
            container.remove()
    assert len(acknowledged) > LEAST_ACKNOWLEDGED


def test_requests_accepted_before_a_stop_are_answered(engine: Engine, image: str) -> None:
    """TERM during requests of eight clients, each with a new connection: all accepted requests are answered, status 0.

    A connection that the server has not accepted from the kernel's queue is reset, or refused, before TLS begins: that
    request was never sent.
    """
    acknowledged: list[Put] = []
    with Container.run(engine, image) as container:
        for stop in range(STOPS):
            with Streams(container.ports[443], f"stop-{stop}", keep_alive=False) as load:
                wait_for(load, 20)
                began = time.monotonic()
                container.stop()
                took = time.monotonic() - began
                load.wait()
            assert {put.result for put in load.puts} == {Outcome.ACKNOWLEDGED, Outcome.UNSENT}, load.outcomes()
            assert container.exit_status() == 0, container.log()
            assert took < DOCKER_STOP_TIMEOUT_S
            acknowledged += load.acknowledged()
            container.start()
            assert lost(container, acknowledged) == []


def test_slow_request_is_answered_during_a_stop(engine: Engine, image: str) -> None:
    """A PUT that is complete three seconds after TERM is stored and acknowledged; new connections are refused."""
    uid = "slow"
    body = EVENT.format(uid=uid, summary="Slowly")
    with Container.run(engine, image) as container, ThreadPoolExecutor() as pool:
        port = container.ports[443]
        slow = streams.connect_later(port)
        slow.putrequest("PUT", f"{CALENDAR}{uid}.ics", skip_host=True)
        for name, value in streams.headers(port).items():
            slow.putheader(name, value)
        slow.putheader("Content-Length", str(len(body)))
        slow.endheaders(body[:10].encode())
        with Streams(port, "concurrent", keep_alive=False) as load:
            wait_for(load, 20)
            began = time.monotonic()
            stopped = pool.submit(container.stop)
            load.wait()
            with contextlib.suppress(OSError):  # the answer shows the outcome of the request
                for start in range(10, len(body), 10):
                    wait_for_time(began + SLOW_S * start / len(body))
                    slow.send(body[start : start + 10].encode())
            result = streams.outcome(slow)
            stopped.result()
            took = time.monotonic() - began
        slow.close()
        assert result == (Outcome.ACKNOWLEDGED, "status 201"), container.log()
        assert {put.result for put in load.puts} == {Outcome.ACKNOWLEDGED, Outcome.UNSENT}, load.outcomes()
        assert container.exit_status() == 0, container.log()
        assert took < DOCKER_STOP_TIMEOUT_S
        container.start()
        stored = container.ask("GET", f"{CALENDAR}{uid}.ics", user=USER).body
        assert stored.splitlines() == body.splitlines()


@pytest.mark.parametrize(
    ("service", "whose", "line"),
    [
        ("nginx", "master", r"baikalctl: nginx ended with signal 9; it is started again$"),
        ("nginx", "worker", r"\[alert\] .* worker process \d+ exited on signal 9$"),
        ("php", "master", r"baikalctl: php ended with signal 9; it is started again$"),
        ("php", "worker", r"WARNING: \[pool baikal\] child \d+ exited on signal 9 \(SIGKILL\)"),
    ],
)
def test_a_crashed_process_is_back_within_a_second(container: Container, service: str, whose: str, line: str) -> None:
    """All processes are back and answer, there is no zombie, and each crash is one line in the log."""
    times = []
    before = len(log_lines(container, "signal 9"))
    for crash in range(1, CRASHES + 1):
        back, seconds, zombies = json.loads(container.execute("python3", "-c", CRASH, service, whose))
        assert back, container.log()
        assert zombies == []
        assert lines(container, "stderr", line, crash), container.log()
        assert len(log_lines(container, "signal 9")) == before + crash, container.log()
        times.append(seconds)
    assert min(times) < BACK_S, times  # the fastest of several: the machine may be busy


def test_container_ends_with_the_reason_if_a_service_cannot_start(engine: Engine, image: str) -> None:
    """A configuration that nginx refuses, and a crash: status 1, nginx's error, and the consequence."""
    with Container.run(engine, image) as container:
        container.execute("sh", "-c", "echo nonsense >> /run/baikal/etc/nginx/nginx.conf")
        container.execute("sh", "-c", "kill -9 $(s6-svstat -o pid /run/baikal/service/nginx)")
        assert container.exit_status() == 1, container.log()
        assert log_lines(container, r"\[emerg\] .* in /run/baikal/etc/nginx/nginx\.conf:\d+$"), container.log()
        assert len(log_lines(container, "nginx can't be kept running")) == 1, container.log()


def test_every_request_is_one_line_with_the_clients_address(container: Container) -> None:
    """Standard output has each request with its client and status, once."""
    path = f"/dav.php/principals/{USER}/"
    for user, status in ((USER, 207), (USER, 207), ("", 401)):
        assert container.ask("PROPFIND", path, user=user, headers={"Depth": "0"}).status == status
    assert lines(container, "stdout", path, 3), container.log()
    request = rf'^{client(container)} - (\S+) \[[^]]+\] "PROPFIND {path} HTTP/1\.1" (\d+) \d+ '
    matches = [re.match(request, line) for line in log_lines(container, path, "stdout")]
    assert sorted(line.groups() for line in matches if line) == [("-", "401"), (USER, "207"), (USER, "207")]


def test_probes_log_nothing(container: Container) -> None:
    """After twenty health probes there is no new line on either stream."""
    before = {name: len(stream(container, name)) for name in ("stdout", "stderr")}
    script = "for probe in $(seq 20); do baikalctl health || exit; done"
    assert container.execute("sh", "-c", script).count("the server asks for a login") == 20
    assert container.ask("OPTIONS", "/dav.php/principals/", user=USER).status == 200
    assert lines(container, "stdout", "OPTIONS", 1), container.log()
    assert len(stream(container, "stdout")) == before["stdout"] + 1, container.log()
    assert len(stream(container, "stderr")) == before["stderr"], container.log()


def test_a_wrong_password_is_one_line_with_the_clients_address(container: Container) -> None:
    """Standard error has Baïkal's message and the client's address in one line, for fail2ban and similar tools."""
    path = f"/dav.php/addressbooks/{USER}/"
    for _ in range(3):
        assert container.ask("PROPFIND", path, user=USER, password="wrong").status == 401
    assert lines(container, "stderr", f"authentication failure.*client: {client(container)},.*{path}", 3), (
        container.log()
    )
    assert len(log_lines(container, "authentication failure")) == 3, container.log()
