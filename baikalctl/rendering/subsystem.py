"""What each subsystem's module describes, and what its files are rendered from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from baikalctl import paths
from baikalctl.rendering.model import Directory, File, Platform, Service
from baikalctl.rendering.templates import fill_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from baikalctl.desired.state import DesiredState
    from baikalctl.settings.model import Settings
    from baikalctl.settings.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The paths that differ between a machine and a container."""

    socket: str
    """Where PHP listens."""
    access_log: str
    root: str = ""
    """Prefix of all paths of our configuration: empty on a machine, ``/run/baikal`` in a container."""

    @property
    def contained(self) -> bool:
        """Whether this is a container's."""
        return bool(self.root)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the files of a host are rendered from."""

    settings: Settings
    platform: Platform
    declared: DesiredState
    layout: Layout

    def text(self, template: str, **values: object) -> bytes:
        """Return the text of the template at a path below ``templates/``, with this context and ``values``."""
        return fill_in(
            template,
            settings=self.settings,
            platform=self.platform,
            paths=paths,
            declared=self.declared,
            layout=self.layout,
            **values,
        )


class Subsystem(Protocol):
    """What each module of a subsystem has: the one description for machines, images and containers."""

    def packages(self, settings: Settings, *, image: bool) -> Iterable[str]:
        """Return the distribution's packages; in an ``image``, all that its containers may be configured to use."""

    def units(self, settings: Settings, platform: Platform) -> tuple[str, ...]:
        """Return the systemd units of a machine, in the order in which they start."""

    def directories(self, context: Context) -> Iterable[Directory]:
        """Return the directories, parents first."""

    def files(self, context: Context) -> Iterable[File]:
        """Return the files."""

    def services(self, context: Context, files: tuple[File, ...]) -> Iterable[Service]:
        """Return the services of a machine, in the order in which they start; ``files`` are those of all subsystems."""


def secret_files(context: Context, secrets: Mapping[str, Secret | None]) -> Iterator[File]:
    """Yield a file, for root alone, for each of the ``secrets`` (by path on a machine) that is set."""
    for path, secret in secrets.items():
        if secret:
            content = f"{secret.reveal()}\n".encode()
            yield File(path=f"{context.layout.root}{path}", content=content, mode=0o600, together=True)
