"""A container under the usual restrictions, and secrets that could be visible in it or through the engine."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.baking import built
from tests.lab.container import Container
from tests.lab.http_request import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


READ_ONLY: Final = ("--read-only", "--tmpfs=/run/baikal:mode=1777")
NO_CAPABILITIES: Final = ("--cap-drop=ALL",)
ANY_USER: Final = ("--user=4711:4711",)
EVERYTHING: Final = (*READ_ONLY, *NO_CAPABILITIES, *ANY_USER, "--security-opt=no-new-privileges")
CLEAN: Final = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
"""Prefix for the tests' own commands: the engine would give them the container's environment, which they search for."""
ADMIN: Final = "the administrator's own secret"
JO: Final = "jo's own secret"
PROCESSES: Final = """
for process in /proc/[0-9]*; do
    cat "$process/cmdline" "$process/environ" || echo "$process is unreadable"
done | tr '\\0' '\\n'
ps -ef
"""
LISTENING: Final = "0A"
"""The state in /proc/net/tcp (TCP_LISTEN in the kernel's tcp_states.h)."""


@pytest.fixture(scope="module")
def plain(engine: Engine, image: str) -> Iterator[Container]:
    """Yield a container with Docker's defaults and passwords in its environment, after use by real clients.

    For the tests it may also inspect any process; and no probe runs, because it would have the environment.
    """
    with Container.run(engine, image, options=["--no-healthcheck", "--cap-add=SYS_PTRACE"]) as container:
        use_clients(container)
        yield container


@pytest.fixture(scope="module")
def hardened(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Yield a container with all restrictions together, its passwords in files that end with a newline."""
    folder = tmp_path_factory.mktemp("secrets")
    folder.chmod(0o755)  # like Docker's own secrets: readable by any account of the container
    for name, secret in (("admin", ADMIN), ("jo", JO)):
        (folder / name).write_text(f"{secret}\n")
    environment = {
        "BAIKAL_ADMIN_PASSWORD": None,
        "BAIKAL_ADMIN_PASSWORD_FILE": "/run/secrets/admin",
        "BAIKAL_USERS": json.dumps(
            [{"name": "jo", "email": "jo@example.org", "password": {"file": "/run/secrets/jo"}}],
        ),
    }
    options = [*EVERYTHING, "--no-healthcheck", f"--volume={folder}:/run/secrets:ro"]
    with Container.run(engine, image, environment=environment, options=options) as container:
        use_clients(container, JO)
        yield container


def use_clients(container: Container, password: str = PASSWORD) -> None:
    """Run the round trips of both kinds of clients, and request the admin pages."""
    account = container.account(password=password)
    assert account.round_trip_event("Prüfung") == "Prüfung"
    assert "FN:Zoë Groß" in account.round_trip_contact("Zoë Groß")
    assert container.ask("GET", "/admin/").status == 200
    assert container.ask("PROPFIND", "/dav.php/", user="jo", password="wrong").status == 401


@pytest.mark.parametrize(
    "options",
    [READ_ONLY, NO_CAPABILITIES, ANY_USER],
    ids=["read-only", "no capabilities", "any user"],
)
def test_server_works_under_each_restriction(engine: Engine, image: str, options: tuple[str, ...]) -> None:
    """A round trip, and no error in the log."""
    with Container.run(engine, image, options=options) as container:
        assert container.account().round_trip_event("Prüfung") == "Prüfung"
        log = container.log().lower()
    for word in ("denied", "error", "failed", "warn"):
        assert word not in log.replace("nginx will say that initgroups failed", "").replace(
            "initgroups(root, 0) failed (1: operation not permitted)", ""
        ), log


def test_server_works_under_all_restrictions_together(hardened: Container) -> None:
    """Read-only, as any user, without capabilities or new privileges: the fixture has run the round trips."""
    assert "0000000000000000" in hardened.execute("grep", "CapBnd", "/proc/1/status")
    assert hardened.execute("stat", "-c", "%u", "/proc/1").strip() == "4711"
    assert hardened.execute("touch", "/x", check=False) == ""
    assert hardened.inspect("{{.HostConfig.ReadonlyRootfs}}") == "true"


def test_newline_at_the_end_of_a_password_file_is_ignored(hardened: Container) -> None:
    """The administrator's, by Baïkal's hash, and jo's, with which the fixture has logged in."""
    wanted = hashlib.sha256(f"admin:BaikalDAV:{ADMIN}".encode()).hexdigest()
    assert wanted in hardened.execute("cat", "/var/lib/baikal/config/baikal.yaml")


def test_running_container_changes_no_file_of_the_image(plain: Container) -> None:
    """The output of docker diff has /run/baikal only; the volume isn't part of it."""
    changed = {line.split(" ", 1)[1] for line in plain.engine.docker("diff", plain.name).splitlines()}
    assert "/run/baikal/nginx.pid" in changed
    assert {path for path in changed if not f"{path}/".startswith("/run/baikal/")} <= {"/run"}


def test_only_the_two_declared_ports_listen(plain: Container) -> None:
    """TCP and UDP, IPv4 and IPv6."""
    tables = {name: plain.execute("cat", f"/proc/net/{name}", check=False) for name in ("tcp", "tcp6", "udp", "udp6")}
    rows = {name: [line.split() for line in table.splitlines()[1:]] for name, table in tables.items()}
    listening = {int(row[1].rpartition(":")[2], 16) for row in rows["tcp"] + rows["tcp6"] if row[3] == LISTENING}
    assert listening == {80, 443}
    assert rows["udp"] + rows["udp6"] == []


def test_there_are_no_zombies(hardened: Container) -> None:
    """After requests, commands of docker exec, and a restarted service."""
    before = hardened.execute("pgrep", "-f", "php-fpm: master")
    hardened.execute("sh", "-c", "sh -c 'sleep 0.01 &' & baikalctl health")
    hardened.execute("s6-svc", "-wR", "-r", "/run/baikal/service/php")
    hardened.wait_until_serving()
    assert hardened.execute("pgrep", "-f", "php-fpm: master") != before
    states = hardened.execute("ps", "-eo", "stat=,args=").splitlines()
    assert len(states) >= 6
    assert [line for line in states if line.startswith("Z")] == []


@pytest.mark.parametrize("whose", ["plain", "hardened"])
def test_no_process_shows_a_password(whose: str, request: pytest.FixtureRequest) -> None:
    """Neither in an environment nor in a command line: services don't inherit the container's environment."""
    container: Container = request.getfixturevalue(whose)
    seen = container.execute(*CLEAN, "sh", "-c", PROCESSES)
    assert "php-fpm: master process" in seen
    assert not re.search(r"^/proc/\d+ is unreadable", seen, re.MULTILINE)
    for secret in (PASSWORD, ADMIN, JO, "BAIKAL_ADMIN", "BAIKAL_USERS"):
        assert secret not in seen


@pytest.mark.parametrize("whose", ["plain", "hardened"])
def test_no_file_of_the_container_has_a_password(whose: str, request: pytest.FixtureRequest) -> None:
    """Not in plain text, and their hashes only where the data's owner alone can read them."""
    container: Container = request.getfixturevalue(whose)
    directories = ("/run/baikal", "/var/lib/baikal", "/etc", "/tmp", "/var/log")  # noqa: S108 - in the container
    plain = [part for secret in (PASSWORD, ADMIN, JO) for part in ("-e", secret)]
    assert container.execute(*CLEAN, "grep", "-rlsF", *plain, *directories, check=False) == ""
    hashed = [
        *(hashlib.sha256(f"admin:BaikalDAV:{secret}".encode()).hexdigest() for secret in (PASSWORD, ADMIN)),
        *(hashlib.md5(f"jo:BaikalDAV:{secret}".encode()).hexdigest() for secret in (PASSWORD, JO)),  # noqa: S324
    ]
    looking = ("grep", "-rlsF", *(part for text in hashed for part in ("-e", text)), *directories)
    assert "/var/lib/baikal/config/baikal.yaml" in container.execute(*CLEAN, *looking, check=False)
    assert container.execute(*CLEAN, *looking, check=False, user="65534:65534") == ""


def test_engine_shows_no_password_from_a_file(hardened: Container) -> None:
    """Neither in docker inspect nor in docker logs, after a successful and a failed login."""
    output = hardened.engine.docker("inspect", hardened.name) + hardened.log()
    assert "BAIKAL_ADMIN_PASSWORD_FILE" in output
    assert "PROPFIND" in output
    for secret in (ADMIN, JO):
        assert secret not in output


def test_passwords_from_the_environment_are_only_in_docker_inspect(plain: Container) -> None:
    """In Env, which all users of the engine can read; not in the log."""
    inspected = json.loads(plain.engine.docker("inspect", plain.name))[0]
    assert PASSWORD in str(inspected["Config"].pop("Env"))
    assert PASSWORD not in str(inspected)
    assert PASSWORD not in plain.log()


@pytest.mark.parametrize("how", ["baked", "built"])
def test_image_has_no_secret_of_its_build(engine: Engine, image: str, release: Release, how: str) -> None:
    """Neither in its history nor in any layer: no password of the lab, and no configuration of pip."""
    name = image if how == "baked" else built(engine, release)
    needles = [PASSWORD.encode(), b"/run/secrets/ca.crt", b"extra-index-url = http"]
    history = engine.docker("history", "--no-trunc", name).encode()
    matches = [needle for needle in needles[:1] if needle in history]
    with subprocess.Popen([engine.command, "save", name], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        size, rest = 0, b""
        while piece := saving.stdout.read(1 << 22):
            size += len(piece)
            window = rest + piece
            matches += [needle for needle in needles if needle in window]
            rest = piece[-200:]
    assert size > 50_000_000
    assert matches == []


@pytest.mark.parametrize("how", ["baked", "built"])
def test_no_file_of_an_image_adds_privileges(engine: Engine, image: str, release: Release, how: str) -> None:
    """No file is setuid or setgid or has capabilities."""
    name = image if how == "baked" else built(engine, release)
    looking = "find / -xdev -type f -perm /6000; if command -v getcap >/dev/null; then getcap -r / 2>/dev/null; fi"
    assert engine.docker("run", "--rm", "--entrypoint", "sh", name, "-c", looking) == ""
