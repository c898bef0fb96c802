"""The files that make up a server's data: names of members of archives, below the data directory."""

from __future__ import annotations

import re

DATABASE, YAML, SETTINGS, APPLIED = "database.sqlite", "config/baikal.yaml", "settings.json", "state/applied.json"
"""Members that stand alone."""


ALONE = (DATABASE, YAML, SETTINGS, APPLIED)


FOLDERS = ("tls", "acme", "dkim")
"""And folders, with whatever is in them on the host."""


_WORD = "[A-Za-z0-9_@][A-Za-z0-9._:@-]{0,99}"


RESTORED = re.compile(
    rf"tls/(selfsigned|files|letsencrypt)-{_WORD}\.pem|acme/issued/{_WORD}\.pem|dkim/{_WORD}\.pem"
    rf"|acme/accounts(/{_WORD}){{1,8}}/(regr|meta|private_key)\.json"
)
"""The files in these folders that archives have, and that are restored. What older archives have besides is derived from
the settings, or read by programs that run as root."""


MEMBER = re.compile(rf"({'|'.join(FOLDERS)})(/(?!\.{{1,2}}(/|$))[^/\\\x00-\x1f\x7f]{{1,255}}){{1,12}}")


def allowed(name: str) -> bool:
    """Tell whether a file of that name can be in an archive: a relative path of plain names, in a place that we know."""
    return name in ALONE or bool(MEMBER.fullmatch(name))


def restored(name: str) -> bool:
    """Tell whether a file of that name goes into archives, and is taken out of them."""
    return name in ALONE or bool(MEMBER.fullmatch(name) and RESTORED.fullmatch(name))
