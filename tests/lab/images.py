"""Images of the lab's machines: a distribution's base, and one with systemd and sshd."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl.rendering import baikal, nginx, php
from tests.lab.engine import Engine, apt_install, cache_directory, can_install, locked
from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEBIAN = {"debian:12": "bookworm", "debian:13": "trixie"}
UBUNTU = ("ubuntu:22.04", "ubuntu:24.04")
MACHINE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3-minimal", "sudo"),
    *("iproute2", "procps", "curl", "ca-certificates", "cron"),
)
PACKAGES = tuple(sorted((*baikal.PACKAGES, *nginx.PACKAGES, *php.PACKAGES)))
"""Packages that the deploy installs on every machine."""
DEPLOYER_UID, NOSUDO_UID = 2001, 2002
"""Fixed, so that keys can be copied to a machine before it boots; Ubuntu's image uses 1000."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PULL_LIMIT_S = 300
PULL_AGAIN_AFTER_S = 600
BUILD_LIMIT_S = 900
SCRATCH_BYTES = 2 * 1024**3
BUILDING = "baikal-lab-build"
"""Prefix of the names of containers that become images; the process and the recipe follow."""

EXCLUDES = """\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
"""

# As in the official images: installing a package starts no service and leaves no archives.
AS_OFFICIAL_IMAGES = """\
set -eu
printf '#!/bin/sh\\nexit 101\\n' >"$1/usr/sbin/policy-rc.d"
chmod 0755 "$1/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
cd "$1/etc/apt/apt.conf.d"
echo 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };' >docker-clean
echo 'Acquire::GzipIndexes "true";' >docker-gzip-indexes
echo 'Acquire::Languages "none";' >docker-no-languages
rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
"""

FIRST_STEPS = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
"""
INSTALL = """\
apt-get update -q
apt-get install -y -q --no-install-recommends "$@"
"""
LAST_STEPS = """\
rm -f /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*
"""

# A machine as a hosting company delivers it: services start when installed, no package lists, no keys.
# Masked are units that need their own console, kernel or seat, and apt's timers, which hold apt's lock on a real
# machine at six o'clock. Man page directories exist because update-alternatives needs them.
# PrivateUsers is off, as a container can't create user namespaces (Debian 13 uses one for nullmailer).
# force-unsafe-io stays: it saves time and changes no result, since a killed container loses no page cache.
MACHINE_RECIPE = f"""\
rm -f /etc/apt/apt.conf.d/docker-*
cat >/etc/dpkg/dpkg.cfg.d/excludes <<'END'
{EXCLUDES}END
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/docker-apt-speedup
for section in 1 2 3 4 5 6 7 8; do mkdir -p "/usr/share/man/man$section"; done
{INSTALL}systemctl mask systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \\
    systemd-udev-trigger.service systemd-logind.service getty.target console-getty.service \\
    apt-daily.timer apt-daily-upgrade.timer
mkdir -p /etc/systemd/system/service.d
printf '[Service]\\nPrivateUsers=no\\n' >/etc/systemd/system/service.d/lab.conf
useradd --create-home --shell /bin/bash --uid {DEPLOYER_UID} deployer
useradd --create-home --shell /bin/bash --uid {NOSUDO_UID} nosudo
echo 'deployer ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deployer
chmod 0440 /etc/sudoers.d/deployer
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
"""


@dataclass(frozen=True)
class BaseImage:
    """A distribution's bare image in the local engine."""

    tag: str
    origin: str
    """``pulled`` (the official image) or ``bootstrapped`` (made here from the distribution's packages)."""


def base_image(engine: Engine, distribution: str) -> BaseImage:
    """Return the bare image of ``debian:12``, ``debian:13``, ``ubuntu:22.04`` or ``ubuntu:24.04``.

    The lab's cached image, else the official one, else (Debian only) one made from this machine's own
    package sources. Raises LabError when none of these is available.
    """
    if distribution not in (*DEBIAN, *UBUNTU):
        message = f"the lab has no {distribution!r}; it has {', '.join((*DEBIAN, *UBUNTU))}"
        raise LabError(message)
    tag = f"baikal-lab/base:{_slug(distribution)}"
    with locked(f"base-{_slug(distribution)}"):
        if not engine.has_image(tag):
            refusal = _pull(engine, distribution)
            if refusal is None:
                engine.docker("tag", distribution, tag)
            elif distribution in DEBIAN and can_install():
                _bootstrap(engine, distribution, tag)
            else:
                message = (
                    f"{distribution} is not available: it can't be pulled ({refusal}), and only Debian can be "
                    f"made from packages, as root on Debian or Ubuntu. Give the engine access to its registry."
                )
                raise LabError(message)
        label = '{{index .Config.Labels "baikal-lab.origin"}}'
        origin = engine.docker("image", "inspect", "--format", label, tag).strip()
    return BaseImage(tag, origin if origin == "bootstrapped" else "pulled")


