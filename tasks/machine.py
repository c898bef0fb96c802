"""The host before anything is changed: its system, its packages, and what apt offers."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyinfra.api.facts import FactBase

from baikalctl import paths
from baikalctl.rendering import backup, baikal, certbot, database, mail, nginx, nullmailer, php, postfix

if TYPE_CHECKING:
    from collections.abc import Iterable

ASKED = (
    *baikal.PACKAGES,
    baikal.SUPERVISOR,
    *nginx.PACKAGES,
    *php.PACKAGES,
    php.TMPFILES,
    "systemd",
    *(driver for drivers in database.DRIVERS.values() for driver in drivers),
    *database.SERVERS.values(),
    *(f"'{prefix}*'" for prefix in database.CONFLICTING),
    "'postgresql-[0-9]*'",
    *nullmailer.PACKAGES,
    *(postfix.POSTFIX, postfix.SASL, postfix.OPENDKIM),
    *mail.CONFLICTING,
    *mail.BAIKALCTL_PACKAGES,
    "certbot",
    f"'{certbot.DNS_PLUGIN}*'",
    backup.RESTIC,
    *backup.RESTIC_NEEDS.values(),
)
"""The packages whose versions are read: names, and patterns for dpkg."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The host before this run."""

    system: str
    """ID of os-release, such as ``debian``."""
    pretty: str
    root: bool
    user: str
    """The user who logs in."""
    groups: tuple[str, ...]
    """The groups of this user."""
    sudo: str
    """Empty if sudo works without a password, otherwise its message."""
    booted: bool
    """Whether systemd runs here. It doesn't in an image and in most containers."""
    cores: int
    memory_mb: int
    ipv6: bool
    release: str
    """The current release of Baïkal; empty if there is none."""
    mail_servers: tuple[str, ...]
    """The packages of mail servers that the deploy has installed. The operator's own are not in it."""
    database_servers: tuple[str, ...]
    """The same for database servers."""
    installed: dict[str, str]
    """Version by package, for those in :data:`ASKED` that are completely installed."""

    def missing(self, packages: Iterable[str]) -> tuple[str, ...]:
        """Return the packages that aren't installed."""
        return tuple(name for name in packages if name not in self.installed)


class MachineFact(FactBase[Machine]):
    """Everything about the machine itself. It runs as the user who logs in, so that hosts without sudo answer as well."""

    def command(self) -> str:
        """Print ``key=value`` lines."""
        return rf"""
            export LC_ALL=C
            . /etc/os-release 2>/dev/null
            echo "system=$ID"; echo "like=$ID_LIKE"; echo "pretty=$PRETTY_NAME"; echo "uid=$(id -u)"
            [ "$(id -u)" = 0 ] || output=$(sudo -n true 2>&1 </dev/null) || echo "sudo=$(echo "$output" | tail -n 1)"
            echo "user=$(id -un)"; echo "groups=$(id -nG)"
            [ ! -d /run/systemd/system ] || echo booted=yes
            [ ! -e /proc/net/if_inet6 ] || echo ipv6=yes
            echo "cores=$(nproc 2>/dev/null)"
            while read -r key value unit; do [ "$key" != MemTotal: ] || echo "memory=$value"; done < /proc/meminfo
            echo "release=$(readlink {paths.CURRENT})"; echo "mail=$(cat {paths.MAIL_SERVERS} 2>/dev/null)"
            echo "database=$(cat {paths.DATABASE_SERVERS} 2>/dev/null)"
            dpkg-query -W -f '${{db:Status-Status}}=${{Package}} ${{Version}}\n' {" ".join(ASKED)} 2>/dev/null || true
        """

    def process(self, output: list[str]) -> Machine:
        """Read the lines."""
        values: dict[str, str] = {}
        installed = {}
        for line in output:
            key, _, value = line.partition("=")
            if key == "installed":
                package, _, version = value.partition(" ")
                installed[package] = version
            else:
                values[key.strip()] = value.strip()
        # A version that the operator chose is installed without the package for the distribution's default version.
        chosen = [name.partition("-")[2] for name in installed if re.fullmatch(r"postgresql-\d+", name)]
        if chosen:
            installed.setdefault("postgresql", max(chosen, key=int))
        known = ("debian", "ubuntu")
        like = [name for name in known if name in (values.get("system"), *values.get("like", "").split())]
        return Machine(
            system=like[-1] if like else values.get("system", ""),
            pretty=values.get("pretty", "an unknown system"),
            root=values.get("uid") == "0",
            user=values.get("user", ""),
            groups=tuple(values.get("groups", "").split()),
            sudo=values.get("sudo", ""),
            booted="booted" in values,
            cores=int(values.get("cores") or 1),
            # Rounded, because the kernel's figure varies a little from boot to boot.
            memory_mb=int(values.get("memory") or 0) // 1024 // 64 * 64,
            ipv6="ipv6" in values,
            release=values.get("release", ""),
            mail_servers=tuple(values.get("mail", "").split()),
            database_servers=tuple(values.get("database", "").split()),
            installed=installed,
        )


