"""A container: its environment configures the server, errors are reported, and its health status is right."""

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
from tests.lab.clients import EVENT, Account
from tests.lab.container import LABELS, USERS, Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import HOSTNAME, PASSWORD, Answer

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
"""A program that overwrites the pages of the accounts' table with zeros."""
FULL: Final = "free disk space in /var/lib/baikal, which is full"


@pytest.fixture(scope="module")
def served(engine: Engine, image: str) -> Iterator[Container]:
    """Yield a container with the lab's environment, for tests that don't change it permanently."""
    with Container.run(engine, image, options=["--health-interval=1s", "--health-retries=1"]) as container:
        yield container


class Refusal(NamedTuple):
    """The end of a container that refused to start."""

    status: int
    lines: list[str]
    """Lines of both streams; the order between the streams is random."""

    def line(self, start: str) -> str:
        """Return the only line that starts with this."""
        matches = [line for line in self.lines if line.startswith(f"baikalctl: {start}")]
        assert len(matches) == 1, self.lines
        return matches[0]


def refused(
    engine: Engine,
    image: str,
    environment: Mapping[str, str | None] | None = None,
    options: Sequence[str] = (),
    volume: Volume | None = None,
) -> Refusal:
    """Run a container that ends by itself, and return its end; assert that there is no traceback."""
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
    """Return the HTTP status of a login as ``user``."""
    return container.ask("PROPFIND", path, user=user, password=password, headers={"Depth": "0"}).status


