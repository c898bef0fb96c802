"""Samples for many tests: valid settings, the platform of a host, the zip of a release, and Baïkal's schema."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal import release
from baikalctl.database.sqlite import Sqlite
from baikalctl.desired.build import desired_state
from baikalctl.rendering import database, mail, nullmailer
from baikalctl.rendering.model import Platform
from baikalctl.settings import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.desired.state import DesiredState
    from baikalctl.settings.model import Settings


HOME = Path(__file__).resolve().parents[2]
"""This checkout."""
SCHEMA = HOME / "tests/lab/standin/Core/Resources/Db/SQLite/db.sql"
"""The tables of a Baïkal database, as the lab's stand-in for a release makes them."""
PASSWORD = "Wer reitet so spät"
"""The administrator's password unless a test sets another one; no output may contain it."""
VERSION = "0.12.1"
LETSENCRYPT: dict[str, object] = {"tls": "letsencrypt", "acme_email": "ops@example.org"}
"""The settings that a certificate of Let's Encrypt needs."""
RELAY: dict[str, object] = {
    "mail": "relay",
    "relay_host": "smtp.example.net",
    "relay_user": "cal",
    "relay_password": "relay-secret",
}
"""The settings that mail through a relay with a login needs."""
IMAGE_PACKAGES = (
    "certbot",
    "s6",
    *nullmailer.PACKAGES,
    *mail.BAIKALCTL_PACKAGES,
    *database.DRIVERS["mysql"],
    *database.DRIVERS["pgsql"],
)
"""Packages that an image has in addition to those of every machine."""
MAIL_SERVERS = {"relay": "nullmailer", "postfix": "postfix"}
"""The package of the mail server, by the setting."""
PLATFORM = Platform(php="8.2", nginx=(1, 22, 1), cores=4, memory_mb=4096, ipv6=True)


def settings(**changed: object) -> Settings:
    """Return valid settings that differ from the defaults in ``changed``; secrets may be plain text."""
    required = {"hostname": "cal.example.org", "admin_password": PASSWORD}
    return load.from_environment({}, required | changed)


def own_postfix() -> Settings:
    """Return settings with Postfix on the machine, which the settings of a container cannot have."""
    return dataclasses.replace(settings(), mail="postfix")


def declared(**changed: object) -> DesiredState:
    """Return the desired state for :func:`settings`."""
    return desired_state(settings(**changed))


def user(name: str = "jo", **changed: object) -> dict[str, object]:
    """Return the table of one account as an operator writes it."""
    return {"name": name, "password": f"password of {name}"} | changed


def here() -> Sqlite:
    """Return the host's database."""
    return Sqlite(Path(paths.SQLITE))


def distrib(version: str = VERSION) -> str:
    """Return the text of a release's ``Core/Distrib.php``."""
    return f'<?php\ndefine("BAIKAL_VERSION", "{version}");\n'


def installed(archive: Path, version: str = VERSION) -> None:
    """Install the release from a zip that isn't the official one."""
    release.install(archive, version, release.digest(archive))


def release_zip(
    target: Path,
    version: str = VERSION,
    *,
    more: Mapping[str, str] | None = None,
    without: str = "",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write a zip with the members of every release and ``more``, except ``without``; return its path."""
    members = {
        "baikal/": "",
        "baikal/Core/Distrib.php": distrib(version),
        "baikal/Core/Resources/Db/SQLite/db.sql": SCHEMA.read_text(encoding="utf-8"),
        "baikal/html/": "",
        "baikal/html/dav.php": "<?php // DAV\n",
        "baikal/vendor/autoload.php": "<?php // libraries\n",
    }
    with zipfile.ZipFile(target, "w", compression) as bundle:
        for name, text in (members | dict(more or {})).items():
            if name != without:
                bundle.writestr(name, text)
    return target
