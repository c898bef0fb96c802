"""A container: what its environment says becomes the server, what is wrong is said, and its health is the truth."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS
from tests.lab.asking import HOSTNAME, PASSWORD, Answer
from tests.lab.clients import EVENT, Account
from tests.lab.container import LABELS, USERS, Container, Volume
from tests.lab.engine import Engine, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


DATA: Final = "/var/lib/baikal"
DATABASE: Final = f"{DATA}/Specific/db/db.sqlite"
YAML: Final = f"{DATA}/config/baikal.yaml"
TOML: Final = "/etc/baikal/settings.toml"
OTHER: Final = "another password, not the lab's"
CALENDAR: Final = "/dav.php/calendars/jo/default"
LIMIT_S: Final = 30
HEALTHY: Final = "the server asks for a login, the database can be read, and all versions match"
HEALTH_S: Final = 0.5
DAMAGE: Final = f"""
import sqlite3
pages = sqlite3.connect("{DATABASE}").execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = \\"users\\"").fetchall()
with open("{DATABASE}", "r+b") as stream:
    for (page,) in pages:
        stream.seek((page - 1) * 4096)
        stream.write(bytes(4096))
"""  # noqa: S608 - the lab's own
"""A program that empties the pages where the accounts are, and none else."""
FULL: Final = "make room in /var/lib/baikal, which is full"


@pytest.fixture(scope="module")
def served(engine: Engine, image: str) -> Iterator[Container]:
    """Give one container with the lab's environment, for tests that leave it as they found it."""
    with Container.run(engine, image, options=["--health-interval=1s", "--health-retries=1"]) as container:
        yield container


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    """Give an empty volume."""
    with Volume(engine) as volume:
        yield volume


class Refusal(NamedTuple):
    """How a container ended that should not have served."""

    status: int
    lines: list[str]
    """Both streams' together, so that the order of what is on different ones is chance."""

    def line(self, start: str) -> str:
        """Return the one line that starts like this."""
        found = [line for line in self.lines if line.startswith(f"baikalctl: {start}")]
        assert len(found) == 1, self.lines
        return found[0]


def refused(
    engine: Engine,
    image: str,
    environment: Mapping[str, str | None] | None = None,
    options: Sequence[str] = (),
    volume: Volume | None = None,
) -> Refusal:
    """Run a container that ends by itself, and return how; no traceback is ever among what it said."""
    with Container.run(
        engine, image, environment=environment, options=options, volume=volume, ports=(), ready=False
    ) as container:
        status = container.exit_status(LIMIT_S)
        log = container.log()
    assert "Traceback" not in log
    return Refusal(status, log.splitlines())


def put(container: Container, name: str, *, path: str = CALENDAR, password: str = PASSWORD) -> Answer:
    """Store an event."""
    body = EVENT.format(uid=name, summary=name).replace("\n", "\r\n")
    headers = {"Content-Type": "text/calendar"}
    return container.ask("PUT", f"{path}/{name}.ics", user="jo", password=password, body=body, headers=headers)


def log_in(container: Container, user: str, password: str, path: str = "/dav.php/") -> int:
    """Return the status that somebody gets who logs in as ``user``."""
    return container.ask("PROPFIND", path, user=user, password=password, headers={"Depth": "0"}).status


def listing(engine: Engine, image: str, volume: Volume) -> str:
    """Return what is in a volume."""
    shown = (
        "--entrypoint",
        "find",
        "-v",
        f"{volume.name}:/volume",
        image,
        "/volume",
        "-mindepth",
        "1",
        "-printf",
        r"%p %s %m %U\n",
    )
    return engine.docker("run", "--rm", *LABELS, *shown)


@contextlib.contextmanager
def owned_by(uid: int, engine: Engine, image: str, folder: Path) -> Iterator[None]:
    """Give what is in the folder to somebody else within the block."""

    def give(whom: int) -> None:
        words = ("--entrypoint", "find", "-v", f"{folder}:/folder", image, "/folder", "-mindepth", "1")
        engine.docker("run", "--rm", *LABELS, *words, "-exec", "chown", str(whom), "{}", "+")

    give(uid)
    try:
        yield
    finally:
        give(os.geteuid())


