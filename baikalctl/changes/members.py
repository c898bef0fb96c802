"""The files that archives contain, by their paths below the data directory."""

from __future__ import annotations

import re

DATABASE, YAML, SETTINGS, APPLIED = "database.sqlite", "config/baikal.yaml", "settings.json", "state/applied.json"
"""Single files."""


ALONE = (DATABASE, YAML, SETTINGS, APPLIED)


FOLDERS = ("tls", "acme", "dkim")
"""Folders; :data:`RESTORED` has the names of the files in them."""


_WORD = "[A-Za-z0-9_@][A-Za-z0-9._:@-]{0,99}"


RESTORED = re.compile(
    rf"tls/(selfsigned|files|letsencrypt)-{_WORD}\.pem|acme/issued/{_WORD}\.pem|dkim/{_WORD}\.pem"
    rf"|acme/accounts(/{_WORD}){{1,8}}/(regr|meta|private_key)\.json"
)
"""The files in these folders that are archived and restored. The other files that older archives have are generated from
the settings, or are read by programs that run as root."""


MEMBER = re.compile(rf"({'|'.join(FOLDERS)})(/(?!\.{{1,2}}(/|$))[^/\\\x00-\x1f\x7f]{{1,255}}){{1,12}}")


def allowed(name: str) -> bool:
    """Tell whether an archive may have a file of that name: a relative path, in one of the known folders."""
    return name in ALONE or bool(MEMBER.fullmatch(name))


def restored(name: str) -> bool:
    """Tell whether a file of that name is archived and restored."""
    return name in ALONE or bool(MEMBER.fullmatch(name) and RESTORED.fullmatch(name))
