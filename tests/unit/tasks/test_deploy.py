"""The whole deploy on hosts that answer what a test has written down."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
from pyinfra.api import arguments, connectors
from pyinfra.api.exceptions import DeployError

from baikalctl import paths
from baikalctl.baikal import release
from baikalctl.rendering.container import baked
from baikalctl.rendering.machine import render
from tasks import preflight, release_download
from tasks.pyinfra_internals import hosts as hosts_of_pyinfra
from tests.lab.images import PACKAGES
from tests.unit.fake import (
    BARE,
    BOOTED,
    DEBIAN,
    DOING,
    HEALTHY,
    NAMES,
    OFFERED,
    ROOT,
    SEND_FILES,
    SERVICES,
    SETTLED,
    SITE,
    STARTING,
    TIMERS,
    UBUNTU,
    UNHEALTHY,
    Answers,
    Deploy,
    answers,
    apt,
    bundle,
    settled,
)
from tests.unit.samples import HOME, IMAGE_PACKAGES, PASSWORD, PLATFORM, VERSION, release_zip, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ASKS_FOR_PASSWORD = [BOOTED, "uid=1000", "sudo=sudo: a password is required", "user=jo"]


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Return a way to run the deploy, with a password in the environment and nothing remembered of other runs."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("PYINFRA_PROGRESS", "off")
    monkeypatch.setattr(preflight, "_examined", {})
    monkeypatch.setattr(release_download, "_obtained", {})
    # What pyinfra computes each time: the metadata of every installed package, and its own type hints.
    monkeypatch.setattr(connectors, "entry_points", functools.cache(entry_points))
    monkeypatch.setattr(arguments, "all_global_arguments", functools.cache(arguments.all_global_arguments))
    return Deploy(release_zip(tmp_path / "baikal.zip"))


def test_a_bare_machine_gets_everything_in_order(deploy: Deploy) -> None:
    """Packages, files, release, state, services, check; each operation's name is a sentence."""
    ran = deploy.one(answers(BARE))
    assert ran.names == NAMES
    assert ran.changed == DOING
    assert not ran.failed
    texts = ran.texts()
    assert "dpkg --configure -a" in texts[0]
    assert texts[1].count("install --yes --no-install-recommends " + " ".join(PACKAGES)) == 2
    assert texts[2].startswith(SEND_FILES)
    incoming = f"{paths.CODE}/.baikal-{VERSION}.zip"
    assert texts[3].startswith(f"{{ base64 -d | cat > {incoming} || ")
    assert f" && {paths.COMMAND} release {VERSION} {incoming} --sha256 " in texts[3]
    assert base64.b64decode("".join(ran.done[3].connector_arguments["_stdin"])) == deploy.archive.read_bytes()
    assert texts[4] == f"{paths.COMMAND} apply"


def test_a_bare_machines_services_are_checked_before_they_start(deploy: Deploy) -> None:
    """PHP first, because nginx needs its socket; the stamp is written only once all before has succeeded."""
    texts = deploy.one(answers(BARE)).texts()
    php, nginx, *timers = (text for text in texts if " reload-or-restart " in text)
    assert re.search(
        r"php-fpm8\.2 -t && .*systemctl reload-or-restart php8\.2-fpm .*\} && echo \$digest > .*php", php, re.DOTALL
    )
    assert re.search(
        r"nginx -t -q && .*systemctl reload-or-restart nginx .*\} && echo \$digest > .*nginx", nginx, re.DOTALL
    )
    assert [text for text in texts if text.endswith("systemctl enable --quiet nginx")]
    for name, timer in zip(TIMERS, timers, strict=True):
        begin = rf" && /usr/bin/systemctl daemon-reload && .*systemctl reload-or-restart {name} "
        assert re.search(begin, timer, re.DOTALL)


def test_starting_a_service_keeps_the_known_state_of_the_others(deploy: Deploy) -> None:
    """The state is read when the operation is prepared and when it runs, however many services start."""
    states = [text for text in deploy.one(answers(BARE)).commands if "systemctl is-active" in text]
    assert len(states) == 2


def test_a_bare_machine_gets_the_files_of_the_php_it_will_have(deploy: Deploy) -> None:
    """It has none yet; what apt offers counts."""
    (command,) = [done for done in deploy.one(answers(BARE)).done if str(done).startswith(SEND_FILES)]
    sent = bundle(command)
    assert {file["path"] for file in sent["files"]} == {file.path for file in render(settings(), PLATFORM).files}
    assert sent["services"] == {
        "php": ["/usr/sbin/php-fpm8.2", "-t"],
        "nginx": ["/usr/sbin/nginx", "-t", "-q"],
        **{name: ["/usr/bin/systemctl", "daemon-reload"] for name in TIMERS},
    }
    assert sent["prepare"] == {"certificate": [paths.COMMAND, "certificate", "--prepare"]}
    assert sent["owned"] == sorted(file["path"] for file in sent["files"])
    assert [file["path"] for file in sent["files"] if file["together"]] == [paths.DECLARED]
    assert sent["user"] == paths.USER