def asked_for_health(container: Container) -> tuple[int, str]:
    """Return the status of ``baikalctl health``, and what it said."""
    said, _, status = container.execute("sh", "-c", "baikalctl health 2>&1; echo $?").rstrip().rpartition("\n")
    return int(status), said


# What a container becomes


def test_environment_variables_alone_make_a_server_for_real_clients(served: Container) -> None:
    """A calendar client and an address book client, each with its round trip; plain HTTP leads to HTTPS."""
    assert served.account().round_trip_event("Prüfung 🎉") == "Prüfung 🎉"
    assert "FN:Zoë Groß" in served.account().round_trip_contact("Zoë Groß")
    assert served.ask("GET", "/", port=80).headers["location"] == f"https://{HOSTNAME}/"
    assert served.ask("GET", "/admin/install/").status == 404
    assert f"baikalctl: serving https://{HOSTNAME}" in served.log().splitlines()


def test_data_survives_and_other_settings_take_effect_at_the_next_start(
    engine: Engine, image: str, volume: Volume
) -> None:
    """A restart, then a new container on the volume with another name, ports, path, log-in, passwords and account."""
    with Container.run(engine, image, volume=volume) as first:
        assert put(first, "kept").status == 201
        first.stop()
        first.start()
        assert "baikalctl: make" not in first.log().partition(f"serving https://{HOSTNAME}")[2], (
            "nothing was left to do"
        )
        assert first.ask("GET", f"{CALENDAR}/kept.ics", user="jo").status == 200
    users = json.loads(USERS)
    users[0]["password"] = OTHER
    environment = {
        "BAIKAL_HOSTNAME": "127.0.0.1",
        "BAIKAL_DAV_AUTH": "digest",
        "BAIKAL_BASE_PATH": "/calendars",
        "BAIKAL_HTTP_PORT": "8080",
        "BAIKAL_HTTPS_PORT": "8443",
        "BAIKAL_TIMEZONE": "Europe/Berlin",
        "BAIKAL_ADMIN_PASSWORD": OTHER,
        "BAIKAL_USERS": json.dumps([*users, {"name": "ann", "email": "ann@example.org", "password": PASSWORD}]),
    }
    with Container.run(engine, image, environment=environment, volume=volume, ports=(8080, 8443)) as second:
        assert "digest" in second.ask("PROPFIND", "/calendars/dav.php/", port=8443).headers["www-authenticate"].lower()
        redirect = second.ask("GET", "/", port=8080, secure=False)
        assert redirect.headers["location"] == "https://127.0.0.1:8443/"
        certificates = second.execute("ls", f"{DATA}/tls").split()
        assert certificates == ["selfsigned-127.0.0.1.conf", "selfsigned-127.0.0.1.pem"]
        yaml = second.execute("cat", YAML)
        assert 'timezone: "Europe/Berlin"' in yaml
        assert hashlib.sha256(f"admin:BaikalDAV:{OTHER}".encode()).hexdigest() in yaml
        trusted = second.certificate("127.0.0.1")
        url = f"https://127.0.0.1:{second.ports[8443]}/calendars"
        assert [
            event.icalendar_component["UID"] for event in Account(url, trusted, "jo", OTHER).calendar().events()
        ] == ["kept"]
        assert Account(url, trusted, "ann", PASSWORD).round_trip_event("mine") == "mine"
        assert asked_for_health(second) == (0, HEALTHY), "it is asked where clients are"


def test_what_an_administrator_changed_by_himself_survives(engine: Engine, image: str, volume: Volume) -> None:
    """A password and an account from the admin pages, and a line in baikal.yaml, are there after the next start."""
    digests = {name: hashlib.md5(f"{name}:BaikalDAV:{OTHER}".encode()).hexdigest() for name in ("jo", "eve")}  # noqa: S324
    with Container.run(engine, image, volume=volume) as first:
        first.rows(f"UPDATE users SET digesta1 = '{digests['jo']}' WHERE username = 'jo'")  # noqa: S608 - the lab's own
        first.rows(f"INSERT INTO users (username, digesta1) VALUES ('eve', '{digests['eve']}')")  # noqa: S608
        first.rows("INSERT INTO principals (uri, email, displayname) VALUES ('principals/eve', 'e@example.org', 'Eve')")
        first.execute(
            "sed", "-i", 's/failed_access_message: .*/failed_access_message: "no %u"\\n  their_own: "yes"/', YAML
        )
    with Container.run(engine, image, volume=volume, environment={"BAIKAL_TIMEZONE": "Asia/Tokyo"}) as second:
        assert log_in(second, "jo", OTHER) == log_in(second, "eve", OTHER) == 207
        assert log_in(second, "jo", PASSWORD) == 401
        yaml = second.execute("cat", YAML)
    for line in ('failed_access_message: "no %u"', 'their_own: "yes"', 'timezone: "Asia/Tokyo"'):
        assert line in yaml


