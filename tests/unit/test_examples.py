"""The examples are valid for pyinfra and for containers."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from baikalctl.settings import load
from baikalctl.settings.model import DEFINITIONS, Settings
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = HOME / "examples" / "compose"
SWARM = HOME / "examples" / "swarm"
PROXIES = ("caddy", "nginx", "traefik")
each_compose_example = pytest.mark.parametrize("example", ["standalone", *PROXIES])
behind_a_proxy = pytest.mark.parametrize("example", PROXIES)

TERRAFORM = {
    "pyinfra_inventory": {
        "value": {
            "calendars": [
                {
                    "name": "cal-1",
                    "ssh_hostname": "192.0.2.7",
                    "ssh_user": "root",
                    "hostname": "cal-1.example.org",
                }
            ]
        }
    }
}
"""What `terraform output -json` prints of the example's output, with one server."""


def inventory(name: str, **environment: str) -> list[dict[str, Any]]:
    """Return the hosts that pyinfra makes of the inventory ``name``, each with its groups and its data."""
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "--json", name, "debug-inventory"],
        cwd=HOME,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    hosts: list[dict[str, Any]] = json.loads(done.stdout)
    return hosts


def test_fleet_starts_with_the_canary() -> None:
    """Hosts have the order of the file, their own names, the time zone of their group and the batches of the fleet."""
    hosts = inventory("examples/fleet/inventory.py")
    assert [host["name"] for host in hosts][:2] == ["cal-canary.example.org", "cal-01.eu.example.org"]
    assert len(hosts) == 21
    zones = {host["data"]["timezone"] for host in hosts}
    assert zones == {"UTC", "Europe/Berlin", "America/New_York"}
    for host in hosts:
        assert host["data"]["hostname"] == host["name"]
        assert host["data"]["batches"] == [1, 2, "25%"]
        assert host["data"]["baikal_download"] == "host"
        assert host["data"]["http_port"] == 80, "settings that the example does not set have the project's defaults"