class CandidateFact(FactBase[dict[str, str]]):
    """Version by package of what apt would install; lists that are missing or over a day old are refreshed first."""

    UNREACHABLE = "unreachable"
    """The key for the reason why the lists couldn't be refreshed."""

    def command(self, packages: tuple[str, ...]) -> str:
        """Print apt's paragraphs. If the lists couldn't be refreshed, print the reason first."""
        fresh = "find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null | grep -q ."
        update = "apt-get -q -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update 2>&1"
        # apt can wait for dpkg's lock, but not for the lock of the lists, which a daily timer may hold.
        return f"""
            export LC_ALL=C DEBIAN_FRONTEND=noninteractive
            for attempt in $(seq 60); do
                {fresh} && break
                output=$({update}) && break
                case $output in *'Could not get lock'*) sleep 2; continue ;; esac
                echo "{self.UNREACHABLE}: $(echo "$output" | grep -E '^(E|W|Err)' | head -n 1)"
                break
            done
            apt-cache policy {" ".join(packages)}
        """

    def process(self, output: list[str]) -> dict[str, str]:
        """Read apt-cache's paragraphs."""
        candidates, package = {}, ""
        for line in output:
            if line.startswith(f"{self.UNREACHABLE}:"):
                candidates[self.UNREACHABLE] = line.partition(":")[2].strip()
            elif line and not line.startswith(" "):
                package = line.rstrip(":")
            elif line.strip().startswith("Candidate:") and "(none)" not in line:
                candidates[package] = line.split(":", 1)[1].strip()
        return candidates

    @staticmethod
    def default() -> dict[str, str]:
        """Return the answer of a host without apt."""
        return {}


class SudoFact(FactBase[bool]):
    """Whether sudo accepts the password, and the user may use it. It is asked with the host's own sudo."""

    def command(self) -> str:
        """Print a word."""
        return "echo accepted"

    def process(self, output: list[str]) -> bool:
        """Return true: without sudo there is no output."""
        return bool(output)

    @staticmethod
    def default() -> bool:
        """Return the answer if sudo fails."""
        return False


class AptLockFact(FactBase[str]):
    """The process that holds a lock of apt or dpkg, from /proc/locks (proc(5)); empty if there is none."""

    LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")

    def command(self, locks: tuple[str, ...] = LOCKS) -> str:
        """Print name and number of the process that holds one of the ``locks``."""
        return f"""
            inodes=" $(echo $(stat -c %i {" ".join(locks)} 2>/dev/null)) "
            while read -r _ _ _ _ pid file _; do
                case $inodes in *" ${{file##*:}} "*) echo "$(cat /proc/$pid/comm) (process $pid)"; break ;; esac
            done < /proc/locks
        """

    def process(self, output: list[str]) -> str:
        """Return the first line."""
        return output[0].strip()

    @staticmethod
    def default() -> str:
        """Return the answer if no process holds a lock."""
        return ""


class PathsFact(FactBase[list[str]]):
    """The files among some paths."""

    def command(self, paths: list[str]) -> str:
        """Print the paths that are files."""
        quoted = " ".join(shlex.quote(path) for path in paths)
        return f'for path in {quoted}; do [ ! -f "$path" ] || echo "$path"; done'

    def process(self, output: list[str]) -> list[str]:
        """Return the lines."""
        return output

    @staticmethod
    def default() -> list[str]:
        """Return the answer of a host that has none of them."""
        return []