def test_a_mounted_file_says_what_the_environment_doesnt_override(engine: Engine, image: str, tmp_path: Path) -> None:
    """settings.toml with plain secrets; a variable wins over the same setting in it."""
    file = tmp_path / "settings.toml"
    file.write_text(
        f'hostname = "{HOSTNAME}"\nadmin_password = "{PASSWORD}"\nhttps_port = 8443\ndav_auth = "digest"\n'
        f'[[users]]\nname = "jo"\nemail = "jo@example.org"\npassword = "{PASSWORD}"\n'
        '[[users.calendars]]\nname = "default"\ndisplay_name = "Arbeit für alle"\n'
    )
    environment = {"BAIKAL_HOSTNAME": None, "BAIKAL_ADMIN_PASSWORD": None, "BAIKAL_USERS": None}
    options = [f"--volume={file}:{TOML}:ro", "--env=BAIKAL_DAV_AUTH=basic"]
    with Container.run(engine, image, environment=environment, options=options, ports=(8443,)) as container:
        challenge = container.ask("PROPFIND", "/dav.php/", port=8443).headers["www-authenticate"]
        assert challenge.startswith("Basic")
        body = '<d:propfind xmlns:d="DAV:"><d:prop><d:displayname/></d:prop></d:propfind>'
        answer = container.ask("PROPFIND", f"{CALENDAR}/", port=8443, user="jo", body=body, headers={"Depth": "0"})
        assert "Arbeit für alle" in answer.body


@pytest.mark.parametrize("trusted", [True, False], ids=["a declared proxy", "a stranger"])
def test_only_a_declared_proxy_speaks_for_the_client(engine: Engine, image: str, *, trusted: bool) -> None:
    """Whoever it believes, the client's address is in the log and the client's scheme in the pages."""
    # An engine that was started a moment ago may not name the gateway, which is the first address.
    subnet = engine.docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}").strip()
    gateway = str(ipaddress.ip_network(subnet)[1])
    environment = {
        "BAIKAL_TLS": "off",
        "BAIKAL_BASE_PATH": "/calendars",
        "BAIKAL_TRUSTED_PROXIES": f"{gateway}, 192.0.2.0/24" if trusted else "192.0.2.0/24",
    }
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Host": HOSTNAME}
    with Container.run(engine, image, environment=environment, ports=(80,)) as container:
        page = container.ask("GET", "/calendars/admin/", port=80, headers=headers)
        base = re.search(r'<base href="([^"]*)"', page.body)
        assert base, page.body[:400]
        # nginx writes the line when the client has its answer already.
        assert wait_until(lambda: "GET /calendars/admin/" in container.log(), LIMIT_S)
        log = container.log()
    assert base[1].startswith(f"{'https' if trusted else 'http'}://{HOSTNAME}/calendars/")
    # A cookie of somebody who came over TLS never leaves in the clear.
    assert ("; secure" in page.headers["set-cookie"].lower()) == trusted
    assert page.headers["set-cookie"].startswith("__Host-baikal=" if trusted else "PHPSESSID=")
    assert "; path=/;" in page.headers["set-cookie"]
    (line,) = [line for line in log.splitlines() if "GET /calendars/admin/" in line]
    assert line.split()[0] == ("203.0.113.7" if trusted else gateway)


