"""What a host offers after a successful run: its address, certificate, accounts, mail and backups, and what to do next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from baikalctl.output import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from baikalctl.settings.model import Settings

HTTP, HTTPS = 80, 443


def describe(settings: Settings, check: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines for people, from the settings and from the host's answer to ``baikalctl check``."""
    messages: dict[str, str] = {}
    for finding in check["findings"]:
        messages.setdefault(finding["subject"], escaped(finding["message"]))
    url = address(settings)
    yield from _line("Address", url)
    if settings.tls != "off":
        yield from _line("Certificate", messages.get("certificate", ""))
    accounts = re.search(r"\bhas (\d+) account", messages.get("database", ""))
    if accounts:
        yield from _line("Accounts", accounts[1] if int(accounts[1]) else "none")
    yield from _line("Mail", "off: no invitations are sent" if settings.mail == "off" else _mail(settings))
    yield from _line("Backups", messages.get("backup", ""))
    if accounts and not int(accounts[1]):
        yield from _line("Next", f"add accounts: set users (docs/users.md), or log in as admin at {url}/admin/")
    else:
        yield from _line("Next", f"set {url} as the server in calendar clients (docs/users.md)")


def address(settings: Settings) -> str:
    """Return the address that clients use, unless a reverse proxy has another one."""
    scheme, port, default = (
        ("http", settings.http_port, HTTP) if settings.tls == "off" else ("https", settings.https_port, HTTPS)
    )
    return f"{scheme}://{settings.hostname}{'' if port == default else f':{port}'}{settings.base_path}"


def _mail(settings: Settings) -> str:
    return (
        f"{settings.mail}, through {settings.relay_host}" if settings.relay_host else f"{settings.mail}, sent directly"
    )


def _line(name: str, text: str) -> Iterator[str]:
    if text:
        yield f"{name + ':':<13}{text}"
