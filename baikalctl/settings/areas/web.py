"""Web server settings: ports, path, allowed networks and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Networks, Number, Text


@dataclass(frozen=True, kw_only=True)
class Web:
    """Where the web server listens, which networks it accepts, and its limits."""

    AREA: ClassVar[str] = "web"

    http_port: int = define(Number(1, 65535), 80, "Port for HTTP.")
    https_port: int = define(Number(1, 65535), 443, "Port for HTTPS.")
    base_path: str = define(
        Text("a path", validators.base_path, empty=True),
        "",
        "URL path prefix of the server, such as /calendars. Empty: the root.",
    )
    trusted_proxies: tuple[str, ...] = define(
        Networks(),
        (),
        "Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted, such as "
        '["10.0.0.0/8"].',
        raw_default=[],
    )
    admin_allow: tuple[str, ...] = define(
        Networks(),
        (),
        'Networks that may open /admin/, such as ["192.0.2.0/24"]. Empty: all networks.',
        raw_default=[],
    )
    upload_limit_mb: int = define(
        Number(1, 2048, "MiB"), 100, "Largest allowed request, in MiB. Address books with photos need large requests."
    )
    request_timeout_s: int = define(Number(10, 3600, "seconds"), 300, "Longest time for one request, in seconds.")
