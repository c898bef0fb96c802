"""Attacks by PHP's account, old installations and archives on root's commands: on a machine, and in containers.

A library named in baikal.yaml, a journal that names a file to delete, endless data. Each test failed before such data was
read by processes without privileges only (baikalctl/host/boundary.py).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from baikalctl.rendering.database import DRIVERS, SERVERS
from tests.lab import php_attacks
from tests.lab.certificates import Signer
from tests.lab.container import Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.old_installation import OldInstallation, build
from tests.lab.php_account import LIMIT_S, Host, Result
from tests.lab.php_attacks import DATABASE, KEPT, LOADED, PWNED, QUEUED, RECEIVED, VICTIM
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.release import Release


READING: Final = ("health", "check", "apply --plan", "backup")
"""Commands that read configuration and database."""
HEALTH_LIMIT_S: Final = 20
CONTAINERS: Final = ("container", "container of a user")
OPTION: Final = "baikal.yaml has the option 'sslcert="
SUPER_JOURNAL: Final = "names another file to be deleted (a super-journal)"
USER: Final = "4711:4711"
RELAY: Final = {
    "BAIKAL_MAIL": "relay",
    "BAIKAL_MAIL_FROM": "calendar@example.org",
    "BAIKAL_RELAY_HOST": "localhost",
    "BAIKAL_RELAY_PORT": "9",
    "BAIKAL_RELAY_TLS": "none",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that writes files when it is loaded."""
    return php_attacks.library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def machine(engine: Engine, release: Release) -> Iterator[Machine]:
    """Yield a deployed machine with the libraries of all databases."""
    packages = (*PACKAGES, *DRIVERS["mysql"], *DRIVERS["pgsql"])
    with Machine.start(engine, machine_image(engine, "debian:12", packages)) as machine:
        outcome = Server(machine, release).deploy()
        assert outcome.status == 0, outcome.output
        yield machine


@pytest.fixture(scope="module", params=[*CONTAINERS, "machine"])
def host(request: pytest.FixtureRequest, engine: Engine, image: str) -> Iterator[Host]:
    """Yield a host with SQLite: a container as root or as another user, or a machine."""
    if request.param == "machine":
        yield prepared(Host(engine, request.getfixturevalue("machine").name))
        return
    accounts, options = ((), ()) if request.param == "container" else ((USER, USER), (f"--user={USER}",))
    with Container.run(engine, image, environment=RELAY, options=["--health-interval=2s", *options]) as container:
        yield prepared(Host(engine, container.name, *accounts))


def prepared(host: Host) -> Host:
    """Save the host's data, write Python's compiled files, which a command would write, and return the host."""
    host.execute("/usr/bin/python3", "-m", "compileall", "-q", "/usr/local/lib/baikalctl")
    assert_works(host)
    host.save()
    return host


def assert_refused(ran: Result, words: str) -> None:
    """Assert that a command has failed in time, with these words in its message."""
    assert ran.status == 1, ran
    assert words in ran.output, ran
    assert_ended(ran)


def assert_ended(ran: Result) -> None:
    """Assert that a command has ended by itself, without a traceback."""
    assert ran.status in {0, 1}, ran
    assert ran.seconds < (HEALTH_LIMIT_S if "health" in ran.words else LIMIT_S), ran
    assert "Traceback" not in ran.output, ran


def assert_works(host: Host) -> None:
    """Assert that commands work: the data is valid, and no process holds the host's lock."""
    for command in ("apply", "backup", "health"):
        ran = host.run(f"baikalctl {command}")
        assert ran.status == 0, ran


def timed_backup(host: Host) -> Result:
    """Run the machine's backup as its timer does, and return its result, with its journal."""
    began = host.execute("date", "+%s").strip()
    ran = host.run("systemctl start baikal-backup.service")
    host.execute("systemctl", "stop", "baikal-backup.service")
    journal = host.execute("journalctl", "--unit", "baikal-backup", "--since", f"@{began}", "--output", "cat")
    return Result(ran.words, ran.status, journal, ran.seconds)


