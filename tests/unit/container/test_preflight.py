"""The limits of a container, and checks before its start."""

from __future__ import annotations

import dataclasses
import os
from importlib import metadata
from pathlib import Path

import pytest

from baikalctl.container import limits, preflight
from baikalctl.errors import HostError
from tests.unit.samples import LETSENCRYPT, settings

HOOK = "acme_dns_hook"


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return control groups that a test can write to, on a machine with eight cores."""
    monkeypatch.setattr(limits, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_cores_are_limited_by_the_control_group(cgroup: Path, files: dict[str, str], cores: int) -> None:
    """Of both versions. Without a limit, the kernel's affinity counts."""
    for name, content in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(content, encoding="ascii")
    assert limits._cores() == cores


@pytest.mark.parametrize(
    ("files", "memory_mb"),
    [
        ({"memory.max": f"{256 << 20}\n"}, 256),
        ({"memory/memory.limit_in_bytes": f"{512 << 20}\n"}, 512),
        ({"memory.max": "max\n"}, 0),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0),
    ],
)
def test_memory_is_limited_by_the_control_group(cgroup: Path, files: dict[str, str], memory_mb: int) -> None:
    """So a small container gets few PHP processes. Without a limit, the machine's memory counts, which is 0 in this test."""
    for name, content in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(content, encoding="ascii")
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    assert limits._memory_mb() == (memory_mb or whole)


def test_port_that_the_account_may_not_open_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker lets every container open every port; others don't."""
    monkeypatch.setattr(preflight, "may", lambda _: False)
    limit = int(preflight.UNPRIVILEGED_PORTS.read_text(encoding="ascii"))
    preflight.refuse_low_port("https_port", max(limit, 1024))
    if limit:
        with pytest.raises(HostError, match=r"https_port is 80, .* set BAIKAL_HTTPS_PORT to 1024 or more"):
            preflight.refuse_low_port("https_port", 80)


def test_capability_allows_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root has it by default."""
    monkeypatch.setattr(preflight, "may", lambda _: True)
    preflight.refuse_low_port("http_port", 80)


def named(folder: Path, *files: str) -> dict[str, object]:
    """Return settings that name these files. All of them exist."""
    for name in files:
        (folder / name).touch(mode=0o700 if name == HOOK else 0o600)
    return {name: str(folder / name) for name in files}


FILES = (("tls_certificate", "files"), ("tls_key", "files"), ("acme_ca", "letsencrypt"), (HOOK, "letsencrypt"))


def file_settings(folder: Path, mode: str) -> dict[str, object]:
    """Return all the settings of ``mode`` that name files."""
    more = LETSENCRYPT if mode == "letsencrypt" else {"tls": mode}
    return more | named(folder, *(name for name, of in FILES if of == mode))


@pytest.mark.parametrize(("name", "mode"), FILES)
def test_missing_file_is_refused(tmp_path: Path, name: str, mode: str) -> None:
    """Also a directory: Docker makes one if the file doesn't exist on the host."""
    it = settings(**file_settings(tmp_path, mode))
    preflight.refuse_unfit_files(it)
    (tmp_path / name).unlink()
    with pytest.raises(HostError, match=rf"{tmp_path}/{name} does not exist; mount it$"):
        preflight.refuse_unfit_files(it)
    (tmp_path / name).mkdir()
    with pytest.raises(HostError, match=rf"{tmp_path}/{name} does not exist; mount it$"):
        preflight.refuse_unfit_files(it)


@pytest.mark.parametrize(("name", "mode"), FILES)
def test_file_that_this_account_cannot_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str
) -> None:
    """A hook is run, other files are read. Root may do both, and these tests may run as root."""
    it = settings(**file_settings(tmp_path, mode))
    asked: dict[str, int] = {}

    def access(path: str, how: int) -> bool:
        asked[Path(path).name] = how
        return Path(path).name != name

    monkeypatch.setattr(os, "access", access)
    verb = "run" if name == HOOK else "read"
    with pytest.raises(HostError, match=rf"{name} can't be {verb} by uid \d+.*; change the file's owner or mode$"):
        preflight.refuse_unfit_files(it)
    assert asked[name] == (os.R_OK | os.X_OK if name == HOOK else os.R_OK)


def test_a_hook_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """The container runs it as root, or as the account that has the certificates."""
    it = settings(**file_settings(tmp_path, "letsencrypt"))
    (tmp_path / HOOK).chmod(0o772)
    with pytest.raises(HostError, match=rf"{HOOK} can be changed by others \(-rwxrwx-w-, .*; put it where only root "):
        preflight.refuse_unfit_files(it)
    preflight.refuse_unfit_files(dataclasses.replace(it, tls="selfsigned"))


@pytest.mark.parametrize("mode", ["selfsigned", "off"])
def test_no_file_is_needed_without_a_setting_that_names_one(mode: str) -> None:
    """As in most containers."""
    preflight.refuse_unfit_files(settings(tls=mode))


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of certbot's installed plugins; a test may add some."""
    names = ["webroot", "manual"]

    def entry_points(*, group: str) -> metadata.EntryPoints:
        assert group == "certbot.plugins"
        return metadata.EntryPoints(metadata.EntryPoint(name, "certbot_x:Authenticator", group) for name in names)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return names


def test_missing_certbot_plugin_is_refused_with_a_remedy(plugins: list[str]) -> None:
    """Plugins are found by the name that certbot uses."""
    it = settings(**LETSENCRYPT, acme_dns_plugin="desec")
    plugins += ["dns-desec-other", "desec"]
    with pytest.raises(HostError, match=r"plugin desec is not in this image; .*--build-arg ACME_DNS_PLUGIN=desec, or "):
        preflight.refuse_unfit_files(it)
    plugins.append("dns-desec")
    preflight.refuse_unfit_files(it)


def test_no_plugin_is_needed_without_letsencrypt(plugins: list[str]) -> None:
    """Settings may have its name already."""
    assert plugins
    preflight.refuse_unfit_files(settings(acme_dns_plugin="desec"))


@pytest.mark.parametrize(
    ("repository", "programs", "message"),
    [
        ("/srv/restic", "", "restic is not in this image; build an image with it: docker build --build-arg RESTIC=yes"),
        (
            "sftp:jo@nas:/srv",
            "restic",
            "restic needs ssh for sftp:, and this image doesn't have it; use rest:, s3: or a",
        ),
        ("/srv/restic", "restic", ""),
        ("s3:s3.example.org/b", "restic", ""),
        ("sftp:jo@nas:/srv", "restic ssh", ""),
        ("", "", ""),
    ],
)
def test_repository_that_the_image_cannot_reach_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: str, programs: str, message: str
) -> None:
    """When the container starts, not when its first backup fails."""
    for program in programs.split():
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    secret = {"restic_password": "secret"} if repository else {}
    wanted = settings(restic_repository=repository, **secret)
    if not message:
        preflight.refuse_missing_restic(wanted)
        return
    with pytest.raises(HostError, match=f"^{message}"):
        preflight.refuse_missing_restic(wanted)