def listing(engine: Engine, image: str, volume: Volume) -> str:
    """Return the contents of a volume."""
    served_certificate = (
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
    return engine.docker("run", "--rm", *LABELS, *served_certificate)


@contextlib.contextmanager
def owned_by(uid: int, engine: Engine, image: str, folder: Path) -> Iterator[None]:
    """Change the owner of the folder's contents within the block."""

    def give(whom: int) -> None:
        words = ("--entrypoint", "find", "-v", f"{folder}:/folder", image, "/folder", "-mindepth", "1")
        engine.docker("run", "--rm", *LABELS, *words, "-exec", "chown", str(whom), "{}", "+")

    give(uid)
    try:
        yield
    finally:
        give(os.geteuid())


def asked_for_health(container: Container) -> tuple[int, str]:
    """Return the status and the output of ``baikalctl health``."""
    output, _, status = container.execute("sh", "-c", "baikalctl health 2>&1; echo $?").rstrip().rpartition("\n")
    return int(status), output


# Configuration


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
    """A restart, then a new container on the volume with another name, ports, path, login method, passwords and account."""
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


def test_changes_of_an_administrator_survive(engine: Engine, image: str, volume: Volume) -> None:
    """A password and an account from the admin pages, and a line in baikal.yaml, are kept at the next start."""
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


def test_mounted_file_configures_and_variables_override_it(engine: Engine, image: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("trusted", [True, False], ids=["a declared proxy", "another client"])
def test_client_address_and_scheme_are_accepted_from_a_declared_proxy_only(
    engine: Engine, image: str, *, trusted: bool
) -> None:
    """For a declared proxy, the log has the client's address and pages have the client's scheme."""
    # A newly started engine may not report the gateway, which is the first address.
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
        # nginx writes the line after the client has its answer.
        assert wait_until(lambda: "GET /calendars/admin/" in container.log(), LIMIT_S)
        log = container.log()
    assert base[1].startswith(f"{'https' if trusted else 'http'}://{HOSTNAME}/calendars/")
    # A cookie of a client with TLS is never sent without TLS.
    assert ("; secure" in page.headers["set-cookie"].lower()) == trusted
    assert page.headers["set-cookie"].startswith("__Host-baikal=" if trusted else "PHPSESSID=")
    assert "; path=/;" in page.headers["set-cookie"]
    (line,) = [line for line in log.splitlines() if "GET /calendars/admin/" in line]
    assert line.split()[0] == ("203.0.113.7" if trusted else gateway)


def test_second_container_on_a_volume_waits_and_then_serves(engine: Engine, image: str, volume: Volume) -> None:
    """Two on one volume: the second serves after the first has ended, with all data of the first."""
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


# Refusals

WRONG: Final = {
    "hostname": ("https://cal.example.org", "use only the name"),
    "hostnames": ("dav_1.example.org", "letters, digits, hyphens and dots only"),
    "timezone": ("Mars", '"Europe/Berlin"'),
    "admin_password": ("", "is empty"),
    "dav_auth": ("Basic", "should be basic or digest"),
    "caldav": ("ja", "should be true or false"),
    "carddav": ("2", "should be true or false"),
    "users": ("[{", "is not JSON"),
    "database": ("mariadb", "sqlite, mysql or pgsql"),
    "database_host": ("db.example.org:3306", "set the port with database_port"),
    "database_port": ("mysql", "from 0 to 65535"),
    "database_name": ("dav;x", "letters, digits, _ and - only"),
    "database_user": ("jo doe", "as the provider of the server shows it"),
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
    "acme_email": ("Jo <jo@example.org>", "write only the address"),
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
    "relay_host": ("smtp.example.org:587", "set the port with relay_port"),
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
"""A wrong value for each setting of a container, and part of the expected remedy."""


def test_all_wrong_variables_are_reported_together_and_nothing_is_written(
    engine: Engine, image: str, volume: Volume
) -> None:
    """All in one container: one line each with the variable's name and the remedy, status 2, an empty volume."""
    assert set(WRONG) == {name for name, item in DEFINITIONS.items() if not item.machine_only}
    unknown = {"BAIKAL_HOSTNAM": "x", "BAIKAL_VERSION": "0.11.1"}
    environment = {PREFIX + name.upper(): text for name, (text, _) in WRONG.items()} | unknown
    output = refused(engine, image, environment, volume=volume)
    assert output.status == 2
    assert len(output.lines) == len(environment) + 1
    for name, (_, words) in WRONG.items():
        start = PREFIX + name.upper()
        (line,) = [line for line in output.lines if re.match(rf"baikalctl: {start}( = |:)", line)]
        assert words in line
    assert "did you mean BAIKAL_HOSTNAME?" in output.line("BAIKAL_HOSTNAM:")
    assert "use an image with that release" in output.line("BAIKAL_VERSION:")
    assert output.lines[-1].startswith("baikalctl: nothing was changed")
    assert listing(engine, image, volume) == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"BAIKAL_HOSTNAME": None}, ["BAIKAL_HOSTNAME: is missing; set it to the name that clients connect to"]),
        ({"BAIKAL_ADMIN_PASSWORD": None}, ["BAIKAL_ADMIN_PASSWORD: is missing"]),
        (
            {"BAIKAL_ADMIN_PASSWORD_FILE": "/run/secrets/admin"},
            ["BAIKAL_ADMIN_PASSWORD: both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; remove one"],
        ),
        (
            {"BAIKAL_ADMIN_PASSWORD": None, "BAIKAL_ADMIN_PASSWORD_FILE": "/run/secrets/admin"},
            ["BAIKAL_ADMIN_PASSWORD: is read from the file /run/secrets/admin, which cannot be read"],
        ),
        (
            {"BAIKAL_USERS": json.dumps([{"name": "jo", "pasword": PASSWORD}, {"name": "jo", "password": PASSWORD}])},
            ["BAIKAL_USERS[0].pasword: ", "BAIKAL_USERS[0].password: ", "BAIKAL_USERS[1].name"],
        ),
        (
            {"BAIKAL_HTTP_PORT": "8080", "BAIKAL_HTTPS_PORT": "8080", "BAIKAL_CALDAV": "no", "BAIKAL_CARDDAV": "off"},
            ["BAIKAL_HTTPS_PORT = 8080: is the same as http_port", "BAIKAL_CARDDAV = false: and caldav are both off"],
        ),
        (
            {"BAIKAL_TLS": "files"},
            ["BAIKAL_TLS_CERTIFICATE: is missing; ", "BAIKAL_TLS_KEY: is missing; "],
        ),
        (
            {"BAIKAL_MAIL": "postfix"},
            ['BAIKAL_MAIL = "postfix": is for machines only, and a container sends through a relay'],
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
            ['BAIKAL_DATABASE_HOST = "local": is for machines only, and a container has no database server'],
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
def test_contradictory_environment_is_refused(
    engine: Engine, image: str, environment: dict[str, str | None], expected: list[str]
) -> None:
    """Missing and contradictory variables: one line each and nothing else, without any password."""
    output = refused(engine, image, environment)
    assert output.status == 2
    for start in expected:
        output.line(start)
    assert len(output.lines) == len(expected) + 1
    assert PASSWORD not in str(output.lines)


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (
            b'hostname = "a.example"\nbaikal_version = "0.11.1"\n',
            2,
            "baikal_version: is decided when the image is built",
        ),
        (b'http_prt = 8080\nadmin_password = "x"\n', 2, "http_prt: no such setting; did you mean http_port?"),
        (b'http_port = "8080"\n', 2, 'http_port = "8080": should be a whole number'),
        (b"hostname = cal.example.org\n", 1, f"{TOML} is not TOML: "),
        (b'hostname = "caf\xe9"\n', 1, f"{TOML} is not UTF-8 text; save it as UTF-8"),
        (None, 1, f"{TOML} is a directory, because the file to mount doesn't exist on the host"),
    ],
    ids=["the release", "misspelt", "a wrong type", "not TOML", "not UTF-8", "a directory"],
)
def test_wrong_mounted_file_is_refused(  # noqa: PLR0913, PLR0917 - two fixtures, a folder and a case's parts
    engine: Engine, image: str, tmp_path: Path, content: bytes | None, status: int, expected: str
) -> None:
    """One line that names the setting as written in the file, or the file."""
    file = tmp_path / "settings.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    output = refused(engine, image, options=[f"--volume={file}:{TOML}:ro"])
    assert output.status == status
    output.line(expected)
    assert len(output.lines) == status


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
            f"{TOML} can't be read by uid 4711; run chown 4711 on the file",
        ),
        (
            ["--user=4711:4711", "--sysctl=net.ipv4.ip_unprivileged_port_start=1024"],
            "",
            "http_port is 80, and in this container an ordinary user can't listen on it; set BAIKAL_HTTP_PORT to 1024 or",
        ),
    ],
    ids=["a read-only volume", "no tmpfs", "another's folder", "root without powers", "another's file", "low ports"],
)
def test_container_without_permission_names_the_remedy(  # noqa: PLR0913, PLR0917 - likewise
    engine: Engine, image: str, volume: Volume, tmp_path: Path, options: list[str], mount: str, expected: str
) -> None:
    """One line with the account, the path, and the option that helps; status 1."""
    folder, secret = tmp_path / "data", tmp_path / "settings.toml"
    folder.mkdir(mode=0o750)
    secret.touch(mode=0o600)
    where = mount.format(volume=volume.name, folder=folder, secret=secret)
    with owned_by(1234, engine, image, tmp_path):
        output = refused(engine, image, options=[*options, *([f"--volume={where}"] if where else [])])
    assert output.status == 1
    output.line(expected)
    assert len(output.lines) == 1


