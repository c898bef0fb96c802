"""All settings as a dataclass, and their definitions by name.

The definitions are in :mod:`baikalctl.settings.areas`. Group data, environment variables, validation and
docs/settings.md all use them. :mod:`baikalctl.settings.load` reads and validates values.
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
    """All settings of one server.

    A dataclass has the fields of its last base class first, so the areas are listed from last to first.
    """

    @property
    def sender(self) -> str:
        """The sender address of this server's mail."""
        return self.mail_from or f"noreply@{self.hostname}"


AREAS = (Identity, Baikal, Database, Web, Tls, Mail, Backup, Fleet)
DEFINITIONS: dict[str, Definition] = {
    field.name: dataclasses.replace(field.metadata["definition"], area=area.AREA)
    for area in AREAS
    for field in dataclasses.fields(area)
}
"""Every setting by name, in the order of docs/settings.md."""