AUTHORITY: dict[str, Any] = {"tls": "letsencrypt", "acme_email": "ops@example.org"}


@pytest.mark.parametrize(
    ("declared", "packages"),
    [
        (AUTHORITY, ["certbot"]),
        (AUTHORITY | {"acme_dns_plugin": "rfc2136"}, ["certbot", "python3-certbot-dns-rfc2136"]),
        ({}, []),
    ],
    ids=["HTTP-01", "DNS plugin", "self-signed"],
)
def test_only_who_asks_an_authority_gets_what_that_needs(
    deploy: Deploy, declared: dict[str, Any], packages: list[str]
) -> None:
    """Certbot and its plugin are installed with the rest, and nowhere else."""
    offered = [line for name in packages for line in (f"{name}:", "  Candidate: 2.1.0-4")]
    ran = deploy.one(answers(BARE, candidates=[*apt(certbot="(none)"), *offered]), **declared)
    assert not ran.failed
    assert f"--no-install-recommends {' '.join(sorted([*PACKAGES, *packages]))} ||" in ran.texts()[1]


@pytest.mark.parametrize("due", [True, False])
def test_an_authority_is_asked_once_the_server_is_up_and_only_where_that_is_due(deploy: Deploy, *, due: bool) -> None:
    """It looks whether the server answers; its refusal is no failure, because the server serves all the same."""
    ran = deploy.one(answers(BARE, before=json.dumps(UNHEALTHY | {"due": due})), **AUTHORITY)
    before = NAMES.index("Start certificate timer") + 1
    assert ran.names == [*NAMES[:before], "Request certificate", *NAMES[before:]]
    asked = [text for text in ran.texts() if f"{paths.COMMAND} certificate" in text]
    assert asked == ([f"{paths.COMMAND} certificate --now || [ $? -eq 75 ]"] if due else [])


def test_a_plugin_that_there_is_none_of_names_its_setting(deploy: Deploy) -> None:
    """And how to find those that there are."""
    message = deploy.refusal(answers(BARE), **AUTHORITY, acme_dns_plugin="nonesuch")
    assert (
        "python3-certbot-dns-nonesuch is not available on this host: no package source has it; check acme_dns_plugin"
        in message
    )


def test_what_an_authority_is_asked_with_must_be_on_the_host(deploy: Deploy) -> None:
    """Its own certificate, and a program that answers in the DNS."""
    message = deploy.refusal(answers(BARE), **AUTHORITY, acme_ca="/ca.pem", acme_dns_hook="/hook")
    assert "/ca.pem and /hook not found on the host; put the files that the settings name there first" in message


def test_with_what_an_authority_is_asked_with_on_the_host_all_is_well(deploy: Deploy) -> None:
    """The deploy continues."""
    present = answers(BARE, paths=["/ca.pem", "/hook"])
    assert not deploy.one(present, **AUTHORITY, acme_ca="/ca.pem", acme_dns_hook="/hook").failed


MAIL: dict[str, Any] = {"mail": "relay", "relay_host": "smtp.example.net"}


def test_a_machine_that_is_to_send_mail_gets_what_that_needs(deploy: Deploy) -> None:
    """Its server is written down as ours before it is there, and installed with the rest."""
    ran = deploy.one(answers(BARE), **MAIL)
    assert not ran.failed
    assert {*ran.names} - {*NAMES} == {"Check mail configuration", "Start mail server", "Send kept mail"}
    assert ran.changed == [NAMES[0], *DOING[:-1], "Start mail server", DOING[-1]]
    texts = ran.texts()
    assert f"echo nullmailer > {paths.MAIL_SERVERS}.new" in texts[0]
    installing = next(text for text in texts if " install --yes" in text)
    assert {"nullmailer", "python3-dnspython"} <= {*installing.split()}
    assert [text for text in texts if "reload-or-restart nullmailer" in text]


def test_kept_mail_is_sent_when_mail_is_switched_on(deploy: Deploy) -> None:
    """It was kept while mail was off; without any, nothing is sent."""
    ran = deploy.one({f"for path in {paths.KEPT}/": "kept"} | answers(BARE), **MAIL)
    assert ran.changed[-3:-1] == ["Start mail server", "Send kept mail"]
    assert f"{paths.COMMAND} mail retry || true" in ran.texts()


