"""Tables of settings, one module per area: accepted values, and refused values with the expected line."""

from __future__ import annotations

from tests.unit.settings.cases import backup, baikal, database, identity, mail, tls, users, web

REFUSED = tuple(row for area in (identity, baikal, database, web, tls, mail, backup, users) for row in area.REFUSED)
ACCEPTED = {
    setting: texts
    for area in (identity, baikal, database, web, tls, mail, backup)
    for setting, texts in area.ACCEPTED.items()
}
REFUSED_TEXTS = tuple(row for area in (identity, database, tls, mail, backup) for row in area.REFUSED_TEXTS)
