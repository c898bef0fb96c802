"""The reference of all settings, generated from their definitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS

if TYPE_CHECKING:
    import argparse

HEAD = """# Settings

All settings, generated from `baikalctl/settings/areas/` by `make docs`.

On machines, settings are pyinfra data: `group_data/all.py` has the defaults, `inventory.py` has the values of each
host, and `--data name=value` sets a value for one run. In a container, settings are environment variables, or lines of
a mounted `/etc/baikal/settings.toml`.

Secrets (🔒) are references: `{"env": "NAME"}` or `{"file": "path"}`. In a container, a secret can also be the value of
its variable, the content of a file that a variable ending in `_FILE` names, or plain text in settings.toml.

Data for your own deploys starts with `x_`.
"""


def run(_: argparse.Namespace) -> int:
    """Print the page."""
    output.page(markdown().removesuffix("\n"))
    return 0


def markdown() -> str:
    """Return the whole page."""
    parts = [HEAD]
    area = ""
    for name, definition in DEFINITIONS.items():
        if definition.area != area:
            area = definition.area
            title = area[0].upper() + area[1:]
            parts.append(
                f"\n## {title}\n\n| setting | environment variable | values | default | description |\n"
                "|---|---|---|---|---|\n"
            )
        variable = "– (not in a container)" if definition.machine_only else f"`{PREFIX}{name.upper()}`"
        lock = " 🔒" if definition.secret else ""
        default = f"`{json.dumps(definition.raw_default, ensure_ascii=False)}`"
        default = "– (none)" if definition.raw_default is None else default
        cells = [f"`{name}`{lock}", variable, definition.kind.form, default, definition.meaning]
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)
