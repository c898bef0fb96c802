"""What a host tells of itself: one question for one answer, however many things it is about."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyinfra.api.facts import FactBase

from baikalctl import paths
from baikalctl.baikal.release import ORIGIN, TREE, tree_command
from tasks.distribution import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from baikalctl.rendering.model import FileSet, Service


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The host as it is now."""

    system: str
    """ID of os-release, such as ``debian``."""
    pretty: str
    root: bool
    sudo: str
    """Nothing where sudo works without a password, otherwise what it says."""
    booted: bool
    """Whether systemd runs here, which an image and most containers lack."""
    cores: int
    memory_mb: int
    ipv6: bool
    release: str
    """The release of Baïkal that ``current`` leads to, or nothing."""
    mail_servers: tuple[str, ...]
    """The packages of mail servers that the deploy has installed; any other that is here is somebody else's."""
    database_servers: tuple[str, ...]
    """The same of database servers."""
    installed: dict[str, str]
    """Version by package, of those that concern us and are wholly installed."""

    def missing(self, packages: Iterable[str]) -> tuple[str, ...]:
        """Return which of these packages aren't installed."""
        return tuple(name for name in packages if name not in self.installed)


class MachineFact(FactBase[Machine]):
    """Everything about the machine itself. Asked as the user who logs in, because what needs no root must not fail."""

    def command(self) -> str:
        """Print ``key=value`` lines."""
        return rf"""
            export LC_ALL=C
            . /etc/os-release 2>/dev/null
            echo "system=$ID"; echo "like=$ID_LIKE"; echo "pretty=$PRETTY_NAME"; echo "uid=$(id -u)"
            [ "$(id -u)" = 0 ] || said=$(sudo -n true 2>&1 </dev/null) || echo "sudo=$(echo "$said" | tail -n 1)"
            [ ! -d /run/systemd/system ] || echo booted=yes
            [ ! -e /proc/net/if_inet6 ] || echo ipv6=yes
            echo "cores=$(nproc 2>/dev/null)"
            while read -r key value unit; do [ "$key" != MemTotal: ] || echo "memory=$value"; done < /proc/meminfo
            echo "release=$(readlink {paths.CURRENT})"; echo "mail=$(cat {paths.MAIL_SERVERS} 2>/dev/null)"
            echo "database=$(cat {paths.DATABASE_SERVERS} 2>/dev/null)"
            dpkg-query -W -f '${{db:Status-Status}}=${{Package}} ${{Version}}\n' {" ".join(KNOWN)} 2>/dev/null || true
        """

    def process(self, output: list[str]) -> Machine:
        """Read the lines."""
        text: dict[str, str] = {}
        installed = {}
        for line in output:
            key, _, value = line.partition("=")
            if key == "installed":
                package, _, version = value.partition(" ")
                installed[package] = version
            else:
                text[key.strip()] = value.strip()
        # Without the package that stands for the distribution's own, somebody has chosen one.
        chosen = [name.partition("-")[2] for name in installed if re.fullmatch(r"postgresql-\d+", name)]
        if chosen:
            installed.setdefault("postgresql", max(chosen, key=int))
        known = ("debian", "ubuntu")
        like = [name for name in known if name in (text.get("system"), *text.get("like", "").split())]
        return Machine(
            system=like[-1] if like else text.get("system", ""),
            pretty=text.get("pretty", "an unknown system"),
            root=text.get("uid") == "0",
            sudo=text.get("sudo", ""),
            booted="booted" in text,
            cores=int(text.get("cores") or 1),
            # Rounded, because the kernel's figure varies a little from boot to boot.
            memory_mb=int(text.get("memory") or 0) // 1024 // 64 * 64,
            ipv6="ipv6" in text,
            release=text.get("release", ""),
            mail_servers=tuple(text.get("mail", "").split()),
            database_servers=tuple(text.get("database", "").split()),
            installed=installed,
        )


class CandidateFact(FactBase[dict[str, str]]):
    """Version by package of what apt would install; refreshes lists that are missing or over a day old first."""

    UNREACHABLE = "unreachable"
    """Under this name, instead of a package's: why the lists couldn't be refreshed."""

    def command(self, packages: tuple[str, ...]) -> str:
        """Print apt's paragraphs, after the reason why the lists couldn't be refreshed, if they couldn't."""
        fresh = "find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null | grep -q ."
        update = "apt-get -q -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update 2>&1"
        # apt waits for dpkg's lock if told to, but not for that of the lists, which a daily timer may hold.
        return f"""
            export LC_ALL=C DEBIAN_FRONTEND=noninteractive
            for attempt in $(seq 60); do
                {fresh} && break
                said=$({update}) && break
                case $said in *'Could not get lock'*) sleep 2; continue ;; esac
                echo "{self.UNREACHABLE}: $(echo "$said" | grep -E '^(E|W|Err)' | head -n 1)"
                break
            done
            apt-cache policy {" ".join(packages)}
        """

    def process(self, output: list[str]) -> dict[str, str]:
        """Read apt-cache's paragraphs."""
        found, package = {}, ""
        for line in output:
            if line.startswith(f"{self.UNREACHABLE}:"):
                found[self.UNREACHABLE] = line.partition(":")[2].strip()
            elif line and not line.startswith(" "):
                package = line.rstrip(":")
            elif line.strip().startswith("Candidate:") and "(none)" not in line:
                found[package] = line.split(":", 1)[1].strip()
        return found

    @staticmethod
    def default() -> dict[str, str]:
        """Return what a host without apt would say."""
        return {}