# Volumes


def test_container_as_root_becomes_owner_of_any_folder(engine: Engine, image: str, tmp_path: Path) -> None:
    """A bind mount, by default: the server becomes its owner, and other accounts can't read it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with owned_by(1234, engine, image, tmp_path):
        with Container.run(engine, image, options=[f"--volume={folder}:{DATA}"]) as container:
            assert put(container, "kept").status == 201
            assert container.execute("cat", DATABASE, user="65534", check=False) == ""
        with Container.run(engine, image, options=[f"--volume={folder}:{DATA}"]) as container:
            assert container.ask("GET", f"{CALENDAR}/kept.ics", user="jo").status == 200


def test_volume_of_another_account_is_served_under_the_default(engine: Engine, image: str, volume: Volume) -> None:
    """Data of a container with --user, or of a restore as root, is served under the default."""
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


def test_data_of_a_newer_release_is_refused(engine: Engine, image: str, volume: Volume) -> None:
    """Baïkal would accept it without a message; the line says what to run instead, and the volume is unchanged."""
    with Container.run(engine, image, volume=volume) as container:
        container.execute("sed", "-i", 's/configured_version: .*/configured_version: "0.99.0"/', YAML)
    before = listing(engine, image, volume)
    output = refused(engine, image, volume=volume)
    assert output.status == 1
    line = output.line("the data is of Baïkal 0.99.0; ")
    assert "use release 0.99.0 or newer, or restore an older backup" in line
    assert listing(engine, image, volume) == before


@pytest.mark.parametrize("size", ["4k", "64k", "128k"])
def test_too_small_volume_is_reported(engine: Engine, image: str, size: str) -> None:
    """At any step of the first start: one line asks for free space."""
    with Volume(engine, size=size) as volume:
        output = refused(engine, image, volume=volume)
    assert output.status == 1
    assert [line.endswith(FULL) for line in output.lines if "full" in line] == [True]


def test_full_volume_keeps_acknowledged_data(engine: Engine, image: str) -> None:
    """Writes fail with a server error until there is space; all acknowledged data is kept."""
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
        listing = container.ask("PROPFIND", f"{CALENDAR}/", user="jo", headers={"Depth": "1"}).body
        assert acknowledged
        assert set(acknowledged) <= set(re.findall(r"event-\d+\.ics", listing))
        for name in (acknowledged[0], acknowledged[-1]):
            assert "END:VCALENDAR" in container.ask("GET", f"{CALENDAR}/{name}", user="jo").body


def test_full_volume_makes_health_and_next_start_ask_for_space(engine: Engine, image: str) -> None:
    """SQLite can't even read then and reports a disk error; with free space, it serves again."""
    with Volume(engine, size="1m") as volume, Container.run(engine, image, volume=volume) as container:
        fill(container, "else")
        status, output = asked_for_health(container)
        assert (status, output.endswith(FULL)) == (1, True), output
        assert put(container, "refused").status >= 500
        # Such a volume doesn't outlive its container, so the same container shows the message of the next start.
        assert FULL in container.execute("sh", "-c", "baikalctl apply 2>&1 || true")
        container.execute("rm", f"{DATA}/else")
        assert asked_for_health(container) == (0, HEALTHY)
        assert put(container, "taken").status == 201