def test_a_container_that_waits_says_so_and_takes_over(engine: Engine, image: str, volume: Volume) -> None:
    """Two on one volume: the second serves when the first has ended, with all that the first has stored."""
    with (
        Container.run(engine, image, volume=volume) as first,
        Container.run(engine, image, volume=volume, ready=False) as second,
    ):
        assert wait_until(lambda: "another container serves this volume; waiting" in second.log(), LIMIT_S)
        assert "is still starting, or waits for another" in asked_for_health(second)[1]
        assert "serving" not in second.log()
        assert put(first, "stored").status == 201
        first.stop()
        second.wait_until_serving()
        assert second.ask("GET", f"{CALENDAR}/stored.ics", user="jo").status == 200


# What it refuses

WRONG: Final = {
    "hostname": ("https://cal.example.org", "bare name"),
    "hostnames": ("dav_1.example.org", "letters, digits, hyphens and dots only"),
    "timezone": ("Mars", '"Europe/Berlin"'),
    "admin_password": ("", "is empty"),
    "dav_auth": ("Basic", "should be basic or digest"),
    "caldav": ("ja", "should be true or false"),
    "carddav": ("2", "should be true or false"),
    "users": ("[{", "is not JSON"),
    "database": ("mariadb", "sqlite, mysql or pgsql"),
    "database_host": ("db.example.org:3306", "the port as database_port"),
    "database_port": ("mysql", "from 0 to 65535"),
    "database_name": ("dav;x", "letters, digits, _ and - only"),
    "database_user": ("jo doe", "as the server's owner shows it"),
    "database_password": ("hünter2", "choose another password at the database server"),
    "database_tls": ("on", "should be verify or off"),
    "database_ca": ("ca.pem", "absolute path"),
    "http_port": ("0", "from 1 to 65535"),
    "https_port": ("8443/tcp", "from 1 to 65535"),
    "base_path": ("calendars", "start with a slash"),
    "trusted_proxies": ("10.0.0.1/8", "192.0.2.0/24"),
    "admin_allow": ("home", "192.0.2.0/24"),
    "upload_limit_mb": ("100M", "from 1 to 2048 MiB"),
    "request_timeout_s": ("5", "from 10 to 3600 seconds"),
    "tls": ("acme", "letsencrypt, files, selfsigned or off"),
    "tls_certificate": ("tls.crt", "absolute path"),
    "tls_key": ("/a/../b", "absolute path"),
    "acme_email": ("Jo <jo@example.org>", "write it bare"),
    "acme_server": ("http://ca.example.org/directory", "https:// address"),
    "acme_ca": ("ca.pem", "absolute path"),
    "acme_key_type": ("ed25519", "should be ecdsa or rsa"),
    "acme_eab_key_id": ("a b", "copy it as the CA shows it"),
    "acme_eab_hmac_key": ("a+b/", "is not base64url"),
    "acme_dns_plugin": ("dns-cloudflare", 'follows "dns-"'),
    "acme_dns_credentials": ("", "is empty"),
    "acme_dns_propagation_s": ("1m", "from 0 to 900 seconds"),
    "acme_dns_hook": ("/bin/dns --zone x", "absolute path"),
    "mail": ("sendmail", "off, relay or postfix"),
    "mail_from": ("root@localhost", "has no full domain"),
    "relay_host": ("smtp.example.org:587", "the port as relay_port"),
    "relay_port": ("smtp", "from 0 to 65535"),
    "relay_tls": ("ssl", "starttls, tls or none"),
    "relay_user": ("jo doe", "as the relay's provider shows it"),
    "relay_password": ("hünter2", "choose another password at the relay"),
    "relay_ca": ("ca.pem", "absolute path"),
    "dkim_selector": ("baikal._domainkey", "such as baikal"),
    "backup": ("daily", "should be true or false"),
    "backup_schedule": ("3:15", 'write it as "03:15"'),
    "backup_keep_daily": ("all", "from 0 to 1000"),
    "backup_keep_weekly": ("-1", "from 0 to 1000"),
    "backup_keep_monthly": ("1001", "from 0 to 1000"),
    "restic_repository": ("rest:https://jo:hunter2@nas/", "RESTIC_REPOSITORY="),
    "restic_password": ("", "is empty"),
    "restic_credentials": ("key", "not NAME=value"),
}
"""Of every setting that a container takes, something wrong, and words of the remedy."""