def machine_image(engine: Engine, distribution: str, packages: Sequence[str] = ()) -> str:
    """Return the tag of an image that boots systemd and sshd; it is built if the recipe is new.

    Users: root, ``deployer`` (sudo without password) and ``nosudo``. It has no keys: ``Machine.start`` copies
    them. With ``packages`` it is a warm image, with these already installed, for tests that
    are not about packages.
    """
    base = base_image(engine, distribution)
    bare = built_image(engine, base.tag, f"machine:{_slug(distribution)}", MACHINE_RECIPE, MACHINE_PACKAGES)
    if not packages:
        return bare
    return built_image(engine, bare, f"warm:{_slug(distribution)}", INSTALL, sorted(set(packages)))


def built_image(engine: Engine, base: str, name: str, recipe: str, packages: Sequence[str]) -> str:
    """Return the tag of ``base`` after the recipe; the tag depends on recipe, packages and base.

    Run and commit rather than ``docker build``: works the same with every client and engine, with or without buildx.
    """
    base_id = engine.docker("image", "inspect", "--format", "{{.Id}}", base).strip()
    script = FIRST_STEPS + recipe + LAST_STEPS
    digest = hashlib.sha256("\0".join((base_id, script, *packages)).encode()).hexdigest()[:12]
    tag = f"baikal-lab/{name}-{digest}"
    with locked(tag.replace("/", "-").replace(":", "-")):
        if engine.has_image(tag):
            return tag
        engine.say(f"lab: building {tag} (a minute)")
        container = f"{BUILDING}-{os.getpid()}-{digest}"
        boots = ("--stop-signal", "SIGRTMIN+3", "--env", "container=docker")
        arguments = ("run", "-i", "--name", container, *boots, base, "sh", "-s", "--", *packages)
        try:
            engine.docker(*arguments, input=script, timeout=BUILD_LIMIT_S)
            engine.docker("commit", "--change", 'CMD ["/sbin/init"]', container, tag, timeout=BUILD_LIMIT_S)
        finally:
            engine.docker("rm", "-f", "-v", container, check=False)
    return tag


def _pull(engine: Engine, distribution: str) -> str | None:
    """Pull the official image and return None, or the reason why it can't be pulled.

    A failure is remembered for some minutes, for all distributions and processes: without access to a
    registry, each attempt could take its whole time limit.
    """
    if engine.has_image(distribution):
        return None
    marker = cache_directory() / "registry-refused"
    if marker.exists() and time.time() - marker.stat().st_mtime < PULL_AGAIN_AFTER_S:
        return marker.read_text()
    engine.say(f"lab: pulling {distribution}")
    try:
        engine.docker("pull", "-q", distribution, timeout=PULL_LIMIT_S)
    except LabError as error:
        marker.write_text(str(error))
        return str(error)
    marker.unlink(missing_ok=True)
    return None


def _bootstrap(engine: Engine, distribution: str, tag: str) -> None:
    """Make a Debian image with mmdebstrap and import it; use the first mirror that works."""
    engine.say(f"lab: no registry here; making {distribution} from packages with mmdebstrap (half a minute)")
    if not (shutil.which("mmdebstrap") and Path(KEYRING).exists()):
        apt_install(("mmdebstrap", "debian-archive-keyring"))
    refusals = []
    with tempfile.TemporaryDirectory(prefix="baikal-lab-base-", dir=_scratch()) as directory:
        archive = Path(directory) / "base.tar"
        for sources in _debian_sources(DEBIAN[distribution]):
            refusal = _mmdebstrap(DEBIAN[distribution], archive, sources)
            if refusal is None:
                changes = ("--change", 'CMD ["bash"]', "--change", "LABEL baikal-lab.origin=bootstrapped")
                engine.docker("import", *changes, str(archive), tag, timeout=300)
                return
            refusals.append(refusal)
    message = f"mmdebstrap could not make {distribution}: {refusals[0]}"
    raise LabError(message)


