"""The web server: where it listens, whom it lets in, and how much and how long."""

from __future__ import annotations

from dataclasses import dataclass

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Networks, Number, Text


@dataclass(frozen=True, kw_only=True)
class Web:
    """How the server is reached."""

    http_port: int = define(Number(1, 65535), 80, area="web", meaning="Port of plain HTTP.")
    https_port: int = define(Number(1, 65535), 443, area="web", meaning="Port of HTTPS.")
    base_path: str = define(
        Text("a path", validators.base_path, empty=True),
        "",
        area="web",
        meaning="Path that the server lives under, such as /calendars; empty for the root.",
    )
    trusted_proxies: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        raw_default=[],
    )
    admin_allow: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks that may reach /admin/; empty for all.",
        raw_default=[],
    )
    upload_limit_mb: int = define(
        Number(1, 2048, "MiB"), 100, area="web", meaning="Largest request, in MiB; address books with photos are large."
    )
    request_timeout_s: int = define(
        Number(10, 3600, "seconds"), 300, area="web", meaning="Longest that one request may take, in seconds."
    )
