"""The Jinja templates of all files: below ``templates/``, at the path that the file has on a host."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import jinja2

HOME = Path(__file__).resolve().parents[2]
"""The directory with ``baikalctl/`` and ``templates/``: this checkout, or a host's library."""


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