def test_every_wrong_variable_is_said_at_once_and_nothing_is_written(
    engine: Engine, image: str, volume: Volume
) -> None:
    """All of them in one container: a line each with the variable's name and the remedy, status 2, an empty volume."""
    assert set(WRONG) == {name for name, item in DEFINITIONS.items() if not item.machine_only}
    unknown = {"BAIKAL_HOSTNAM": "x", "BAIKAL_VERSION": "0.11.1"}
    environment = {PREFIX + name.upper(): text for name, (text, _) in WRONG.items()} | unknown
    said = refused(engine, image, environment, volume=volume)
    assert said.status == 2
    assert len(said.lines) == len(environment) + 1
    for name, (_, words) in WRONG.items():
        start = PREFIX + name.upper()
        (line,) = [line for line in said.lines if re.match(rf"baikalctl: {start}( = |:)", line)]
        assert words in line
    assert "did you mean BAIKAL_HOSTNAME?" in said.line("BAIKAL_HOSTNAM:")
    assert "choose an image with that release" in said.line("BAIKAL_VERSION:")
    assert said.lines[-1].startswith("baikalctl: nothing was touched")
    assert listing(engine, image, volume) == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"BAIKAL_HOSTNAME": None}, ["BAIKAL_HOSTNAME: is missing; give the name that clients type"]),
        ({"BAIKAL_ADMIN_PASSWORD": None}, ["BAIKAL_ADMIN_PASSWORD: is missing"]),
        (
            {"BAIKAL_ADMIN_PASSWORD_FILE": "/run/secrets/admin"},
            ["BAIKAL_ADMIN_PASSWORD: both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; keep one"],
        ),
        (
            {"BAIKAL_ADMIN_PASSWORD": None, "BAIKAL_ADMIN_PASSWORD_FILE": "/run/secrets/admin"},
            ["BAIKAL_ADMIN_PASSWORD: is to come from the file /run/secrets/admin, which cannot be read"],
        ),
        (
            {"BAIKAL_USERS": json.dumps([{"name": "jo", "pasword": PASSWORD}, {"name": "jo", "password": PASSWORD}])},
            ["BAIKAL_USERS[0].pasword: ", "BAIKAL_USERS[0].password: ", "BAIKAL_USERS[1].name"],
        ),
        (
            {"BAIKAL_HTTP_PORT": "8080", "BAIKAL_HTTPS_PORT": "8080", "BAIKAL_CALDAV": "no", "BAIKAL_CARDDAV": "off"},
            ["BAIKAL_HTTPS_PORT = 8080: is http_port as well", "BAIKAL_CARDDAV = false: and caldav are both off"],
        ),
        (
            {"BAIKAL_TLS": "files"},
            ["BAIKAL_TLS_CERTIFICATE: is missing; ", "BAIKAL_TLS_KEY: is missing; "],
        ),
        (
            {"BAIKAL_MAIL": "postfix"},
            ['BAIKAL_MAIL = "postfix": is for machines, and a container sends through a relay'],
        ),
        (
            {"BAIKAL_MAIL": "relay", "BAIKAL_RELAY_USER": "jo"},
            [
                "BAIKAL_MAIL_FROM: is missing; ",
                "BAIKAL_RELAY_HOST: is missing; ",
                "BAIKAL_RELAY_PASSWORD: is missing; ",
            ],
        ),
        (
            {"BAIKAL_RELAY_HOST": "smtp.example.org", "BAIKAL_RELAY_PASSWORD": PASSWORD},
            ['BAIKAL_RELAY_HOST = "smtp.example.org": has no effect', "BAIKAL_RELAY_PASSWORD: has no effect"],
        ),
        (
            {"BAIKAL_DATABASE": "pgsql"},
            ["BAIKAL_DATABASE_HOST: is missing; "],
        ),
        (
            {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "local"},
            ['BAIKAL_DATABASE_HOST = "local": is for machines, and a container has no database server'],
        ),
        (
            {"BAIKAL_DATABASE_HOST": "db", "BAIKAL_DATABASE_PASSWORD": PASSWORD},
            ['BAIKAL_DATABASE_HOST = "db": has no effect', "BAIKAL_DATABASE_PASSWORD: has no effect"],
        ),
        (
            {"BAIKAL_RESTIC_REPOSITORY": "/srv/restic"},
            ["BAIKAL_RESTIC_PASSWORD: is missing; "],
        ),
    ],
    ids=[
        *("no name", "no password", "two forms", "no file", "accounts", "contradictions", "no certificate"),
        *("a mail server", "no relay", "mail that is off"),
        *("no database server", "a database server", "a server of a file", "a repository without a password"),
    ],
)
def test_an_environment_that_is_wrong_as_a_whole_is_refused(
    engine: Engine, image: str, environment: dict[str, str | None], expected: list[str]
) -> None:
    """What is missing or contradicts itself: a line each and nothing else, and no password is shown."""
    said = refused(engine, image, environment)
    assert said.status == 2
    for start in expected:
        said.line(start)
    assert len(said.lines) == len(expected) + 1
    assert PASSWORD not in str(said.lines)


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (
            b'hostname = "a.example"\nbaikal_version = "0.11.1"\n',
            2,
            "baikal_version: is decided when the image is made",
        ),
        (b'http_prt = 8080\nadmin_password = "x"\n', 2, "http_prt: no such setting; did you mean http_port?"),
        (b'http_port = "8080"\n', 2, 'http_port = "8080": should be a whole number'),
        (b"hostname = cal.example.org\n", 1, f"{TOML} is not TOML: "),
        (b'hostname = "caf\xe9"\n', 1, f"{TOML} is not UTF-8 text; save it as such"),
        (None, 1, f"{TOML} is a directory: the file that should be mounted there doesn't exist on the host"),
    ],
    ids=["the release", "misspelt", "a wrong type", "not TOML", "not UTF-8", "a directory"],
)
def test_a_mounted_file_that_is_wrong_is_refused(  # noqa: PLR0913, PLR0917 - two fixtures, a folder and a case's parts
    engine: Engine, image: str, tmp_path: Path, content: bytes | None, status: int, expected: str
) -> None:
    """One line that names the setting as it stands in the file, or the file."""
    file = tmp_path / "settings.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    said = refused(engine, image, options=[f"--volume={file}:{TOML}:ro"])
    assert said.status == status
    said.line(expected)
    assert len(said.lines) == status


