"""A container under the restrictions that careful people put on one, and what anybody could find in or beside it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab.asking import PASSWORD
from tests.lab.baking import built
from tests.lab.container import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine
    from tests.lab.release import Release


READ_ONLY: Final = ("--read-only", "--tmpfs=/run/baikal:mode=1777")
NO_CAPABILITIES: Final = ("--cap-drop=ALL",)
NOBODY_IN_PARTICULAR: Final = ("--user=4711:4711",)
EVERYTHING: Final = (*READ_ONLY, *NO_CAPABILITIES, *NOBODY_IN_PARTICULAR, "--security-opt=no-new-privileges")
CLEAN: Final = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
"""Before a command of ours in a container: the engine gives it the container's environment, which is what is looked for."""
ADMIN: Final = "the administrator's own secret"
JO: Final = "jo's own secret"
PROCESSES: Final = """
for process in /proc/[0-9]*; do
    cat "$process/cmdline" "$process/environ" || echo "$process is unreadable"
done | tr '\\0' '\\n'
ps -ef
"""
LISTENING: Final = "0A"
"""How /proc/net/tcp says it (TCP_LISTEN in the kernel's tcp_states.h)."""


@pytest.fixture(scope="module")
def plain(engine: Engine, image: str) -> Iterator[Container]:
    """Give a container under Docker's defaults, its passwords in its environment, that real clients have used.

    Beside those it has the power to look into any process, for the tests; and no probe runs, which has the environment.
    """
    with Container.run(engine, image, options=["--no-healthcheck", "--cap-add=SYS_PTRACE"]) as container:
        used(container)
        yield container


