"""The compose examples: all are valid, and those with a proxy that Debian has are started."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.clients import CARD
from tests.lab.compose import COMPOSE_LIMIT_S, EXAMPLES, Project, compose_command
from tests.lab.engine import SWARM, Engine, locked, wait_until
from tests.lab.http_request import HOSTNAME
from tests.lab.images import machine_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LARGE_BYTES = 20 * 1024**2
REQUEST = "\r\n".join(
    (
        "GET /?claimed HTTP/1.1",
        f"Host: {HOSTNAME}",
        "X-Forwarded-For: 203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: evil.example",
        "Connection: close\r\n\r\n",
    )
)
CLIENT = f"""
import socket, ssl, sys
plain = socket.create_connection((sys.argv[1], 443), timeout=20)
print(plain.getsockname()[0])
safe = ssl._create_unverified_context().wrap_socket(plain, server_hostname="{HOSTNAME}")
safe.sendall({REQUEST.encode()!r})
while part := safe.recv(65536):
    print(part.decode("utf-8", "replace"), end="")
"""
"""A client that prints its own address, and then the page for a request with forged headers."""


@pytest.fixture(scope="module", autouse=True)
def no_swarm() -> Iterator[None]:
    """Keep the tests of the swarm from running at the same time: docker-compose 1 makes attachable networks."""
    with locked(SWARM, shared=True):
        yield


@pytest.fixture(scope="module")
def start(engine: Engine, image: str) -> Callable[[str], Project]:
    """Yield a function that starts an example with Debian's nginx or Caddy in place of the images of these names."""

    def start(example: str) -> Project:
        proxy = machine_image(engine, "debian:13", ("caddy", "nginx"))
        instead: dict[str, dict[str, Any]] = {
            "baikal": {"image": image},
            "nginx": {
                "image": proxy,
                "command": ["nginx", "-g", "daemon off;"],
                "stop_signal": "SIGQUIT",
                "tmpfs": ["/etc/nginx/sites-enabled"],  # the default page of Debian's nginx
            },
            "caddy": {
                "image": proxy,
                "command": ["caddy", "run", "--config", "/etc/caddy/Caddyfile"],
                "stop_signal": "SIGTERM",
                "environment": {"XDG_DATA_HOME": "/data"},
            },
        }
        return Project.start(engine, example, instead)

    return start


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(request: pytest.FixtureRequest, start: Callable[[str], Project]) -> Iterator[Project]:
    """Yield a running example with a proxy."""
    with start(request.param) as project:
        yield project


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/compose.yaml")), ids=lambda file: file.parent.name)
def test_compose_accepts_each_example(engine: Engine, file: Any) -> None:  # noqa: ANN401 - a path, by pytest
    """This machine's compose reports no error and no warning."""
    command = [*compose_command(engine), "--file", str(file), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPOSE_LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_standalone_example_serves_and_keeps_its_data(start: Callable[[str], Project]) -> None:
    """As an ordinary account, without capabilities, on a read-only root; after down and up it has the old data."""
    with start("standalone") as project:
        assert project.account().round_trip_event("By itself") == "By itself"
        card = "/dav.php/addressbooks/jo/default/kept.vcf"
        assert project.ask("PUT", card, user="jo", body=CARD.format(uid="kept", name="Kept")).status == 201
        project.compose("down")
        project.compose("up", "--detach")
        project.baikal.wait_until_serving()
        assert "FN:Kept" in project.ask("GET", card, user="jo").body
        assert project.baikal.execute("sh", "-c", "grep CapEff /proc/1/status; touch /x 2>&1 || true").splitlines() == [
            "CapEff:\t0000000000000000",
            "touch: cannot touch '/x': Read-only file system",
        ]


def test_clients_work_through_a_proxy(proxied: Project) -> None:
    """A calendar and an address book, over the proxy's TLS with a trusted certificate."""
    assert proxied.account().round_trip_event("Durch die Tür") == "Durch die Tür"
    assert "FN:Zoë" in proxied.account().round_trip_contact("Zoë")


def test_only_the_proxy_is_reachable(engine: Engine, proxied: Project) -> None:
    """Baïkal publishes no port, can't reach the internet, and plain HTTP redirects to HTTPS."""
    assert proxied.baikal.inspect("{{json .HostConfig.PortBindings}}") in ("{}", "null")
    networks = json.loads(proxied.baikal.inspect("{{json .NetworkSettings.Networks}}"))
    assert [engine.docker("network", "inspect", "-f", "{{.Internal}}", name).strip() for name in networks] == ["true"]
    answer = proxied.ask("GET", "/dav.php/", port=80)
    assert (answer.status, answer.headers["location"]) == (308, f"https://{HOSTNAME}/dav.php/")


def test_client_address_is_that_of_the_connection(engine: Engine, image: str, proxied: Project) -> None:
    """Baïkal logs the address of the proxy's client, and ignores scheme and name in the client's headers."""
    (proxy,) = {"nginx", "caddy"} & set(proxied.compose("ps", "--services").split())
    network = f"--network={proxied.name}_default"
    output = engine.docker("run", "--rm", network, "--entrypoint=python3", image, "-c", CLIENT, proxy)
    address, _, page = output.partition("\n")
    assert f'<base href="https://{HOSTNAME}/"' in page

    def logged() -> list[str]:
        return re.findall(r"^(\S+) .*GET /\?claimed", proxied.baikal.log(), re.MULTILINE)

    assert wait_until(lambda: bool(logged()), 5)
    assert logged() == [address]


def test_addresses_in_pages_are_external(proxied: Project) -> None:
    """The page has the external scheme, name and port; no answer has an internal name."""
    page = proxied.ask("GET", "/")
    assert f'<base href="{proxied.url}/"' in page.body
    answer = proxied.ask("PROPFIND", "/dav.php/principals/jo/", user="jo")
    assert answer.status == 207
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", answer.body)


def test_discovery_leads_to_dav(proxied: Project) -> None:
    """RFC 6764's addresses, and the PROPFIND of Apple's clients to the root; redirects are relative."""
    for method, path in (("GET", "/.well-known/caldav"), ("PROPFIND", "/.well-known/carddav"), ("PROPFIND", "/")):
        answer = proxied.ask(method, path)
        assert (answer.status, answer.headers["location"]) == (308, "/dav.php/"), path
    assert proxied.ask("PROPFIND", "/dav.php/", user="jo").status == 207


def test_large_objects_pass(proxied: Project) -> None:
    """A contact of 20 MB is stored, read back and deleted."""
    card = "/dav.php/addressbooks/jo/default/large.vcf"
    text = CARD.format(uid="large", name="Large").replace("END:", f"NOTE:{'x' * LARGE_BYTES}\r\nEND:")
    assert proxied.ask("PUT", card, user="jo", body=text).status == 201
    assert len(proxied.ask("GET", card, user="jo").body) >= LARGE_BYTES
    assert proxied.ask("DELETE", card, user="jo").status == 204