@pytest.mark.parametrize(
    ("options", "mount", "expected"),
    [
        ([], "{volume}:/var/lib/baikal:ro", "/var/lib/baikal is read-only; mount a volume there, without :ro"),
        (["--read-only"], "", "/run/baikal is read-only; with --read-only, add --tmpfs /run/baikal"),
        (
            ["--user=4711:4711"],
            "{folder}:/var/lib/baikal",
            (
                "/var/lib/baikal can't be written by uid 4711: it belongs to uid 1234, with mode 750. Run the container "
                "with --user 1234, or give 4711 all of the volume: chown -R 4711 …"
            ),
        ),
        (
            ["--cap-drop=ALL"],
            "{folder}:/var/lib/baikal",
            (
                "/var/lib/baikal can't be written by uid 0 without capabilities: it belongs to uid 1234, with mode 750. "
                "Run the container without --cap-drop, or give 0 all of the volume: chown -R 0 …"
            ),
        ),
        (
            ["--user=4711:4711"],
            "{secret}:/etc/baikal/settings.toml",
            f"{TOML} can't be read by uid 4711; give that account the file (chown 4711)",
        ),
        (
            ["--user=4711:4711", "--sysctl=net.ipv4.ip_unprivileged_port_start=1024"],
            "",
            "http_port is 80, which an ordinary user can't listen on here; set BAIKAL_HTTP_PORT to 1024 or more",
        ),
    ],
    ids=["a read-only volume", "no tmpfs", "another's folder", "root without powers", "another's file", "low ports"],
)
def test_a_container_that_may_not_says_what_would_let_it(  # noqa: PLR0913, PLR0917 - likewise
    engine: Engine, image: str, volume: Volume, tmp_path: Path, options: list[str], mount: str, expected: str
) -> None:
    """One line with the account, the place, and the option that helps; status 1."""
    folder, secret = tmp_path / "data", tmp_path / "settings.toml"
    folder.mkdir(mode=0o750)
    secret.touch(mode=0o600)
    where = mount.format(volume=volume.name, folder=folder, secret=secret)
    with owned_by(1234, engine, image, tmp_path):
        said = refused(engine, image, options=[*options, *([f"--volume={where}"] if where else [])])
    assert said.status == 1
    said.line(expected)
    assert len(said.lines) == 1


