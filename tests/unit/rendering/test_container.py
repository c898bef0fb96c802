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
    """Return the files that a container's start writes."""
    return render_contained(settings(**changed), platform, realm)


def text(file_set: FileSet, path: str) -> str:
    """Return the content of a file of the set."""
    return next(file.content for file in file_set.files if file.path == path).decode()


def test_container_writes_only_to_run_and_to_the_volume() -> None:
    """So the image can be read-only."""
    file_set = contained(users=[user()])
    everything = [*(file.path for file in file_set.files), *(directory.path for directory in file_set.directories)]
    assert [path for path in everything if not path.startswith((paths.RUN, paths.DATA))] == []


@pytest.mark.parametrize("path", ["/etc/nginx/conf.d/baikal.conf", "/etc/php/fpm/pool.d/baikal.conf"])
def test_container_has_the_configuration_of_a_machine(path: str) -> None:
    """Except for paths and logs."""
    machine = next(
        file.content.decode() for file in render(settings(), PLATFORM).files if file.path.replace("/8.2", "") == path
    )
    container = text(contained(), f"{paths.RUN}{path}")
    different = set(machine.splitlines()) ^ set(container.splitlines())
    assert different
    expected = ("php.sock", "php/baikal-8.2.sock", "access_log", "workers_output", "; nginx logs every message too")
    assert [line for line in different if not any(part in line for part in expected)] == []


def test_services_of_root_have_different_accounts() -> None:
    """As on a machine: nginx can't read the database, PHP can't read the key, neither is root."""
    file_set = contained()
    assert "user www-data;" in text(file_set, f"{paths.RUN}/etc/nginx/nginx.conf")
    pool = text(file_set, f"{paths.RUN}/etc/php/fpm/pool.d/baikal.conf")
    assert "user = baikal\n" in pool
    assert "listen.owner = www-data\n" in pool


@pytest.mark.parametrize(("platform", "account"), [(ALONE, ""), (POWERLESS, "root")])
def test_services_have_the_account_of_the_container_without_privileges(platform: Platform, account: str) -> None:
    """An ordinary user can't change to another account, and neither can root without capabilities."""
    file_set = contained(platform)
    nginx = text(file_set, f"{paths.RUN}/etc/nginx/nginx.conf")
    pool = text(file_set, f"{paths.RUN}/etc/php/fpm/pool.d/baikal.conf")
    assert (f"user {account};" in nginx) == bool(account)
    assert (f"user = {account}\n" in pool) == bool(account)
    for text_of in (nginx, pool):
        assert "www-data" not in text_of
        assert "user = baikal" not in text_of


def test_passwords_are_hashed_with_the_realm_of_the_data() -> None:
    """Imported data may have another realm than Baïkal's default, and its passwords stay valid."""
    declared = [text(contained(realm=realm, users=[user()]), f"{paths.RUN}{paths.DECLARED}") for realm in (REALM, "X")]
    hashes = [
        [line for line in file_set.splitlines() if "digest" in line or "admin_hash" in line] for file_set in declared
    ]
    assert len(hashes[0]) == 2
    assert not set(hashes[0]) & set(hashes[1])


def test_each_secret_is_in_a_file_for_its_owner_only() -> None:
    """On machines and in containers; there is no file for a secret that isn't declared."""
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
    for root, file_set in (
        ("", render(settings(**server, **restic), PLATFORM)),
        (paths.RUN, contained(**server, **restic)),
    ):
        files = {file.path: file for file in file_set.files}
        for path, content in expected.items():
            assert (files[root + path].content, files[root + path].mode) == (content, 0o600)
            assert files[root + path].owner == "root"
    for file_set in (render(settings(), PLATFORM), contained()):
        assert not [file.path for file in file_set.files if file.path.endswith(tuple(expected))]


def test_image_has_no_data() -> None:
    """Files at the volume's path would be copied into every new volume, with their owners."""
    file_set = baked()
    assert set(program().files) < set(file_set.files)
    everything = [*(file.path for file in file_set.files), *(directory.path for directory in file_set.directories)]
    assert [path for path in everything if path.startswith(paths.DATA)] == [paths.DATA]
    assert paths.DECLARED not in everything


def test_every_account_can_write_to_the_directories_of_a_container() -> None:
    """Like /tmp: all accounts can create files, and can't remove those of others."""
    modes = {directory.path: directory.mode for directory in baked().directories}
    assert {modes[paths.DATA], modes[paths.RUN]} == {0o1777}
    assert modes["/etc/baikal"] == 0o755, "settings.toml is mounted there"


def test_services_have_all_files_for_s6() -> None:
    """The time limits of both services together are less than Docker's ten seconds."""
    file_set = {file.path: file for file in baked().files}
    for service in STOPPING_MS:
        folder = f"{paths.LAID_OUT}/{service}"
        assert file_set[f"{folder}/run"].mode == file_set[f"{folder}/finish"].mode == 0o755
        assert file_set[f"{folder}/down-signal"].content == b"SIGQUIT\n"
    assert sum(STOPPING_MS.values()) < 9000
    scripts = [file.content.decode() for file in file_set.values() if file.path.startswith(paths.LAID_OUT)]
    assert not [script for script in scripts if "{{" in script]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("status", "output"), [(0, ""), (1, "sleep 600\n")])
@pytest.mark.parametrize("service", ["certificate", "backup"])
def test_scheduled_service_that_fails_is_not_restarted_at_once(
    tmp_path: Path, service: str, status: int, output: str
) -> None:
    """The service's own script, with programs that print their arguments."""
    programs = {"s6-svwait": "exit 0", "sleep": 'echo "sleep $*"', Path(paths.COMMAND).name: f"exit {status}"}
    for name, body in programs.items():
        program = Path(paths.COMMAND).with_name(name)
        program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
    script = tmp_path / "run"
    script.write_bytes(fill_in(f"usr/local/lib/baikalctl/service/{service}/run", paths=paths))
    environment = {"PATH": f"{Path(paths.COMMAND).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, check=False, timeout=10)
    assert done.stdout + done.stderr == output