def loaded_by_others(host: Host) -> list[str]:
    """Return programs other than PHP that have loaded the library; PHP's account can load it into its own process."""
    lines = host.execute("sh", "-c", f"cat {LOADED} 2>/dev/null || true").splitlines()
    return [line for line in lines if not line.startswith("/usr/sbin/php-fpm")]


def test_library_named_in_baikal_yaml_is_not_loaded(host: Host, library: Path) -> None:
    """Not by any command, the engine's health probe or the backup timer: libpq would run it as root."""
    with host.attacked():
        before = host.files_of_root()
        host.offer_library(library)
        since = time.time()
        ran = [host.run(f"baikalctl {command}") for command in (*READING, "apply")]
        queue = host.run("baikalctl mail queue")
        ran.append(timed_backup(host) if host.is_machine() else host.probed_since(since))
        assert not host.exists(PWNED), host.execute("cat", PWNED)
        assert loaded_by_others(host) == []
        assert host.files_of_root() == before
        for each in ran:
            assert_refused(each, OPTION)
        assert (queue.status, queue.output) == (0, "the queue is empty\n"), queue
    assert_works(host)


def test_library_is_not_loaded_where_postgresql_is_declared(engine: Engine, release: Release, library: Path) -> None:
    """Root connects to the declared server, not to that of baikal.yaml."""
    packages = (*PACKAGES, *DRIVERS["pgsql"], SERVERS["pgsql"])
    with Machine.start(engine, machine_image(engine, "debian:12", packages)) as machine:
        server = Server(machine, release, data={"database": "pgsql", "database_host": "local"})
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        host = prepared(Host(engine, machine.name))
        with host.attacked():
            host.offer_library(library)
            ran = [host.run(f"baikalctl {command}") for command in (*READING, "apply")]
            ran.append(timed_backup(host))
            outcome = server.deploy()
            assert not host.exists(PWNED), host.execute("cat", PWNED)
            assert loaded_by_others(host) == []
            for each in ran:
                assert_refused(each, OPTION)
            assert outcome.status != 0
            assert OPTION in outcome.output
        assert_works(host)


def test_journal_that_names_a_file_to_delete_is_refused(host: Host) -> None:
    """Also one that appears at the worst moment; SQLite as root would delete the file in a rollback."""
    with host.attacked():
        host.as_php(php_attacks.SUPER_JOURNAL, DATABASE, "again")
        for command in (*["apply --plan"] * 5, *READING):
            ran = host.run(f"baikalctl {command}")
            assert host.exists(VICTIM), ran
            assert_ended(ran)
    with host.attacked():
        host.as_php(php_attacks.SUPER_JOURNAL, DATABASE, "once")
        for command in READING:
            assert_refused(host.run(f"baikalctl {command}"), SUPER_JOURNAL)
            assert host.exists(VICTIM), command
    assert_works(host)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("yaml with aliases that expand", "baikal.yaml can't be parsed: it has an alias (*)"),
        ("yaml of 200 GiB", "baikal.yaml has 214748364800 bytes, and 1048576 are allowed"),
        ("a FIFO as yaml", "baikal.yaml must be a regular file, not a link"),
        ("a FIFO as the database", "/var/lib/baikal/Specific/db/db.sqlite "),
        ("users without end", "db.sqlite has the view 'users', which is not Baïkal's"),
    ],
)
def test_data_without_end_holds_up_no_command(host: Host, attack: str, words: str) -> None:
    """Each reports the problem, the certificate is renewed at the same time, and afterwards everything works."""
    with host.attacked(php_attacks.ATTACKS[attack]):
        for command in (*READING, "apply"):
            assert_refused(host.run(f"baikalctl {command}"), words)
        host.engine.docker(
            "exec", "--detach", "--user", host.admin, host.name, "timeout", str(LIMIT_S), "baikalctl", "apply"
        )
        certificate = host.run("baikalctl certificate", HEALTH_LIMIT_S)
        assert certificate.status == 0, certificate
        queue = host.run("baikalctl mail queue")
        assert (queue.status, queue.output) == (0, "the queue is empty\n"), queue
    assert_works(host)


