"""The Jinja templates of all files, below ``templates/`` by the path that the file has on a host."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from baikalctl import paths
from baikalctl.rendering.php import memory_limit_mb, workers
from baikalctl.settings import schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.desired.state import DesiredState
    from baikalctl.rendering.model import Platform
    from baikalctl.settings.model import Settings

HOME = Path(__file__).resolve().parents[2]
"""The directory that holds ``baikalctl/`` and ``templates/``: this checkout, or a host's library."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the same texts become files: what differs between a machine and a container."""

    socket: str
    """Where PHP listens."""
    access_log: str
    root: str = ""
    """What stands before the paths of our configuration: nothing on a machine."""


def texts(settings: Settings, platform: Platform, declared: DesiredState, place: Place) -> Callable[[str], bytes]:
    """Return the function that fills in a template by its path below ``templates/``."""
    values: dict[str, Any] = {
        "settings": settings,
        "platform": platform,
        "paths": paths,
        "declared": declared,
        "place": place,
        "workers": workers(platform),
        "memory_limit_mb": memory_limit_mb(platform),
        "backup_times": schedule.on_calendar(settings.backup_schedule, settings.timezone),
    }
    return functools.partial(fill_in, **values)


def fill_in(template: str, **values: object) -> bytes:
    """Return the text of the template at a path below ``templates/``, with ``values`` in it."""
    return _environment().get_template(template).render(values).encode()


@functools.cache
def _environment() -> jinja2.Environment:
    """Return the one environment, so that each template is compiled once, however many hosts there are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HOME / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML; every value is validated by its kind
    )
    environment.filters["quoted"] = shlex.quote
    return environment