def test_a_machine_that_is_to_have_a_server_gets_it_before_all_else(deploy: Deploy) -> None:
    """It is recorded as ours, installed, configured to listen only locally, and used, in this order."""
    ran = deploy.one(answers(BARE), database="mysql", database_host="local")
    assert ran.changed[0] == "Record database server"
    texts = ran.texts()
    assert f"echo mariadb-server > {paths.DATABASE_SERVERS}.new" in texts[0]
    (installing,) = [text for text in texts if " install --yes " in text]
    assert {"php-mysql", "python3-pymysql", "mariadb-server"} <= {*installing.split()}
    (restarting,) = [text for text in texts if "systemctl restart mariadb" in text]
    assert texts.index(installing) < texts.index(f"{paths.COMMAND} apply") < texts.index(restarting)


def test_mail_that_is_off_takes_our_server_away_and_keeps_what_waited(deploy: Deploy) -> None:
    """First of all, and last but for the check."""
    settled_machine = [*SETTLED, "installed=nullmailer 1:2.2-3", "mail=nullmailer"]
    ran = deploy.one(settled(deploy.archive) | {"db:Status-Status": settled_machine})
    assert ran.changed == ["Save queued mail", "Remove old mail server"]
    texts = ran.texts()
    assert texts[0].endswith(f"{paths.COMMAND} mail take")
    assert " purge --yes nullmailer" in texts[1]


def test_a_machine_with_a_mail_server_of_its_own_is_left_alone_while_mail_is_off(deploy: Deploy) -> None:
    """With mail, nothing is changed, and the message has the remedy."""
    theirs = [*SETTLED, "installed=exim4-daemon-light 4.96-15"]
    assert deploy.one(settled(deploy.archive) | {"db:Status-Status": theirs}).changed == []
    message = deploy.refusal(answers(theirs), **MAIL)
    assert "exim4-daemon-light is this machine's mail server" in message
    assert "remove it (apt-get remove exim4-daemon-light) if it isn't needed, or set mail = " in message


def test_what_a_relay_is_checked_with_must_be_on_the_host(deploy: Deploy) -> None:
    """Or no mail would ever leave."""
    assert "/ca.pem not found on the host" in deploy.refusal(answers(BARE), **MAIL, relay_ca="/ca.pem")


