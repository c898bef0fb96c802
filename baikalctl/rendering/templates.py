"""The Jinja templates of all files: below ``templates/``, at the path that the file has on a host."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from baikalctl import paths

if TYPE_CHECKING:
    from baikalctl.desired.state import DesiredState
    from baikalctl.rendering.model import Platform
    from baikalctl.settings.model import Settings

HOME = Path(__file__).resolve().parents[2]
"""The directory with ``baikalctl/`` and ``templates/``: this checkout, or a host's library."""


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


def fill_in(template: str, **values: object) -> bytes:
    """Return the text of the template at a path below ``templates/``, with ``values``."""
    return environment().get_template(template).render(values).encode()


@functools.cache
def environment() -> jinja2.Environment:
    """Return the one environment, so that each template is compiled once, however many hosts there are."""
    result = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HOME / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML; every value is validated by its type
    )
    result.filters["quoted"] = shlex.quote
    return result
