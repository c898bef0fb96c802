"""Read settings from pyinfra's data or from a container's environment, and validate them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from baikalctl.errors import Fault, SettingsError, unknown_name
from baikalctl.settings.conflicts import Target, conflicts
from baikalctl.settings.environment import read_environment
from baikalctl.settings.model import DEFINITIONS, Settings
from baikalctl.settings.users import UsersValue, read_users
from baikalctl.settings.value_types import describe

if TYPE_CHECKING:
    from collections.abc import Mapping


def from_data(data: Mapping[str, object], *, image: bool = False) -> Settings:
    """Return the settings in pyinfra's host data; raises :class:`SettingsError` with every fault.

    ``image`` is for an image, which needs neither a hostname nor passwords. Secrets are references, which are read from
    the environment and the files of this machine.
    """
    raw = {name: definition.raw_default for name, definition in DEFINITIONS.items()} | dict(data)
    if image:
        raw |= {name: None for name, definition in DEFINITIONS.items() if definition.secret} | {"users": []}
    return _validated(raw, [], os.environ, Target.IMAGE if image else Target.MACHINE)


def from_environment(environ: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
    """Return the settings of a container; raises :class:`SettingsError` with every fault.

    ``environ`` has ``BAIKAL_*`` variables and, for secrets, ``BAIKAL_*_FILE``. ``file`` is a parsed settings.toml; the
    environment overrides it, and it may contain secrets as plain text.
    """
    faults: list[Fault] = []
    raw = read_environment(environ, file or {}, DEFINITIONS, faults)
    return _validated(raw, faults, environ, Target.CONTAINER)


def _validated(raw: Mapping[str, object], faults: list[Fault], environ: Mapping[str, str], target: Target) -> Settings:
    """Return the settings with the values ``raw``; raises :class:`SettingsError` with ``faults`` and all others."""
    plain = target is Target.CONTAINER
    values: dict[str, Any] = {}
    for name, value in raw.items():
        definition = DEFINITIONS.get(name)
        if definition is None:
            faults.append(Fault(name, unknown_name(name, DEFINITIONS)))
        elif any(fault.setting == name for fault in faults):
            continue
        elif isinstance(definition.kind, UsersValue):
            values[name] = read_users(value, faults, environ, plain=plain)
        elif not (target is Target.IMAGE and definition.secret and value is None):
            try:
                values[name] = definition.read(value, environ, plain=plain)
            except ValueError as error:
                faults.append(Fault(name, str(error), "" if definition.confidential else describe(value)))
    wrong = {fault.setting for fault in faults}
    settings = Settings(**{name: value for name, value in values.items() if name not in wrong})
    # If a setting is invalid, its conflicts with other settings are not reported.
    for involved, fault in conflicts(settings, target):
        if not wrong.intersection((fault.setting, *involved)):
            faults.append(fault)
    if faults:
        raise SettingsError(faults)
    return settings