def test_a_relays_password_is_in_no_command(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It travels on standard input."""
    monkeypatch.setenv("RELAY", "relay-geheim")
    wanted = MAIL | {"relay_user": "cal", "relay_password": {"env": "RELAY"}, "relay_ca": "/ca.pem"}
    ran = deploy.one(answers(BARE, paths=["/ca.pem"]), **wanted)
    assert not ran.failed
    assert "relay-geheim" not in "\n".join([*ran.commands, *(repr(command) for command in ran.done)])


def test_no_secret_of_an_authority_is_in_any_command(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """They travel on standard input, to files that are root's alone."""
    monkeypatch.setenv("EAB", "c2VjcmV0LWhtYWMta2V5")
    monkeypatch.setenv("DNS", "dns_rfc2136_secret = geheim")
    secrets = {"acme_eab_hmac_key": {"env": "EAB"}, "acme_dns_credentials": {"env": "DNS"}}
    offered = [*apt(), "python3-certbot-dns-rfc2136:", "  Candidate: 2.1.0-4"]
    wanted = AUTHORITY | secrets | {"acme_eab_key_id": "kid-1", "acme_dns_plugin": "rfc2136"}
    ran = deploy.one(answers(BARE, candidates=offered), **wanted)
    assert not ran.failed
    (command,) = [done for done in ran.done if str(done).startswith(SEND_FILES)]
    modes = {file["path"]: (file["mode"], file["together"]) for file in bundle(command)["files"]}
    assert modes[paths.CERTBOT] == modes[paths.DNS_CREDENTIALS] == (0o600, True)
    everything = "\n".join([*ran.commands, *(repr(command) for command in ran.done)])
    for secret in ("c2VjcmV0LWhtYWMta2V5", "geheim"):
        assert secret not in everything


def test_no_password_is_in_any_command(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a command line nor on standard input, for no account."""
    monkeypatch.setenv("JO", "hunter2-hunter2")
    ran = deploy.one(answers(BARE), users=[{"name": "jo", "password": {"env": "JO"}}])
    inputs = [str(command.connector_arguments.get("_stdin", "")) for command in ran.done]
    everything = "\n".join([*ran.commands, *inputs, *(repr(command) for command in ran.done)])
    assert paths.COMMAND in everything
    for secret in (PASSWORD, "hunter2"):
        assert secret not in everything
    contents = [
        file["content"]
        for command in ran.done
        if str(command).startswith(SEND_FILES)
        for file in bundle(command)["files"]
    ]
    assert not [content for content in contents if b"hunter2" in base64.b64decode(content)]


def test_a_machine_that_is_as_declared_is_left_alone(deploy: Deploy) -> None:
    """No operation changes anything, and about ten questions are all that it costs."""
    ran = deploy.one(settled(deploy.archive))
    assert ran.names == NAMES
    assert ran.changed == []
    assert ran.done == []
    assert len(ran.commands) <= 10


def services(active: str = SERVICES[1], enabled: str = SERVICES[2]) -> list[str]:
    """Return what a host says of its services, which have read all their files."""
    return [SERVICES[0], active, enabled, *SERVICES[3:]]


@pytest.mark.parametrize(
    ("question", "answer", "changed"),
    [
        ("release", ["", ""], [DOING[2]]),
        ("release", [VERSION, "0" * 64, ""], [DOING[2]]),
        ("release", [VERSION, "as it is", f"{paths.CODE}/.{VERSION}.new"], [DOING[2]]),
        ("before", json.dumps(HEALTHY | {"pending": ["create the account jo"]}), [DOING[3]]),
        ("services", services(active="active inactive active active"), ["Start nginx"]),
        ("services", services(enabled="enabled disabled enabled enabled"), ["Start nginx"]),
        ("services", services(enabled="enabled enabled disabled enabled"), ["Start certificate timer"]),
        ("services", [*SERVICES[:3], "changed", *["current"] * 3], ["Start PHP"]),
        ("services", [*SERVICES[:4], "changed", *["current"] * 2], ["Start nginx"]),
        ("services", [*SERVICES[:5], "changed", "current"], ["Start certificate timer"]),
        ("services", [], STARTING),
        ("files", [], [DOING[1]]),
    ],
    ids=[
        *("no current release", "another archive", "leftovers", "pending"),
        *("stopped", "not at boot", "timer not at boot", "PHP not reread", "nginx not reread", "timer not reread"),
        *("no systemd", "no files"),
    ],
)
def test_only_what_differs_is_done(deploy: Deploy, question: str, answer: object, changed: list[str]) -> None:
    """One broken thing is one operation that changes something."""
    good = settled(deploy.archive)
    if answer == [VERSION, "as it is", f"{paths.CODE}/.{VERSION}.new"]:
        answer = [VERSION, hashlib.sha256(deploy.archive.read_bytes()).hexdigest(), f"{paths.CODE}/.{VERSION}.new"]
    keys = {
        "release": "/.archive-sha256",
        "before": "check --json --wait 0",
        "services": "systemctl is-active",
        "files": "stat -c '%F",
    }
    assert deploy.one(good | {keys[question]: answer}).changed == changed


def test_only_what_was_changed_is_repaired(deploy: Deploy) -> None:
    """A mode, an owner, a group, a content, a link in a file's or directory's place, and what is gone."""
    changes = {
        f"regular file|600|root|root|{paths.DECLARED}": f"regular file|644|root|root|{paths.DECLARED}",
        f"regular file|755|root|root|{paths.COMMAND}": f"regular file|755|jo|root|{paths.COMMAND}",
        f"regular file|644|root|root|{paths.PREPEND}": f"regular file|644|root|jo|{paths.PREPEND}",
        f"regular file|644|root|root|{SITE}": f"symbolic link|644|root|root|{SITE}",
        f"directory|700|root|root|{paths.STATE}": f"directory|755|root|root|{paths.STATE}",
        f"directory|700|root|root|{paths.TLS}": f"symbolic link|700|root|root|{paths.TLS}",
        f"directory|700|root|root|{paths.STAMPS}": "",
    }
    good = settled(deploy.archive)
    lines = good["stat -c '%F"]
    assert set(changes) <= set(lines)
    code = f"{paths.LIBRARY}/baikalctl/cli.py"
    other = [f"{'0' * 64}  {code}" if line.endswith(f"  {code}") else changes.get(line, line) for line in lines]
    ran = deploy.one(good | {"stat -c '%F": [line for line in other if line]})
    assert ran.changed == [DOING[1]]
    sent = bundle(ran.done[0])
    changed = {line.rpartition("|")[2] for line in changes} | {code}
    assert {item["path"] for item in (*sent["files"], *sent["directories"])} == changed


def test_refused_nginx_configuration_fails_under_a_name_that_says_nginx(deploy: Deploy) -> None:
    """The upload is rolled back on the host; the operation of the service that refused it is red, and the last."""
    reason = 'nginx: [emerg] unknown directive "serverr"'
    refusal = {re.compile(f"^{re.escape(SEND_FILES)}"): json.dumps({"refused": {"nginx": reason}})}
    ran = deploy.one(refusal | {re.compile("^printf"): {"success": False}} | answers(BARE))
    assert ran.failed
    assert ran.changed == ["Install packages", "Upload configuration"]
    assert reason in ran.texts()[-1]
    assert "that of all services was rolled back" in ran.texts()[-1]
    assert ran.finished[-1] == "Check nginx configuration"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (json.dumps({"refused": {"certificate": "openssl failed: no space"}}), "certificate refused"),
        (json.dumps({"refused": {"nonesuch": "no"}}), "nonesuch refused"),
        ("", "no proper answer"),
        ("[1]", "no proper answer"),
    ],
    ids=["preparation without TLS", "unknown service", "no answer", "another answer"],
)
def test_every_refusal_fails_the_run(deploy: Deploy, answer: str, reason: str) -> None:
    """Also one that no subsystem in use is responsible for."""
    upload = {re.compile(f"^{re.escape(SEND_FILES)}"): answer, re.compile("^printf"): {"success": False}}
    ran = deploy.one(upload | answers(BARE), tls="off")
    assert ran.failed
    assert ran.finished[-1] == "Check configuration"
    assert reason in ran.texts()[-1]


def test_what_an_older_version_left_is_known(deploy: Deploy) -> None:
    """A record with more than we own now is reason enough to go there."""
    good = settled(deploy.archive)
    lines = good["stat -c '%F"]
    record = [*lines[:-1], lines[-2] + ",", '"/etc/nginx/conf.d/older.conf"', "]"]
    ran = deploy.one(good | {"stat -c '%F": record})
    assert ran.changed == [DOING[1]]


def test_an_image_gets_code_and_no_state(deploy: Deploy) -> None:
    """No service starts in it, its host name isn't known, and no password is needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BAIKAL_ADMIN_PASSWORD")
        ran = deploy.one(answers([*DEBIAN, ROOT, "release="]), hostname="")
    assert ran.names == [*DOING[:3], "Clean image"]
    assert ran.changed == ran.names
    installing = next(text for text in ran.texts() if " install --yes" in text)
    assert " -o Dpkg::Options::='--path-exclude=/usr/share/man/*' " in installing, "a container needs no manuals"
    assert {*IMAGE_PACKAGES, "systemd-standalone-tmpfiles"} <= {*installing.split()}, (
        "a supervisor, and not all of systemd"
    )
    (command,) = [done for done in ran.done if str(done).startswith(SEND_FILES)]
    sent = bundle(command)
    assert {file["path"] for file in sent["files"]} == {file.path for file in baked().files}
    assert (sent["lock"], sent["record"]) == (paths.BAKING_LOCK, paths.BAKED), "the volume stays empty"
    assert sent["services"] == {}
    assert sent["prepare"] == {}
    assert not [text for text in ran.commands if "systemctl" in text or f"{paths.COMMAND} apply" in text]


@pytest.mark.parametrize(
    ("broken", "last"),
    [
        ("apt-get -o DPkg", 0),
        (SEND_FILES, 1),
        (f"{paths.COMMAND} apply", 3),
        ("nginx -t -q", 4),
    ],
)
def test_a_failure_stops_the_host_there(deploy: Deploy, broken: str, last: int) -> None:
    """What comes after it isn't tried, and the run is red."""
    ran = deploy.one({re.compile(re.escape(broken)): {"success": False}} | answers(BARE))
    assert ran.failed
    following = {
        1: SEND_FILES,
        2: f"{paths.COMMAND} release",
        3: f"{paths.COMMAND} apply",
        4: "systemctl reload",
    }
    for position, text in following.items():
        tried = [command for command in ran.commands if text in command]
        assert bool(tried) == (position <= last), text


def test_a_host_that_does_not_answer_well_is_red(deploy: Deploy) -> None:
    """The last operation fails, with the findings of the check."""
    answered = answers(BARE, after=json.dumps(UNHEALTHY))
    ran = deploy.one({re.compile(rf"^{paths.COMMAND} check \|\|"): {"success": False}} | answered)
    assert ran.failed
    assert ran.texts()[-1].startswith(f"{paths.COMMAND} check || ")


def test_a_settled_host_that_does_not_answer_well_is_red(deploy: Deploy) -> None:
    """Although nothing differs from what is declared."""
    ill = json.dumps(HEALTHY | {"healthy": False})
    good = settled(deploy.archive) | {"check --json --wait 0": ill, "check --json --wait 15": ill}
    ran = deploy.one({re.compile(rf"^{paths.COMMAND} check \|\|"): {"success": False}} | good)
    assert ran.failed


def test_a_planned_run_only_asks(deploy: Deploy) -> None:
    """Until the operator confirms, the host is only asked."""
    ran = deploy.one(answers(BARE), execute=False)
    assert ran.done == []
    changing = ("apt-get -o DPkg", "dpkg --configure", f"{paths.COMMAND} apply", "systemctl enable", "python3 -I")
    assert not [command for command in ran.commands for word in changing if word in command]


REFUSED: dict[str, tuple[Answers, dict[str, Any], list[str]]] = {
    "PHP 8.1": (
        answers(
            [*UBUNTU, ROOT, BOOTED],
            candidates=apt(php_fpm="2:8.1+92ubuntu1"),
        ),
        {},
        ["Ubuntu 22.04.5 LTS has PHP 8.1, and Baïkal 0.12.1 needs 8.2; set baikal_version to 0.11.1, or upgrade"],
    ),
    "PHP 7.4": (
        answers(BARE, candidates=apt(php_fpm="2:7.4+76")),
        {},
        ["has PHP 7.4, and Baïkal 0.12.1 needs 8.2; upgrade the host"],
    ),
    "no nginx": (
        answers(BARE, candidates=apt(nginx="(none)")),
        {},
        ["nginx is not available on this host: no package source has it; fix its package sources"],
    ),
    "no way to the packages": (
        answers(BARE, candidates=["unreachable: Err:1 http://deb.example.org bookworm InRelease"]),
        {},
        ["its package lists can't be refreshed (Err:1 http://deb.example.org bookworm InRelease); fix"],
    ),
    "no sudo": (answers([*DEBIAN, BOOTED, "uid=1000", "sudo="]), {}, ["isn't root; set _sudo = True for this host"]),
    "sudo with password": (
        answers([*DEBIAN, *ASKS_FOR_PASSWORD, "groups=jo sudo"]),
        {"_sudo": True},
        ["sudo asks for a password; run pyinfra with --same-sudo-password, or allow it without (NOPASSWD)"],
    ),
    "a user without sudo": (
        answers([*DEBIAN, *ASKS_FOR_PASSWORD, "groups=jo users"]),
        {"_sudo": True},
        [
            "the user jo isn't in the group sudo",
            "run usermod -aG sudo jo as root, or log in as root (ssh_user)",
            "run pyinfra with --same-sudo-password",
        ],
    ),
    "a wrong password for sudo": (
        {"echo accepted": {"success": False, "stderr": "sudo: 3 incorrect password attempts"}}
        | answers([*DEBIAN, *ASKS_FOR_PASSWORD, "groups=jo sudo"]),
        {"_sudo": True, "_sudo_password": "hunter2"},
        ["sudo refused, as its output above says: check the password, and whether jo may use sudo"],
    ),
    "a question without an answer": (
        answers(BARE, candidates={"success": False}),
        {},
        ["didn't answer a question; its output is above"],
    ),
    "sudo that is missing": (
        answers([*DEBIAN, BOOTED, "uid=1000", "sudo=/bin/sh: 4: sudo: not found"]),
        {"_sudo": True},
        ["sudo failed (/bin/sh: 4: sudo: not found); allow this user to use sudo, or log in as root"],
    ),
    "su": (
        answers(BARE),
        {"_su_user": "root"},
        ["su, doas and dzdo don't work here; set only _sudo = True, or log in as root"],
    ),
    "doas": (answers(BARE), {"_doas": True}, ["set only _sudo = True"]),
    "dzdo": (answers(BARE), {"_dzdo": True}, ["set only _sudo = True"]),
    "another system": (
        answers(["system=fedora", "pretty=Fedora Linux 42", ROOT, BOOTED]),
        {},
        ["this is Fedora Linux 42; Debian 12 or newer, or Ubuntu 24.04 or newer, is needed"],
    ),
    "a newer release": (
        answers([*DEBIAN, ROOT, BOOTED, "release=0.13.0"]),
        {},
        ["baikal_version: Baïkal 0.13.0 runs here, and 0.12.1 is older", "set baikal_version to 0.13.0 or newer"],
    ),
    "no certificate": (
        answers(BARE),
        {"tls": "files", "tls_certificate": "/c.pem", "tls_key": "/k.pem"},
        ["/c.pem and /k.pem not found on the host; put the files that the settings name there first"],
    ),
    "wrong settings": (
        answers(BARE),
        {"hostname": "http://x", "http_port": "80", "hostnam": "x"},
        ['hostname = "http://x": ', 'http_port = "80": ', "hostnam: no such setting; did you mean hostname?"],
    ),
    "no archive": (
        answers(BARE),
        {"baikal_archive": "/not/there.zip"},
        ['baikal_archive = "/not/there.zip": is not a file'],
    ),
    "an archive in the home of an unknown user": (
        answers(BARE),
        {"baikal_archive": "~nobody-of-this-name/b.zip"},
        ['baikal_archive = "~nobody-of-this-name/b.zip": '],
    ),
    "a wrong checksum": (
        answers(BARE),
        {"baikal_sha256": "0" * 64},
        ["baikal_sha256", "it is damaged, or another release; download it again"],
    ),
    "an unofficial zip of a known release": (
        answers(BARE),
        {"baikal_sha256": ""},
        ["baikal_archive = ", "baikal.zip is not the official zip of Baïkal 0.12.1", "set baikal_sha256 to "],
    ),
    "a password in the inventory": (
        answers(BARE),
        {"admin_password": "hunter2"},
        ["admin_password: is a secret and must"],
    ),
}


@pytest.mark.parametrize(("answered", "declared", "words"), REFUSED.values(), ids=REFUSED)
def test_every_fault_is_reported_before_anything_is_changed(
    deploy: Deploy, answered: Answers, declared: dict[str, Any], words: list[str]
) -> None:
    """One message with the host's name, each fault and its remedy; nothing but questions were asked."""
    message = deploy.refusal(answered, **declared)
    assert message.startswith("nothing was changed on any host; fix this and run again:\n")
    for text in words:
        assert text in message
    lines = message.splitlines()[1:]
    assert len(lines) == (3 if "hostnam" in declared else 1)
    assert all(line.startswith("    @fake/cal: ") for line in lines)
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("machine", "declared"),
    [
        ([*UBUNTU, ROOT, BOOTED], {"baikal_version": "0.11.1"}),
        ([*DEBIAN, BOOTED, "uid=1000", "sudo="], {"_sudo": True}),
        ([*DEBIAN, *ASKS_FOR_PASSWORD], {"_sudo": True, "_sudo_password": "x"}),
    ],
    ids=["an older release for PHP 8.1", "sudo", "sudo with its password"],
)
def test_remedies_of_refusals_work(
    deploy: Deploy, tmp_path: Path, machine: list[str], declared: dict[str, Any]
) -> None:
    """With the remedy, the deploy succeeds."""
    php = "2:8.1+92ubuntu1" if machine[0] == UBUNTU[0] else OFFERED["php-fpm"]
    version = str(declared.get("baikal_version", VERSION))
    deploy.archive = release_zip(tmp_path / "other.zip", version)
    ran = deploy.one({"echo accepted": "accepted"} | answers(machine, candidates=apt(php_fpm=php)), **declared)
    assert not ran.failed
    assert ran.changed == DOING


def test_hosts_at_the_same_address_are_refused(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deploys to one machine at a time would disturb each other; another port is another machine."""
    monkeypatch.setattr(hosts_of_pyinfra, "is_ssh", lambda _: True)
    same = {"ssh_hostname": "192.0.2.1"}
    hosts: dict[str, tuple[Answers, dict[str, Any]]] = {
        "a": (answers(BARE), same),
        "b": (answers(BARE), same | {"ssh_port": 22}),
        "c": (answers(BARE), same | {"http_port": 0}),
        "d": (answers(BARE), same | {"ssh_port": 23}),
    }
    with pytest.raises(DeployError) as caught:
        deploy(hosts)
    fault = "is the same machine as @fake/a (192.0.2.1, port 22); each host must be a different machine"
    assert [line.strip() for line in str(caught.value).splitlines() if "same machine" in line] == [
        f"@fake/b: {fault}",
        f"@fake/c: {fault}",
    ]
    assert "@fake/c: http_port = 0" in str(caught.value)


def test_cache_that_cannot_be_written_is_one_line(
    deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in place of the directory stands for one without permission, which root has anyway."""
    (tmp_path / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refusal = deploy.refusal(answers(BARE))
    assert f"or can't be stored in {tmp_path}/cache/baikal-deploy ([Errno " in refusal
    assert "set XDG_CACHE_HOME to a directory that this user can write" in refusal


def test_faults_of_all_hosts_are_reported_together(deploy: Deploy) -> None:
    """Of three hosts, two are wrong: both are reported, and the good one isn't changed either."""
    hosts: dict[str, tuple[Answers, dict[str, Any]]] = {
        "good": (answers(BARE), {}),
        "typo": (answers(BARE), {"http_port": 0, "tls": "on"}),
        "old": (
            answers([*UBUNTU, ROOT, BOOTED], candidates=apt(php_fpm="2:8.1+92")),
            {},
        ),
    }
    with pytest.raises(DeployError) as caught:
        deploy(hosts)
    lines = str(caught.value).splitlines()[1:]
    assert sorted(line.split(":")[0].strip() for line in lines) == ["@fake/old", "@fake/typo", "@fake/typo"]


def test_five_hosts_get_what_is_theirs(deploy: Deploy) -> None:
    """Each its own name and state; a fault of one during the run leaves the others alone."""
    hosts: dict[str, tuple[Answers, dict[str, Any]]] = {
        f"cal{number}": (answers(BARE), {"hostname": f"cal{number}.example.org"}) for number in range(4)
    }
    hosts["bad"] = ({f"{paths.COMMAND} apply": {"success": False}} | answers(BARE), {})
    ran = deploy(hosts)
    assert [name for name, each in ran.items() if each.failed] == ["bad"]
    for name, each in ran.items():
        if name != "bad":
            assert each.changed == DOING
            (command,) = [done for done in each.done if str(done).startswith(SEND_FILES)]
            contents = {file["path"]: base64.b64decode(file["content"]) for file in bundle(command)["files"]}
            assert json.loads(contents[paths.DECLARED])["hostname"] == f"{name}.example.org"


def test_data_of_ones_own_is_nobodys_fault(deploy: Deploy) -> None:
    """What starts with x_ belongs to other deploys, what pyinfra and its connectors take belongs to them."""
    theirs: dict[str, Any] = {
        "x_color": "blue",
        "_sudo": False,
        "ssh_user": "root",
        "ssh_port": 22,
        "_shell_executable": "sh",
    }
    assert deploy.one(answers(BARE), execute=False, **theirs).names == NAMES


def test_zip_that_was_accepted_by_its_checksum_is_refused_without_it(deploy: Deploy) -> None:
    """That an earlier run has verified the same bytes changes nothing."""
    assert deploy.one(answers(BARE), execute=False).names == NAMES
    assert "is not the official zip" in deploy.refusal(answers(BARE), baikal_sha256="")


def test_hosts_can_fetch_the_release_themselves(deploy: Deploy) -> None:
    """Then the address reaches the host, nothing is uploaded, and the checksum is the known one."""
    ran = deploy.one(answers(BARE), baikal_archive="", baikal_sha256="", baikal_download="host")
    (install,) = [text for text in ran.texts() if f"{paths.COMMAND} release" in text]
    address = f"https://github.com/sabre-io/Baikal/releases/download/{VERSION}/baikal-{VERSION}.zip"
    assert (
        f"release {VERSION} {address} --sha256 0449abb72b151d39d9c08c63cb83a05d9e9adb065b1165ef6786b0b6a13d203c"
        in install
    )
    assert "base64" not in install


@pytest.fixture(scope="module", autouse=True)
def command_line(memory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run pyinfra as people run it, in this checkout, on a bare machine, while the other tests run."""
    archive = release_zip(memory / "baikal.zip")
    data = {
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "baikal_archive": str(archive),
        "baikal_sha256": release.digest(archive),
        "hostname": "cal.example.org",
    }
    hosts = [("@fake/cal", data | {"fake_responses": answers(BARE)})]
    inventory = memory / "inventory.py"
    inventory.write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pyinfra", str(inventory), "deploy.py", "-y", "--json", "-vv"]
    environment = os.environ | {"BAIKAL_ADMIN_PASSWORD": PASSWORD, "PYINFRA_PROGRESS": "off"}
    with (memory / "out").open("wb") as out, (memory / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=HOME, env=environment, stdout=out, stderr=err)
    yield process
    process.kill()
    process.wait()


def test_the_command_line_does_the_same(command_line: subprocess.Popen[bytes], memory: Path) -> None:
    """With config.py and group_data/ as they are; and no password is in what it prints."""
    status = command_line.wait(60)
    out, err = ((memory / name).read_text(encoding="utf-8") for name in ("out", "err"))
    assert status == 0, err
    totals = json.loads(out)["results"]["totals"]
    assert (totals["success"], totals["error"]) == (len(DOING), 0)
    assert "Traceback" not in err
    assert PASSWORD not in out + err