def test_fifo_as_kept_mail_holds_up_no_command(host: Host) -> None:
    """It isn't a message, so there is nothing to send."""
    with host.attacked(php_attacks.fifo(KEPT)):
        for command in (*READING, "apply"):
            ran = host.run(f"baikalctl {command}")
            assert_ended(ran)
            assert ran.status == 0, ran
        queue = host.run("baikalctl mail queue")
        assert (queue.status, queue.output) == (0, "the queue is empty\n"), queue


@pytest.mark.parametrize("host", CONTAINERS, indirect=True)
def test_fifo_in_the_mail_queue_is_reported(host: Host) -> None:
    """In a container the queue belongs to PHP's account."""
    with host.attacked(php_attacks.fifo(QUEUED)):
        for command in ("check", "mail queue"):
            assert_refused(host.run(f"baikalctl {command}"), f"{QUEUED} must be a regular file, not a link")
        for command in ("health", "apply --plan", "backup", "apply"):
            ran = host.run(f"baikalctl {command}")
            assert_ended(ran)
            assert ran.status == 0, ran
    assert_works(host)


@pytest.fixture
def old(tmp_path: Path) -> OldInstallation:
    """Return an old installation in directories that every account may write to."""
    made = build(tmp_path / "old", "0.10.1", "/var/www/baikal/Specific/db/db.sqlite")
    for path in (made.folder, *made.folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    home(made).mkdir(mode=0o700)
    (home(made) / Path(VICTIM).name).write_text("victim\n", encoding="ascii")
    return made


def home(old: OldInstallation) -> Path:
    """Return the folder for root's home directory in a container, with a file that must not be deleted."""
    return old.folder.with_name("home")


def imported(engine: Engine, image: str, old: OldInstallation, *options: str) -> tuple[int, str]:
    """Import an old installation into an empty volume, and return the status and the output."""
    mounts = (f"--volume={old.folder}:/old", f"--volume={home(old)}:/root")
    with (
        Volume(engine) as volume,
        Container.run(
            engine, image, "import", "/old", volume=volume, options=[*mounts, *options], ports=(), ready=False
        ) as container,
    ):
        return container.exit_status(LIMIT_S), container.log()


@pytest.mark.parametrize("user", ["0", USER])
def test_library_named_by_an_old_installation_is_not_loaded(
    engine: Engine, image: str, library: Path, old: OldInstallation, user: str
) -> None:
    """Its baikal.yaml may name any server, and is not trusted."""
    (old.folder / "Specific/evil.so").write_bytes(library.read_bytes())
    (old.folder / "Specific/c.pem").write_text(Signer.root().pem, encoding="ascii")
    config = yaml.safe_load(old.yaml.read_text(encoding="utf-8"))
    config["database"] |= php_attacks.section("/old/Specific")
    old.yaml.write_text(yaml.safe_dump(config), encoding="utf-8")
    sleep = ("--entrypoint=sleep", "--init")
    with Container.run(engine, image, "600", options=sleep, ports=(), ready=False) as attacker:
        Host(engine, attacker.name).listen("S")
        network = f"--network=container:{attacker.name}"
        status, output = imported(engine, image, old, network, f"--user={user}")
    assert [path.name for path in home(old).iterdir()] == [Path(VICTIM).name]
    assert not (old.folder / "Specific/loaded").exists()
    assert status == 1, output
    assert OPTION in output
    assert "Traceback" not in output


@pytest.mark.parametrize("user", ["0", USER])
def test_journal_of_an_old_installation_deletes_no_file(
    engine: Engine, image: str, old: OldInstallation, user: str
) -> None:
    """SQLite as root would delete the file that the journal names."""
    command = [sys.executable, "-c", php_attacks.SUPER_JOURNAL, str(old.database), "once"]
    subprocess.run(command, check=True)
    status, output = imported(engine, image, old, f"--user={user}")
    assert (home(old) / Path(VICTIM).name).exists()
    assert status == 1, output
    assert SUPER_JOURNAL in output
    assert "Traceback" not in output


def test_postgresql_server_without_tls_gets_no_password(engine: Engine, image: str) -> None:
    """With database_tls = "verify", a man in the middle that offers no TLS gets only the request for it."""
    password = "the database's own secret"
    declared = {
        "BAIKAL_DATABASE": "pgsql",
        "BAIKAL_DATABASE_HOST": "127.0.0.1",
        "BAIKAL_DATABASE_PORT": str(php_attacks.PORT),
        "BAIKAL_DATABASE_PASSWORD": password,
        "BAIKAL_DATABASE_TLS": "verify",
    }
    sleep = ("--entrypoint=sleep", "--init")
    with Container.run(engine, image, "600", options=sleep, ports=(), ready=False) as attacker:
        server = Host(engine, attacker.name)
        server.listen("N")
        network = [f"--network=container:{attacker.name}"]
        with Container.run(engine, image, environment=declared, options=network, ports=(), ready=False) as container:
            assert wait_until(lambda: "server does not support SSL" in container.log(), LIMIT_S), container.log()
        received = base64.b64decode(server.execute("base64", RECEIVED))
    request = bytes.fromhex("0000000804d2162f")  # SSLRequest (PostgreSQL's manual, 55.7)
    assert received
    assert received == request * (len(received) // len(request))


def older(archive: bytes, more: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of an archive with ``more`` files, and a matching manifest."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    manifest = json.loads(files["manifest.json"])
    for name, content in more.items():
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"manifest.json": json.dumps(manifest).encode()} | {
        name: content for name, content in {**files, **more}.items() if name != "manifest.json"
    }


def packed(files: Mapping[str, bytes], mode: int = 0o600) -> bytes:
    """Return a tar of files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), mode
            tar.addfile(header, io.BytesIO(content))
    return plain.getvalue()


CONFIGURATION: Final = b"access_log /etc/profile.d/evil.sh;\n"
HOOK: Final = b"#!/bin/sh\ntouch /root/pwned\n"
UNWANTED: Final = {
    "tls/selfsigned-localhost.conf": CONFIGURATION,
    "tls/evil.conf": CONFIGURATION,
    "acme/renewal-hooks/pre/evil": HOOK,
    "acme/renewal/evil.conf": HOOK,
    "dkim/evil.sh": HOOK,
}
"""Files in archives of an older format that are neither restored nor read by any program."""


@pytest.mark.parametrize("form", ["archive", "unpacked"])
def test_only_keys_and_certificates_of_an_archive_are_restored(machine: Machine, form: str) -> None:
    """Each is private to root and not executable, and none is included by nginx or run by certbot."""
    host = Host(machine.engine, machine.name)
    host.execute("baikalctl", "backup", "--quiet")
    made = base64.b64decode(host.execute("sh", "-c", "base64 $(ls /var/backups/baikal/*.tar.gz | tail -n 1)"))
    files = older(made, UNWANTED | {"dkim/mail.example.org.pem": Signer.root().key_pem.encode()})
    if form == "archive":
        host.execute("sh", "-c", "cat > /root/archived", text=gzip.compress(packed(files)))
    else:
        unpack = "rm -rf /root/archived; mkdir /root/archived; tar -xp -C /root/archived"
        host.execute("sh", "-c", unpack, text=packed(files, 0o755))
    restored = host.run("baikalctl restore /root/archived")
    host.execute("rm", "-rf", "/root/archived")
    assert restored.status == 0, restored
    look = "cd /var/lib/baikal; find tls acme dkim -type f -printf '%p %m %U\n'"
    modes = {line.split(" ")[0]: line.split(" ")[1:] for line in host.execute("sh", "-c", look).splitlines()}
    assert not (set(UNWANTED) - {"tls/selfsigned-localhost.conf"}) & set(modes)
    assert {name: how for name, how in modes.items() if how[0] not in {"600", "640"}} == {}
    assert modes["dkim/mail.example.org.pem"] == ["600", "0"]
    served = host.execute("sh", "-c", "cat /var/lib/baikal/tls/*.conf; nginx -T 2>&1")
    assert "evil" not in served
    assert_works(host)
