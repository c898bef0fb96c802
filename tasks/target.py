"""One host of the run: its settings, what it is, and what it is to get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from baikalctl.rendering import database, machine, nginx, php, postfix
from baikalctl.rendering.container import baked
from baikalctl.rendering.model import FileSet, Platform, Service
from tasks.fact_cache import ANSWER_SECONDS, FactCache
from tasks.machine import Machine, MachineFact
from tasks.pyinfra_internals import hosts

if TYPE_CHECKING:
    from pyinfra.api.host import Host

    from baikalctl.settings.model import Settings
    from tasks.release_download import Archive


@dataclass(kw_only=True)
class Target:
    """One host of the run."""

    host: Host
    settings: Settings
    machine: Machine
    candidates: dict[str, str]
    """Version by package of what apt would install."""
    archive: Archive
    batches: list[list[Host]] = field(default_factory=list)
    """All hosts of the run, batch by batch."""
    refused: bool = False
    """Whether any host of the run has a fault, so that nothing is done on any."""
    facts: FactCache = field(init=False)
    _rendered: tuple[Platform, FileSet] | None = None
    """The files of the host, and the platform that they were rendered for."""

    def __post_init__(self) -> None:
        """Ask a host that may be unchanged everything at once, beginning now."""
        self.facts = FactCache(self.host)
        if self.booted and not self._absent and self.machine.release == self.settings.baikal_version:
            self.facts.expected = lambda: (self.files(), self.settings.baikal_version)
            # With batches, or more hosts than are worked on at a time, its turn may come much later.
            if not self.settings.batches and hosts.all_at_once(self.host.state):
                self.facts.prefetch()

    @property
    def booted(self) -> bool:
        """Whether this is a running machine, and not an image."""
        return self.machine.booted

    def missing_packages(self) -> tuple[str, ...]:
        """Return the packages to install."""
        missing = self._absent
        standalone = (
            "php-fpm" in missing and "systemd" not in self.machine.installed and php.TMPFILES in self.candidates
        )
        return (*missing, php.TMPFILES) if standalone and not self.booted else missing

    @property
    def _absent(self) -> tuple[str, ...]:
        return self.machine.missing(machine.packages(self.settings, image=not self.booted))

    @property
    def own_database_server(self) -> str:
        """The package of a database server that this deploy has installed or will install; empty where there is none."""
        server = database.server(self.settings)
        ours = server in self.machine.database_servers or server not in self.machine.installed
        return server if ours else ""

    def platform(self) -> Platform:
        """Return what the host's files depend on: as installed, or as apt would install it."""
        if self._absent and self.facts.changes():
            # Without an answer the host has just failed: its next command will fail as well.
            self.machine = self.host.get_fact(MachineFact, _timeout=ANSWER_SECONDS) or self.machine
        versions = self.candidates | self.machine.installed
        server = database.server(self.settings)
        return Platform(
            php=php.version(versions["php-fpm"]),
            nginx=nginx.version(versions["nginx"]),
            cores=self.machine.cores,
            memory_mb=self.machine.memory_mb,
            ipv6=self.machine.ipv6,
            postfix=postfix.version(versions.get(postfix.POSTFIX, "")),
            postgresql=database.version(versions.get(server, "")) if self.settings.database == "pgsql" else "",
            own_database=bool(self.own_database_server),
        )

    def files(self) -> FileSet:
        """Return all our files on this host. An image gets those without settings: a container's start renders the rest."""
        if not self.booted:
            return baked()
        platform = self.platform()
        if self._rendered is None or self._rendered[0] != platform:
            self._rendered = (platform, machine.render(self.settings, platform))
        return self._rendered[1]

    def services(self) -> tuple[Service, ...]:
        """Return all services of this host, in the order in which they start."""
        return self.files().services