@pytest.fixture(scope="module")
def secretive(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Give a container under every restriction at once, its passwords in files that end with a newline."""
    folder = tmp_path_factory.mktemp("secrets")
    folder.chmod(0o755)  # as Docker mounts its own secrets: to be read by whatever account the container runs as
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
        used(container, JO)
        yield container


def used(container: Container, password: str = PASSWORD) -> None:
    """Let both kinds of clients do their round trips, and a browser look at the admin pages."""
    account = container.account(password=password)
    assert account.round_trip_event("Prüfung") == "Prüfung"
    assert "FN:Zoë Groß" in account.round_trip_contact("Zoë Groß")
    assert container.ask("GET", "/admin/").status == 200
    assert container.ask("PROPFIND", "/dav.php/", user="jo", password="wrong").status == 401


@pytest.mark.parametrize(
    "options",
    [READ_ONLY, NO_CAPABILITIES, NOBODY_IN_PARTICULAR],
    ids=["read-only", "no capabilities", "any user"],
)
def test_each_restriction_by_itself_leaves_a_server_that_works(
    engine: Engine, image: str, options: tuple[str, ...]
) -> None:
    """A round trip, and no word of an error in the log."""
    with Container.run(engine, image, options=options) as container:
        assert container.account().round_trip_event("Prüfung") == "Prüfung"
        log = container.log().lower()
    for word in ("denied", "error", "failed", "warn"):
        assert word not in log.replace("nginx will report that initgroups failed", "").replace(
            "initgroups(root, 0) failed (1: operation not permitted)", ""
        ), log


def test_all_restrictions_together_leave_a_server_that_works(secretive: Container) -> None:
    """Read-only, as any user, without capabilities or new privileges: the fixture has made the round trips."""
    assert "0000000000000000" in secretive.execute("grep", "CapBnd", "/proc/1/status")
    assert secretive.execute("stat", "-c", "%u", "/proc/1").strip() == "4711"
    assert secretive.execute("touch", "/x", check=False) == ""
    assert secretive.inspect("{{.HostConfig.ReadonlyRootfs}}") == "true"


def test_a_password_from_a_file_is_the_one_without_the_newline(secretive: Container) -> None:
    """The administrator's as Baïkal hashes it, and jo's, with which the fixture has logged in."""
    wanted = hashlib.sha256(f"admin:BaikalDAV:{ADMIN}".encode()).hexdigest()
    assert wanted in secretive.execute("cat", "/var/lib/baikal/config/baikal.yaml")


def test_running_changes_nothing_of_the_image(plain: Container) -> None:
    """Whoever looks with docker diff sees /run/baikal, and the volume isn't in it."""
    changed = {line.split(" ", 1)[1] for line in plain.engine.docker("diff", plain.name).splitlines()}
    assert "/run/baikal/nginx.pid" in changed
    assert {path for path in changed if not f"{path}/".startswith("/run/baikal/")} <= {"/run"}


def test_only_the_two_declared_ports_listen(plain: Container) -> None:
    """Of TCP and of UDP, for IPv4 and IPv6."""
    tables = {name: plain.execute("cat", f"/proc/net/{name}", check=False) for name in ("tcp", "tcp6", "udp", "udp6")}
    rows = {name: [line.split() for line in table.splitlines()[1:]] for name, table in tables.items()}
    listening = {int(row[1].rpartition(":")[2], 16) for row in rows["tcp"] + rows["tcp6"] if row[3] == LISTENING}
    assert listening == {80, 443}
    assert rows["udp"] + rows["udp6"] == []


def test_nothing_is_left_unreaped(secretive: Container) -> None:
    """After clients, commands from outside, and a service that was started anew."""
    before = secretive.execute("pgrep", "-f", "php-fpm: master")
    secretive.execute("sh", "-c", "sh -c 'sleep 0.01 &' & baikalctl health")
    secretive.execute("s6-svc", "-wR", "-r", "/run/baikal/service/php")
    secretive.wait_until_serving()
    assert secretive.execute("pgrep", "-f", "php-fpm: master") != before
    states = secretive.execute("ps", "-eo", "stat=,args=").splitlines()
    assert len(states) >= 6
    assert [line for line in states if line.startswith("Z")] == []


@pytest.mark.parametrize("whose", ["plain", "secretive"])
def test_no_password_is_seen_among_the_processes(whose: str, request: pytest.FixtureRequest) -> None:
    """Neither in an environment nor in a command line: services get nothing of the container's own environment."""
    container: Container = request.getfixturevalue(whose)
    seen = container.execute(*CLEAN, "sh", "-c", PROCESSES)
    assert "php-fpm: master process" in seen
    assert not re.search(r"^/proc/\d+ is unreadable", seen, re.MULTILINE)
    for secret in (PASSWORD, ADMIN, JO, "BAIKAL_ADMIN", "BAIKAL_USERS"):
        assert secret not in seen


@pytest.mark.parametrize("whose", ["plain", "secretive"])
def test_no_password_stands_in_any_file_of_the_container(whose: str, request: pytest.FixtureRequest) -> None:
    """Not in plain anywhere, and what Baïkal has made of them not where others than the data's owner could read it."""
    container: Container = request.getfixturevalue(whose)
    places = ("/run/baikal", "/var/lib/baikal", "/etc", "/tmp", "/var/log")  # noqa: S108 - in the container
    plain = [part for secret in (PASSWORD, ADMIN, JO) for part in ("-e", secret)]
    assert container.execute(*CLEAN, "grep", "-rlsF", *plain, *places, check=False) == ""
    hashed = [
        *(hashlib.sha256(f"admin:BaikalDAV:{secret}".encode()).hexdigest() for secret in (PASSWORD, ADMIN)),
        *(hashlib.md5(f"jo:BaikalDAV:{secret}".encode()).hexdigest() for secret in (PASSWORD, JO)),  # noqa: S324
    ]
    looking = ("grep", "-rlsF", *(part for text in hashed for part in ("-e", text)), *places)
    assert "/var/lib/baikal/config/baikal.yaml" in container.execute(*CLEAN, *looking, check=False)
    assert container.execute(*CLEAN, *looking, check=False, user="65534:65534") == ""


def test_passwords_from_files_are_nowhere_that_the_engine_tells(secretive: Container) -> None:
    """Neither in docker inspect nor in docker logs, though somebody logged in with them, and somebody in vain."""
    told = secretive.engine.docker("inspect", secretive.name) + secretive.log()
    assert "BAIKAL_ADMIN_PASSWORD_FILE" in told
    assert "PROPFIND" in told
    for secret in (ADMIN, JO):
        assert secret not in told


def test_passwords_from_the_environment_are_only_where_docker_shows_it(plain: Container) -> None:
    """In Env, which whoever may ask the engine can read; not in the log."""
    told = json.loads(plain.engine.docker("inspect", plain.name))[0]
    assert PASSWORD in str(told["Config"].pop("Env"))
    assert PASSWORD not in str(told)
    assert PASSWORD not in plain.log()


@pytest.mark.parametrize("how", ["baked", "built"])
def test_no_secret_of_the_making_is_in_an_image(engine: Engine, image: str, release: Release, how: str) -> None:
    """Neither in its history nor in any layer: no password of this lab, and nothing of how pip got to its packages."""
    name = image if how == "baked" else built(engine, release)
    needles = [PASSWORD.encode(), b"/run/secrets/ca.crt", b"extra-index-url = http"]
    history = engine.docker("history", "--no-trunc", name).encode()
    found = [needle for needle in needles[:1] if needle in history]
    with subprocess.Popen([engine.command, "save", name], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        size, rest = 0, b""
        while piece := saving.stdout.read(1 << 22):
            size += len(piece)
            window = rest + piece
            found += [needle for needle in needles if needle in window]
            rest = piece[-200:]
    assert size > 50_000_000
    assert found == []


@pytest.mark.parametrize("how", ["baked", "built"])
def test_nothing_in_an_image_runs_with_more_rights_than_its_caller(
    engine: Engine, image: str, release: Release, how: str
) -> None:
    """No file that is setuid or setgid or has capabilities of its own."""
    name = image if how == "baked" else built(engine, release)
    looking = "find / -xdev -type f -perm /6000; if command -v getcap >/dev/null; then getcap -r / 2>/dev/null; fi"
    assert engine.docker("run", "--rm", "--entrypoint", "sh", name, "-c", looking) == ""