# Volumes


def test_a_folder_of_whatever_owner_is_taken_by_a_container_that_may(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    """A bind mount, by default: made the server's own, and nobody else can look into it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with owned_by(1234, engine, image, tmp_path):
        with Container.run(engine, image, options=[f"--volume={folder}:{DATA}"]) as container:
            assert put(container, "kept").status == 201
            assert container.execute("cat", DATABASE, user="65534", check=False) == ""
        with Container.run(engine, image, options=[f"--volume={folder}:{DATA}"]) as container:
            assert container.ask("GET", f"{CALENDAR}/kept.ics", user="jo").status == 200


def test_a_volume_of_another_account_is_given_back(engine: Engine, image: str, volume: Volume) -> None:
    """What --user has served, or a restore as root has left, goes on under the default."""
    with Container.run(engine, image, volume=volume, options=["--user=4711:4711"]) as container:
        assert put(container, "first").status == 201
    with Container.run(engine, image, volume=volume) as container:
        assert container.ask("GET", f"{CALENDAR}/first.ics", user="jo").status == 200
        assert put(container, "second").status == 201
        container.execute("chown", "0:0", YAML, DATABASE)
        container.stop()
        container.start()
        assert put(container, "third").status == 201
        assert container.execute("stat", "-c", "%U %a", YAML, DATABASE) == "baikal 600\n" * 2


def test_data_of_a_newer_release_is_left_alone(engine: Engine, image: str, volume: Volume) -> None:
    """Baïkal would take it without a word; the line says what to run instead, and the volume stays as it was."""
    with Container.run(engine, image, volume=volume) as container:
        container.execute("sed", "-i", 's/configured_version: .*/configured_version: "0.99.0"/', YAML)
    before = listing(engine, image, volume)
    said = refused(engine, image, volume=volume)
    assert said.status == 1
    line = said.line("the data is of Baïkal 0.99.0, and ")
    assert "run a release that is at least 0.99.0, or restore a backup from before" in line
    assert listing(engine, image, volume) == before


@pytest.mark.parametrize("size", ["4k", "64k", "128k"])
def test_a_volume_too_small_to_begin_with_is_said(engine: Engine, image: str, size: str) -> None:
    """However far a first start gets: one line asks for room."""
    with Volume(engine, size=size) as volume:
        said = refused(engine, image, volume=volume)
    assert said.status == 1
    assert [line.endswith(FULL) for line in said.lines if "full" in line] == [True]


def test_a_volume_that_fills_up_keeps_what_was_acknowledged(engine: Engine, image: str) -> None:
    """Writing fails with a server's error until there is room; then all is there that was acknowledged."""
    with Volume(engine, size="1m") as volume, Container.run(engine, image, volume=volume) as container:
        fill(container, "else", 190)
        acknowledged: list[str] = []
        while (answer := put(container, f"event-{len(acknowledged)}")).status == 201:
            acknowledged.append(f"event-{len(acknowledged)}.ics")
            assert len(acknowledged) < 1000
        assert answer.status >= 500
        container.execute("rm", f"{DATA}/else")
        assert asked_for_health(container) == (0, HEALTHY)
        assert put(container, "after").status == 201
        there = container.ask("PROPFIND", f"{CALENDAR}/", user="jo", headers={"Depth": "1"}).body
        assert acknowledged
        assert set(acknowledged) <= set(re.findall(r"event-\d+\.ics", there))
        for name in (acknowledged[0], acknowledged[-1]):
            assert "END:VCALENDAR" in container.ask("GET", f"{CALENDAR}/{name}", user="jo").body


def test_on_a_full_volume_health_and_the_next_start_ask_for_room(engine: Engine, image: str) -> None:
    """SQLite, which can't even read then, speaks of an error of the disk; and it goes on when there is room."""
    with Volume(engine, size="1m") as volume, Container.run(engine, image, volume=volume) as container:
        fill(container, "else")
        status, said = asked_for_health(container)
        assert (status, said.endswith(FULL)) == (1, True), said
        assert put(container, "refused").status >= 500
        # Of such a volume nothing is left between two containers, so the one that has it says what the next would.
        assert FULL in container.execute("sh", "-c", "baikalctl apply 2>&1 || true")
        container.execute("rm", f"{DATA}/else")
        assert asked_for_health(container) == (0, HEALTHY)
        assert put(container, "taken").status == 201


def fill(container: Container, name: str, blocks: int = 0) -> None:
    """Fill the small volume with a file of so many blocks of 4 KiB, or as many as there is room for."""
    count = f"count={blocks}" if blocks else ""
    container.execute("sh", "-c", f"dd if=/dev/zero of={DATA}/{name} bs=4k {count} 2>/dev/null || true")
    left = int(container.execute("sh", "-c", f"df --output=avail {DATA} | tail -n 1"))
    assert left == 0 or (blocks and left < 1000)


# Health


@pytest.mark.parametrize(
    ("breaking", "mending", "said"),
    [
        (f"mv {DATABASE} {DATABASE}.away", f"mv {DATABASE}.away {DATABASE}", ["db.sqlite does not exist"]),
        (
            f"cp -p {DATABASE} {DATABASE}.kept && dd if=/dev/urandom of={DATABASE} bs=1k count=1 conv=notrunc",
            f"mv {DATABASE}.kept {DATABASE}",
            ["db.sqlite can't be read", "restore it from a backup"],
        ),
        (
            f"cp -p {DATABASE} {DATABASE}.kept && python3 -c '{DAMAGE}'",
            f"mv {DATABASE}.kept {DATABASE}",
            ["db.sqlite can't be read", "restore it from a backup"],
        ),
        (
            f"sed -i.kept 's/configured_version: .*/configured_version: \"0.99.0\"/' {YAML}",
            f"cat {YAML}.kept > {YAML} && rm {YAML}.kept",
            ["data 0.99.0", "run an image with 0.99.0"],
        ),
        (f"mv {YAML} {YAML}.away", f"mv {YAML}.away {YAML}", ["data nothing"]),
        ("s6-svc -wD -d /run/baikal/service/php", "s6-svc -wU -u /run/baikal/service/php", ["502", "PHP is down"]),
        (
            "s6-svc -wD -d /run/baikal/service/nginx",
            "s6-svc -wU -u /run/baikal/service/nginx",
            ["can't be reached", "nginx down?"],
        ),
    ],
    ids=["no database", "no head", "damage", "another version", "no configuration", "no PHP", "no nginx"],
)
def test_what_keeps_calendars_from_working_is_unhealthy_with_the_reason(
    served: Container, breaking: str, mending: str, said: list[str]
) -> None:
    """Status 1 and the reason in words, whatever Baïkal answers then; healthy again when it is fixed."""
    assert asked_for_health(served) == (0, HEALTHY)
    try:
        served.execute("sh", "-ec", breaking)
        status, words = asked_for_health(served)
        assert status == 1
        assert "Traceback" not in words
        for part in said:
            assert part in words
    finally:
        served.execute("sh", "-ec", mending)
        assert wait_until(lambda: asked_for_health(served) == (0, HEALTHY), LIMIT_S)
    assert log_in(served, "jo", PASSWORD) == 207


def test_the_engine_is_told_as_well(served: Container) -> None:
    """Docker's own health status: healthy, unhealthy with the reason in its log, healthy again."""

    def known() -> str:
        return served.inspect("{{.State.Health.Status}}")

    assert wait_until(lambda: known() == "healthy", LIMIT_S)
    served.execute("mv", DATABASE, f"{DATABASE}.away")
    try:
        assert wait_until(lambda: known() == "unhealthy", LIMIT_S)
        assert "db.sqlite does not exist" in served.inspect("{{json .State.Health.Log}}")
    finally:
        served.execute("mv", f"{DATABASE}.away", DATABASE)
    assert wait_until(lambda: known() == "healthy", LIMIT_S)


def test_asking_for_health_is_quick_and_leaves_no_line_in_the_log(served: Container) -> None:
    """Half a second at most: every container is asked again and again."""
    before = served.log()
    timed = "TIMEFORMAT=%R; for i in 1 2 3 4 5; do time baikalctl health >/dev/null; done 2>&1"
    seconds = [float(word) for word in served.execute("bash", "-c", timed).split()]
    assert len(seconds) == 5
    assert min(seconds) < HEALTH_S
    assert served.log() == before
