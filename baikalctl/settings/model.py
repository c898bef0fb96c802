"""All settings as plain data: each with its name, type, default and meaning.

The names in group data and in the environment, the validation and docs/settings.md all come from the definitions in
:mod:`baikalctl.settings.areas`. :mod:`baikalctl.settings.load` reads and validates them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings.areas.backup import Backup
from baikalctl.settings.areas.baikal import Baikal
from baikalctl.settings.areas.database import Database
from baikalctl.settings.areas.fleet import Fleet
from baikalctl.settings.areas.identity import Identity
from baikalctl.settings.areas.mail import Mail
from baikalctl.settings.areas.tls import Tls
from baikalctl.settings.areas.web import Web

if TYPE_CHECKING:
    from baikalctl.settings.fields import Definition


@dataclass(frozen=True, kw_only=True)
class Settings(Fleet, Backup, Mail, Tls, Web, Database, Baikal, Identity):
    """Everything that can be set for one server.

    A dataclass has the fields of its last base first, so the areas are listed here from the last to the first.
    """

    @property
    def sender(self) -> str:
        """The address that mail of this server comes from."""
        return self.mail_from or f"noreply@{self.hostname}"


DEFINITIONS: dict[str, Definition] = {
    field.name: field.metadata["definition"] for field in dataclasses.fields(Settings)
}
"""Every setting by name, in the order of docs/settings.md."""
