"""The Jinja templates of all files: below ``templates/``, at the path that the file has on a host."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import jinja2

from baikalctl.errors import Fault, HostError, SettingsError

HOME = Path(__file__).resolve().parents[2]
"""The directory with ``baikalctl/`` and ``templates/``: this checkout, or a host's library."""
OVERLAY = "template_overlay"
"""The folder next to the inventory with templates that replace the deploy's templates of the same path."""

_overlay: list[Path] = []


def use_overlay(folder: Path) -> None:
    """Search ``folder``, if it exists, before the deploy's templates.

    Raises :class:`SettingsError` if it has a file that replaces no template, and would have no effect.
    """
    if not folder.is_dir():
        return
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    unknown = [str(path) for path in files if not (HOME / "templates" / path).is_file()]
    if unknown:
        advice = "replaces no template; move it to the path of a file below templates/"
        raise SettingsError([Fault(f"{OVERLAY}/{path}", advice) for path in unknown])
    _overlay[:] = [folder.resolve()]


def folders() -> tuple[Path, ...]:
    """Return the folders that are searched for a template, in this order."""
    return (*_overlay, HOME / "templates")


def is_overlaid() -> bool:
    """Tell whether there is a folder with replaced templates."""
    return bool(_overlay)


def source(template: str) -> Path:
    """Return the file of the template at a path below ``templates/``."""
    return next(path for folder in folders() if (path := folder / template).is_file())


def fill_in(template: str, **values: object) -> bytes:
    """Return the text of the template at a path below ``templates/``, with ``values``.

    Raises :class:`HostError` if it can't be rendered, as one from an overlay may be.
    """
    try:
        return environment(folders()).get_template(template).render(values).encode()
    except jinja2.TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        message = f"the template {source(template)}{line} can't be rendered: {error.message}; fix that file"
        raise HostError(message) from None


@functools.cache
def environment(searched: tuple[Path, ...]) -> jinja2.Environment:
    """Return the environment that searches these folders, so that each template is compiled once for all hosts."""
    result = jinja2.Environment(
        loader=jinja2.FileSystemLoader(searched),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML; every value is validated by its type
    )
    result.filters["quoted"] = shlex.quote
    return result
