"""A container's settings: the mounted settings.toml, overridden by the environment."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import HostError, SettingsError
from baikalctl.host import directories
from baikalctl.settings import load
from baikalctl.settings.environment import PREFIX, is_other_program
from baikalctl.settings.model import DEFINITIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def has_settings(environ: Mapping[str, str]) -> bool:
    """Tell whether a container has any settings."""
    value = any(name.startswith(PREFIX) and not is_other_program(name, text) for name, text in environ.items())
    return value or Path(paths.SETTINGS_FILE).exists()


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of the mounted file, overridden by ``environ``; raises :class:`SettingsError`.

    A fault in the file has the name of the setting, a fault in a variable has the name of the variable.
    """
    file = _read_file(Path(paths.SETTINGS_FILE))
    try:
        return load.from_environment(environ, file)
    except SettingsError as error:
        named = []
        for fault in error.faults:
            name = fault.setting.partition("[")[0].partition(".")[0]
            variable = PREFIX + name.upper()
            from_file = name in file and not {variable, f"{variable}_FILE"} & environ.keys()
            shown = fault.setting if from_file or name not in DEFINITIONS else variable + fault.setting[len(name) :]
            named.append(dataclasses.replace(fault, setting=shown))
        raise SettingsError(named) from None


def _read_file(path: Path) -> dict[str, object]:
    """Return the settings in settings.toml; none if it isn't mounted."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except IsADirectoryError:
        message = f"{path} is a directory, because the file to mount doesn't exist on the host; create the file there"
        raise HostError(message) from None
    except PermissionError:
        message = f"{path} can't be read by {directories.this_account()}; run chown {os.geteuid()} on the file"
        raise HostError(message) from None
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8 text; save it as UTF-8"
        raise HostError(message) from None
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f'{path} is not TOML: {error}; write lines such as hostname = "cal.example.org"'
        raise HostError(message) from None
