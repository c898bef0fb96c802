"""The reference of all settings, made from their definitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS

if TYPE_CHECKING:
    import argparse

HEAD = """# Settings

Made from the definitions in `baikalctl/settings/areas/` by `make docs`; every setting there is.

On machines, settings are pyinfra's data: defaults in `group_data/all.py`, what differs per host in `inventory.py`, and
for one run `--data name=value`. In a container they are environment variables, or lines of a mounted
`/etc/baikal/settings.toml`. Secrets (🔒) are given by reference, `{"env": "NAME"}` or `{"file": "path"}`; in a container
also as the variable itself, as a variable that ends in `_FILE`, or plain in settings.toml. Data of your own, which
other deploys use, starts with `x_`.
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
                f"\n## {title}\n\n| setting | in a container | takes | default | meaning |\n|---|---|---|---|---|\n"
            )
        variable = "– (decided by the image)" if definition.machine_only else f"`{PREFIX}{name.upper()}`"
        lock = " 🔒" if definition.secret else ""
        default = f"`{json.dumps(definition.raw_default, ensure_ascii=False)}`"
        default = "– (none)" if definition.raw_default is None else default
        cells = [f"`{name}`{lock}", variable, definition.kind.form, default, definition.meaning]
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)
