"""The files of images and containers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.desired.state import REALM
from baikalctl.rendering.baikal import program
from baikalctl.rendering.container import STOPPING_MS, baked, render_contained
from baikalctl.rendering.machine import render
from baikalctl.rendering.templates import fill_in
from tests.unit.samples import PLATFORM, settings, user

if TYPE_CHECKING:
    from baikalctl.rendering.model import FileSet, Platform

ALONE = dataclasses.replace(PLATFORM, php_user="", web_user="")
POWERLESS = dataclasses.replace(PLATFORM, php_user="root", web_user="root")


def contained(platform: Platform = PLATFORM, realm: str = REALM, **changed: object) -> FileSet:
    """Return what a container's start writes."""
    return render_contained(settings(**changed), platform, realm)


def text(found: FileSet, path: str) -> str:
    """Return what a file of the set says."""
    return next(file.content for file in found.files if file.path == path).decode()


def test_a_container_writes_nowhere_but_in_its_two_places() -> None:
    """So it runs on an image that can't be written."""
    found = contained(users=[user()])
    everything = [*(file.path for file in found.files), *(directory.path for directory in found.directories)]
    assert [path for path in everything if not path.startswith((paths.RUN, paths.DATA))] == []


@pytest.mark.parametrize("path", ["/etc/nginx/conf.d/baikal.conf", "/etc/php/fpm/pool.d/baikal.conf"])
def test_a_container_says_what_a_machine_says(path: str) -> None:
    """But for where things are, and that one stream has what two logs have on a machine."""
    machine = next(
        file.content.decode() for file in render(settings(), PLATFORM).files if file.path.replace("/8.2", "") == path
    )
    here = text(contained(), f"{paths.RUN}{path}")
    different = set(machine.splitlines()) ^ set(here.splitlines())
    assert different
    expected = ("php.sock", "php/baikal-8.2.sock", "access_log", "workers_output", "; nginx logs every message too")
    assert [line for line in different if not any(part in line for part in expected)] == []


def test_root_gives_each_service_an_account_of_its_own() -> None:
    """As on a machine: nginx can't read the database, PHP can't read the key, neither is root."""
    found = contained()
    assert "user www-data;" in text(found, f"{paths.RUN}/etc/nginx/nginx.conf")
    pool = text(found, f"{paths.RUN}/etc/php/fpm/pool.d/baikal.conf")
    assert "user = baikal\n" in pool
    assert "listen.owner = www-data\n" in pool


@pytest.mark.parametrize(("platform", "account"), [(ALONE, ""), (POWERLESS, "root")])
def test_whoever_cannot_change_accounts_runs_everything(platform: Platform, account: str) -> None:
    """An ordinary user is not asked to become anybody, and a root without capabilities stays root."""
    found = contained(platform)
    nginx = text(found, f"{paths.RUN}/etc/nginx/nginx.conf")
    pool = text(found, f"{paths.RUN}/etc/php/fpm/pool.d/baikal.conf")
    assert (f"user {account};" in nginx) == bool(account)
    assert (f"user = {account}\n" in pool) == bool(account)
    for text_of in (nginx, pool):
        assert "www-data" not in text_of
        assert "user = baikal" not in text_of


def test_passwords_are_hashed_with_the_realm_of_the_data() -> None:
    """Data that moved in may have another than Baïkal's default, and its passwords stay valid."""
    declared = [text(contained(realm=realm, users=[user()]), f"{paths.RUN}{paths.DECLARED}") for realm in (REALM, "X")]
    hashes = [[line for line in found.splitlines() if "digest" in line or "admin_hash" in line] for found in declared]
    assert len(hashes[0]) == 2
    assert not set(hashes[0]) & set(hashes[1])


def test_each_secret_of_the_data_has_a_file_of_its_own_for_its_owner_alone() -> None:
    """On a machine and in a container the same, and none where nothing was declared."""
    server: dict[str, Any] = {"database": "mysql", "database_host": "db", "database_password": " p w "}
    restic: dict[str, Any] = {
        "restic_repository": "/srv/restic",
        "restic_password": "secret",
        "restic_credentials": "A=b\nC=d",
    }
    expected = {
        paths.DATABASE_PASSWORD: b" p w \n",
        paths.RESTIC_PASSWORD: b"secret\n",
        paths.RESTIC_CREDENTIALS: b"A=b\nC=d\n",
    }
    for root, found in (
        ("", render(settings(**server, **restic), PLATFORM)),
        (paths.RUN, contained(**server, **restic)),
    ):
        files = {file.path: file for file in found.files}
        for path, content in expected.items():
            assert (files[root + path].content, files[root + path].mode) == (content, 0o600)
            assert files[root + path].owner == "root"
    for found in (render(settings(), PLATFORM), contained()):
        assert not [file.path for file in found.files if file.path.endswith(tuple(expected))]


def test_an_image_has_the_tools_and_no_state() -> None:
    """Nothing is in the volume's place, which would be copied into every new volume, with owners of its own."""
    found = baked()
    assert set(program().files) < set(found.files)
    everything = [*(file.path for file in found.files), *(directory.path for directory in found.directories)]
    assert [path for path in everything if path.startswith(paths.DATA)] == [paths.DATA]
    assert paths.DECLARED not in everything


def test_whatever_account_a_container_runs_as_can_write_in_its_places() -> None:
    """As /tmp is: everybody may make things, and nobody remove those of others."""
    modes = {directory.path: directory.mode for directory in baked().directories}
    assert {modes[paths.DATA], modes[paths.RUN]} == {0o1777}
    assert modes["/etc/baikal"] == 0o755, "settings.toml is mounted there"


def test_every_service_can_be_started_stopped_and_given_up() -> None:
    """What s6 reads of each; both together fit into the ten seconds that Docker gives."""
    found = {file.path: file for file in baked().files}
    for service in STOPPING_MS:
        folder = f"{paths.LAID_OUT}/{service}"
        assert found[f"{folder}/run"].mode == found[f"{folder}/finish"].mode == 0o755
        assert found[f"{folder}/down-signal"].content == b"SIGQUIT\n"
    assert sum(STOPPING_MS.values()) < 9000
    scripts = [file.content.decode() for file in found.values() if file.path.startswith(paths.LAID_OUT)]
    assert not [script for script in scripts if "{{" in script]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("status", "said"), [(0, ""), (1, "sleep 600\n")])
@pytest.mark.parametrize("service", ["certificate", "backup"])
def test_what_is_done_by_the_clock_is_not_started_again_at_once_if_it_fails(
    tmp_path: Path, service: str, status: int, said: str
) -> None:
    """The service's own script, with programs that tell how they were called."""
    programs = {"s6-svwait": "exit 0", "sleep": 'echo "sleep $*"', Path(paths.COMMAND).name: f"exit {status}"}
    for name, body in programs.items():
        place = Path(paths.COMMAND).with_name(name)
        place.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        place.chmod(0o755)
    script = tmp_path / "run"
    script.write_bytes(fill_in(f"usr/local/lib/baikalctl/service/{service}/run", paths=paths))
    environment = {"PATH": f"{Path(paths.COMMAND).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, check=False, timeout=10)
    assert done.stdout + done.stderr == said
