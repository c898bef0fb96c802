"""What is wanted: the one list of settings, each with its name, kind, default and meaning.

The names of group data and of environment variables, the validation, and the reference table in the documentation
all come from the definitions, which stand in :mod:`baikalctl.settings.areas`.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl.errors import Fault, SettingsError, unknown
from baikalctl.settings.areas.backup import Backup
from baikalctl.settings.areas.baikal import Baikal
from baikalctl.settings.areas.database import Database
from baikalctl.settings.areas.fleet import Fleet
from baikalctl.settings.areas.identity import Identity
from baikalctl.settings.areas.mail import Mail
from baikalctl.settings.areas.tls import Tls
from baikalctl.settings.areas.web import Web
from baikalctl.settings.conflicts import Target, contradictions
from baikalctl.settings.environment import PREFIX, read_environment
from baikalctl.settings.users import UsersValue, read_users
from baikalctl.settings.value_types import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.settings.fields import Definition


__all__ = ["DEFINITIONS", "PREFIX", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings(Fleet, Backup, Mail, Tls, Web, Database, Baikal, Identity):
    """Everything that somebody can say about a server; immutable, and valid once it exists.

    A dataclass has the fields of its last base first, so the areas stand here from the last to the first.
    """

    @property
    def sender(self) -> str:
        """The address that mail of this server comes from."""
        return self.mail_from or f"noreply@{self.hostname}"

    @classmethod
    def from_data(cls, data: Mapping[str, object], *, image: bool = False) -> Settings:
        """Return the settings in pyinfra's host data; raises :class:`SettingsError` with every fault.

        ``image`` is for a target that is no running machine: it needs neither a host name nor passwords. Secrets are
        references, read from this process's environment and disk.
        """
        raw = {name: definition.raw_default for name, definition in DEFINITIONS.items()} | dict(data)
        if image:
            raw |= {name: None for name, definition in DEFINITIONS.items() if definition.secret} | {"users": []}
        return cls._validated(raw, [], os.environ, Target.IMAGE if image else Target.MACHINE)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
        """Return the settings of a container; raises :class:`SettingsError` with every fault.

        ``environ`` has ``BAIKAL_*`` variables and, for secrets, ``BAIKAL_*_FILE``; ``file`` is a parsed settings.toml,
        which the environment overrides and in which secrets may stand plain.
        """
        faults: list[Fault] = []
        raw = read_environment(environ, file or {}, DEFINITIONS, faults)
        return cls._validated(raw, faults, environ, Target.CONTAINER)

    @classmethod
    def _validated(
        cls, raw: Mapping[str, object], faults: list[Fault], environ: Mapping[str, str], target: Target
    ) -> Settings:
        plain = target is Target.CONTAINER
        values: dict[str, Any] = {}
        for name, given in raw.items():
            definition = DEFINITIONS.get(name)
            if definition is None:
                faults.append(Fault(name, unknown(name, DEFINITIONS)))
            elif any(fault.setting == name for fault in faults):
                continue
            elif isinstance(definition.kind, UsersValue):
                values[name] = read_users(given, faults, environ, plain=plain)
            elif not (target is Target.IMAGE and definition.secret and given is None):
                try:
                    values[name] = definition.read(given, environ, plain=plain)
                except ValueError as error:
                    faults.append(Fault(name, str(error), "" if definition.confidential else describe(given)))
        wrong = {fault.setting for fault in faults}
        settings = cls(**{name: value for name, value in values.items() if name not in wrong})
        # A contradiction with what is wrong anyway would only be noise.
        for involved, fault in contradictions(settings, target):
            if not wrong.intersection((fault.setting, *involved)):
                faults.append(fault)
        if faults:
            raise SettingsError(faults)
        return settings


DEFINITIONS: dict[str, Definition] = {
    field.name: field.metadata["definition"] for field in dataclasses.fields(Settings)
}
"""Every setting by name, in the order in which people should read them."""