def _mmdebstrap(codename: str, archive: Path, sources: Sequence[str]) -> str | None:
    """Write a minimal Debian as a tar file; return None, or the end of the error message."""
    hook = archive.with_name("as-official-images")
    hook.write_text(f"#!/bin/sh\n{AS_OFFICIAL_IMAGES}")
    hook.chmod(0o755)
    options = [f"--dpkgopt={line}" for line in EXCLUDES.splitlines()]
    options += [f"--aptopt={line}" for line in _apt_settings()]
    if any("https://" in line for line in sources):
        options.append("--include=ca-certificates")
    command = ["mmdebstrap", "--variant=minbase", f"--customize-hook={hook}", *options, codename, str(archive)]
    scratch = {**os.environ, "TMPDIR": str(archive.parent)}
    try:
        done = subprocess.run(
            [*command, *sources], capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False, env=scratch
        )
    except subprocess.TimeoutExpired:
        return f"not done after {BUILD_LIMIT_S} s"
    if done.returncode == 0:
        return None
    return "\n".join(line for line in done.stderr.splitlines()[-12:] if line)


def _scratch() -> Path:
    """Return the directory to unpack a whole system in: in memory if there is enough (40 % faster), else the cache."""
    memory = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
    if sys.platform != "linux" or not memory.is_dir() or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return cache_directory()
    return memory if shutil.disk_usage(memory).free >= SCRATCH_BYTES else cache_directory()


def _debian_sources(codename: str) -> list[list[str]]:
    """Return the mirrors for mmdebstrap, in the order to try.

    First this machine's own Debian sources, with security and updates; then none, which
    is mmdebstrap's own default (and the only choice on Ubuntu).
    """
    own = _own_codename()
    lines = []
    for uri, suite in _apt_sources() if own else ():
        base, dash, pocket = suite.partition("-")
        if base == own and pocket in ("", "updates", "security") and uri.startswith(("http://", "https://")):
            line = f"deb [signed-by={KEYRING}] {uri} {codename}{dash}{pocket} main"
            lines += [line] if line not in lines else []
    complete = any(line.endswith(f" {codename} main") for line in lines)
    return [lines, []] if complete else [[]]


def _own_codename() -> str | None:
    """Return the codename of the Debian that this machine runs; None on anything else."""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    return fields.get("VERSION_CODENAME") if fields.get("ID") == "debian" else None


def _apt_sources() -> Iterator[tuple[str, str]]:
    """Read address and suite of this machine's sources of Debian itself, in either of apt's two formats.

    Third-party sources (of PHP, for example) have the same suites; they are recognised by their own key.
    """
    apt = Path("/etc/apt")
    for file in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        text = file.read_text() if file.exists() else ""
        for match in re.findall(r"^\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)[ \t]+(\S+)[ \t]+(.*)", text, re.MULTILINE):
            options, uri, suite, components = match
            if "main" in components.split() and ("signed-by" not in options or "debian-archive" in options):
                yield uri, suite
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE))
            uris, suites, *rest = (fields.get(name, "").split() for name in ("URIs", "Suites", "Components", "Types"))
            debian = "debian-archive" in fields.get("Signed-By", "debian-archive")
            if debian and "main" in rest[0] and "deb" in rest[1] and fields.get("Enabled", "").strip() != "no":
                yield from itertools.product(uris, suites)


def _apt_settings() -> list[str]:
    """Return this machine's apt settings for proxies and for the age of package lists."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=60, check=False)
    wanted = ("Acquire::http::Proxy ", "Acquire::https::Proxy ", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    return [line for line in done.stdout.splitlines() if line.startswith(wanted)]


def _slug(distribution: str) -> str:
    return distribution.replace(":", "-")


def remove_images(engine: Engine) -> None:
    """Remove every image that the lab made or pulled."""
    tags = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "baikal-lab/*").split()
    for tag in tags:
        engine.docker("rmi", "-f", tag, check=False)
