"""What hosts are asked, run by this machine's own shell, and how the answers are read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.baikal import release
from baikalctl.rendering import nginx, php
from baikalctl.rendering.machine import packages as machine_packages
from baikalctl.rendering.mail import CONFLICTING
from baikalctl.rendering.model import Directory, File, FileSet, Service
from baikalctl.tls import nginx_reload, selection
from tasks.facts import CheckFact, FilesFact, ReleaseFact, ServicesFact, ServiceState, read_digest, stamp
from tasks.machine import CandidateFact, Machine, MachineFact, PathsFact
from tests.lab.images import PACKAGES
from tests.unit.pairs import DNS, issue, pem, put
from tests.unit.samples import (
    IMAGE_PACKAGES,
    LETSENCRYPT,
    MAIL_SERVERS,
    RELAY,
    VERSION,
    declared,
    installed,
    own_postfix,
    release_zip,
    settings,
)

if TYPE_CHECKING:
    from pyinfra.api.facts import FactBase

    from baikalctl.settings.model import Settings


def ask(fact: FactBase[Any], **arguments: object) -> Any:  # noqa: ANN401 - what the fact says
    """Run the fact's command in this machine's shell, as pyinfra does on a host, and read the answer."""
    command = fact.command(**arguments)
    done = subprocess.run(["/bin/sh", "-c", str(command)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return fact.process(lines) if lines else fact.default()


def machine(*lines: str) -> Machine:
    """Return what is made of these lines of a host's answer."""
    return MachineFact().process(["uid=0", *lines])