def test_inventory_can_be_read_from_terraform(tmp_path: Path) -> None:
    """With pyinfra's connector, which calls only ``terraform output -json``."""
    terraform = tmp_path / "terraform"
    terraform.write_text(f"#!/bin/sh\n[ \"$*\" = 'output -json' ] || exit 1\necho '{json.dumps(TERRAFORM)}'\n")
    terraform.chmod(0o755)
    (host,) = inventory("@terraform", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert host["name"] == "@terraform/cal-1"
    assert set(host["groups"]) >= {"@terraform", "calendars"}
    assert host["data"]["ssh_hostname"] == "192.0.2.7"
    assert host["data"]["hostname"] == "cal-1.example.org"


def test_terraform_example_has_the_tested_form() -> None:
    """It has the same keys, and every setting in it exists."""
    text = (HOME / "examples/terraform/outputs.tf").read_text(encoding="utf-8")
    (name,) = re.findall(r'^output "(\w+)"', text, re.MULTILINE)
    ((group, (host,)),) = TERRAFORM[name]["value"].items()
    keys = re.findall(r"^ {8}(\w+) +=", text, re.MULTILINE)
    assert f"    {group} = [" in text
    assert keys == list(host)
    assert {key for key in keys if not key.startswith("ssh_") and key != "name"} <= set(DEFINITIONS)


def test_unit_of_a_pulling_host_has_a_valid_command_line() -> None:
    """Pyinfra's parser accepts it: the local host, deploy.py, without questions."""
    text = (HOME / "examples/pull/baikal-deploy.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+/pyinfra (.+)$", text, re.MULTILINE)
    words = shlex.split(command.replace("%H", "cal.example.org"))
    # In a separate process, because importing pyinfra's command line turns all threads into greenlets.
    parse = "json.dumps(cli.make_context('', sys.argv[1:]).params)"
    program = f"import json, sys; from pyinfra_cli.cli import cli; print({parse})"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    options = json.loads(done.stdout)
    assert (options["inventory"], options["operations"], options["yes"]) == ("@local", ["deploy.py"], True)
    settings = dict(item.split("=", 1) for item in options["data"])
    assert settings == {"hostname": "cal.example.org"}
    assert set(settings) <= set(DEFINITIONS)


@dataclasses.dataclass
class Pulling:
    """A host that pulls, and an operator's clone that pushes."""

    folder: Path

    def git(self, repository: str, *words: str) -> str:
        """Run git in one of the three repositories, without the configuration of this account."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-C", str(self.folder / repository), *words]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def push(self, key: str, *options: str) -> str:
        """Make and push a commit, signed with this key if there is one; return the commit."""
        signed = ("-c", f"user.signingKey={self.folder / key}.pub", "-c", "gpg.format=ssh", "-c", "commit.gpgSign=true")
        self.git("desk", *(signed if key else ()), "commit", "--allow-empty", "--quiet", "-m", "x")
        self.git("desk", "push", "--quiet", *options, "origin", "main")
        return self.git("desk", "rev-parse", "HEAD")

    def pull(self) -> str:
        """Run the unit's first commands; return the commit of the host, and the error if there was one."""
        text = (HOME / "examples/pull/baikal-deploy.service").read_text(encoding="utf-8")
        for command in re.findall(r"^ExecStartPre=/usr/bin/git (.+)$", text, re.MULTILINE):
            try:
                self.git("host", *shlex.split(command))
            except subprocess.CalledProcessError as error:
                return f"{self.git('host', 'rev-parse', 'HEAD')} {error.stderr}"
        return self.git("host", "rev-parse", "HEAD")


@pytest.fixture
def pulling(tmp_path: Path) -> Pulling:
    """Make a shared repository, a clone that pushes to it, and a host set up as the unit's comment says."""
    text = (HOME / "examples/pull/baikal-deploy.service").read_text(encoding="utf-8")
    repositories = Pulling(tmp_path)
    for name in ("ours", "theirs"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(key, check=True)
    (signer,) = re.findall(r"^# +(ops@example.org .*) ssh-ed25519 AAAA…$", text, re.MULTILINE)
    public = " ".join((tmp_path / "ours.pub").read_text(encoding="ascii").split()[:2])
    (tmp_path / "signers").write_text(f"{signer} {public}\n", encoding="ascii")
    (tmp_path / "shared.git").mkdir()
    repositories.git("shared.git", "init", "--quiet", "--bare", "--initial-branch=main")
    repositories.git(".", "clone", "--quiet", "shared.git", "desk")
    for name, value in (("user.name", "Ops"), ("user.email", "ops@example.org")):
        repositories.git("desk", "config", name, value)
    repositories.git("desk", "checkout", "--quiet", "-b", "main")
    repositories.push("ours")
    repositories.git(".", "clone", "--quiet", "shared.git", "host")
    (configure,) = re.findall(
        r"^# +git -C /opt/baikal-deploy (config \S+) /etc/baikal-deploy.signers$", text, re.MULTILINE
    )
    repositories.git("host", *configure.split(), str(tmp_path / "signers"))
    repositories.git("host", "verify-commit", "HEAD")
    return repositories


def test_pulling_host_accepts_a_signed_commit(pulling: Pulling) -> None:
    """The signature of the newest commit is enough for several. If there is no new commit, the unit succeeds too."""
    pulling.push("")
    newest = pulling.push("ours")
    assert pulling.pull() == newest
    assert pulling.pull() == newest


@pytest.mark.parametrize(
    ("key", "why"), [("", "does not have a GPG signature"), ("theirs", "untrusted|bad|No principal")]
)
def test_pulling_host_refuses_a_commit_without_a_trusted_signature(pulling: Pulling, key: str, why: str) -> None:
    """It keeps its commit, and the unit fails. Otherwise push access would mean root access to all hosts within an hour."""
    before = pulling.pull()
    pushed = pulling.push(key)
    current, _, error = pulling.pull().partition(" ")
    assert current == before != pushed
    assert re.search(why, error, re.IGNORECASE), error


def test_pulling_host_refuses_an_older_commit(pulling: Pulling) -> None:
    """It is signed, but it may have a known vulnerability."""
    first = pulling.pull()
    pulling.push("ours")
    newest = pulling.pull()
    pulling.git("desk", "reset", "--quiet", "--hard", first)
    pulling.push("ours", "--force")
    assert pulling.pull().partition(" ")[0] == newest


def test_pulling_host_without_trusted_keys_refuses_all_commits(pulling: Pulling) -> None:
    """For example if the operator installed the unit and did not follow the rest of its comment."""
    before = pulling.pull()
    pulling.push("ours")
    pulling.git("host", "config", "--unset", "gpg.ssh.allowedSignersFile")
    assert pulling.pull().partition(" ")[0] == before


def project(example: str) -> dict[str, Any]:
    """Return the content of an example's compose.yaml."""
    parsed: dict[str, Any] = yaml.safe_load((COMPOSE / example / "compose.yaml").read_text(encoding="utf-8"))
    return parsed


def settings_of(example: str, secrets: Path) -> Settings:
    """Return the settings of the example's container; ``secrets`` is a folder that replaces /run/secrets."""
    baikal = project(example)["services"]["baikal"]
    for name in baikal["secrets"]:
        (secrets / name).write_text(f"of {name}\n")
    environ = {name: value.replace("/run/secrets", str(secrets)) for name, value in baikal["environment"].items()}
    file = (COMPOSE / example / "settings.toml").read_text(encoding="utf-8")
    return load.from_environment(environ, tomllib.loads(file.replace("/run/secrets", str(secrets))))


def test_every_compose_example_is_tested() -> None:
    """A new folder must be added to the tests."""
    assert {folder.name for folder in COMPOSE.iterdir()} == {"standalone", *PROXIES}


@each_compose_example
def test_compose_example_has_valid_settings(example: str, tmp_path: Path) -> None:
    """All variables and all lines of settings.toml are valid. Passwords come only from declared secrets."""
    settings = settings_of(example, tmp_path)
    assert settings.hostname == "cal.example.org"
    assert settings.admin_password is not None
    assert settings.admin_password.reveal() == "of admin"
    assert [user.password.reveal() for user in settings.users if user.password] == ["of jo"]
    whole = project(example)
    assert whole["secrets"] == {name: {"file": f"./secrets/{name}"} for name in whole["services"]["baikal"]["secrets"]}


@each_compose_example
def test_compose_example_has_a_volume_and_no_privileges(example: str) -> None:
    """It has a declared volume, the image of the documentation, an ordinary account and a read-only root."""
    whole = project(example)
    baikal = whole["services"]["baikal"]
    assert "version" not in whole
    assert "data:/var/lib/baikal" in baikal["volumes"]
    assert "data" in whole["volumes"]
    assert baikal["image"] == f"baikal:{DEFINITIONS['baikal_version'].raw_default}"
    assert not str(baikal["user"]).startswith("0")
    assert (baikal["cap_drop"], baikal["read_only"], baikal["tmpfs"]) == (["ALL"], True, ["/run/baikal:mode=1777"])


@each_compose_example
def test_compose_example_mounts_existing_files(example: str) -> None:
    """They are in its folder, or its first lines tell the operator to create them."""
    mounted = [mount for service in project(example)["services"].values() for mount in service["volumes"]]
    names = {mount.partition(":")[0].removeprefix("./") for mount in mounted if mount.startswith("./")}
    files = {path.name for path in (COMPOSE / example).iterdir()} - {"compose.yaml"}
    assert names - {"tls"} == files


@behind_a_proxy
def test_only_the_proxy_of_a_compose_example_is_published_and_trusted(example: str, tmp_path: Path) -> None:
    """Baïkal is only on an internal network and publishes no port. It trusts only that network."""
    whole = project(example)
    baikal, proxy = whole["services"]["baikal"], whole["services"][example]
    assert "ports" not in baikal
    assert baikal["networks"] == ["inside"]
    assert proxy["networks"] == ["default", "inside"]
    assert {"80:80", "443:443"} <= set(proxy["ports"])
    assert whole["networks"]["inside"]["internal"] is True
    settings = settings_of(example, tmp_path)
    assert settings.tls == "off"
    assert [{"subnet": network} for network in settings.trusted_proxies] == whole["networks"]["inside"]["ipam"][
        "config"
    ]


def test_swarm_example_has_valid_settings(tmp_path: Path) -> None:
    """Replicas and keeper differ only in the backup, trust only the internal network, and have all secrets they name."""
    whole = yaml.safe_load((SWARM / "compose.yaml").read_text(encoding="utf-8"))
    file = (SWARM / "settings.toml").read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    for name in whole["secrets"]:
        (tmp_path / name).write_text(f"of {name}\n")
    read = {}
    for name in ("baikal", "keeper"):
        environ = whole["services"][name]["environment"].items()
        read[name] = load.from_environment(
            {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environ}, tomllib.loads(file)
        )
    baikal, keeper = read["baikal"], read["keeper"]
    assert (baikal.backup, keeper.backup) == (False, True)
    assert dataclasses.replace(baikal, backup=True) == keeper
    assert (baikal.database, baikal.database_host, baikal.tls) == ("pgsql", "database", "off")
    assert [{"subnet": network} for network in baikal.trusted_proxies] == whole["networks"]["inside"]["ipam"]["config"]
    assert (baikal.database_tls, whole["networks"]["inside"]["driver_opts"]) == ("off", {"encrypted": "true"})


def test_swarm_example_has_volumes_on_one_node_and_no_privileges() -> None:
    """All volumes are on one labelled node, replicas have none, and every mounted file is declared and exists."""
    whole = yaml.safe_load((SWARM / "compose.yaml").read_text(encoding="utf-8"))
    kept = {
        name: {it for it in one.get("volumes", []) if isinstance(it, str)} for name, one in whole["services"].items()
    }
    assert {mount.partition(":")[0] for mounts in kept.values() for mount in mounts} == set(whole["volumes"])
    assert [name for name, mounts in kept.items() if not mounts] == ["baikal"]
    for name, service in whole["services"].items():
        constraints = service["deploy"].get("placement", {}).get("constraints", [])
        assert constraints == (["node.labels.baikal == volumes"] if kept[name] else []), name
        assert (service["deploy"]["update_config"]["order"] == "stop-first") == bool(kept[name])
        assert service["deploy"]["endpoint_mode"] == "dnsrr"
        assert set(service.get("secrets", [])) <= set(whole["secrets"])
        assert {config["source"] for config in service.get("configs", [])} <= set(whole["configs"])
        published = [(port["published"], port["mode"]) for port in service.get("ports", [])]
        assert published == ([(80, "host"), (443, "host"), (443, "host")] if name == "caddy" else [])
    for name in ("baikal", "keeper"):
        service = whole["services"][name]
        assert service["image"] == f"baikal:{DEFINITIONS['baikal_version'].raw_default}"
        assert (service["user"], service["cap_drop"], service["read_only"]) == ("1000:1000", ["ALL"], True)
        assert service["networks"] == ["inside"]
    assert whole["networks"]["inside"]["internal"] is True
    files = {config["file"] for config in whole["configs"].values()} | {"./compose.yaml"}
    assert {f"./{path.name}" for path in SWARM.iterdir()} == files
    assert {name: secret["file"] for name, secret in whole["secrets"].items()} == {
        name: f"./secrets/{name}" for name in ("admin", "jo", "database", "postgres")
    }


def test_route_for_traefik_matches_the_options_of_traefik() -> None:
    """Traefik reads the mounted file. The entry point and the resolver in it are defined by options of the command."""
    traefik = project("traefik")["services"]["traefik"]
    options = dict(word.removeprefix("--").split("=", 1) for word in traefik["command"])
    assert f"./baikal.yaml:{options['providers.file.filename']}:ro" in traefik["volumes"]
    route = yaml.safe_load((COMPOSE / "traefik" / "baikal.yaml").read_text(encoding="utf-8"))["http"]
    (router,) = route["routers"].values()
    assert re.findall(r'env "(\w+)"', router["rule"]) == list(traefik["environment"])
    assert [f"entrypoints.{name}.address" in options for name in router["entryPoints"]] == [True]
    assert f"certificatesresolvers.{router['tls']['certResolver']}.acme.tlschallenge" in options
    assert route["services"][router["service"]]["loadBalancer"]["servers"] == [{"url": "http://baikal"}]