def fill(container: Container, name: str, blocks: int = 0) -> None:
    """Fill the small volume with a file of this many blocks of 4 KiB, or as many as fit."""
    count = f"count={blocks}" if blocks else ""
    container.execute("sh", "-c", f"dd if=/dev/zero of={DATA}/{name} bs=4k {count} 2>/dev/null || true")
    left = int(container.execute("sh", "-c", f"df --output=avail {DATA} | tail -n 1"))
    assert left == 0 or (blocks and left < 1000)


# Health


@pytest.mark.parametrize(
    ("damage", "repair", "reasons"),
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
            ["can't be reached", "nginx is down"],
        ),
    ],
    ids=["no database", "no head", "damage", "another version", "no configuration", "no PHP", "no nginx"],
)
def test_damage_is_unhealthy_with_the_reason(served: Container, damage: str, repair: str, reasons: list[str]) -> None:
    """Status 1 and the reason, for any answer of Baïkal; healthy again when it is fixed."""
    assert asked_for_health(served) == (0, HEALTHY)
    try:
        served.execute("sh", "-ec", damage)
        status, words = asked_for_health(served)
        assert status == 1
        assert "Traceback" not in words
        for part in reasons:
            assert part in words
    finally:
        served.execute("sh", "-ec", repair)
        assert wait_until(lambda: asked_for_health(served) == (0, HEALTHY), LIMIT_S)
    assert log_in(served, "jo", PASSWORD) == 207


def test_engine_shows_the_health_status(served: Container) -> None:
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


def test_health_is_quick_and_logs_nothing(served: Container) -> None:
    """Half a second at most, because every container is probed regularly."""
    before = served.log()
    timed = "TIMEFORMAT=%R; for i in 1 2 3 4 5; do time baikalctl health >/dev/null; done 2>&1"
    seconds = [float(word) for word in served.execute("bash", "-c", timed).split()]
    assert len(seconds) == 5
    assert min(seconds) < HEALTH_S
    assert served.log() == before