def executable(path: Path, text: str) -> None:
    """Write a program of a few lines."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.usefixtures("host")
def test_this_machine_tells_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is right shell, and everything in the answer is found."""
    for variable in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):  # nproc heeds them
        monkeypatch.delenv(variable, raising=False)
    facts = ask(MachineFact())
    assert facts.root == (os.geteuid() == 0)
    assert facts.booted == Path("/run/systemd/system").is_dir()
    assert facts.cores == len(os.sched_getaffinity(0))
    (total,) = re.findall(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    assert 0 <= int(total) // 1024 - facts.memory_mb < 64
    assert facts.ipv6 == Path("/proc/net/if_inet6").exists()
    assert facts.release == ""
    assert set(facts.installed) | set(facts.missing(PACKAGES)) >= set(PACKAGES)
    assert not set(facts.installed) & set(facts.missing(PACKAGES))


@pytest.mark.parametrize(
    ("lines", "system"),
    [
        (["system=debian", "like="], "debian"),
        (["system=ubuntu", "like=debian"], "ubuntu"),
        (["system=linuxmint", "like=ubuntu debian"], "ubuntu"),
        (["system=raspbian", "like=debian"], "debian"),
        (["system=fedora", "like="], "fedora"),
        (["system=rocky", "like=rhel centos fedora"], "rocky"),
        ([], ""),
    ],
)
def test_a_system_is_known_by_what_it_derives_from(lines: list[str], system: str) -> None:
    """Ubuntu derives from Debian and is Ubuntu; what derives from neither is itself."""
    assert machine(*lines).system == system


def test_a_bare_image_tells_little() -> None:
    """No init, no packages, no release; what is missing is all of them."""
    facts = machine(
        "system=debian", "like=", "pretty=Debian GNU/Linux 12 (bookworm)", "cores=2", "memory=2048000", "release="
    )
    assert facts == Machine(
        system="debian",
        pretty="Debian GNU/Linux 12 (bookworm)",
        root=True,
        user="",
        groups=(),
        sudo="",
        booted=False,
        cores=2,
        memory_mb=1984,
        ipv6=False,
        release="",
        mail_servers=(),
        database_servers=(),
        installed={},
    )
    assert facts.missing(PACKAGES) == PACKAGES


def test_only_what_is_wholly_installed_counts() -> None:
    """A package that is unpacked, or whose configuration alone is left, is missing."""
    facts = machine(
        "installed=nginx 1.22.1-9+deb12u2",
        "config-files=openssl 3.0.17-1",
        "half-configured=php-fpm 2:8.2+93",
        "not-installed=php-xml ",
    )
    assert facts.installed == {"nginx": "1.22.1-9+deb12u2"}
    assert set(PACKAGES) - set(facts.missing(PACKAGES)) == {"nginx"}


@pytest.mark.parametrize(
    ("changed", "machine", "image"),
    [
        ({}, (), IMAGE_PACKAGES),
        (LETSENCRYPT, ("certbot",), IMAGE_PACKAGES),
        (
            LETSENCRYPT | {"acme_dns_plugin": "rfc2136"},
            ("certbot", "python3-certbot-dns-rfc2136"),
            (*IMAGE_PACKAGES, "python3-certbot-dns-rfc2136"),
        ),
        (LETSENCRYPT | {"acme_dns_hook": "/hook"}, ("certbot",), IMAGE_PACKAGES),
        ({"acme_dns_plugin": "rfc2136"}, (), (*IMAGE_PACKAGES, "python3-certbot-dns-rfc2136")),
    ],
    ids=["self-signed", "HTTP-01", "DNS plugin", "DNS hook", "an unused plugin"],
)
def test_what_is_needed_depends_on_where_the_certificate_comes_from(
    changed: dict[str, object], machine: tuple[str, ...], image: tuple[str, ...]
) -> None:
    """A machine gets certbot only if it asks; an image has all packages that the settings of its containers may need."""
    assert set(machine_packages(settings(**changed), image=False)) == {*PACKAGES, *machine}
    assert set(machine_packages(settings(**changed), image=True)) == {*PACKAGES, *image}


def test_image_has_the_packages_for_all_settings_of_containers() -> None:
    """Certificates, mail, other machines' databases, and a supervisor in systemd's place; servers are machines' alone."""
    drivers = {"php-mysql", "php-pgsql", "python3-pymysql", "python3-psycopg2"}
    assert set(IMAGE_PACKAGES) == {"certbot", "s6", "nullmailer", "python3-dnspython", *drivers}
    for changed in ({}, RELAY):
        assert set(machine_packages(settings(**changed), image=True)) == {*PACKAGES, *IMAGE_PACKAGES}


@pytest.mark.parametrize(
    ("wanted", "servers"),
    [(settings(**RELAY), ["nullmailer"]), (own_postfix(), ["postfix", "opendkim"])],
    ids=["relay", "postfix"],
)
def test_a_machine_gets_what_its_mail_needs_and_none_without(wanted: Settings, servers: list[str]) -> None:
    """The one server of the mode, and what reads calendars and the DNS; without mail, no mail server is installed."""
    assert set(machine_packages(wanted, image=False)) == {*PACKAGES, *servers, "python3-dnspython"}
    assert machine_packages(settings(), image=False) == PACKAGES


def test_a_host_is_asked_about_every_mail_server_that_there_is() -> None:
    """Or else the deploy would take away one that it doesn't know of."""
    question = MachineFact().command()
    for name in (*MAIL_SERVERS.values(), *CONFLICTING):
        assert f" {name} " in question


def test_which_mail_servers_are_ours_is_what_was_written_down() -> None:
    """Names in one line, or nothing where there is no such file."""
    assert machine("mail=nullmailer postfix").mail_servers == ("nullmailer", "postfix")
    assert machine("mail=").mail_servers == ()


def test_dns_plugins_are_among_what_a_host_is_asked_about() -> None:
    """With any name: dpkg-query takes a pattern."""
    assert " 'python3-certbot-dns-*' " in MachineFact().command()
    assert machine("installed=python3-certbot-dns-rfc2136 2.1.0-4").missing(["python3-certbot-dns-rfc2136"]) == ()


def test_a_value_with_an_equals_sign_stays_whole() -> None:
    """As in what sudo may say."""
    assert machine("sudo=sudo: a=b").sudo == "sudo: a=b"


APT = """\
nginx:
  Installed: (none)
  Candidate: 1.22.1-9+deb12u2
  Version table:
     1.22.1-9+deb12u2 500
        500 http://deb.example.org/debian bookworm/main amd64 Packages
php-fpm:
  Installed: 2:8.2+93
  Candidate: 2:8.2+93
php-xml:
  Installed: (none)
  Candidate: (none)
"""


def test_candidates_are_read_from_apts_paragraphs() -> None:
    """What no source has is not among them."""
    assert CandidateFact().process(APT.splitlines()) == {"nginx": "1.22.1-9+deb12u2", "php-fpm": "2:8.2+93"}


def test_why_lists_cannot_be_refreshed_is_kept() -> None:
    """The reason is apt's own words, colons and all."""
    reason = "Err:1 http://deb.example.org/debian bookworm InRelease"
    answer = CandidateFact().process([f"unreachable: {reason}", *APT.splitlines()])
    assert answer.pop(CandidateFact.UNREACHABLE) == reason
    assert set(answer) == {"nginx", "php-fpm"}


def test_the_question_for_candidates_is_right_shell() -> None:
    """It isn't run here: it would refresh this machine's lists."""
    subprocess.run(["/bin/sh", "-n", "-c", CandidateFact().command(PACKAGES)], check=True)
    assert CandidateFact.default() == {}


@pytest.fixture
def wanted(host: Path) -> FileSet:
    """Return a set of two files, a directory and a link of the distribution's, below the host's root."""
    return FileSet(
        directories=(Directory(path=f"{host}/a b", mode=0o700),),
        files=(File(path=f"{host}/a b/it's.conf", content=b"x\n"), File(path=f"{host}/empty", content=b"")),
        displaced=((f"{host}/enabled", f"{host}/available"),),
        record=paths.FILES,
    )


def test_empty_host_has_none_of_our_files(wanted: FileSet) -> None:
    """All parts of the answer are empty."""
    assert ask(FilesFact(), files=wanted) == {"checksums": {}, "states": {}, "links": {}, "owned": []}


def test_state_of_all_files_is_one_answer(host: Path, wanted: FileSet, me: dict[str, str]) -> None:
    """Checksum, kind, mode, owner and group, also of paths with spaces and quotation marks, and the record."""
    (host / "a b").mkdir(mode=0o700)
    (host / "a b/it's.conf").write_text("x\n", encoding="utf-8")
    (host / "a b/it's.conf").chmod(0o644)
    (host / "empty").touch(mode=0o600)
    (host / "available").touch()
    (host / "enabled").symlink_to("available")
    Path(paths.FILES).write_text(json.dumps(["/etc/x", "/etc/y"], indent=0), encoding="utf-8")
    answer = ask(FilesFact(), files=wanted)
    who = [me["owner"], me["group"]]
    assert answer["states"] == {
        f"{host}/a b": ["directory", "700", *who],
        f"{host}/a b/it's.conf": ["regular file", "644", *who],
        f"{host}/empty": ["regular empty file", "600", *who],
    }
    assert answer["checksums"][f"{host}/a b/it's.conf"] == hashlib.sha256(b"x\n").hexdigest()
    assert answer["checksums"][f"{host}/empty"] == hashlib.sha256(b"").hexdigest()
    assert answer["links"] == {f"{host}/enabled": str((host / "available").resolve())}
    assert answer["owned"] == ["/etc/x", "/etc/y"]


def test_damaged_record_counts_as_empty(host: Path, wanted: FileSet) -> None:
    """The files are compared all the same."""
    (host / "empty").touch()
    Path(paths.FILES).write_text('["/etc/x"', encoding="utf-8")
    answer = ask(FilesFact(), files=wanted)
    assert answer["owned"] == []
    assert f"{host}/empty" in answer["checksums"]


def test_a_set_without_links_is_asked_in_right_shell(host: Path) -> None:
    """As an image's is, which displaces nothing."""
    assert ask(FilesFact(), files=FileSet(directories=(), files=(File(path=f"{host}/x", content=b""),)))["links"] == {}


def test_release_is_reported_with_its_origin(host: Path) -> None:
    """If it stands as it was installed, and whether an interrupted run left temporary files next to it."""
    fact = ReleaseFact()
    assert ask(fact, version=VERSION) == ("", "", True)
    archive = release_zip(host / "baikal.zip")
    origin = hashlib.sha256(archive.read_bytes()).hexdigest()
    installed(archive)
    assert ask(fact, version=VERSION) == ("", origin, True)
    release.activate(VERSION)
    assert ask(fact, version=VERSION) == (VERSION, origin, True)
    assert ask(fact, version="0.11.1") == (VERSION, "", True)
    (Path(paths.CODE) / f".baikal-{VERSION}.zip").touch()
    (Path(paths.CODE) / f".{VERSION}.new").mkdir()
    assert ask(fact, version=VERSION) == (VERSION, origin, False)
    (Path(paths.CODE) / VERSION / "html/dav.php").write_text("<?php // edited", encoding="utf-8")
    assert ask(fact, version=VERSION) == (VERSION, "", False)
    assert ReleaseFact.default() == ("", "", True)


SYSTEMCTL = """\
#!/bin/sh
verb=$1; shift
for unit; do
    if ! [ -e "$STATES/$unit" ]; then
        [ "$verb" = is-active ] && echo inactive || echo "Failed to get unit file state for $unit" >&2
    else
        read -r active enabled < "$STATES/$unit"
        [ "$verb" = is-active ] && echo "$active" || echo "$enabled"
    fi
done
exit 3
"""
"""What systemctl prints, which is all that is asked of it; its exit status tells of the worst unit."""


@pytest.fixture
def services(host: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Service, ...]:
    """Return two services that read a file each, on a host whose systemctl says what the test has written down."""
    (host / "bin").mkdir()
    executable(host / "bin/systemctl", SYSTEMCTL)
    monkeypatch.setenv("PATH", f"{host}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STATES", str(host / "states"))
    (host / "states").mkdir()
    return tuple(
        Service(name=name, unit=unit, check=("true",), reads=(f"{host}/{name}.conf", f"{host}/it's missing"))
        for name, unit in (("php", "php8.2-fpm"), ("nginx", "nginx"))
    )


def start(host: Path, service: Service, state: str, *, read: bool) -> None:
    """Have a service in this ``state``, with its file, which it has ``read`` or not."""
    (host / "states" / service.unit).write_text(state, encoding="utf-8")
    (host / f"{service.name}.conf").write_text("x", encoding="utf-8")
    if read:
        subprocess.run(["/bin/sh", "-c", f"{read_digest(service)} > {stamp(service)}"], check=True)


def test_healthy_services_are_reported(host: Path, services: tuple[Service, ...]) -> None:
    """Running, enabled, and up to date with what they read."""
    for service in services:
        start(host, service, "active enabled\n", read=True)
    good = ServiceState(running=True, enabled=True, current=True)
    assert ask(ServicesFact(), services=services) == {"php": good, "nginx": good}


@pytest.mark.parametrize(
    ("state", "read", "expected"),
    [
        ("inactive enabled\n", True, ServiceState(running=False, enabled=True, current=True)),
        ("failed disabled\n", False, ServiceState(running=False, enabled=False, current=False)),
        ("active disabled\n", True, ServiceState(running=True, enabled=False, current=True)),
        ("active enabled\n", False, ServiceState(running=True, enabled=True, current=False)),
        ("activating masked\n", True, ServiceState(running=False, enabled=False, current=True)),
    ],
)
def test_each_service_has_its_own_state(
    host: Path, services: tuple[Service, ...], state: str, expected: ServiceState, *, read: bool
) -> None:
    """A fault of one service isn't reported for another."""
    start(host, services[0], "active enabled\n", read=True)
    start(host, services[1], state, read=read)
    answer = ask(ServicesFact(), services=services)
    assert answer["php"] == ServiceState(running=True, enabled=True, current=True)
    assert answer["nginx"] == expected


def test_missing_services_are_reported_as_down(host: Path, services: tuple[Service, ...]) -> None:
    """Before their packages are installed, with what a run that is only planned sees."""
    assert host.is_dir()
    down = ServiceState(running=False, enabled=False, current=False)
    assert ask(ServicesFact(), services=services) == {"php": down, "nginx": down}


def test_a_file_that_changed_makes_its_service_outdated(host: Path, services: tuple[Service, ...]) -> None:
    """Ours or a renewed certificate; the stamp no longer fits."""
    for service in services:
        start(host, service, "active enabled\n", read=True)
    (host / "nginx.conf").write_text("y", encoding="utf-8")
    answer = ask(ServicesFact(), services=services)
    assert (answer["php"].current, answer["nginx"].current) == (True, False)


def test_files_are_distinguished_from_directories(host: Path) -> None:
    """Missing ones and directories are not files; spaces and quotation marks are part of names."""
    (host / "it's a key").touch()
    asked = [f"{host}/it's a key", f"{host}/missing", str(host)]
    assert ask(PathsFact(), paths=asked) == [f"{host}/it's a key"]
    assert ask(PathsFact(), paths=[f"{host}/missing"]) == []


@pytest.mark.parametrize("status", [0, 1])
def test_findings_of_the_check_are_read_with_any_exit_status(host: Path, status: int) -> None:
    """A failing host is an answer, not an error."""
    answer = {"healthy": not status, "pending": ["ä"], "due": True, "findings": []}
    (host / "answer").write_text(json.dumps(answer), encoding="utf-8")
    executable(Path(paths.COMMAND), f'#!/bin/sh\necho "$@" > {host}/asked\ncat {host}/answer\nexit {status}\n')
    assert ask(CheckFact(), wait_s=7) == answer
    assert (host / "asked").read_text(encoding="utf-8") == "check --json --wait 7\n"


@pytest.mark.usefixtures("host")
def test_a_host_without_baikalctl_has_everything_to_do() -> None:
    """Nothing printed means that nothing is there yet."""
    assert ask(CheckFact()) == {"healthy": False, "pending": ["everything"], "due": False, "findings": []}


def test_a_stamp_holds_the_checksum_of_all_that_is_read(host: Path, services: tuple[Service, ...]) -> None:
    """In their order; one that is missing counts as empty, until it is there."""
    (host / "php.conf").write_text("x", encoding="utf-8")
    done = subprocess.run(["/bin/sh", "-c", read_digest(services[0])], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(b"x").hexdigest()
    assert stamp(services[0]) == f"{paths.STAMPS}/php"
    assert stat.S_ISDIR(Path(paths.STAMPS).stat().st_mode)


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("2:8.2+93", "8.2"),
        ("2:8.4+96", "8.4"),
        ("2:8.3+93ubuntu2", "8.3"),
        ("8.1.2-1ubuntu2", "8.1"),
        ("2:8.10+1", "8.10"),
    ],
)
def test_phps_version_is_that_of_its_package(package: str, version: str) -> None:
    """Debian's and Ubuntu's names for it."""
    assert php.version(package) == version


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("1.22.1-9+deb12u2", (1, 22, 1)),
        ("1.24.0-2ubuntu7.3", (1, 24, 0)),
        ("1.26.3-3+deb13u1", (1, 26, 3)),
        ("1:1.30.0~bookworm", (1, 30, 0)),
        ("strange", (1, 18, 0)),
    ],
)
def test_nginxs_version_is_that_of_its_package(package: str, version: tuple[int, int, int]) -> None:
    """Where it can't be read, an old one is assumed, whose configuration every nginx understands."""
    assert nginx.version(package) == version


def test_stamp_of_the_deploy_is_that_of_baikalctl(host: Path) -> None:
    """So that neither reloads nginx after the other."""
    it = declared()
    put(selection.serving_pair(it), pem(issue(DNS)))
    Path(paths.SITE).parent.mkdir(parents=True)
    Path(paths.SITE).write_text("server {}\n", encoding="ascii")
    assert host.is_dir()
    nginx_reload.remember(it)
    nginx = Service(name="nginx", unit="nginx", check=("true",), reads=it.read_by_nginx())
    done = subprocess.run(["sh", "-c", read_digest(nginx)], capture_output=True, text=True, check=True)
    assert Path(stamp(nginx)).read_text(encoding="ascii") == done.stdout