class FilesFact(FactBase[dict[str, Any]]):
    """What stands where our files belong: content by checksum, owner, group, mode, and what we recorded as ours."""

    def command(self, files: FileSet) -> str:
        """Print checksums, then states, then the record, each in a part of its own."""
        every = _quoted([*(item.path for item in files.directories), *(item.path for item in files.files)])
        contents = _quoted(file.path for file in files.files)
        links = _quoted(link for link, _ in files.displaced)
        return f"""
            export LC_ALL=C
            sha256sum -- {contents} 2>/dev/null; echo ---
            stat -c '%F|%a|%U|%G|%n' -- {every} 2>/dev/null; echo ---
            for link in {links}; do [ ! -L "$link" ] || echo "$link|$(readlink -f "$link")"; done; echo ---
            cat {files.record} 2>/dev/null || true
        """

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return ``checksums`` and ``states`` by path, ``links`` by path, and the ``owned`` paths."""
        parts: list[list[str]] = [[]]
        for line in output:
            if line == "---":
                parts.append([])
            else:
                parts[-1].append(line)
        sums, states, links, record = (parts + [[]] * 4)[:4]
        try:
            owned = json.loads("\n".join(record)) if record else []
        except ValueError:
            owned = []
        return {
            "checksums": {path: digest for digest, path in (line.split("  ", 1) for line in sums if "  " in line)},
            "states": {line.split("|", 4)[4]: line.split("|", 4)[:4] for line in states},
            "links": dict(line.split("|", 1) for line in links),
            "owned": owned,
        }

    @staticmethod
    def default() -> dict[str, Any]:
        """Return what an empty host would say."""
        return {"checksums": {}, "states": {}, "links": {}, "owned": []}


class ReleaseFact(FactBase[tuple[str, str, bool]]):
    """The current release of Baïkal, the checksum of its archive if it is intact, and whether nothing was left behind."""

    def command(self, version: str) -> str:
        """Print three lines."""
        path = f"{paths.CODE}/{shlex.quote(version)}"
        intact = f'[ "$({tree_command(path)})" = "$(cat {path}/{TREE})" ] && cat {path}/{ORIGIN}'
        leftovers = f"find {paths.CODE} -mindepth 1 -maxdepth 1 -name '.*' 2>/dev/null"
        return f'echo "$(readlink {paths.CURRENT})"; echo "$({{ {intact}; }} 2>/dev/null)"; echo "$({leftovers})"'

    def process(self, output: list[str]) -> tuple[str, str, bool]:
        """Read the lines."""
        current, origin, leftovers = (*output, "", "", "")[:3]
        return current.strip(), origin.strip(), not leftovers.strip()

    @staticmethod
    def default() -> tuple[str, str, bool]:
        """Return what a host without a release would say."""
        return "", "", True


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """A service as it is: whether it runs, starts at boot, and has read what its files say now."""

    running: bool
    enabled: bool
    current: bool


BOOTS = ("enabled", "enabled-runtime")
"""What systemd says of a unit that starts at boot; the latter where a generator sees to that, as for postfix@-."""


class ServicesFact(FactBase[dict[str, ServiceState]]):
    """The state of all our services by name, in one answer."""

    def command(self, services: tuple[Service, ...]) -> str:
        """Print systemd's words for all services, one kind a line, then for each whether its stamp is right."""
        units = " ".join(service.unit for service in services)
        stamps = "; ".join(
            f'[ "$({read_digest(service)})" = "$(cat {stamp(service)} 2>/dev/null)" ] && echo current || echo changed'
            for service in services
        )
        names = " ".join(service.name for service in services)
        return f"echo {names}; echo $(systemctl is-active {units}); echo $(systemctl is-enabled {units} 2>&1); {stamps}"

    def process(self, output: list[str]) -> dict[str, ServiceState]:
        """Read the lines."""
        names, active, enabled, *stamps = (line.split() for line in output)
        # An unknown unit has no word of its own on the third line, but then there is nothing enabled to be read.
        enabled += [""] * (len(names) - len(enabled))
        return {
            name: ServiceState(running=running == "active", enabled=boots in BOOTS, current=read == ["current"])
            for name, running, boots, read in zip(names, active, enabled, stamps, strict=False)
        }

    @staticmethod
    def default() -> dict[str, ServiceState]:
        """Return what a host without systemd would say."""
        return {}


class PathsFact(FactBase[list[str]]):
    """Which of some paths are files."""

    def command(self, paths: list[str]) -> str:
        """Print those that are."""
        return f'for path in {_quoted(paths)}; do [ ! -f "$path" ] || echo "$path"; done'

    def process(self, output: list[str]) -> list[str]:
        """Return the lines."""
        return output

    @staticmethod
    def default() -> list[str]:
        """Return what is said of nothing."""
        return []


def read_digest(service: Service) -> str:
    """Return the shell command that prints the checksum of all that ``service`` reads."""
    return f"cat {_quoted(service.reads)} 2>/dev/null | sha256sum | cut -d' ' -f1"


def stamp(service: Service) -> str:
    """Return where the checksum stands of what ``service`` has read."""
    return f"{paths.STAMPS}/{service.name}"


def _quoted(words: Iterable[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
